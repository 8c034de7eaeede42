/* PID/profile: header and rows as README describes them. */
#include "fs/render.h"

#include <inttypes.h>

#define END_MAX 4096 /* bytes of an object, with all of them escaped */

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
	if (p->freq || p->sampler != SAMPLER_KIND_RECORDING)
		buf_printf(out, "\n# frequency: %u Hz\n", p->freq);
	else
		buf_append_str(out, "\n# frequency: by events, not by time\n");
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
	if (p->sampler == SAMPLER_KIND_RECORDING)
		buf_printf(out,
			   "# overhead: of %" PRIu64 " events, those of all samples in the "
			   "recording, also of the host and of other guests\n",
			   p->weight);
}

/* What rows have in common with the one before: they are sorted by their samples, those of equal
 * ones by addresses, so that few of many begin or end in another way. */
struct common {
	uint64_t samples, weight;
	struct buf beginning;
	const char *object;
	struct buf end;
};

static void begin_row(struct common *c, const struct profile *p, const struct profile_row *r,
		      struct buf *out)
{
	uint64_t weight = profile_weight_of(p, r);

	if (c->beginning.len == 0 || c->samples != r->samples || c->weight != weight) {
		buf_clear(&c->beginning);
		render_percent(&c->beginning, 6, weight, profile_weight(p));
		buf_printf(&c->beginning, "%% %8" PRIu64 " [", r->samples);
		c->samples = r->samples;
		c->weight = weight;
	}
	buf_append(out, c->beginning.data, c->beginning.len);
}

static void end_row(struct common *c, const char *object, struct buf *out)
{
	if (c->object != object) {
		buf_clear(&c->end);
		buf_append_char(&c->end, ' ');
		render_word(&c->end, object);
		buf_append_char(&c->end, '\n');
		c->object = object;
	}
	buf_append(out, c->end.data, c->end.len);
}

static void rows(const struct profile *p, struct buf *out)
{
	struct common c = {0};

	buf_init(&c.beginning, 100);
	buf_init(&c.end, END_MAX);
	for (size_t i = 0; i < p->row_count && !out->err; i++) {
		const struct profile_row *r = &p->rows[i];
		const char type[] = {r->type, ']', ' '};

		begin_row(&c, p, r, out);
		buf_append(out, type, sizeof(type));
		render_word(out, r->symbol);
		end_row(&c, r->object, out);
	}
	if (!out->err)
		out->err = c.beginning.err ? c.beginning.err : c.end.err;
	buf_deinit(&c.beginning);
	buf_deinit(&c.end);
}

int render_profile(const struct guest *guest, const struct profile *profile,
		   const struct render_when *when, struct buf *out)
{
	/* As other files say it that a recording cannot have. */
	if (profile->sampler == SAMPLER_KIND_RECORDING && profile->slice.time == SLICE_RECENT)
		return buf_printf(out, "# %s\n", profile->sampler_note);
	header_who(guest, profile, out);
	header_when(profile, when, out);
	header_counts(profile, out);
	buf_append_str(out, "# OVERHEAD SAMPLES TYPE SYMBOL OBJECT\n");
	rows(profile, out);
	return out->err;
}
