/* The state of the x87 and SSE units, and all general registers, live through switches and signals. */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4 };

/* Loads XMM0 to XMM3, XMM15 and the callee's registers with `seed`, gives the CPU away by a system call
 * that keeps them, and compares. */
static int kept_over_a_switch(uint64_t seed)
{
    uint64_t out[8] = {0};
    register uint64_t r8 __asm__("r8") = seed + 8;
    register uint64_t r9 __asm__("r9") = seed + 9;
    long call = 24; /* sched_yield */
    __asm__ volatile("movq %[seed], %%xmm0\n\t"
                     "movq %%r8, %%xmm1\n\t"
                     "movq %%r9, %%xmm15\n\t"
                     "mov %[seed], %%r12\n\t"
                     "mov %%r8, %%r15\n\t"
                     "syscall\n\t"
                     "movq %%xmm0, 0(%[out])\n\t"
                     "movq %%xmm1, 8(%[out])\n\t"
                     "movq %%xmm15, 16(%[out])\n\t"
                     "mov %%r12, 24(%[out])\n\t"
                     "mov %%r15, 32(%[out])\n\t"
                     : "+a"(call), "+r"(r8), "+r"(r9)
                     : [seed] "r"(seed), [out] "r"(out)
                     : "rcx", "r11", "r12", "r15", "xmm0", "xmm1", "xmm15", "memory");
    return call == 0 && out[0] == seed && out[1] == seed + 8 && out[2] == seed + 9 &&
           out[3] == seed && out[4] == seed + 8 && r8 == seed + 8 && r9 == seed + 9;
}

/* A sum of 1/k on the x87 stack, given away in between: the same bits however often it is switched. */
static long double harmonic(int switches)
{
    long double sum = 0;
    for (int k = 1; k <= rounds / 20; k++) {
        sum += 1.0L / k;
        if (switches)
            sched_yield();
    }
    return sum;
}

static void disturb(int number)
{
    (void)number;
    __asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm15, %%xmm15" ::: "xmm0", "xmm15");
}

static void a_signal_gives_the_registers_back(void)
{
    struct sigaction action = {.sa_handler = disturb};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < repeats(200); i++) {
        uint64_t seen = 0, id = getpid();
        long result = 62; /* kill */
        __asm__ volatile("movq %[value], %%xmm15\n\t"
                         "syscall\n\t"
                         "movq %%xmm15, %[seen]"
                         : "+a"(result), [seen] "=&r"(seen)
                         : "D"(id), "S"((long)SIGUSR1), [value] "r"((uint64_t)i * 0x0101010101u)
                         : "rcx", "r11", "xmm15", "memory");
        CHECK(result == 0 && seen == (uint64_t)i * 0x0101010101u);
    }
}

void check_registers(void)
{
    long double alone = harmonic(0);
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() != 0)
            continue;
        for (uint64_t round = 0; round < (uint64_t)rounds / 5; round++)
            if (!kept_over_a_switch(round << 32 | i << 8))
                _exit(1);
        _exit(harmonic(1) == alone ? 0 : 2);
    }
    for (int i = 0, status; i < PROCESSES; i++)
        CHECK(wait(&status) > 0 && status == 0);
    a_signal_gives_the_registers_back();
}
