/* From the token table back to markers, names and num_syms.
 *
 * markers[i] is the offset of name 256 * i. Each name is its length and so many tokens. Lengths
 * are one byte, or since 6.1 ("big symbols") a ULEB128 of one or two; nothing says which, but
 * only one of them lands on all the markers.
 */
#include "symsrc/memory/ksyms_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

/* A name is a length of one or two bytes and 1 to KSYMS_TEXT_MAX tokens. */
#define BLOCK_MIN ((size_t)KSYMS_BLOCK * 2)
#define BLOCK_MAX ((size_t)KSYMS_BLOCK * (2 + KSYMS_TEXT_MAX))

#define MARKERS_MIN   4 /* fewer prove nothing; every kernel has hundreds */
#define MARKERS_MAX   (KSYMS_MAX / KSYMS_BLOCK)
#define SEQS_ENTRY    3u /* bytes of an entry of seqs_of_names */
#define MARKER_TRIES  16 /* rows of numbers that look like markers */
#define ALIGNMENT_MAX 8u
#define COUNT_ROOM    16u /* for num_syms and its padding */

struct markers {
	uint64_t gpa;
	size_t count;
	uint32_t *at; /* owned */
};

/* ---- markers: what is nearest below the token table and looks like them -------------------------
 */

static uint64_t marker_at(const uint8_t *p, unsigned width, size_t i)
{
	return width == 8 ? ksyms_u64(p + i * 8) : ksyms_u32(p + i * 4);
}

static bool is_step(uint64_t from, uint64_t to)
{
	return to > from && to - from >= BLOCK_MIN && to - from <= BLOCK_MAX;
}

static size_t count_markers(const uint8_t *p, size_t len, unsigned width)
{
	size_t max = len / width < MARKERS_MAX ? len / width : MARKERS_MAX;
	size_t n = 1;

	if (max < MARKERS_MIN || marker_at(p, width, 0) != 0)
		return 0;
	while (n < max && is_step(marker_at(p, width, n - 1), marker_at(p, width, n)) &&
	       marker_at(p, width, n) < KSYMS_NAMES_MAX)
		n++;
	return n < MARKERS_MIN ? 0 : n;
}

static int copy_markers(const uint8_t *p, unsigned width, size_t n, struct markers *ret)
{
	uint32_t *at = malloc(n * sizeof(*at));

	if (!at)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		at[i] = (uint32_t)marker_at(p, width, i);
	ret->at = at;
	ret->count = n;
	return 0;
}

/* What looks like 0 and the next marker, at a place with room for four: how wide they are. 8 bytes
 * to 4.19, then 4. Most of what is searched is zeros, or text. */
static unsigned guess_width(const uint8_t *p, uint64_t gpa)
{
	uint32_t next = ksyms_u32(p + 4);

	if (ksyms_u32(p) != 0)
		return 0;
	if (is_step(0, next))
		return 4;
	return next == 0 && gpa % 8 == 0 && is_step(0, ksyms_u64(p + 8)) ? 8 : 0;
}

/* The last ones in the window that begin below *below, which goes down to where they are.
 * -ENOENT when there are none. */
static int find_markers(const struct ksyms_window *w, size_t *below, struct markers *ret)
{
	size_t n, room = (size_t)4 * (MARKERS_MIN - 1), at = *below;
	unsigned width;

	if (w->len < room + 4)
		return -ENOENT;
	if (at > w->len - room)
		at = w->len - room;
	at -= (size_t)((w->gpa + at) % 4);
	while (at >= 4 && at <= w->len) {
		at -= 4;
		width = guess_width(w->bytes + at, w->gpa + at);
		n = width ? count_markers(w->bytes + at, w->len - at, width) : 0;
		if (n == 0)
			continue;
		*below = at;
		ret->gpa = w->gpa + at;
		return copy_markers(w->bytes + at, width, n, ret);
	}
	return -ENOENT;
}

/* ---- names: in front of the markers, and in front of them their number -------------------------
 */

