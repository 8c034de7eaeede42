/* Signals end the daemon cleanly: a thread of its own takes them, so that no handler runs in
 * the middle of anything. */
#ifndef KVMPROFS_SIGNALS_H
#define KVMPROFS_SIGNALS_H

#include <signal.h>

#include "symsrc/base/errmsg.h"

/* Blocks every signal that would end the process and can be blocked sensibly, and ignores
 * SIGPIPE. Before any thread is made; threads inherit it. */
void signals_block(void);

/* A descriptor that is readable once a signal has come that ends the process; nothing is to be read
 * from it: the signal is left for whoever answers it. After signals_block(). Or negative errno. */
int signals_open(void);

struct signals;

/* Starts the thread. on_end is called in it, once, at the first signal that ends the process;
 * afterwards the calling thread of this function gets interrupted (EINTR) again and again
 * until signals_stop(), so that it comes out of whatever it waits in. */
int signals_start(void (*on_end)(void *ctx), void *ctx, struct signals **ret, struct errmsg *why);
/* Joins the thread. Later signals are still blocked. Accepts NULL. */
void signals_stop(struct signals *s);

#endif
