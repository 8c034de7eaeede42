/* Packets of our own program in a guest. A checksum keeps a fuzzer out, so the input is made into
 * packets with the right ones, and into some that are damaged: pieces of "type, length, payload",
 * where a type above 127 damages. The first byte chooses the size of the pieces that are fed,
 * whether files were asked for, and whether an earlier kallsyms is here. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "symsrc/port.h"

#define SESSION 0x01020305

struct order {
	int begun;
	size_t len;
	enum guest_file file;
};

static int begin(void *ctx, enum guest_file file, const char *module)
{
	struct order *o = ctx;

	if ((file == GUEST_FILE_MODULE_NOTE) != (module != NULL) || file >= GUEST_FILE_COUNT ||
	    (module && (strlen(module) >= 64 || strchr(module, '/'))))
		abort();
	*o = (struct order){.begun = 1, .file = file};
	return 0;
}

static int data(void *ctx, const void *bytes, size_t n)
{
	struct order *o = ctx;
	volatile char sum = 0;

	if (!o->begun || n == 0)
		abort();
	for (size_t i = 0; i < n; i++)
		sum = (char)(sum + ((const char *)bytes)[i]);
	o->len += n;
	if (o->len > guest_file_max(o->file))
		abort();
	return 0;
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static size_t make_packet(uint8_t *to, uint32_t count, uint8_t type, const uint8_t *payload,
			  size_t n)
{
	memcpy(to, PORT_MAGIC, PORT_MAGIC_LEN);
	put32(to + 4, SESSION);
	put32(to + 8, count);
	to[12] = type & 0x7f;
	to[13] = 0;
	to[14] = (uint8_t)(n >> 8);
	to[15] = (uint8_t)n;
	memcpy(to + PORT_HEAD, payload, n);
	put32(to + 16, (uint32_t)crc32(crc32(crc32(0, NULL, 0), to, 16), to + PORT_HEAD, (uInt)n));
	if (type > 127)
		to[(type & 0x7f) % (PORT_HEAD + n)] ^= 1;
	return PORT_HEAD + n;
}

static int feed(struct port *p, const uint8_t *bytes, size_t n, size_t chunk)
{
	struct errmsg why = {0};
	int r = 0;

	for (size_t at = 0, now; r == 0 && at < n; at += now) {
		now = n - at < chunk ? n - at : chunk;
		r = port_feed(p, bytes + at, now, &why);
	}
	if (r < 0 && why.code != r)
		abort();
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const char text[] = "1 T a\n2 T b\n3 t c\t[ext4]\n4 t d\t[jbd2]\n";
	static struct port_blocks known;
	static struct port p;
	uint8_t packet[PORT_HEAD + 256];
	struct order order = {0};
	const struct source_sink sink = {begin, data, &order};
	size_t at = 1, skip = PORT_FIND_LEN;
	int r = 0;

	if (size == 0)
		return 0;
	port_blocks_make(&known, text, sizeof(text) - 1);
	port_init(&p, SESSION, bytes[0] & 1 ? &sink : NULL, bytes[0] & 2 ? &known : NULL);
	for (uint32_t count = 0; r == 0 && at + 2 <= size; count++) {
		size_t left = size - at - 2;
		size_t n = bytes[at + 1] < left ? bytes[at + 1] : left;
		size_t len = make_packet(packet, count, bytes[at], bytes + at + 2, n);

		r = feed(&p, packet + skip, len - skip, (size_t)bytes[0] + 1);
		skip = 0;
		at += 2 + n;
	}
	/* And as it is, which is never right. */
	port_init(&p, SESSION, &sink, &known);
	feed(&p, bytes, size, (size_t)bytes[0] + 1);
	return 0;
}