/* Where so many names end, or 0: each must be whole, and each 256th begin at its marker. */
static size_t walk_names(const uint8_t *p, size_t len, const struct markers *m, size_t count,
			 bool wide)
{
	size_t at = 0, n;

	for (size_t i = 0; i < count; i++) {
		if (i % KSYMS_BLOCK == 0 && at != m->at[i / KSYMS_BLOCK])
			return 0;
		if (len - at < 2)
			return 0;
		n = p[at++];
		if (wide && (n & 0x80))
			n = (n & 0x7f) | (size_t)p[at++] << 7;
		if (n == 0 || n > KSYMS_TEXT_MAX || n > len - at)
			return 0;
		at += n;
	}
	return at;
}

static bool first_block_fits(const uint8_t *p, size_t len, const struct markers *m)
{
	return walk_names(p, len, m, KSYMS_BLOCK + 1, true) != 0 ||
	       walk_names(p, len, m, KSYMS_BLOCK + 1, false) != 0;
}

static bool count_fits(uint32_t count, size_t markers)
{
	return count > (markers - 1) * KSYMS_BLOCK && count <= markers * KSYMS_BLOCK;
}

/* num_syms ends where the names begin, or 4 bytes before, which are 0 then: it was 8 bytes to
 * 4.19, and later padded to 8. */
static bool find_count(const uint8_t *names, size_t markers, struct ksyms_names *ret)
{
	uint32_t near = ksyms_u32(names - 4), far = ksyms_u32(names - 8);

	if (count_fits(near, markers)) {
		ret->count = near;
		ret->num_syms = ret->names - 4;
		return true;
	}
	ret->count = far;
	ret->num_syms = ret->names - 8;
	return near == 0 && count_fits(far, markers);
}

/* Where the first block fits, from the markers downwards; w holds what can be the beginning.
 * Continues below ret->names when that is not 0. */
static int find_start(const struct ksyms_window *w, const struct markers *m,
		      struct ksyms_names *ret)
{
	uint64_t gpa = ret->names ? ret->names : m->gpa - m->at[m->count - 1];
	size_t at;

	for (gpa = (gpa - 1) & ~3ULL; gpa >= w->gpa + 8; gpa -= 4) {
		at = (size_t)(gpa - w->gpa);
		ret->names = gpa;
		if (find_count(w->bytes + at, m->count, ret) &&
		    first_block_fits(w->bytes + at, w->len - at, m))
			return 0;
	}
	return -ENOENT;
}

/* The names with these markers, if they end where the markers begin. */
static int take_names(const struct ksyms_window *w, const struct markers *m,
		      struct ksyms_names *ret)
{
	bool wide = true;
	size_t end = walk_names(w->bytes, w->len, m, ret->count, wide);

	if (end == 0) {
		wide = false;
		end = walk_names(w->bytes, w->len, m, ret->count, wide);
	}
	if (end == 0 || w->len - end >= ALIGNMENT_MAX)
		return -ENOENT;
	for (size_t i = end; i < w->len; i++)
		if (w->bytes[i] != 0)
			return -ENOENT;
	ret->len = (uint32_t)end;
	ret->wide = wide;
	return 0;
}

static int copy_names(struct ram *ram, const struct markers *m, struct ksyms_names *ret)
{
	struct ksyms_window w;
	int r = ksyms_window_read(ram, ret->names, (size_t)(m->gpa - ret->names), &w);

	if (r < 0)
		return r;
	/* Zeros for what is not there could pass for the end of the last name. */
	if (w.err)
		r = w.err == -EBUSY ? -EBUSY : -ENOENT;
	else
		r = take_names(&w, m, ret);
	if (r == 0)
		ret->bytes = take_ptr(w.bytes);
	ksyms_window_deinit(&w);
	return r;
}

static int try_starts(struct ram *ram, const struct ksyms_window *w, const struct markers *m,
		      struct ksyms_names *ret)
{
	struct ksyms_names n = {.markers = m->gpa};
	int r;

	/* There is hardly ever a second one; each costs a copy of all names. */
	for (unsigned tries = 0; tries < 4; tries++) {
		r = find_start(w, m, &n);
		if (r == 0)
			r = copy_names(ram, m, &n);
		else
			return r;
		if (r != -ENOENT) {
			if (r == 0)
				*ret = n;
			return r;
		}
	}
	return -ENOENT;
}

