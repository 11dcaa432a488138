/* stream: both ends of the connections that tools/bench-devices measures.
 *
 *   stream serve ADDRESS               serves ADDRESS until it is killed
 *   stream send ADDRESS BYTES          sends so much; the time ends when the server has read it all
 *   stream receive ADDRESS BYTES       reads so much
 *   stream ping ADDRESS COUNT          sends a byte and waits for it to come back, so many times
 *   stream time COUNT COMMAND...       runs a command
 *
 * ADDRESS is tcp:HOST:PORT, vsock:CID:PORT or unix:PATH. What a client did is a line of stdout:
 * `NANOSECONDS COUNT`. Numbers of the protocol are in the machine's own byte order. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE (64 << 10)
static unsigned char piece[PIECE];

/* What a client asks for. */
struct request {
    uint64_t what; /* 's', 'r' or 'p' */
    uint64_t count;
};

static void fail(const char *what)
{
    fprintf(stderr, "stream: %s: %s\n", what, strerror(errno));
    exit(1);
}

union address {
    struct sockaddr any;
    struct sockaddr_in tcp;
    struct sockaddr_vm vsock;
    struct sockaddr_un path;
};

static socklen_t parse(char *text, union address *address)
{
    memset(address, 0, sizeof *address);
    char *first = strchr(text, ':');
    char *second = first ? strrchr(first + 1, ':') : NULL;
    if (first && strncmp(text, "unix", 4) == 0 && strlen(first + 1) < sizeof address->path.sun_path) {
        address->path.sun_family = AF_UNIX;
        strcpy(address->path.sun_path, first + 1);
        return sizeof address->path;
    }
    if (second && strncmp(text, "tcp", 3) == 0) {
        *second = 0;
        address->tcp.sin_family = AF_INET;
        address->tcp.sin_port = htons((uint16_t)atoi(second + 1));
        if (inet_pton(AF_INET, first + 1, &address->tcp.sin_addr) == 1)
            return sizeof address->tcp;
    }
    if (second && strncmp(text, "vsock", 5) == 0) {
        address->vsock.svm_family = AF_VSOCK;
        address->vsock.svm_cid = (unsigned)atoi(first + 1);
        address->vsock.svm_port = (unsigned)atoi(second + 1);
        return sizeof address->vsock;
    }
    fprintf(stderr, "stream: an address is tcp:HOST:PORT, vsock:CID:PORT or unix:PATH\n");
    exit(2);
}

static int new_socket(const union address *address)
{
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket");
    int on = 1;
    if (address->any.sa_family == AF_INET) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    return fd;
}

static int put(int fd, const void *bytes, size_t length)
{
    for (const char *next = bytes; length > 0;) {
        ssize_t written = write(fd, next, length);
        if (written <= 0)
            return -1;
        next += written;
        length -= (size_t)written;
    }
    return 0;
}

static int get(int fd, void *bytes, size_t length)
{
    for (char *next = bytes; length > 0;) {
        ssize_t got = read(fd, next, length);
        if (got <= 0)
            return -1;
        next += got;
        length -= (size_t)got;
    }
    return 0;
}

/* Moves `count` bytes by `move`, a piece at a time. */
static int pour(int fd, uint64_t count, int is_sent)
{
    while (count > 0) {
        size_t most = count < PIECE ? (size_t)count : PIECE;
        ssize_t moved = is_sent ? write(fd, piece, most) : read(fd, piece, most);
        if (moved <= 0)
            return -1;
        count -= (uint64_t)moved;
    }
    return 0;
}

static void answer(int fd)
{
    struct request request;
    if (get(fd, &request, sizeof request) < 0)
        return;
    char byte = 0;
    if (request.what == 's' && pour(fd, request.count, 0) == 0)
        put(fd, &byte, 1);
    if (request.what == 'r')
        pour(fd, request.count, 1);
    for (; request.what == 'p' && request.count > 0; request.count--)
        if (get(fd, &byte, 1) < 0 || put(fd, &byte, 1) < 0)
            return;
    /* Until the client is gone. */
    get(fd, &byte, 1);
}

static void serve(const union address *address, socklen_t length)
{
    int listener = new_socket(address);
    if (address->any.sa_family == AF_UNIX)
        unlink(address->path.sun_path);
    if (bind(listener, &address->any, length) < 0 || listen(listener, 16) < 0)
        fail("listen");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            fail("accept");
        answer(fd);
        close(fd);
    }
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int show(uint64_t started, const char *count)
{
    printf("%llu %s\n", (unsigned long long)(now() - started), count);
    return 0;
}

static int run(char **words)
{
    uint64_t started = now();
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        execvp(words[1], words + 1);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0)
        fail("wait");
    return status != 0 ? 1 : show(started, words[0]);
}

int main(int count, char **arguments)
{
    union address address;
    signal(SIGPIPE, SIG_IGN);
    if (count == 3 && strcmp(arguments[1], "serve") == 0)
        serve(&address, parse(arguments[2], &address));
    if (count > 3 && strcmp(arguments[1], "time") == 0)
        return run(arguments + 2);
    if (count != 4 || !strchr("srp", arguments[1][0])) {
        fprintf(stderr, "usage: stream serve ADDRESS | stream send|receive|ping ADDRESS COUNT | "
                        "stream time COUNT COMMAND...\n");
        return 2;
    }
    struct request request = {(unsigned char)arguments[1][0], strtoull(arguments[3], NULL, 10)};
    socklen_t length = parse(arguments[2], &address);
    int fd = new_socket(&address);
    if (connect(fd, &address.any, length) < 0)
        fail("connect");
    char byte = 0;
    uint64_t started = now();
    int status = put(fd, &request, sizeof request);
    if (request.what == 's' && status == 0 && (status = pour(fd, request.count, 1)) == 0)
        status = get(fd, &byte, 1);
    if (request.what == 'r' && status == 0)
        status = pour(fd, request.count, 0);
    for (uint64_t left = request.count; request.what == 'p' && status == 0 && left > 0; left--)
        status = put(fd, &byte, 1) < 0 || get(fd, &byte, 1) < 0 ? -1 : 0;
    if (status < 0)
        fail(arguments[1]);
    return show(started, arguments[3]);
}
