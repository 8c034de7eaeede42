#include "symsrc/port_blocks.h"

#include "symsrc/guest-helper/blocks.h"

#define WORD	  "have"
#define LINE_MANY ((PORT_LINE_MAX - sizeof(WORD)) / (1 + PORT_DIGEST_LEN))

void port_blocks_make(struct port_blocks *b, const char *text, size_t n)
{
	size_t at = 0, len;

	b->text = text;
	b->count = 0;
	for (; at < n && b->count < PORT_HAVE_MAX; at += len) {
		len = block_len(text + at, n - at);
		b->start[b->count] = at;
		b->digest[b->count++] = block_digest(text + at, len);
	}
	b->start[b->count] = at;
}

void port_blocks_lines(const struct port_blocks *b, struct buf *to)
{
	for (size_t i = 0; i < b->count; i++) {
		if (i % LINE_MANY == 0)
			buf_append_str(to, i ? "\n" WORD : WORD);
		buf_printf(to, " %0*llx", PORT_DIGEST_LEN, (unsigned long long)b->digest[i]);
	}
	if (b->count)
		buf_append_str(to, "\n");
}

const char *port_blocks_find(const struct port_blocks *b, uint32_t first, uint32_t count,
			     size_t *ret_n)
{
	if (count == 0 || first >= b->count || count > b->count - first)
		return NULL;
	*ret_n = b->start[first + count] - b->start[first];
	return b->text + b->start[first];
}
