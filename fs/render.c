#include "fs/render.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/text.h"

#define SHOWN_MAX 1024 /* bytes of one escaped text; longer ones are cut */

/* As perf calculates it (tools/perf/ui/hist.c, __hpp__fmt()), in doubles, and rounded as printf(3)
 * rounds its "%.2f": by what the double holds, a half to the even side. 1 of 800 is 0.12. The
 * product is exact where a long double has 11 bits more than a double. */
static uint64_t hundredths(uint64_t part, uint64_t whole)
{
	double percent = whole ? 100.0 * (double)part / (double)whole : 0;
	long double exact = (long double)percent * 100;
	uint64_t n = (uint64_t)exact;
	long double rest = exact - (long double)n;

	return n + (rest > 0.5L || (rest == 0.5L && n % 2));
}

/* No locale has a say in this. */
int render_percent(struct buf *out, int width, uint64_t part, uint64_t whole)
{
	uint64_t h = hundredths(part, whole);

	return buf_printf(out, "%*" PRIu64 ".%02u", width > 3 ? width - 3 : 0, h / 100,
			  (unsigned)(h % 100));
}

uint64_t render_wall_ns(const struct render_when *when, uint64_t at_ns)
{
	return when->wall_ns - (when->now_ns > at_ns ? when->now_ns - at_ns : 0);
}

int render_date(struct buf *out, const struct render_when *when, uint64_t at_ns)
{
	time_t t = (time_t)(render_wall_ns(when, at_ns) / NSEC_PER_SEC);
	struct tm tm;

	if (!gmtime_r(&t, &tm))
		return buf_append_char(out, '-');
	return buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1,
			  tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

int render_seconds(struct buf *out, uint64_t ns)
{
	return buf_printf(out, "%" PRIu64 ".%03u s", (uint64_t)(ns / NSEC_PER_SEC),
			  (unsigned)(ns % NSEC_PER_SEC / NSEC_PER_MSEC));
}

int render_text(struct buf *out, const char *text)
{
	char shown[SHOWN_MAX];

	text_escape(shown, sizeof(shown), text, strlen(text));
	return buf_append_str(out, shown);
}

int render_word(struct buf *out, const char *text)
{
	size_t n = strlen(text);

	if (n == 0)
		return buf_append_char(out, '-');
	if (text_is_word(text, n) && !memchr(text, '\\', n))
		return buf_append(out, text, n);
	for (; *text; text++) {
		if (*text == ' ')
			buf_append_str(out, "\\x20");
		else
			render_text(out, (const char[]){*text, '\0'});
	}
	return out->err;
}

int render_paused(struct buf *out, const struct guest *guest)
{
	buf_printf(out, "# paused: %d ", (int)guest->pid);
	render_text(out, guest->name);
	return buf_append_char(out, '\n');
}

/* Where the quoting of c is told; NULL: it stands for itself. */
static const char *quote_of(char c, const struct render_quote *list)
{
	for (; list->c; list++) {
		if (list->c == c)
			return list->as;
	}
	return NULL;
}

static void append_hex(struct buf *out, unsigned char c, const struct render_quote *list)
{
	const char *backslash = quote_of('\\', list);

	buf_append_str(out, backslash ? backslash : "\\");
	buf_printf(out, "x%02x", c);
}

int render_quoted(struct buf *out, const char *text, const struct render_quote *list)
{
	while (*text) {
		const char *plain = text, *as = NULL;

		while (*text >= 0x20 && *text <= 0x7e && !(as = quote_of(*text, list)))
			text++;
		buf_append(out, plain, (size_t)(text - plain));
		if (!*text)
			break;
		if (as)
			buf_append_str(out, as);
		else
			append_hex(out, (unsigned char)*text, list);
		text++;
	}
	return out->err;
}

const char *render_sampler_name(enum sampler_kind kind)
{
	switch (kind) {
	case SAMPLER_KIND_PERF: return "perf";
	case SAMPLER_KIND_QMP: return "qmp";
	case SAMPLER_KIND_RECORDING: return "recording";
	case SAMPLER_KIND_NONE: break;
	}
	return "none";
}

bool render_has_samples(const struct profiler_totals *t)
{
	return t->perf_running || t->samples;
}

uint64_t render_length_ns(const struct profile *profile)
{
	return profile->taken_ns > profile->since_ns ? profile->taken_ns - profile->since_ns : 0;
}

int render_line(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, "%s ", key);
	render_text(out, value[0] ? value : "-");
	return buf_append_char(out, '\n');
}

int render_line_u64(struct buf *out, const char *key, uint64_t value)
{
	return buf_printf(out, "%s %" PRIu64 "\n", key, value);
}
