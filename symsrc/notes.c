#include "symsrc/notes.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define NT_BUILD_ID 3 /* NT_GNU_BUILD_ID of elf.h */

/* Elf64_Nhdr, the same in both classes. */
struct note_head {
	uint32_t name_size, desc_size, type;
};

struct note {
	const uint8_t *name, *desc;
	struct note_head head;
	size_t len; /* with all padding; may be up to 3 bytes more than there are */
};

static size_t padded(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

/* The note at p, of which left bytes are there. False when it is not whole; only the padding
 * of the descriptor may be missing. */
static bool note_at(const uint8_t *p, size_t left, struct note *ret)
{
	struct note_head h;
	size_t room;

	if (left < sizeof(h))
		return false;
	memcpy(&h, p, sizeof(h));
	room = left - sizeof(h);
	if (h.name_size > room || padded(h.name_size) > room)
		return false;
	room -= padded(h.name_size);
	if (h.desc_size > room)
		return false;
	ret->head = h;
	ret->name = p + sizeof(h);
	ret->desc = ret->name + padded(h.name_size);
	ret->len = sizeof(h) + padded(h.name_size) + padded(h.desc_size);
	return true;
}

static bool is_build_id(const struct note *n)
{
	return n->head.type == NT_BUILD_ID && n->head.name_size == 4 && n->head.desc_size > 0 &&
	       memcmp(n->name, "GNU", 4) == 0;
}

int notes_build_id(const void *notes, size_t n, struct build_id *ret)
{
	const uint8_t *p = notes;
	struct note note;

	while (n > 0) {
		if (!note_at(p, n, &note))
			return -EBADMSG;
		if (is_build_id(&note)) {
			ret->len =
				(uint8_t)(note.head.desc_size < BUILD_ID_MAX ? note.head.desc_size
									     : BUILD_ID_MAX);
			memcpy(ret->bytes, note.desc, ret->len);
			return 0;
		}
		if (note.len >= n)
			return -ENOENT;
		p += note.len;
		n -= note.len;
	}
	return -ENOENT;
}

size_t notes_first_len(const void *notes, size_t n)
{
	struct note note;

	return note_at(notes, n, &note) && note.len <= n ? note.len : 0;
}

bool build_id_equals(const struct build_id *a, const struct build_id *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

void build_id_to_hex(const struct build_id *id, char hex[static BUILD_ID_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	memset(hex, '0', BUILD_ID_HEX_SIZE - 1);
	hex[BUILD_ID_HEX_SIZE - 1] = '\0';
	for (size_t i = 0; i < id->len && i < BUILD_ID_MAX; i++) {
		hex[2 * i] = digits[id->bytes[i] >> 4];
		hex[2 * i + 1] = digits[id->bytes[i] & 15];
	}
}
