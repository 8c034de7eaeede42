/* Turns at guests' serial ports: the socket of one serves one client, so all of this process that
 * asks there does so one after the other. And ears, by which it listens in between.
 *
 * Any thread may be in here. The lock is this module's own, and never held while anything waits.
 */
#ifndef KVMPROFS_SERIAL_TURN_H
#define KVMPROFS_SERIAL_TURN_H

#include <stdbool.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/source.h"

struct serial_turn {
	const char *path; /* not owned */
	int wake_fd;	  /* -1: it is nobody's turn */
	struct serial_turn *next;
};

/* Waits until nobody else of this process is at that socket, at most as the limits say, and ends
 * what listens there. 0; -ECANCELED, -ETIMEDOUT, or negative errno of eventfd(2), and why. */
int serial_turn_begin(struct serial_turn *t, const char *path, const struct source_limits *limits,
		      struct errmsg *why);
void serial_turn_end(struct serial_turn *t); /* also of one that never began, if wake_fd is -1 */

/* A connection on which nothing is asked. It becomes readable when the guest has news, and when
 * somebody begins a turn at its socket. */
struct serial_ear;

/* Takes over the connection; NULL when out of memory, and it is closed. In one's turn. */
struct serial_ear *serial_ear_create(const char *path, int fd);
void serial_ear_destroy(struct serial_ear *e); /* accepts NULL; closes the connection */
int serial_ear_fd(const struct serial_ear *e);

/* Whether there is news; and whether there is that, or the end of it. */
bool serial_ear_has_heard(const struct serial_ear *e);
bool serial_ear_is_readable(const struct serial_ear *e);

#endif
