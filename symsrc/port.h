/* The host's side of our own program in a guest: what its packets mean (symsrc/guest-helper/
 * protocol.h). */
#ifndef KVMPROFS_PORT_H
#define KVMPROFS_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/blob.h"
#include "symsrc/port_blocks.h"
#include "symsrc/port_packet.h"
#include "symsrc/serial_link.h"
#include "symsrc/source_impl.h"

#define PORT_NOTES_TOTAL_MAX (1u << 20) /* bytes of all modules' notes */

/* The answers of one session. Pure; fed with what comes. */
struct port {
	const struct source_sink *sink;	 /* NULL: no file may come */
	const struct port_blocks *known; /* of the kallsyms that is here; NULL: none */
	bool greeted;			 /* HELLO was seen, */
	unsigned version;		 /* and said this */
	bool ended;			 /* END was seen */
	bool changed;			 /* more than one STATE was seen */
	bool has_state;
	uint8_t state[PORT_STATE_LEN]; /* the first that came after the last request */
	bool in_file;
	enum guest_file file; /* the one that comes in */
	unsigned times[GUEST_FILE_COUNT];
	size_t left;	   /* of what it may have */
	uint32_t sum;	   /* of its bytes */
	bool owes_sum;	   /* it had a SAME, and no SUM yet */
	size_t received;   /* bytes, of all */
	size_t delivered;  /* bytes of files */
	size_t notes_left; /* of what all modules' notes may have */
	struct port_packets packets;
};

/* session: as in the line that was answered. sink and known, which may be NULL, must outlive p. */
void port_init(struct port *p, uint32_t session, const struct source_sink *sink,
	       const struct port_blocks *known);

/* 0; -EBADMSG, -EFBIG, -EIO (the guest could not, why says what), -EPROTONOSUPPORT (a version that
 * is not known here), or what the sink returned, with why left alone. */
int port_feed(struct port *p, const void *bytes, size_t n, struct errmsg *why);

/* What a fetch is about. */
struct port_order {
	struct source_order what;
	const struct source_sink *sink;
	const struct blob *had; /* the kallsyms of the same boot that is here; NULL: none */
};

/* And what has come of it. */
struct port_result {
	uint8_t state[PORT_STATE_LEN]; /* of before */
	size_t received, delivered;    /* bytes: that were sent, and that the files have */
};

/* Asks for it and delivers what there is. first: n bytes that have come already. Afterwards the
 * guest says something on the link when its state is another one. 0, -EOPNOTSUPP when the guest's
 * program is too old for that, or another negative errno, and why. */
int port_fetch(struct serial_link *link, uint32_t session, const void *first, size_t n,
	       const struct port_order *order, struct port_result *ret, struct errmsg *why);

/* Asks for the state alone. Afterwards as above. */
int port_state(struct serial_link *link, uint32_t session, const void *first, size_t n,
	       uint8_t state[static PORT_STATE_LEN], struct errmsg *why);

#endif
