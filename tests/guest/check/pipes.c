/* Bytes between processes: all of them, in order, and the end of the file after them. */
#define _GNU_SOURCE
#include "check.h"

#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_long_stream_arrives_in_order(void)
{
    enum { AT_ONCE = 1000 };
    const uint32_t words_sent = repeats(65536);
    int ends[2], status = -1;
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        uint32_t words[AT_ONCE];
        close(ends[0]);
        for (uint32_t next = 0; next < words_sent;) {
            uint32_t count = 0;
            while (count < AT_ONCE && next < words_sent)
                words[count++] = next++;
            if (write(ends[1], words, count * 4) != (ssize_t)(count * 4))
                _exit(1);
        }
        _exit(0);
    }
    close(ends[1]);
    uint32_t word, next = 0;
    while (read(ends[0], &word, 4) == 4 && word == next)
        next++;
    CHECK(next == words_sent);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(ends[0]);
}

static void two_processes_take_turns(void)
{
    int there[2], back[2], status = -1;
    CHECK(pipe(there) == 0 && pipe(back) == 0);
    pid_t child = fork();
    if (child == 0) {
        int value;
        close(there[1]);
        while (read(there[0], &value, 4) == 4) {
            value++;
            if (write(back[1], &value, 4) != 4)
                _exit(1);
        }
        _exit(0);
    }
    close(there[0]);
    for (int i = 0; i < repeats(500); i++) {
        int value = i * 2;
        CHECK(write(there[1], &value, 4) == 4);
        CHECK(read(back[0], &value, 4) == 4 && value == i * 2 + 1);
    }
    close(there[1]);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(back[0]);
    close(back[1]);
}

void check_pipes(void)
{
    a_long_stream_arrives_in_order();
    two_processes_take_turns();
}