/* The names in front of these markers. Their number is not known yet: the last marker says only
 * where the last 256 or fewer begin. */
static int names_of_markers(struct ram *ram, const struct markers *m, struct ksyms_names *ret)
{
	uint64_t last = m->at[m->count - 1], from, to;
	struct ksyms_window w;
	int r;

	if (m->gpa < last)
		return -ENOENT;
	from = m->gpa - last;
	to = from + (last < BLOCK_MAX + KSYMS_TEXT_MAX ? last : BLOCK_MAX + KSYMS_TEXT_MAX);
	from = from > BLOCK_MAX + COUNT_ROOM ? from - BLOCK_MAX - COUNT_ROOM : 0;
	r = ksyms_window_read(ram, from, (size_t)(to - from), &w);
	if (r < 0)
		return r;
	r = try_starts(ram, &w, m, ret);
	if (r == -ENOENT && w.err == -EBUSY)
		r = -EBUSY;
	ksyms_window_deinit(&w);
	return r;
}

/* As it is, and with one less: what lies behind the markers may look like one more. */
static int names_of_row(struct ram *ram, struct markers *m, struct ksyms_names *ret)
{
	int r = names_of_markers(ram, m, ret);

	if (r == -ENOENT && m->count > MARKERS_MIN) {
		m->count--;
		r = names_of_markers(ram, m, ret);
	}
	return r;
}

/* Tries the rows in this window. -ENOENT: none at all; -EBADMSG: none with names. */
static int names_of_window(struct ram *ram, const struct ksyms_window *w, unsigned *tries,
			   struct ksyms_names *ret)
{
	size_t below = w->len;
	int r = -ENOENT;

	while (*tries < MARKER_TRIES) {
		struct markers m = {0};
		int found = find_markers(w, &below, &m);

		if (found < 0)
			return found == -ENOENT ? r : found;
		(*tries)++;
		r = names_of_row(ram, &m, ret);
		free(m.at);
		if (r != -ENOENT)
			return r;
		r = -EBADMSG;
	}
	return r;
}

/* Wider and wider, until there are some. */
static int search_names(struct ram *ram, uint64_t table, struct ksyms_names *ret)
{
	/* The markers are next to the tokens, or behind them is seqs_of_names (6.2 and 6.3, and
	 * what was ported back). */
	static const size_t sizes[] = {64u << 10, 1u << 20,
				       KSYMS_MAX * SEQS_ENTRY + MARKERS_MAX * 8 + ALIGNMENT_MAX};
	bool swapped = false;
	unsigned tries = 0;
	int r = -ENOENT;

	for (size_t i = 0; i < ARRAY_SIZE(sizes) && (r == -ENOENT || r == -EBADMSG); i++) {
		size_t len = table < sizes[i] ? (size_t)table : sizes[i];
		struct ksyms_window w;
		int before = r;

		r = ksyms_window_read(ram, table - len, len, &w);
		if (r < 0)
			return r;
		r = names_of_window(ram, &w, &tries, ret);
		if (r == -ENOENT)
			r = before;
		swapped |= w.err == -EBUSY;
		ksyms_window_deinit(&w);
	}
	return swapped && ksyms_is_about_content(r) ? -EBUSY : r;
}

int ksyms_load_names(struct ram *ram, const struct ksyms_tokens *t, struct ksyms_names *ret,
		     const char **reason)
{
	int r = search_names(ram, t->table, ret);

	if (r == -ENOENT)
		*reason = "no markers in front of the token table";
	if (r == -EBADMSG)
		*reason = "the names do not end where the markers say";
	if (r == 0 && !ksyms_names_are_sane(t, ret)) {
		*reason = "a name has a character that no name has";
		ksyms_names_deinit(ret);
		r = -EBADMSG;
	}
	return r;
}

void ksyms_names_deinit(struct ksyms_names *n)
{
	free(n->bytes);
	*n = (struct ksyms_names){0};
}
