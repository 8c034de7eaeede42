/* The host's side of our own program in a guest: what its packets mean (symsrc/guest-helper/
 * protocol.h). */
#ifndef KVMPROFS_PORT_H
#define KVMPROFS_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/port_packet.h"
#include "symsrc/serial_link.h"
#include "symsrc/source.h"

#define PORT_NOTES_TOTAL_MAX (1u << 20) /* bytes of all modules' notes */

/* The answers of one session. Pure; fed with what comes. */
struct port {
	const struct source_sink *sink; /* NULL: no file may come */
	bool greeted;			/* HELLO was seen */
	bool ended;			/* END was seen */
	bool has_state;
	uint8_t state[PORT_STATE_LEN]; /* the first that came after the last request */
	bool in_file;
	enum guest_file file; /* the one that comes in */
	unsigned times[GUEST_FILE_COUNT];
	size_t left;	   /* of what it may have */
	size_t notes_left; /* of what all modules' notes may have */
	struct port_packets packets;
};

/* session: as in the line that was answered. sink must outlive p. */
void port_init(struct port *p, uint32_t session, const struct source_sink *sink);

/* 0; -EBADMSG, -EFBIG, -EIO (the guest could not, why says what), -EPROTONOSUPPORT (a version that
 * is not known here), or what the sink returned, with why left alone. */
int port_feed(struct port *p, const void *bytes, size_t n, struct errmsg *why);

/* Asks for the wanted files and delivers them. first: n bytes that have come already. The state of
 * before is in state. 0 or negative errno and why. */
int port_fetch(struct serial_link *link, uint32_t session, const void *first, size_t n,
	       unsigned want, const struct source_sink *sink, uint8_t state[static PORT_STATE_LEN],
	       struct errmsg *why);

/* Asks for the state alone. */
int port_state(struct serial_link *link, uint32_t session, const void *first, size_t n,
	       uint8_t state[static PORT_STATE_LEN], struct errmsg *why);

#endif
