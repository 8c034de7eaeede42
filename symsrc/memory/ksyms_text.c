/* What the names say. All of it works on names that ksyms_names_are_sane() has seen. */
#include "symsrc/memory/ksyms_impl.h"

#include <string.h>

#include "symsrc/base/text.h"

#define CHUNK	  (64u << 10)
#define HEX_LEN	  16u
#define LINE_MAX_ (HEX_LEN + 3 + KSYMS_TEXT_MAX + KSYMS_SLOP)

static bool is_type(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '?';
}

static size_t text_len(const struct ksyms_tokens *t, const uint8_t *name, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += t->token[name[i]].len;
	return n;
}

/* dst: text_len() bytes, and KSYMS_SLOP that may be written, too. Returns the end. */
static char *expand(const struct ksyms_tokens *t, const uint8_t *name, size_t len, char *dst)
{
	for (size_t i = 0; i < len; i++) {
		size_t n = t->token[name[i]].len;
		const char *text = t->text + t->token[name[i]].at;

		if (n <= KSYMS_SLOP)
			memcpy(dst, text, KSYMS_SLOP); /* a constant is faster */
		else
			memcpy(dst, text, n);
		dst += n;
	}
	return dst;
}

static bool name_is_sane(const struct ksyms_tokens *t, const uint8_t *name, size_t len,
			 const bool *good)
{
	bool all_good = true;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		all_good &= good[name[i]];
		n += t->token[name[i]].len;
	}
	return all_good && n >= 2 && n <= KSYMS_TEXT_MAX && is_type(t->text[t->token[name[0]].at]);
}

bool ksyms_names_are_sane(const struct ksyms_tokens *t, const struct ksyms_names *n)
{
	const uint8_t *name, *at = n->bytes;
	bool good[KSYMS_TOKENS];
	size_t len;

	for (unsigned i = 0; i < KSYMS_TOKENS; i++)
		good[i] = t->token[i].len > 0 &&
			  text_is_word(t->text + t->token[i].at, t->token[i].len);
	for (uint32_t i = 0; i < n->count; i++) {
		name = ksyms_next_name(n, &at, &len);
		if (!name_is_sane(t, name, len, good))
			return false;
	}
	return true;
}

/* ---- looking up ----------------------------------------------------------------------------- */

struct wanted {
	const char *const *names;
	size_t count;
	uint64_t of_len[KSYMS_NAME_MAX + 1]; /* bit i: names[i] has that length */
	int32_t *ret;
};

static void want(struct wanted *w)
{
	memset(w->of_len, 0, sizeof(w->of_len));
	for (size_t i = 0; i < w->count; i++) {
		size_t len = strlen(w->names[i]);

		w->ret[i] = -1;
		if (len <= KSYMS_NAME_MAX)
			w->of_len[len] |= 1ULL << i;
	}
}

/* text: a name of that length. Each is found once. */
static void match(struct wanted *w, const char *text, size_t len, int32_t index)
{
	uint64_t left = w->of_len[len];

	for (; left; left &= left - 1) {
		unsigned i = (unsigned)__builtin_ctzll(left);

		if (memcmp(w->names[i], text, len) != 0)
			continue;
		w->ret[i] = index;
		w->of_len[len] &= ~(1ULL << i);
	}
}

void ksyms_index_of(const struct ksyms_tokens *t, const struct ksyms_names *n,
		    const char *const *names, size_t count, int32_t *ret)
{
	struct wanted w = {.names = names, .count = count, .ret = ret};
	char text[KSYMS_TEXT_MAX + KSYMS_SLOP];
	const uint8_t *name, *at = n->bytes;
	size_t len, text_n;

	if (count > KSYMS_FIND_MAX)
		w.count = KSYMS_FIND_MAX;
	want(&w);
	for (uint32_t i = 0; i < n->count; i++) {
		name = ksyms_next_name(n, &at, &len);
		text_n = text_len(t, name, len);
		if (w.of_len[text_n - 1] == 0)
			continue;
		expand(t, name, len, text);
		match(&w, text + 1, text_n - 1, (int32_t)i);
	}
}

/* ---- /proc/kallsyms ------------------------------------------------------------------------- */

/* A table of two digits a byte, made anew for each text: that costs nothing. */
struct hex {
	char of[256][2];
};

static void hex_init(struct hex *h)
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned i = 0; i < 256; i++) {
		h->of[i][0] = digits[i >> 4];
		h->of[i][1] = digits[i & 15];
	}
}

static char *put_hex(const struct hex *h, char *dst, uint64_t v)
{
	for (int shift = 56; shift >= 0; shift -= 8, dst += 2)
		memcpy(dst, h->of[(v >> shift) & 0xff], 2);
	return dst;
}

/* "%016lx %c %s\n"; the first character of the name is the type, so it goes one further back
 * and the blank between them over it. */
static char *put_line(const struct ksyms_tokens *t, const struct hex *h, uint64_t address,
		      const uint8_t *name, size_t len, char *dst)
{
	char *type;

	dst = put_hex(h, dst, address);
	*dst++ = ' ';
	type = dst;
	dst = expand(t, name, len, type + 1);
	type[0] = type[1];
	type[1] = ' ';
	*dst++ = '\n';
	return dst;
}

int ksyms_write_text(const struct ksyms_tokens *t, const struct ksyms_names *n,
		     const uint64_t *addresses, const struct source_sink *sink)
{
	const uint8_t *name, *at = n->bytes;
	char chunk[CHUNK], *to = chunk;
	struct hex hex;
	size_t len;
	int r = 0;

	hex_init(&hex);
	for (uint32_t i = 0; r == 0 && i < n->count; i++) {
		name = ksyms_next_name(n, &at, &len);
		to = put_line(t, &hex, addresses[i], name, len, to);
		if (sizeof(chunk) - (size_t)(to - chunk) < LINE_MAX_ || i + 1 == n->count) {
			r = sink->data(sink->ctx, chunk, (size_t)(to - chunk));
			to = chunk;
		}
	}
	return r < 0 ? r : 0;
}
