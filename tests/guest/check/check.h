/* guest-check: what each subject needs. A subject is a function that calls CHECK for every fact. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>

/* Counts one fact; the first few that do not hold are printed with their place. */
void check(bool holds, const char *fact, const char *file, int line);
#define CHECK(fact) check((fact), #fact, __FILE__, __LINE__)

/* How many rounds of system calls a run makes, each of 1 to 5 of them; a fifth of it are switches of
 * process. */
extern int rounds;

/* How often this run repeats what a run of 1,000 rounds and more repeats `full` times: in proportion, but five
 * times at least. Forks and switches of process take a software KVM up to half a second each. */
int repeats(int full);

void check_system_calls(void);
void check_processes(void);
void check_signals(void);
void check_memory(void);
void check_pipes(void);
void check_threads(void);
void check_registers(void);
void check_vectors(void);
void check_tracing(void);
void check_clocks(void);

#endif
