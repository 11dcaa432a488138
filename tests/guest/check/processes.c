/* fork, vfork, execve, wait, exit codes, deaths by a signal, and memory that is not shared. */
#define _GNU_SOURCE
#include "check.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char self[] = "/proc/self/exe";

static int wait_for(pid_t child)
{
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static void exit_codes_arrive(void)
{
    for (int code = 0; code < repeats(100); code++) {
        pid_t child = fork();
        if (child == 0)
            _exit(code);
        int status = wait_for(child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == code);
    }
}

static void a_child_has_its_own_memory(void)
{
    static volatile int value = 1;
    char page[16384];
    memset(page, 'a', sizeof page);
    for (int i = 0; i < repeats(50); i++) {
        pid_t child = fork();
        if (child == 0) {
            value = 2;
            memset(page, 'b', sizeof page);
            _exit(value == 2 && page[8192] == 'b' ? 0 : 1);
        }
        CHECK(wait_for(child) == 0);
        CHECK(value == 1 && page[0] == 'a' && page[sizeof page - 1] == 'a');
    }
}

static pid_t fork_and_execute(char *const *arguments)
{
    pid_t child = fork();
    if (child == 0) {
        execv(self, arguments);
        _exit(99);
    }
    return child;
}

static pid_t vfork_and_execute(char *const *arguments)
{
    pid_t child = vfork();
    if (child == 0) {
        execv(self, arguments);
        _exit(99);
    }
    return child;
}

static void programs_are_executed(void)
{
    char code[] = "0";
    char *const arguments[] = {"guest-check", code, NULL};
    for (int i = 0; i < repeats(50); i++) {
        code[0] = '0' + i % 10;
        int status = wait_for(i % 2 ? fork_and_execute(arguments) : vfork_and_execute(arguments));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == i % 10);
    }
}

static void a_killed_child_says_so(void)
{
    for (int i = 0; i < repeats(20); i++) {
        pid_t child = fork();
        if (child == 0)
            for (;;)
                pause();
        CHECK(kill(child, SIGKILL) == 0);
        int status = wait_for(child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
}

static void many_children_run_at_once(void)
{
    int count = repeats(32), left = count, sum = 0;
    for (int i = 0; i < count; i++) {
        if (fork() == 0) {
            for (volatile int spin = 0; spin < 20000; spin++)
                ;
            _exit(i);
        }
    }
    for (int status; left > 0 && wait(&status) > 0; left--)
        sum += WEXITSTATUS(status);
    CHECK(left == 0 && sum == count * (count - 1) / 2);
}

void check_processes(void)
{
    exit_codes_arrive();
    a_child_has_its_own_memory();
    programs_are_executed();
    a_killed_child_says_so();
    many_children_run_at_once();
}
