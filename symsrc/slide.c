#include "symsrc/slide.h"

#include <errno.h>
#include <stdbool.h>

#include "symsrc/memory/image.h"
#include "symsrc/x86length.h"

/* Logarithms of how much likelier an address is at the right place than somewhere in a text, of
 * whose bytes at most 27% begin an instruction (it has 3.7 bytes; with what lies between functions
 * Debian's 6.1 has 18%). */
#define HIT  1.20    /* 90% at the right place, of 27% */
#define MISS (-2.35) /* 7% of 73%: patched code */
#define OUT  (-3.50) /* 3%: not in the text at all */

#define MARGIN 13.8 /* one to a million */

/* The same against a relative, a third of whose code lies elsewhere (Debian's 6.1.0-55 and -56). */
#define NEAR_HIT    0.39    /* 96% of 65% */
#define NEAR_MISS   (-2.17) /* 4% of 35% */
#define NEAR_MARGIN 9.2	    /* one to ten thousand */

#define FOLLOWED_MAX (64u << 10) /* bytes from where a function begins; most are below 20 KiB */
#define INT3	     0xcc	 /* what lies between functions; runs nowhere */

enum find { FIND_OUT, FIND_MISS, FIND_HIT, FIND_UNCLEAR };

static const struct slide_section *section_at(const struct slide_code *code, uint64_t va)
{
	for (size_t i = 0; i < code->section_count; i++) {
		const struct slide_section *s = &code->sections[i];

		if (va >= s->va && va - s->va < s->n)
			return s;
	}
	return NULL;
}

/* The last one at or before this address; 0: none. */
static uint64_t start_before(const struct slide_code *code, uint64_t va)
{
	size_t lo = 0, hi = code->start_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (code->starts[mid] <= va)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? code->starts[lo - 1] : 0;
}

/* Calls and long nops are what a kernel replaces by something of the same length when it boots,
 * with instructions of its own in it: calls through retpolines, of paravirt_ops, static calls,
 * alternatives. An address within says nothing. */
static bool is_patched(const uint8_t *insn, size_t n)
{
	return insn[0] == 0xe8 || insn[0] == 0xe9 || insn[0] == 0xff ||
	       (n > 2 && insn[0] == 0x0f && insn[1] == 0x1f);
}

static enum find follow(const struct slide_section *s, uint64_t from, uint64_t va)
{
	while (from < va) {
		size_t at = from - s->va;
		size_t n = x86_length(s->bytes + at, s->n - at);

		if (n == 0 || (va - from < n && is_patched(s->bytes + at, n)))
			return FIND_UNCLEAR;
		from += n;
	}
	return from == va ? FIND_HIT : FIND_MISS;
}

/* What is at this link address? */
static enum find look(const struct slide_code *code, uint64_t va)
{
	const struct slide_section *s = section_at(code, va);
	uint64_t from;

	if (!s)
		return FIND_OUT;
	if (s->bytes[va - s->va] == INT3)
		return FIND_MISS;
	from = start_before(code, va);
	if (from < s->va || va - from > FOLLOWED_MAX)
		return FIND_UNCLEAR;
	return follow(s, from, va);
}

static bool is_in_image(uint64_t va)
{
	return va >= IMAGE_VA_START && va < IMAGE_VA_END;
}

struct score {
	double weight;
	size_t used, hits, misses;
};

static struct score score_of(const struct slide_code *code, const uint64_t *ips, size_t n,
			     uint64_t slide)
{
	static const double weights[] = {
		[FIND_OUT] = OUT, [FIND_MISS] = MISS, [FIND_HIT] = HIT, [FIND_UNCLEAR] = 0};
	struct score score = {0};

	for (size_t i = 0; i < n; i++) {
		enum find f;

		if (!is_in_image(ips[i]))
			continue;
		f = look(code, ips[i] - slide);
		score.weight += weights[f];
		score.used++;
		score.hits += f == FIND_HIT;
		score.misses += f == FIND_MISS;
	}
	return score;
}

/* All of them, and the likeliest. ret_second: the weight of the next. */
struct search {
	struct score best;
	uint64_t slide;
	double weights[(IMAGE_VA_END - IMAGE_VA_START) / IMAGE_ALIGN + 1];
	size_t count;
};

static void search(const struct slide_code *code, const uint64_t *ips, size_t n, struct search *s)
{
	uint64_t first = (code->from - IMAGE_VA_START) / IMAGE_ALIGN * IMAGE_ALIGN;

	for (uint64_t slide = -first; is_in_image(code->to - 1 + slide); slide += IMAGE_ALIGN) {
		struct score score = score_of(code, ips, n, slide);

		if (s->count == 0 || score.weight > s->best.weight) {
			s->best = score;
			s->slide = slide;
		}
		s->weights[s->count++] = score.weight;
	}
}

/* How much likelier it is that this is the kernel than that it is a relative. */
static double near_weight(const struct score *s)
{
	return NEAR_HIT * (double)s->hits + NEAR_MISS * (double)s->misses;
}

int slide_find(const struct slide_code *code, const uint64_t *ips, size_t n,
	       struct slide_guess *ret)
{
	struct search s = {0};
	double near;

	*ret = (struct slide_guess){0};
	if (!is_in_image(code->from) || code->to <= code->from || !is_in_image(code->to - 1))
		return -ENOENT;
	search(code, ips, n, &s);
	ret->slide = s.slide;
	ret->used = s.best.used;
	ret->hits = s.best.hits;
	for (size_t i = 0; i < s.count; i++)
		ret->places += s.weights[i] > s.best.weight - MARGIN;
	near = near_weight(&s.best);
	if (s.best.weight <= -MARGIN || near <= -NEAR_MARGIN)
		return -ENOENT;
	return s.best.weight >= MARGIN && near >= NEAR_MARGIN && ret->places == 1 ? 0 : -EAGAIN;
}
