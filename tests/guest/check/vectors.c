/* The wide registers, all 16 or 32 of them, live through switches of process and CPU, and signals. */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4 };

typedef union {
    unsigned char bytes[32][64];
    uint64_t words[32][8];
} registers __attribute__((aligned(64)));

/* Loads every register, makes a system call, and stores them all. */
#define EACH_16(op) \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define EACH_32(op) \
    EACH_16(op) op(16) op(17) op(18) op(19) op(20) op(21) op(22) op(23) op(24) op(25) op(26) op(27) \
    op(28) op(29) op(30) op(31)
#define LOAD_Y(n) "vmovdqa 64*" #n "(%[in]), %%ymm" #n "\n\t"
#define STORE_Y(n) "vmovdqa %%ymm" #n ", 64*" #n "(%[out])\n\t"
#define LOAD_Z(n) "vmovdqa64 64*" #n "(%[in]), %%zmm" #n "\n\t"
#define STORE_Z(n) "vmovdqa64 %%zmm" #n ", 64*" #n "(%[out])\n\t"

__attribute__((target("avx"))) static long call_with_16(long call, long a, long b, const registers *in,
                                                        registers *out)
{
    __asm__ volatile(EACH_16(LOAD_Y) "syscall\n\t" EACH_16(STORE_Y)
                     : "+a"(call)
                     : "D"(a), "S"(b), [in] "r"(in), [out] "r"(out)
                     : "rcx", "r11", "memory");
    return call;
}

__attribute__((target("avx512f"))) static long call_with_32(long call, long a, long b,
                                                            const registers *in, registers *out)
{
    __asm__ volatile(EACH_32(LOAD_Z) "syscall\n\t" EACH_32(STORE_Z)
                     : "+a"(call)
                     : "D"(a), "S"(b), [in] "r"(in), [out] "r"(out)
                     : "rcx", "r11", "memory");
    return call;
}

static bool kept(bool wide, long call, long a, long b, uint64_t seed)
{
    static registers in, out;
    unsigned count = wide ? 32 : 16, width = wide ? 8 : 4;
    for (unsigned i = 0; i < count; i++)
        for (unsigned word = 0; word < width; word++)
            in.words[i][word] = seed * 0x9e3779b97f4a7c15u + i * 0x100 + word;
    memset(&out, 0, sizeof out);
    long result = wide ? call_with_32(call, a, b, &in, &out) : call_with_16(call, a, b, &in, &out);
    if (result != 0)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (memcmp(in.bytes[i], out.bytes[i], 8 * width) != 0)
            return false;
    return true;
}

static void disturb(int number)
{
    (void)number;
    __asm__ volatile("vzeroall" ::: "memory");
}

void check_vectors(void)
{
    if (!__builtin_cpu_supports("avx")) {
        printf("  this CPU has no AVX\n");
        return;
    }
    bool wide = __builtin_cpu_supports("avx512f");
    enum { YIELD = 24, KILL = 62 };
    for (int number = 0; number < PROCESSES; number++) {
        if (fork() != 0)
            continue;
        for (int round = 0; round < repeats(300); round++)
            if (!kept(wide && number % 2, YIELD, 0, 0, (uint64_t)round << 8 | number))
                _exit(1);
        _exit(0);
    }
    for (int i = 0, status; i < PROCESSES; i++)
        CHECK(wait(&status) > 0 && status == 0);
    struct sigaction action = {.sa_handler = disturb};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int round = 0; round < repeats(100); round++)
        CHECK(kept(wide && round % 2, KILL, getpid(), SIGUSR1, round));
}
