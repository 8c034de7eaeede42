/* PID/profile: header and rows as README describes them. */
#include "fs/render.h"

#include <inttypes.h>

#define AHEAD 12 /* rows */

static void header_who(const struct guest *g, const struct profile *p, struct buf *out)
{
	buf_append_str(out, "# guest: ");
	render_text(out, g->name);
	buf_printf(out, " (pid %d)\n# sampler: %s", (int)g->pid, render_sampler_name(p->sampler));
	if (p->sampler_note[0]) {
		buf_append_str(out, " (");
		render_text(out, p->sampler_note);
		buf_append_char(out, ')');
	}
	buf_append_str(out, "\n# event: ");
	render_text(out, p->event[0] ? p->event : "none");
	buf_printf(out, "\n# frequency: %u Hz\n", p->freq);
	if (p->slice.vcpu)
		buf_printf(out, "# vcpu: %d\n", slice_vcpu(&p->slice));
}

static void header_when(const struct profile *p, const struct render_when *when, struct buf *out)
{
	if (p->slice.time == SLICE_RECENT)
		buf_append_str(out, "# window: the last 10 s\n");
	if (p->snapshot[0]) {
		buf_append_str(out, "# snapshot: ");
		render_text(out, p->snapshot);
		buf_append_char(out, '\n');
	}
	buf_append_str(out, "# since: ");
	render_date(out, when, p->since_ns);
	buf_append_str(out, " for ");
	render_seconds(out, render_length_ns(p));
	if (p->paused)
		buf_append_str(out, " (paused now)");
	if (p->epochs > 1)
		buf_printf(out, ", %" PRIu32 " boots", p->epochs);
	buf_append_char(out, '\n');
}

static void header_share(const char *what, uint64_t part, uint64_t whole, struct buf *out)
{
	buf_printf(out, "# %s: ", what);
	render_percent(out, 0, part, whole);
	buf_printf(out, "%% (%" PRIu64 ")\n", part);
}

static void header_if_any(const char *what, uint64_t n, struct buf *out)
{
	if (n)
		buf_printf(out, "# %s: %" PRIu64 "\n", what, n);
}

static void header_counts(const struct profile *p, struct buf *out)
{
	buf_printf(out, "# samples: %" PRIu64 "\n", p->samples);
	header_share("guest kernel", p->guest_kernel, p->samples, out);
	header_share("guest user", p->guest_user, p->samples, out);
	header_share("unresolved", p->unresolved, p->samples, out);
	buf_printf(out, "# lost: %" PRIu64 "\n", p->lost);
	header_if_any("without a row, the table was full", p->table_full, out);
	header_if_any("not kept, there was no room", p->refused, out);
	header_if_any("of boots too long ago", p->forgotten, out);
	header_if_any("contradictory, counted by the sample's own bits", p->contradictory, out);
}

/* How a row begins. Rows are sorted by their samples, so that few of many rows begin otherwise than
 * the one before: a profile of 100,000 rows is written in a few milliseconds. */
struct beginning {
	uint64_t samples;
	struct buf text;
};

static void begin_row(struct beginning *b, uint64_t samples, uint64_t of, struct buf *out)
{
	if (b->text.len == 0 || b->samples != samples) {
		buf_clear(&b->text);
		render_percent(&b->text, 6, samples, of);
		buf_printf(&b->text, "%% %8" PRIu64 " [", samples);
		b->samples = samples;
	}
	buf_append(out, b->text.data, b->text.len);
}

static void rows(const struct profile *p, struct buf *out)
{
	struct beginning b;

	buf_init(&b.text, 100);
	for (size_t i = 0; i < p->row_count && !out->err; i++) {
		const struct profile_row *r = &p->rows[i];

		/* Names lie in the order of addresses, which is another one. */
		if (i + AHEAD < p->row_count)
			__builtin_prefetch(r[AHEAD].symbol);
		begin_row(&b, r->samples, p->samples, out);
		buf_append_char(out, r->type);
		buf_append(out, "] ", 2);
		render_word(out, r->symbol);
		buf_append_char(out, ' ');
		render_word(out, r->object);
		buf_append_char(out, '\n');
	}
	if (!out->err)
		out->err = b.text.err;
	buf_deinit(&b.text);
}

int render_profile(const struct guest *guest, const struct profile *profile,
		   const struct render_when *when, struct buf *out)
{
	header_who(guest, profile, out);
	header_when(profile, when, out);
	header_counts(profile, out);
	buf_append_str(out, "# OVERHEAD SAMPLES TYPE SYMBOL OBJECT\n");
	rows(profile, out);
	return out->err;
}
