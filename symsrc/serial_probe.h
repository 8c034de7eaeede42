/* Finds out who answers behind a guest's serial port, by one line that both understand:
 *
 *	0xFF {"execute":"guest-sync-delimited","arguments":{"id":ID}}\n
 *
 * qemu-guest-agent drops what it was sent before, and answers 0xFF {"return": ID}\n (QEMU,
 * qga/qapi-schema.json); our own program in the guest answers with the beginning of a packet
 * (symsrc/guest-helper/protocol.h) that repeats ID. All else is what others had asked for, or
 * what was torn, and is passed over. Pure; the bytes come from a stranger.
 */
#ifndef KVMPROFS_SERIAL_PROBE_H
#define KVMPROFS_SERIAL_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"

#define SERIAL_PROBE_LINE_MAX 128	  /* of the answer, with the NUL */
#define SERIAL_PROBE_DROP_MAX (80u << 20) /* passed over; an answer of QEMU's agent has 64 MiB */
#define SERIAL_PROBE_REQUEST  96	  /* bytes of the line, with the NUL */

enum serial_who { SERIAL_NOBODY, SERIAL_AGENT, SERIAL_PORT };

struct serial_probe {
	uint32_t id;
	enum serial_who who;
	size_t dropped;
	char line[SERIAL_PROBE_LINE_MAX]; /* what came since the last 0xFF */
	size_t len;			  /* 0: none has come */
};

/* id: drawn at random, so that no answer for somebody else is taken for ours. */
void serial_probe_init(struct serial_probe *p, uint32_t id);

/* The line to send. Returns its length. */
size_t serial_probe_request(const struct serial_probe *p, char text[static SERIAL_PROBE_REQUEST]);

/* Takes bytes until who is known, and returns how many it took: from there on the dialect has
 * begun, for SERIAL_PORT with the packet's header behind its session. -EBADMSG when nothing of
 * what came is an answer, though it is much. */
ptrdiff_t serial_probe_feed(struct serial_probe *p, const void *bytes, size_t n,
			    struct errmsg *why);

#endif
