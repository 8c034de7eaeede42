/* PID/profile.json: one object (RFC 8259), a row a line. kvmprofs(8) describes it: members are
 * added, but what stands here keeps its name and meaning as long as the version is 1. */
#include "fs/render.h"

#include <inttypes.h>

#include "symsrc/base/clock.h"

static const struct render_quote string_quotes[] = {{'"', "\\\""}, {'\\', "\\\\"}, {0}};

static void string(struct buf *out, const char *text)
{
	buf_append_char(out, '"');
	render_quoted(out, text, string_quotes);
	buf_append_char(out, '"');
}

static void member(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "\"%s\": ", key);
	if (text[0])
		string(out, text);
	else
		buf_append_str(out, "null");
	buf_append_str(out, ",\n");
}

static void member_u64(struct buf *out, const char *key, uint64_t n)
{
	buf_printf(out, "\"%s\": %" PRIu64 ",\n", key, n);
}

/* In seconds: nanoseconds are more than what a double holds, which many readers make of it. */
static void member_seconds(struct buf *out, const char *key, uint64_t ns)
{
	buf_printf(out, "\"%s\": %" PRIu64 ".%03u,\n", key, (uint64_t)(ns / NSEC_PER_SEC),
		   (unsigned)(ns % NSEC_PER_SEC / NSEC_PER_MSEC));
}

static void member_who(const struct guest *g, const struct profile *p, struct buf *out)
{
	member(out, "guest", g->name);
	member_u64(out, "pid", (uint64_t)g->pid);
	member(out, "uuid", g->uuid);
	member(out, "sampler", render_sampler_name(p->sampler));
	member(out, "sampler_note", p->sampler_note);
	member(out, "event", p->event);
	member_u64(out, "frequency", p->freq);
	if (p->slice.vcpu)
		member_u64(out, "vcpu", (uint64_t)slice_vcpu(&p->slice));
	if (p->snapshot[0])
		member(out, "snapshot", p->snapshot);
	if (p->slice.time == SLICE_RECENT) {
		member(out, "window", "recent");
		member_u64(out, "refused", p->refused);
	}
}

static void member_when(const struct profile *p, const struct render_when *when, struct buf *out)
{
	buf_append_str(out, "\"since\": \"");
	render_date(out, when, p->since_ns);
	buf_append_str(out, "\",\n");
	member_seconds(out, "since_unix", render_wall_ns(when, p->since_ns));
	member_seconds(out, "duration", render_length_ns(p));
	buf_printf(out, "\"paused\": %s,\n", p->paused ? "true" : "false");
	member_u64(out, "boots", p->epochs);
}

static void member_counts(const struct profile *p, struct buf *out)
{
	member_u64(out, "samples", p->samples);
	member_u64(out, "guest_kernel", p->guest_kernel);
	member_u64(out, "guest_user", p->guest_user);
	member_u64(out, "unresolved", p->unresolved);
	member_u64(out, "lost", p->lost);
	member_u64(out, "table_full", p->table_full);
	member_u64(out, "forgotten", p->forgotten);
	member_u64(out, "contradictory", p->contradictory);
	if (p->sampler == SAMPLER_KIND_RECORDING)
		member_u64(out, "recording_weight", p->weight);
}

static void row(const struct profile_row *r, bool weighted, struct buf *out)
{
	buf_printf(out, "{\"samples\": %" PRIu64 ", ", r->samples);
	if (weighted)
		buf_printf(out, "\"weight\": %" PRIu64 ", ", r->weight);
	buf_printf(out, "\"type\": \"%s\", \"symbol\": ", r->type == 'u' ? "user" : "kernel");
	string(out, r->symbol);
	buf_append_str(out, ", \"object\": ");
	string(out, r->object);
	if (r->address)
		buf_printf(out, ", \"address\": \"0x%016" PRIx64 "\"}", r->address);
	else
		buf_append_str(out, ", \"address\": null}");
}

int render_json(const struct guest *guest, const struct profile *profile,
		const struct render_when *when, struct buf *out)
{
	buf_append_str(out, "{\n\"format\": \"kvmprofs profile\",\n\"version\": 1,\n");
	member_who(guest, profile, out);
	member_when(profile, when, out);
	member_counts(profile, out);
	buf_append_str(out, "\"rows\": [");
	for (size_t i = 0; i < profile->row_count && !out->err; i++) {
		buf_append_str(out, i ? ",\n" : "\n");
		row(&profile->rows[i], profile->sampler == SAMPLER_KIND_RECORDING, out);
	}
	return buf_append_str(out, "\n]\n}\n");
}
