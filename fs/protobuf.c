#include "fs/protobuf.h"

/* The lower three bits of a field's key. */
enum wire_type { WIRE_VARINT = 0, WIRE_LEN = 2 };

void protobuf_varint(struct buf *out, uint64_t n)
{
	unsigned char bytes[10];
	size_t len = 0;

	for (; n > 127; n >>= 7)
		bytes[len++] = (unsigned char)(n | 128);
	bytes[len++] = (unsigned char)n;
	buf_append(out, bytes, len);
}

static void key(struct buf *out, unsigned field, enum wire_type type)
{
	protobuf_varint(out, (uint64_t)field << 3 | type);
}

void protobuf_u64(struct buf *out, unsigned field, uint64_t n)
{
	if (n == 0)
		return;
	key(out, field, WIRE_VARINT);
	protobuf_varint(out, n);
}

void protobuf_bytes(struct buf *out, unsigned field, const void *bytes, size_t n)
{
	key(out, field, WIRE_LEN);
	protobuf_varint(out, n);
	buf_append(out, bytes, n);
}

void protobuf_message(struct buf *out, unsigned field, struct buf *m)
{
	protobuf_bytes(out, field, m->data, m->len);
	buf_clear(m);
}
