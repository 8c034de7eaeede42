/* Packets of our own program in a guest (symsrc/guest-helper/protocol.h), taken out of a stream at
 * any chunk size. Pure; the bytes come from a stranger. */
#ifndef KVMPROFS_PORT_PACKET_H
#define KVMPROFS_PORT_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/guest-helper/protocol.h"

/* One packet; payload is n bytes, valid until the callback returns. A negative return ends the
 * feeding with that error. */
typedef int port_packet_fn(void *ctx, enum port_packet type, const uint8_t *payload, size_t n,
			   struct errmsg *why);

struct port_packets {
	uint32_t session;
	uint32_t next; /* count of the packets so far */
	port_packet_fn *packet;
	void *ctx;
	size_t len; /* of what is here of the next one */
	uint8_t bytes[PORT_PACKET_MAX];
};

/* The stream begins behind the first packet's magic and session, which were found already. */
void port_packets_init(struct port_packets *p, uint32_t session, port_packet_fn *packet, void *ctx);

/* 0; -EBADMSG when bytes were lost or are none of the session's; or what packet() returned. */
int port_packets_feed(struct port_packets *p, const void *bytes, size_t n, struct errmsg *why);

#endif
