#include "symsrc/port_packet.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#define OFFSET_COUNT 8
#define OFFSET_TYPE  12
#define OFFSET_ZERO  13
#define OFFSET_LEN   14
#define OFFSET_CRC   16

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void port_packets_init(struct port_packets *p, uint32_t session, port_packet_fn *packet, void *ctx)
{
	p->session = session;
	p->next = 0;
	p->packet = packet;
	p->ctx = ctx;
	p->len = PORT_FIND_LEN;
	memcpy(p->bytes, PORT_MAGIC, PORT_MAGIC_LEN);
	put32(p->bytes + PORT_MAGIC_LEN, session);
}

static int lost(struct errmsg *why)
{
	return errmsg_set(
		why, -EBADMSG,
		"bytes were lost on the way, or the guest was set back to an earlier moment");
}

static size_t payload_len(const struct port_packets *p)
{
	return (size_t)p->bytes[OFFSET_LEN] << 8 | p->bytes[OFFSET_LEN + 1];
}

static int check_head(const struct port_packets *p, struct errmsg *why)
{
	if (memcmp(p->bytes, PORT_MAGIC, PORT_MAGIC_LEN) != 0 ||
	    get32(p->bytes + PORT_MAGIC_LEN) != p->session ||
	    get32(p->bytes + OFFSET_COUNT) != p->next || p->bytes[OFFSET_ZERO] != 0 ||
	    payload_len(p) > PORT_DATA_MAX)
		return lost(why);
	return 0;
}

static int end_packet(struct port_packets *p, struct errmsg *why)
{
	size_t n = payload_len(p);
	uLong crc = crc32(crc32(0, NULL, 0), p->bytes, OFFSET_CRC);

	crc = crc32(crc, p->bytes + PORT_HEAD, (uInt)n);
	if (get32(p->bytes + OFFSET_CRC) != crc)
		return lost(why);
	p->next++;
	p->len = 0;
	return p->packet(p->ctx, p->bytes[OFFSET_TYPE], p->bytes + PORT_HEAD, n, why);
}

/* How many bytes are still missing of the header, or of the packet. */
static size_t missing(const struct port_packets *p)
{
	if (p->len < PORT_HEAD)
		return PORT_HEAD - p->len;
	return PORT_HEAD + payload_len(p) - p->len;
}

int port_packets_feed(struct port_packets *p, const void *bytes, size_t n, struct errmsg *why)
{
	const uint8_t *from = bytes;
	int r = 0;

	while (n > 0 && r == 0) {
		size_t now = missing(p) < n ? missing(p) : n;

		memcpy(p->bytes + p->len, from, now);
		p->len += now;
		from += now;
		n -= now;
		if (p->len == PORT_HEAD)
			r = check_head(p, why);
		if (r == 0 && p->len >= PORT_HEAD && missing(p) == 0)
			r = end_packet(p, why);
	}
	return r;
}
