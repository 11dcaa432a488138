/* The second half of the kinds of system calls; see system_calls.c. */
#define _GNU_SOURCE
#include "more_calls.h"

#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

void copies(int round)
{
    int ends[2], seen = -1;
    CHECK(pipe(ends) == 0);
    CHECK(dup2(ends[1], 90) == 90 && write(90, &round, sizeof round) == sizeof round);
    CHECK(read(ends[0], &seen, sizeof seen) == sizeof seen && seen == round);
    CHECK(close(90) == 0 && close(ends[0]) == 0 && close(ends[1]) == 0);
}

void polls(int round)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    struct pollfd wanted[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}};
    CHECK(poll(wanted, 2, 0) == 1 && wanted[0].revents == 0 && wanted[1].revents == POLLOUT);
    CHECK(write(ends[1], &round, 1) == 1 && close(ends[1]) == 0);
    CHECK(poll(wanted, 1, -1) == 1 && wanted[0].revents == (POLLIN | POLLHUP));
    close(ends[0]);
}

void sleeps(int round)
{
    struct timespec wrong = {0, 1000000000 + round}, none = {0, 0};
    CHECK(nanosleep(&none, NULL) == 0);
    errno = 0;
    CHECK(nanosleep(&wrong, NULL) == -1 && errno == EINVAL);
}

void masks(int round)
{
    sigset_t wanted, before, seen;
    int number = SIGRTMIN + round % 20;
    sigemptyset(&wanted);
    sigaddset(&wanted, number);
    CHECK(sigprocmask(SIG_BLOCK, &wanted, &before) == 0);
    CHECK(sigprocmask(SIG_SETMASK, &before, &seen) == 0 && sigismember(&seen, number));
}

void mappings(int round)
{
    size_t size = 4096 * (1 + round % 5);
    unsigned char *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && pages[size - 1] == 0);
    pages[size - 1] = round;
    unsigned char *moved = mremap(pages, size, 2 * size, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED && moved[size - 1] == (unsigned char)round && moved[2 * size - 1] == 0);
    CHECK(munmap(moved, 2 * size) == 0 && madvise(moved, 4096, MADV_DONTNEED) == -1);
}

void rights(int round)
{
    void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    /* The kernel's own write has the page's rights. */
    errno = 0;
    CHECK(getrandom(page, 8, 0) == -1 && errno == EFAULT);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
    CHECK(getrandom(page, 8 + round % 8, 0) == 8 + round % 8);
    CHECK(munmap(page, 4096) == 0);
}

void threads_name(int round)
{
    char name[16], seen[16] = "";
    snprintf(name, sizeof name, "check-%d", round);
    CHECK(prctl(PR_SET_NAME, name) == 0);
    CHECK(prctl(PR_GET_NAME, seen) == 0 && strcmp(seen, name) == 0);
}

void creation_mask(int round)
{
    mode_t before = umask(round & 0777);
    CHECK(umask(before) == (mode_t)(round & 0777));
}

void system_facts(int round)
{
    struct sysinfo facts;
    (void)round;
    CHECK(sysinfo(&facts) == 0 && facts.totalram > facts.freeram && facts.mem_unit == 1);
}

void entries(int round)
{
    DIR *folder = opendir(round % 2 ? "/proc/self" : "/");
    int dots = 0;
    CHECK(folder != NULL);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        dots += entry->d_name[0] == '.' && (!entry->d_name[1] || entry->d_name[1] == '.');
    CHECK(dots >= 2 && closedir(folder) == 0);
}

void timers(int round)
{
    struct itimerspec later = {.it_value = {1000 + round, 0}}, seen;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    uint64_t fired;
    CHECK(timer >= 0 && timerfd_settime(timer, 0, &later, NULL) == 0);
    CHECK(timerfd_gettime(timer, &seen) == 0 && seen.it_value.tv_sec > 900 + round);
    CHECK(read(timer, &fired, 8) == -1 && errno == EAGAIN && close(timer) == 0);
}

void futexes(int round)
{
    static int word;
    word = round;
    errno = 0;
    CHECK(syscall(SYS_futex, &word, FUTEX_WAIT, round + 1, NULL) == -1 && errno == EAGAIN);
    CHECK(syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX) == 0);
}

void groups(int round)
{
    (void)round;
    CHECK(getpgid(0) == getpgrp() && getsid(0) >= 0);
    CHECK(getuid() == geteuid() && getgid() == getegid());
}

void random_bytes(int round)
{
    uint64_t first[4], second[4];
    (void)round;
    CHECK(getrandom(first, sizeof first, 0) == sizeof first);
    CHECK(getrandom(second, sizeof second, 0) == sizeof second);
    CHECK(memcmp(first, second, sizeof first) != 0);
}

void priorities(int round)
{
    (void)round;
    errno = 0;
    CHECK(getpriority(PRIO_PROCESS, 0) == 0 && errno == 0);
    CHECK(setpriority(PRIO_PROCESS, 0, 0) == 0);
}

void usage(int round)
{
    struct rusage now;
    struct timespec time;
    (void)round;
    CHECK(getrusage(RUSAGE_SELF, &now) == 0 && now.ru_maxrss > 0);
    CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time) == 0 && time.tv_nsec < 1000000000);
}
