/* ptrace: a child stopped at its system calls, stepped, changed, and hit by a breakpoint. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* Starts a child that is traced, stopped, and then runs `body`. */
static pid_t traced(void (*body)(void))
{
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        body();
        _exit(42);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    return child;
}

static int step(pid_t child, int request)
{
    int status = -1;
    CHECK(ptrace(request, child, 0, 0) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static void finish(pid_t child, int code)
{
    int status = step(child, PTRACE_CONT);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

static void call_often(void)
{
    for (int i = 0; i < repeats(20); i++)
        if (syscall(SYS_lseek, -1 - i, i, 0) != -1 || errno != EBADF)
            _exit(1);
}

static void system_calls_stop_twice(void)
{
    pid_t child = traced(call_often);
    struct user_regs_struct registers;
    for (int i = 0; i < repeats(20); i++) {
        CHECK(step(child, PTRACE_SYSCALL) == (SIGTRAP << 8 | 0x7f));
        CHECK(ptrace(PTRACE_GETREGS, child, 0, &registers) == 0);
        CHECK(registers.orig_rax == SYS_lseek && (int)registers.rdi == -1 - i &&
              (int)registers.rsi == i && registers.rax == (unsigned long long)-ENOSYS);
        CHECK(registers.rcx == registers.rip);
        CHECK(step(child, PTRACE_SYSCALL) == (SIGTRAP << 8 | 0x7f));
        CHECK(ptrace(PTRACE_GETREGS, child, 0, &registers) == 0);
        CHECK(registers.rax == (unsigned long long)-EBADF);
    }
    finish(child, 42);
}

static volatile uint64_t counted;

static void count(void)
{
    for (int i = 0; i < 100; i++)
        counted += syscall(SYS_getppid) > 0;
    _exit(counted == 100 ? 7 : 8);
}

static void steps_go_through_system_calls(void)
{
    pid_t child = traced(count);
    struct user_regs_struct registers;
    /* A call is some 20 instructions. */
    int calls = 0, strange = 0, steps = repeats(400) < 100 ? 100 : repeats(400);
    for (int i = 0; i < steps; i++) {
        CHECK(step(child, PTRACE_SINGLESTEP) == (SIGTRAP << 8 | 0x7f));
        CHECK(ptrace(PTRACE_GETREGS, child, 0, &registers) == 0);
        uint16_t before = ptrace(PTRACE_PEEKTEXT, child, registers.rip - 2, 0);
        calls += before == 0x050f;
        strange += registers.rip >> 47 != 0;
    }
    CHECK(calls >= steps / 80 && strange == 0);
    finish(child, 7);
}

static volatile long answer;

static void wait_for_answer(void)
{
    __asm__ volatile("int3");
    _exit(answer == 4711 ? 9 : 10);
}

static void memory_and_registers_can_be_changed(void)
{
    pid_t child = traced(wait_for_answer);
    struct user_regs_struct registers;
    CHECK(step(child, PTRACE_CONT) == (SIGTRAP << 8 | 0x7f));
    CHECK(ptrace(PTRACE_GETREGS, child, 0, &registers) == 0);
    CHECK((ptrace(PTRACE_PEEKTEXT, child, registers.rip - 1, 0) & 0xff) == 0xcc);
    CHECK(ptrace(PTRACE_POKEDATA, child, &answer, 4711) == 0);
    CHECK(ptrace(PTRACE_SETREGS, child, 0, &registers) == 0);
    finish(child, 9);
}

static void skip(void)
{
    long result = syscall(SYS_getppid);
    _exit(result == 1234 ? 11 : 12);
}

static void a_system_call_can_be_replaced(void)
{
    pid_t child = traced(skip);
    struct user_regs_struct registers;
    CHECK(step(child, PTRACE_SYSCALL) == (SIGTRAP << 8 | 0x7f));
    CHECK(ptrace(PTRACE_GETREGS, child, 0, &registers) == 0);
    registers.orig_rax = -1;
    CHECK(ptrace(PTRACE_SETREGS, child, 0, &registers) == 0);
    CHECK(step(child, PTRACE_SYSCALL) == (SIGTRAP << 8 | 0x7f));
    CHECK(ptrace(PTRACE_GETREGS, child, 0, &registers) == 0);
    registers.rax = 1234;
    CHECK(ptrace(PTRACE_SETREGS, child, 0, &registers) == 0);
    finish(child, 11);
}

void check_tracing(void)
{
    system_calls_stop_twice();
    steps_go_through_system_calls();
    memory_and_registers_can_be_changed();
    a_system_call_can_be_replaced();
}
