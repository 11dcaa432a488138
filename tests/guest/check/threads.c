/* Threads: locks (futexes under contention), atomic words, thread-local storage, moves of CPU. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { THREADS = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static long locked_count, turn;
static atomic_long atomic_count;
static _Thread_local long own;

static void *count(void *unused)
{
    (void)unused;
    for (int i = 0; i < repeats(5000); i++) {
        pthread_mutex_lock(&lock);
        locked_count++;
        pthread_mutex_unlock(&lock);
        atomic_fetch_add(&atomic_count, 1);
        own++;
    }
    return (void *)own;
}

static void *take_turns(void *which)
{
    for (int i = 0; i < repeats(200); i++) {
        pthread_mutex_lock(&lock);
        while (turn % 2 != (long)which)
            pthread_cond_wait(&turned, &lock);
        turn++;
        pthread_cond_broadcast(&turned);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void every_cpu_runs_what_is_sent_there(void)
{
    cpu_set_t all, one;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        CHECK(sched_setaffinity(0, sizeof one, &one) == 0 && sched_getcpu() == cpu);
    }
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
}

void check_threads(void)
{
    pthread_t threads[THREADS];
    void *result;
    long counts = repeats(5000);
    locked_count = turn = 0;
    atomic_count = 0;
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, count, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], &result) == 0 && (long)result == counts);
    CHECK(locked_count == THREADS * counts && atomic_count == THREADS * counts && own == 0);

    for (long i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, take_turns, (void *)i) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(turn == 2 * repeats(200));
    every_cpu_runs_what_is_sent_there();
}
