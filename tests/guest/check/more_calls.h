/* The second half of the kinds of system calls; see system_calls.c. */
#ifndef MORE_CALLS_H
#define MORE_CALLS_H

void copies(int round);
void polls(int round);
void sleeps(int round);
void masks(int round);
void mappings(int round);
void rights(int round);
void threads_name(int round);
void creation_mask(int round);
void system_facts(int round);
void entries(int round);
void timers(int round);
void futexes(int round);
void groups(int round);
void random_bytes(int round);
void priorities(int round);
void usage(int round);

#endif
