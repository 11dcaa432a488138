/* vsock: the guest's side of a test of the socket device.
 *
 *   vsock listen PORT          echoes whatever comes on any connection, until it is killed
 *   vsock connect PORT BYTES   sends BYTES of a pattern to port PORT of the host, reads as many back
 *                              and prints the FNV-1a checksum of both: 0 if they are equal, else 1
 *
 * A connection that is half closed gets the rest of its echo, and then the other half is closed. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER (64 << 10)
/* Threads need little, and there may be many. */
#define STACK (256 << 10)

static int fail(const char *what)
{
    fprintf(stderr, "vsock: %s: %s\n", what, strerror(errno));
    return 1;
}

static uint64_t number(const char *text, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || *text == '-' || value > most) {
        fprintf(stderr, "vsock: '%s' is not a number up to %llu\n", text, (unsigned long long)most);
        exit(2);
    }
    return value;
}

static struct sockaddr_vm address(unsigned cid, unsigned port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    return address;
}

/* Writes all of it, or fails. */
static int put(int fd, const unsigned char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return -1;
        }
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

static void *echo(void *argument)
{
    int fd = (int)(intptr_t)argument;
    unsigned char *bytes = malloc(BUFFER);
    for (;;) {
        ssize_t length = bytes ? read(fd, bytes, BUFFER) : -1;
        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0 || put(fd, bytes, (size_t)length) < 0)
            break;
    }
    free(bytes);
    close(fd);
    return NULL;
}

static int serve(unsigned port)
{
    int listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0)
        return fail("socket");
    struct sockaddr_vm here = address(VMADDR_CID_ANY, port);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0)
        return fail("bind");
    if (listen(listener, 128) < 0)
        return fail("listen");
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    printf("vsock: listening on port %u\n", port);
    fflush(stdout);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            return fail("accept");
        }
        pthread_t thread;
        errno = pthread_create(&thread, &attributes, echo, (void *)(intptr_t)fd);
        if (errno != 0) {
            fail("a connection is closed, for there is no thread for it");
            close(fd);
        }
    }
}

/* The pattern: byte `place` of the stream. */
static unsigned char pattern(uint64_t place)
{
    return (unsigned char)((place * 2654435761u) >> 13);
}

static uint64_t add(uint64_t sum, const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ bytes[i]) * 0x100000001b3u;
    return sum;
}

/* Sends and reads at once: neither side's buffers need hold everything. */
static int exchange(unsigned port, uint64_t total)
{
    static unsigned char out[BUFFER], in[BUFFER];
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail("socket");
    struct sockaddr_vm there = address(VMADDR_CID_HOST, port);
    if (connect(fd, (struct sockaddr *)&there, sizeof there) < 0)
        return fail("connect");
    uint64_t sent = 0, received = 0;
    uint64_t sent_sum = 0xcbf29ce484222325u, received_sum = sent_sum;
    size_t from = 0, to = 0;
    while (received < total) {
        if (from == to && sent + (to - from) < total) {
            uint64_t left = total - sent;
            from = 0;
            to = left < BUFFER ? (size_t)left : BUFFER;
            for (size_t i = 0; i < to; i++)
                out[i] = pattern(sent + i);
        }
        struct pollfd look = {.fd = fd, .events = POLLIN};
        if (from < to)
            look.events |= POLLOUT;
        if (poll(&look, 1, -1) < 0) {
            if (errno == EINTR)
                continue;
            return fail("poll");
        }
        if (from < to && (look.revents & POLLOUT)) {
            ssize_t length = send(fd, out + from, to - from, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (length < 0 && errno != EAGAIN && errno != EINTR)
                return fail("send");
            if (length > 0) {
                sent_sum = add(sent_sum, out + from, (size_t)length);
                from += (size_t)length;
                sent += (uint64_t)length;
                if (sent == total && shutdown(fd, SHUT_WR) < 0)
                    return fail("shutdown");
            }
        }
        if (look.revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t length = recv(fd, in, sizeof in, MSG_DONTWAIT);
            if (length == 0)
                break;
            if (length < 0 && errno != EAGAIN && errno != EINTR)
                return fail("recv");
            if (length > 0) {
                received_sum = add(received_sum, in, (size_t)length);
                received += (uint64_t)length;
            }
        }
    }
    close(fd);
    int equal = received == total && sent == total && sent_sum == received_sum;
    printf("vsock: %llu bytes sent, %016llx; %llu back, %016llx: %s\n", (unsigned long long)sent,
           (unsigned long long)sent_sum, (unsigned long long)received,
           (unsigned long long)received_sum, equal ? "equal" : "DIFFERENT");
    return equal ? 0 : 1;
}

int main(int count, char **arguments)
{
    signal(SIGPIPE, SIG_IGN);
    if (count == 3 && strcmp(arguments[1], "listen") == 0)
        return serve((unsigned)number(arguments[2], UINT32_MAX));
    if (count == 4 && strcmp(arguments[1], "connect") == 0)
        return exchange((unsigned)number(arguments[2], UINT32_MAX), number(arguments[3], 1ull << 40));
    fprintf(stderr, "usage: vsock listen PORT | vsock connect PORT BYTES\n");
    return 2;
}
