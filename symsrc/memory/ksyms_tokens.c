/* The token table: 256 strings, each ended by a NUL, and behind it their offsets as 256 u16.
 * A character that names use stands for itself, so the entries 48 to 57 are the ten digits. */
#include "symsrc/memory/ksyms_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"

#define SCAN_CHUNK (1u << 20)

static const char digits_row[] = "0\0001\0002\0003\0004\0005\0006\0007\0008\0009"; /* and a NUL */
#define DIGITS_LEN sizeof(digits_row)

#define INDEX_PAD 8u /* the most that aligns the index */

static int scan_chunk(const uint8_t *p, size_t n, uint64_t gpa,
		      int (*found)(void *ctx, uint64_t digits), void *ctx)
{
	const uint8_t *at = p, *end = p + n;
	int r = 0;

	while (r == 0 && (at = memmem(at, (size_t)(end - at), digits_row, DIGITS_LEN)) != NULL) {
		r = found(ctx, gpa + (uint64_t)(at - p));
		at++;
	}
	return r;
}

int ksyms_scan_digits(struct ram *ram, uint64_t from, uint64_t to, int *err,
		      int (*found)(void *ctx, uint64_t digits), void *ctx)
{
	CLEANUP_FREE uint8_t *chunk = malloc(SCAN_CHUNK);
	int r = chunk ? 0 : -ENOMEM;
	size_t n;

	while (r == 0 && from < to && to - from >= DIGITS_LEN) {
		n = to - from < SCAN_CHUNK ? (size_t)(to - from) : SCAN_CHUNK;
		r = ksyms_copy(ram, from, chunk, n, err);
		if (r == 0)
			r = scan_chunk(chunk, n, from, found, ctx);
		/* What begins in the last few bytes is whole in the next chunk. */
		from += n - (DIGITS_LEN - 1);
	}
	return r;
}

/* The end of so many strings, or 0. */
static size_t skip_strings(const uint8_t *p, size_t at, size_t end, unsigned count)
{
	const uint8_t *nul;

	for (; count > 0; count--) {
		nul = memchr(p + at, '\0', end - at);
		if (!nul)
			return 0;
		at = (size_t)(nul - p) + 1;
	}
	return at;
}

/* Whether the index at this place names each string from start to end in its order. */
static bool index_fits(const uint8_t *p, size_t start, size_t end, size_t index,
		       struct ksyms_tokens *ret)
{
	size_t at = start, next;
	unsigned i;

	for (i = 0; i < KSYMS_TOKENS; i++) {
		if (ksyms_u16(p + index + (size_t)2 * i) != at - start)
			return false;
		next = skip_strings(p, at, end, 1);
		if (next == 0)
			return false;
		ret->token[i].at = (uint16_t)(at - start);
		ret->token[i].len = (uint16_t)(next - at - 1);
		at = next;
	}
	return at == end;
}

/* window: KSYMS_TOKENS_MAX bytes in front of the digits and as many behind, and an index. */
static int find_table(const struct ksyms_window *w, size_t digits, struct ksyms_tokens *ret)
{
	size_t end = skip_strings(w->bytes, digits, w->len - KSYMS_INDEX_SIZE - INDEX_PAD,
				  KSYMS_TOKENS - '0');
	size_t index, start, offset;

	if (end == 0)
		return -ENOENT;
	/* 4 bytes is the least that any kernel aligns it to. */
	for (index = (size_t)KSYMS_ALIGN(w->gpa + end, 4) - (size_t)w->gpa; index < end + INDEX_PAD;
	     index += 4) {
		offset = ksyms_u16(w->bytes + index + (size_t)2 * '0');
		start = digits - offset;
		if (offset > digits || end - start > KSYMS_TOKENS_MAX ||
		    !index_fits(w->bytes, start, end, index, ret))
			continue;
		ret->table = w->gpa + start;
		ret->index = w->gpa + index;
		memcpy(ret->text, w->bytes + start, end - start);
		memset(ret->text + (end - start), 0, sizeof(ret->text) - (end - start));
		return 0;
	}
	return -ENOENT;
}

int ksyms_load_tokens(struct ram *ram, uint64_t digits, struct ksyms_tokens *ret)
{
	uint64_t from = digits > KSYMS_TOKENS_MAX ? digits - KSYMS_TOKENS_MAX : 0;
	struct ksyms_window w;
	int r;

	r = ksyms_window_read(
		ram, from,
		(size_t)(digits - from) + KSYMS_TOKENS_MAX + KSYMS_INDEX_SIZE + INDEX_PAD, &w);
	if (r < 0)
		return r;
	r = find_table(&w, (size_t)(digits - from), ret);
	ksyms_window_deinit(&w);
	return r;
}
