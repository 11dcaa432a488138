/* Rounds of system calls of 32 kinds, each result compared with what it must be. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "more_calls.h"

enum { KINDS = 32 };

static int file, event, set;

static void identity(int round)
{
    (void)round;
    CHECK(syscall(SYS_getpid) == getpid());
    CHECK(syscall(SYS_gettid) == getpid());
}

static void unknown(int round)
{
    errno = 0;
    CHECK(syscall(100000 + round) == -1 && errno == ENOSYS);
}

static void bad_address(int round)
{
    errno = 0;
    CHECK(write(file, (void *)(uintptr_t)(8 + round), 1) == -1 && errno == EFAULT);
}

static void bad_descriptor(int round)
{
    errno = 0;
    CHECK(close(1000000 + round) == -1 && errno == EBADF);
}

static void written_is_read(int round)
{
    char in[64], out[64];
    int size = snprintf(in, sizeof in, "round %d", round);
    off_t place = (round % 512) * 64;
    CHECK(pwrite(file, in, size, place) == size);
    CHECK(pread(file, out, size, place) == size && memcmp(in, out, size) == 0);
}

static void vectors(int round)
{
    uint32_t in[2] = {round, ~round}, out[2] = {0, 0};
    struct iovec write_from[2] = {{&in[0], 4}, {&in[1], 4}};
    struct iovec read_to[2] = {{&out[1], 4}, {&out[0], 4}};
    CHECK(pwritev(file, write_from, 2, 40000) == 8);
    CHECK(preadv(file, read_to, 2, 40000) == 8 && out[1] == in[0] && out[0] == in[1]);
}

static void seek(int round)
{
    CHECK(lseek(file, round, SEEK_SET) == round);
    CHECK(lseek(file, 3, SEEK_CUR) == round + 3);
}

static void sizes(int round)
{
    struct stat seen;
    CHECK(ftruncate(file, 65536 + round) == 0);
    CHECK(fstat(file, &seen) == 0 && seen.st_size == 65536 + round);
}

static void duplicates(int round)
{
    int copy = fcntl(file, F_DUPFD_CLOEXEC, 100 + round % 50);
    CHECK(copy >= 100 && fcntl(copy, F_GETFD) == FD_CLOEXEC);
    CHECK(close(copy) == 0 && fcntl(copy, F_GETFD) == -1);
}

static void events(int round)
{
    uint64_t value = round + 1, seen = 0;
    struct epoll_event ready;
    CHECK(epoll_wait(set, &ready, 1, 0) == 0);
    CHECK(write(event, &value, 8) == 8);
    CHECK(epoll_wait(set, &ready, 1, 0) == 1 && ready.data.fd == event);
    CHECK(read(event, &seen, 8) == 8 && seen == value);
}

static void names(int round)
{
    struct utsname name;
    (void)round;
    CHECK(uname(&name) == 0 && strcmp(name.sysname, "Linux") == 0);
    CHECK(strcmp(name.machine, "x86_64") == 0);
}

static void folders(int round)
{
    char path[64], seen[64];
    snprintf(path, sizeof path, "/tmp/folder-%d-%d", getpid(), round);
    CHECK(mkdir(path, 0700) == 0 && chdir(path) == 0);
    CHECK(getcwd(seen, sizeof seen) && strcmp(seen, path) == 0);
    CHECK(chdir("/") == 0 && rmdir(path) == 0 && access(path, F_OK) == -1);
}

static void links(int round)
{
    char path[32], target[32], seen[32] = "";
    int size = snprintf(target, sizeof target, "target-%d", round);
    snprintf(path, sizeof path, "/tmp/link-%d", getpid());
    CHECK(symlink(target, path) == 0);
    CHECK(readlink(path, seen, sizeof seen) == size && strcmp(seen, target) == 0);
    CHECK(unlink(path) == 0);
}

static void limits(int round)
{
    struct rlimit limit = {200 + round % 100, 1024}, seen;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &seen) == 0 && seen.rlim_cur == limit.rlim_cur);
}

static void sockets(int round)
{
    int ends[2], seen = -1;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    CHECK(send(ends[0], &round, sizeof round, 0) == sizeof round);
    CHECK(recv(ends[1], &seen, sizeof seen, 0) == sizeof seen && seen == round);
    CHECK(close(ends[0]) == 0 && recv(ends[1], &seen, 4, 0) == 0 && close(ends[1]) == 0);
}

static void yields(int round)
{
    unsigned cpu = ~0u;
    (void)round;
    CHECK(sched_yield() == 0);
    CHECK(syscall(SYS_getcpu, &cpu, NULL, NULL) == 0 && (long)cpu < sysconf(_SC_NPROCESSORS_CONF));
}

void check_system_calls(void)
{
    static void (*const kinds[KINDS])(int) = {
        identity, unknown, bad_address, bad_descriptor, written_is_read, vectors, seek, sizes,
        duplicates, events, names, folders, links, limits, sockets, yields,
        copies, polls, sleeps, masks, mappings, rights, threads_name, creation_mask,
        system_facts, entries, timers, futexes, groups, random_bytes, priorities, usage,
    };
    char path[32];
    snprintf(path, sizeof path, "/tmp/file-%d", getpid());
    file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    event = eventfd(0, EFD_NONBLOCK);
    set = epoll_create1(0);
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = event};
    CHECK(file >= 0 && event >= 0 && set >= 0);
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, event, &wanted) == 0);
    for (int round = 0; round < rounds; round++)
        kinds[round % KINDS](round);
    close(set);
    close(event);
    close(file);
    unlink(path);
}
