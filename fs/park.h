/* Opens that wait for a guest's symbols: parked here, answered by the notify thread, or at once
 * when the reader gets a signal. So no FUSE worker ever waits.
 *
 * Each request is answered exactly once: whoever takes it off the list answers it.
 */
#ifndef KVMPROFS_PARK_H
#define KVMPROFS_PARK_H

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/clock.h"

#define OPEN_WAIT_NS (5 * NSEC_PER_SEC) /* the longest that open waits */
#define PARKED_MAX   1024		/* more fail at once with EAGAIN */

struct parked {
	uint64_t ticket; /* never used twice, unlike req */
	fuse_req_t req;
	uint64_t inode;
	uint64_t deadline_ns;
};

struct park;
/* wake_fd is woken for every new one. */
struct park *park_create(int wake_fd);
/* Answers all that are left with ENODEV. Accepts NULL. */
void park_destroy(struct park *p);

/* Takes the request over: it is answered later, or now when there are too many. */
void park_add(struct park *p, fuse_req_t req, uint64_t inode);

/* Copies all that wait; *ret is to be freed. Returns their number, or -ENOMEM. */
int park_list(struct park *p, struct parked **ret);

/* Takes it off the list. True: the caller answers it. False: somebody did. */
bool park_take(struct park *p, uint64_t ticket);

#endif
