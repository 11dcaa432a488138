/* Delivery, masks, other stacks, faults that are handled, timers. */
#define _GNU_SOURCE
#include "check.h"

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t seen;
static volatile uintptr_t stack_seen, fault_address;
static sigjmp_buf escape;

static void count(int number)
{
    (void)number;
    int here;
    stack_seen = (uintptr_t)&here;
    seen++;
}

static void fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    fault_address = (uintptr_t)info->si_addr;
    siglongjmp(escape, number);
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    CHECK(sigaction(number, &action, NULL) == 0);
}

static void each_signal_arrives_once(void)
{
    handle(SIGUSR1, count, 0);
    seen = 0;
    for (int i = 1; i <= repeats(500); i++) {
        CHECK(raise(SIGUSR1) == 0);
        CHECK(seen == i);
    }
}

static void a_blocked_signal_waits(void)
{
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    seen = 0;
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(raise(SIGUSR1) == 0 && raise(SIGUSR1) == 0 && seen == 0);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    CHECK(seen == 1);
}

static void a_handler_may_have_its_own_stack(void)
{
    size_t size = 65536;
    char *memory = malloc(size);
    stack_t stack = {.ss_sp = memory, .ss_size = size}, none = {.ss_flags = SS_DISABLE};
    CHECK(sigaltstack(&stack, NULL) == 0);
    handle(SIGUSR2, count, SA_ONSTACK);
    CHECK(raise(SIGUSR2) == 0);
    CHECK(stack_seen >= (uintptr_t)memory && stack_seen < (uintptr_t)memory + size);
    CHECK(sigaltstack(&none, NULL) == 0);
    free(memory);
}

static void faults_can_be_handled(void)
{
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGFPE, &action, NULL) == 0);
    CHECK(sigaction(SIGILL, &action, NULL) == 0 && sigaction(SIGTRAP, &action, NULL) == 0);
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < repeats(200); i++) {
        int number = sigsetjmp(escape, 1);
        if (number == 0) {
            ((volatile char *)page)[i] = 1;
            CHECK(!"a page without rights was written");
        }
        CHECK(number == SIGSEGV && fault_address == (uintptr_t)page + i);
    }
    munmap(page, 4096);

    int number = sigsetjmp(escape, 1);
    if (number == 0)
        __asm__ volatile("xor %%eax, %%eax; xor %%edx, %%edx; div %%eax" ::: "eax", "edx", "cc");
    CHECK(number == SIGFPE);
    number = sigsetjmp(escape, 1);
    if (number == 0)
        __asm__ volatile("ud2");
    CHECK(number == SIGILL);
    number = sigsetjmp(escape, 1);
    if (number == 0)
        __asm__ volatile("int3");
    CHECK(number == SIGTRAP);
    /* A privileged instruction in user mode. */
    number = sigsetjmp(escape, 1);
    if (number == 0)
        __asm__ volatile("hlt");
    CHECK(number == SIGSEGV);
}

/* The interval is longer than a handler takes even where ring 0 is emulated: else it is all that runs. */
static void a_timer_fires(void)
{
    struct itimerval timer = {.it_interval = {0, 100000}, .it_value = {0, 2000}}, off = {0};
    handle(SIGALRM, count, SA_RESTART);
    seen = 0;
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    while (seen < 5)
        pause();
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
}

void check_signals(void)
{
    each_signal_arrives_once();
    a_blocked_signal_waits();
    a_handler_may_have_its_own_stack();
    faults_can_be_handled();
    a_timer_fires();
}
