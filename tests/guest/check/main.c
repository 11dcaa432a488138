/*
 * guest-check: runs inside a guest and checks that Linux works there as it does on hardware: system
 * calls, processes, signals, page faults, pipes, threads, FPU state and clocks. It prints one line a
 * subject and ends with `guest-check: N passed, M failed`; its exit code is 0 where nothing failed.
 */
#include "check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static atomic_long passed, failed;

void check(bool holds, const char *fact, const char *file, int line)
{
    if (holds) {
        atomic_fetch_add(&passed, 1);
    } else if (atomic_fetch_add(&failed, 1) < 20) {
        printf("  %s:%d: does not hold: %s\n", file, line, fact);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} subjects[] = {
    {"system calls", check_system_calls},
    {"processes", check_processes},
    {"signals", check_signals},
    {"memory", check_memory},
    {"pipes", check_pipes},
    {"threads", check_threads},
    {"registers", check_registers},
    {"clocks", check_clocks},
};

int main(int count, char **arguments)
{
    /* The program that the subject "processes" executes: itself. */
    if (count > 1)
        return arguments[1][0] - '0';
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (unsigned i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        long passed_before = passed, failed_before = failed;
        subjects[i].run();
        printf("%s: %ld checks, %ld failed\n", subjects[i].name,
               passed + failed - passed_before - failed_before, failed - failed_before);
    }
    printf("guest-check: %ld passed, %ld failed\n", passed, failed);
    return failed != 0;
}
