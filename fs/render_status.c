/* status: the daemon itself, as `key value` lines. */
#include "fs/render.h"

#include <inttypes.h>

#include "profiler/perfdata/recording.h"
#include "symsrc/base/clock.h"

static void line_seconds(struct buf *out, const char *key, uint64_t ns)
{
	buf_printf(out, "%s ", key);
	render_seconds(out, ns);
	buf_append_char(out, '\n');
}

/* 0: "-" */
static void line_unless_0(struct buf *out, const char *key, uint64_t value)
{
	if (value)
		render_line_u64(out, key, value);
	else
		render_line(out, key, "");
}

static const char *choice_name(enum sampler_choice sampler)
{
	switch (sampler) {
	case SAMPLER_AUTO: return "auto";
	case SAMPLER_PERF: return "perf";
	case SAMPLER_QMP: return "qmp";
	}
	return "unknown";
}

static const char *perf_state(const struct profiler_totals *t)
{
	if (t->perf_running)
		return "running";
	return t->perf_error[0] ? t->perf_error : "off";
}

static const char *end_name(enum perfdata_end end)
{
	switch (end) {
	case PERFDATA_WHOLE: return "whole";
	case PERFDATA_UNFINISHED: return "unfinished: perf was killed; all whole records count";
	case PERFDATA_CUT: return "cut off within a record; all whole records count";
	case PERFDATA_CUT_BEHIND:
		return "cut off behind the records; all of them count, build-ids and names of "
		       "events may be missing";
	case PERFDATA_DAMAGED: return "damaged; all records before that count";
	}
	return "unknown";
}

static void recorded_event(const struct recording_event *e, bool shown, struct buf *out)
{
	if (e->is_dummy)
		return;
	buf_printf(out, "recording_event %s: %" PRIu64 " samples, %" PRIu64 " in guests%s%s\n",
		   e->name, e->samples, e->guest_samples,
		   shown ? ", shown here" : "; --event shows it",
		   e->reads ? "; perf report weighs its samples by a counter (:S), here by periods"
			    : "");
}

static void recording(const struct recording *r, struct buf *out)
{
	render_line(out, "recording", r->path);
	buf_printf(out, "recording_format %s%s%s\n", r->facts.pipe ? "pipe" : "file",
		   r->facts.compressed ? ", compressed" : "",
		   r->facts.swapped ? ", of the other byte order" : "");
	buf_printf(out, "recording_state %s", end_name(r->facts.end));
	if (r->facts.why[0])
		buf_printf(out, ": %s", r->facts.why);
	buf_printf(out, "\nrecording_bytes %" PRIu64 "\n", r->facts.read);
	buf_append_str(out, "recording_length ");
	render_seconds(out, r->last_ns - r->first_ns);
	buf_append_char(out, '\n');
	for (size_t i = 0; i < r->events.count; i++)
		recorded_event(&r->events.list[i], i == r->shown, out);
	render_line_u64(out, "recording_events_shown", r->weight);
	render_line_u64(out, "samples_left_out", r->strange);
}

static void perf_line(const struct profiler_totals *t, const char *key, uint64_t value,
		      struct buf *out)
{
	if (render_has_samples(t))
		render_line_u64(out, key, value);
	else
		render_line(out, key, "");
}

static void sampling(const struct profiler_totals *t, struct buf *out)
{
	if (t->recording)
		recording(t->recording, out);
	else
		render_line(out, "perf", perf_state(t));
	render_line(out, "event", t->event);
	render_line(out, "event_reason", t->event_reason);
	/* What perf would take, if it ran, is nobody's; a recording does not tell how many CPUs. */
	line_unless_0(out, "frequency", t->perf_running || t->recording ? t->freq : 0);
	line_unless_0(out, "cpus", t->cpus);
	perf_line(t, "samples", t->samples, out);
	perf_line(t, "samples_guest", t->guest_samples, out);
	render_line_u64(out, "samples_qmp", t->qmp_samples);
	perf_line(t, "samples_host_kernel", t->host_kernel, out);
	perf_line(t, "samples_host_user", t->host_user, out);
	perf_line(t, "samples_host_idle", t->host_idle, out);
	perf_line(t, "samples_unknown_guest", t->stranger_guest, out);
	perf_line(t, "lost", t->lost, out);
	render_line(out, "lost_is",
		    !render_has_samples(t) ? ""
		    : t->lost_exact	   ? "exact"
					   : "at least");
	perf_line(t, "throttled", t->throttled, out);
	render_line(out, "exits_engine", t->exits.engine);
	if (!t->exits.runs)
		return;
	render_line_u64(out, "exits_lost", t->exits.lost.rows);
	render_line_u64(out, "exits_lost_others", t->exits.lost.others);
	render_line_u64(out, "exits_lost_switches", t->exits.lost.switches);
}

/* Own CPU time as a share of the time that has passed on one CPU. */
static void own_share(const struct render_status *s, uint64_t uptime, struct buf *out)
{
	buf_append_str(out, "own_cpu_percent ");
	render_percent(out, 0, s->cpu_user_ns + s->cpu_system_ns, uptime);
	buf_append_char(out, '\n');
}

int render_status(const struct render_status *s, const struct render_when *when, struct buf *out)
{
	uint64_t since = s->totals.since_ns;
	uint64_t uptime = when->now_ns > since ? when->now_ns - since : 0;

	render_line(out, "version", s->version);
	render_line_u64(out, "pid", (uint64_t)s->pid);
	line_seconds(out, "uptime", uptime);
	render_line_u64(out, "guests", s->guests);
	render_line_u64(out, "guests_paused", s->guests_paused);
	render_line(out, "sampler", s->totals.recording ? "recording" : choice_name(s->sampler));
	sampling(&s->totals, out);
	render_line_u64(out, "snapshots", s->totals.snapshots);
	render_line_u64(out, "snapshots_memory", s->totals.snapshot_bytes);
	render_line(out, "snapshot_refused", s->totals.snapshot_refused);
	line_seconds(out, "own_cpu_user", s->cpu_user_ns);
	line_seconds(out, "own_cpu_system", s->cpu_system_ns);
	own_share(s, uptime, out);
	render_line_u64(out, "own_memory", s->rss_bytes);
	render_line_u64(out, "own_memory_peak", s->rss_peak_bytes);
	return out->err;
}
