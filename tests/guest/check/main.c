/*
 * guest-check: runs inside a guest and checks that Linux works there as it does on hardware: system
 * calls, processes, signals, page faults, pipes, threads, FPU state, tracing and clocks. It prints one
 * line a subject and ends with `guest-check: N passed, M failed`; its exit code is 0 where nothing failed.
 *
 *   guest-check                 each subject once
 *   guest-check all ROUNDS      the same, with ROUNDS rounds of system calls; below 1,000 all is repeated less
 *   guest-check all ROUNDS SECONDS   and then the stress
 *   guest-check calls ROUNDS    system calls alone
 *   guest-check only SUBJECT    one subject, by the first word of its name
 *   guest-check getppid COUNT   how long the shortest system call takes
 *   guest-check stress SECONDS  every subject but the clocks again and again, two processes a CPU at once
 */
#define _GNU_SOURCE
#include "check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int rounds = 10000;
static atomic_long passed, failed;

int repeats(int full)
{
    int part = rounds < 1000 ? full * rounds / 1000 : full;
    return part > 5 ? part : 5;
}

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
    {"vectors", check_vectors},
    {"tracing", check_tracing},
    {"clocks", check_clocks},
};
enum { SUBJECTS = sizeof subjects / sizeof subjects[0], CLOCKS = SUBJECTS - 1 };

static void run(unsigned subject)
{
    long passed_before = passed, failed_before = failed;
    subjects[subject].run();
    printf("%s: %ld checks, %ld failed\n", subjects[subject].name,
           passed + failed - passed_before - failed_before, failed - failed_before);
}

/* One process of the stress: subjects in an order of its own until `deadline`. */
static int work(int number, time_t deadline)
{
    unsigned laps = 0;
    rounds = 100;
    for (unsigned next = number; time(NULL) < deadline; next++, laps++)
        subjects[next % CLOCKS].run();
    printf("worker %d: %u subjects, %ld passed, %ld failed\n", number, laps, passed, failed);
    return failed != 0 || laps == 0;
}

static void stress(int seconds)
{
    long workers = 2 * sysconf(_SC_NPROCESSORS_ONLN);
    time_t deadline = time(NULL) + seconds;
    for (int number = 0; number < workers; number++) {
        fflush(stdout);
        if (fork() == 0)
            _exit(work(number, deadline) + fflush(stdout));
    }
    for (int status; workers > 0; workers--)
        CHECK(wait(&status) > 0 && status == 0);
}

static void run_all(void)
{
    for (unsigned subject = 0; subject < SUBJECTS; subject++)
        run(subject);
}

static void time_getppid(int count)
{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < count; i++)
        CHECK(syscall(SYS_getppid) >= 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double took = (end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec);
    printf("getppid: %.0f ns each\n", took / count);
}

int main(int count, char **arguments)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count == 3 && strcmp(arguments[1], "all") == 0) {
        rounds = atoi(arguments[2]);
        run_all();
    } else if (count == 4 && strcmp(arguments[1], "all") == 0) {
        rounds = atoi(arguments[2]);
        run_all();
        stress(atoi(arguments[3]));
    } else if (count == 3 && strcmp(arguments[1], "getppid") == 0) {
        time_getppid(atoi(arguments[2]));
    } else if (count == 3 && strcmp(arguments[1], "calls") == 0) {
        rounds = atoi(arguments[2]);
        run(0);
    } else if (count == 3 && strcmp(arguments[1], "only") == 0) {
        for (unsigned subject = 0; subject < SUBJECTS; subject++)
            if (strncmp(subjects[subject].name, arguments[2], strlen(arguments[2])) == 0)
                run(subject);
    } else if (count == 3 && strcmp(arguments[1], "stress") == 0) {
        stress(atoi(arguments[2]));
    } else if (count > 1) {
        /* The program that the subject "processes" executes: itself. */
        return arguments[1][0] - '0';
    } else {
        run_all();
    }
    printf("guest-check: %ld passed, %ld failed\n", passed, failed);
    return failed != 0;
}
