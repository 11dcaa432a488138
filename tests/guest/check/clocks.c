/* Clocks go forward only, agree with each other, and sleeps last as long as asked. */
#define _GNU_SOURCE
#include "check.h"

#include <poll.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static int64_t now(clockid_t clock)
{
    struct timespec time = {0};
    CHECK(clock_gettime(clock, &time) == 0);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int64_t now_by_system_call(void)
{
    struct timespec time = {0};
    CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time) == 0);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

void check_clocks(void)
{
    int64_t last = 0;
    for (int i = 0; i < repeats(2000); i++) {
        int64_t next = i % 2 ? now(CLOCK_MONOTONIC) : now_by_system_call();
        CHECK(next >= last);
        last = next;
    }
    for (int i = 0; i < 10; i++) {
        struct timespec pause = {0, 3000000};
        int64_t before = now(CLOCK_MONOTONIC);
        CHECK(nanosleep(&pause, NULL) == 0);
        int64_t slept = now(CLOCK_MONOTONIC) - before;
        CHECK(slept >= 3000000 && slept < 2000000000LL);
    }
    struct itimerspec every = {{0, 2000000}, {0, 2000000}};
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    CHECK(timer >= 0 && timerfd_settime(timer, 0, &every, NULL) == 0);
    struct pollfd wanted = {timer, POLLIN, 0};
    uint64_t ticks = 0, total = 0;
    while (total < 10 && poll(&wanted, 1, 5000) == 1 && read(timer, &ticks, 8) == 8)
        total += ticks;
    CHECK(total >= 10);
    close(timer);
}
