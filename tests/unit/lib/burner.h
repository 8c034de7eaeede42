/* A CPU that is never idle: what runs there when nobody else does. A kernel may stop the clock of
 * an idle CPU, and then there is nothing to be sampled.
 */
#ifndef KVMPROFS_TESTS_BURNER_H
#define KVMPROFS_TESTS_BURNER_H

struct burner;

/* Takes only what everybody else leaves (SCHED_IDLE). NULL when this process may not run on that
 * CPU. */
struct burner *burner_start(unsigned cpu);
void burner_stop(struct burner *b); /* accepts NULL */

#endif
