/* PID/exits, exits.json and events: VM exits as README and kvmprofs(8) describe them. */
#include "fs/render.h"

#include <inttypes.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"

#define COLUMNS "COUNT COUNT% TIME% MIN_US AVG_US P50_US P99_US MAX_US USERSPACE"

/* The sections of the file, in its order. */
static const struct section {
	enum exits_kind kind;
	const char *heading; /* of the first column */
	const char *member;  /* in JSON */
} sections[] = {
	{EXITS_REASON, "REASON", "exits"},  {EXITS_VMM, "VMM_REASON", "vmm"},
	{EXITS_MMIO, "MMIO", "mmio"},	    {EXITS_PIO, "PORT", "pio"},
	{EXITS_MSR, "MSR", "msr"},	    {EXITS_FAST_MMIO, "IOEVENTFD", "ioeventfd"},
	{EXITS_MSI, "MSI_INJECTED", "msi"}, {EXITS_IRQ, "IRQ_INJECTED", "irq"},
};

static const struct {
	enum exits_time time;
	const char *heading, *member;
} times[] = {
	{EXITS_IN_GUEST, "in the guest", "guest"},
	{EXITS_IN_KERNEL, "handling in the kernel", "kernel"},
	{EXITS_IN_VMM, "in the VMM", "vmm"},
	{EXITS_HALTED, "halted", "halted"},
	{EXITS_WAITING, "waiting for a CPU", "waiting"},
	{EXITS_UNKNOWN, "not known", "unknown"},
};

/* ---- the header
 * ---------------------------------------------------------------------------------- */

static uint64_t length_ns(const struct exits *e)
{
	return e->taken_ns > e->since_ns ? e->taken_ns - e->since_ns : 0;
}

static void header_who(const struct guest *g, const struct exits *e, const struct render_when *when,
		       struct buf *out)
{
	buf_append_str(out, "# guest: ");
	render_text(out, g->name);
	buf_printf(out, " (pid %d)\n# engine: %s\n", (int)g->pid, e->engine);
	if (e->recent)
		buf_append_str(out, "# window: the last 10 s\n");
	buf_append_str(out, "# since: ");
	render_date(out, when, e->since_ns);
	buf_append_str(out, " for ");
	render_seconds(out, length_ns(e));
	buf_append_char(out, '\n');
}

/* Whether kvm_exit fires here, as far as is known. */
static bool has_exits(const struct exits *e)
{
	return e->entered || e->exits;
}

static void header_count(const struct exits *e, struct buf *out)
{
	if (has_exits(e))
		buf_printf(out, "# exits: %" PRIu64 "\n", e->exits);
	else
		buf_append_str(out, "# exits: -\n");
	buf_printf(out, "# lost: %" PRIu64 "\n", e->lost.rows);
}

/* Without kvm_entry nobody knows where a vCPU is, but that the scheduler has it asleep or waiting;
 * before its first event, not even that. A zero would look as if it had been measured. */
static bool is_time_known(const struct exits *e, enum exits_time time)
{
	return e->entered || (e->threads && time >= EXITS_HALTED);
}

static void header_time(const struct exits *e, size_t i, uint64_t all, struct buf *out)
{
	uint64_t ns = e->times[times[i].time];

	buf_printf(out, "# %s: ", times[i].heading);
	if (!is_time_known(e, times[i].time)) {
		buf_append_str(out, "-\n");
		return;
	}
	render_percent(out, 0, ns, all);
	buf_append_str(out, "% (");
	render_seconds(out, ns);
	buf_append_str(out, ")\n");
}

static void header_times(const struct exits *e, struct buf *out)
{
	uint64_t all = 0;

	for (size_t i = 0; i < EXITS_TIMES; i++)
		all += e->times[i];
	buf_printf(out, "# vcpus seen: %u\n", e->threads);
	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		if (e->times[times[i].time] || times[i].time != EXITS_UNKNOWN)
			header_time(e, i, all, out);
	}
}

/* Beside those of the rows. */
static void header_lost(const struct exits *e, struct buf *out)
{
	if (e->lost.others)
		buf_printf(out, "# lost of the events that `events` alone counts: %" PRIu64 "\n",
			   e->lost.others);
	if (e->lost.switches)
		buf_printf(out,
			   "# lost of the scheduler's events, which the times are from: %" PRIu64
			   "\n",
			   e->lost.switches);
}

static void header_missing(const struct exits *e, struct buf *out)
{
	if (e->entered)
		return;
	/* Rings may lose all of one kind and nothing of another. */
	if (e->threads == 0 && e->lost.rows)
		buf_append_str(out, "# missing: no event of a vCPU was counted: there was none, or "
				    "it is among the lost: no times\n");
	else if (e->threads == 0)
		buf_append_str(out, "# missing: no vCPU has had an event of KVM yet that rows and "
				    "times are made of: no times\n");
	else
		buf_append_str(
			out,
			"# missing: kvm_exit and kvm_entry have not fired for this guest (on a PVM "
			"host they never do): no reasons, no handling times, no split of "
			"the time in guest, kernel and VMM; halted is asleep anywhere\n");
}

/* No event of an interrupt says for which guest it is: what is known is who runs. */
static void header_interrupts(const struct exits *e, struct buf *out)
{
	if (e->lists[EXITS_MSI].count == 0 && e->lists[EXITS_IRQ].count == 0 && !e->kernel_irqs)
		return;
	buf_printf(
		out,
		"# interrupts: those of this VMM's threads, and of KVM's timer and vhost for it; "
		"by other threads of the kernel, for any guest: %" PRIu64
		"; a VFIO device's count for whoever was running, or nowhere when they are "
		"posted\n",
		e->kernel_irqs);
}

/* ---- rows
 * ---------------------------------------------------------------------------------------- */

static void microseconds(uint64_t ns, struct buf *out)
{
	buf_printf(out, " %7" PRIu64 ".%03u", (uint64_t)(ns / NSEC_PER_USEC),
		   (unsigned)(ns % NSEC_PER_USEC));
}

/* No histogram, no percentiles: [other]. */
static void percentile(const struct exits_row *row, unsigned hundredths, struct buf *out)
{
	uint64_t ns = exits_percentile(row, hundredths);

	if (ns)
		microseconds(ns, out);
	else
		buf_append_str(out, "           -");
}

static void row_times(const struct exits_row *row, uint64_t all_time, struct buf *out)
{
	const struct exits_sums *s = &row->sums;

	if (s->timed == 0) {
		buf_append_str(
			out, "      -           -           -           -           -           -");
		return;
	}
	buf_append_char(out, ' ');
	render_percent(out, 6, s->total, all_time);
	microseconds(s->min, out);
	microseconds(s->total / s->timed, out);
	percentile(row, 50, out);
	percentile(row, 99, out);
	microseconds(s->max, out);
}

static void section(const struct exits_list *l, const char *heading, struct buf *out)
{
	uint64_t count = 0, time = 0;

	for (size_t i = 0; i < l->count; i++) {
		count += l->lines[i].row.sums.count;
		time += l->lines[i].row.sums.total;
	}
	buf_printf(out, "# %s %s\n", heading, COLUMNS);
	for (size_t i = 0; i < l->count && !out->err; i++) {
		const struct exits_row *row = &l->lines[i].row;

		buf_printf(out, "%-24s %10" PRIu64 " ", l->lines[i].name, row->sums.count);
		render_percent(out, 6, row->sums.count, count);
		row_times(row, time, out);
		buf_printf(out, " %9" PRIu64 "\n", row->sums.userspace);
	}
}

static int no_exits(const struct exits *e, struct buf *out)
{
	buf_append_str(out, "# ");
	render_text(out, e->note);
	return buf_append_char(out, '\n');
}

int render_exits(const struct guest *guest, const struct exits *e, const struct render_when *when,
		 struct buf *out)
{
	if (e->note[0])
		return no_exits(e, out);
	header_who(guest, e, when, out);
	header_count(e, out);
	header_times(e, out);
	header_lost(e, out);
	header_missing(e, out);
	header_interrupts(e, out);
	if (e->recent)
		buf_append_str(out,
			       "# MIN_US and MAX_US: new records, or bounds: powers of 2 ns\n");
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		section(&e->lists[sections[i].kind], sections[i].heading, out);
	return out->err;
}

int render_events(const struct guest *guest, const struct exits *e, const struct render_when *when,
		  struct buf *out)
{
	if (e->note[0])
		return no_exits(e, out);
	header_who(guest, e, when, out);
	buf_printf(out, "# lost: %" PRIu64 "\n# COUNT EVENT\n", e->lost.rows + e->lost.others);
	for (size_t i = 0; i < e->event_count && !out->err; i++)
		buf_printf(out, "%12" PRIu64 " kvm:%s\n", e->events[i].count, e->events[i].name);
	return out->err;
}

/* ---- JSON
 * ---------------------------------------------------------------------------------------- */

static const struct render_quote string_quotes[] = {{'"', "\\\""}, {'\\', "\\\\"}, {0}};

static void member(const char *key, const char *text, struct buf *out)
{
	buf_printf(out, "\"%s\": ", key);
	if (text[0]) {
		buf_append_char(out, '"');
		render_quoted(out, text, string_quotes);
		buf_append_str(out, "\",\n");
	} else {
		buf_append_str(out, "null,\n");
	}
}

/* What is not known is null: a 0 would look as if it had been measured. */
static void number(const char *key, bool known, uint64_t value, struct buf *out)
{
	if (known)
		buf_printf(out, "\"%s\": %" PRIu64, key, value);
	else
		buf_printf(out, "\"%s\": null", key);
}

static void json_times(const struct exits *e, struct buf *out)
{
	buf_append_str(out, "\"time_ns\": {");
	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		buf_append_str(out, i ? ", " : "");
		number(times[i].member, is_time_known(e, times[i].time), e->times[times[i].time],
		       out);
	}
	buf_append_str(out, "},\n");
}

/* The buckets up to the last one that holds anything: [2^i, 2^(i+1)) ns. */
static void json_histogram(const struct exits_row *row, struct buf *out)
{
	int n = EXITS_BUCKETS;

	while (n && row->buckets[n - 1] == 0)
		n--;
	buf_append_str(out, "\"log2_ns\": [");
	for (int i = 0; i < n; i++)
		buf_printf(out, "%s%" PRIu64, i ? "," : "", row->buckets[i]);
	buf_append_char(out, ']');
}

static void json_line(const struct exits_line *line, struct buf *out)
{
	const struct exits_sums *s = &line->row.sums;

	buf_append_str(out, "{\"name\": \"");
	render_quoted(out, line->name, string_quotes);
	buf_append_char(out, '"');
	if (line->key.kind < EXITS_KINDS)
		buf_printf(out, ", \"what\": \"0x%" PRIx64 "\", \"more\": %u",
			   (uint64_t)line->key.what, line->key.more);
	buf_printf(out,
		   ", \"count\": %" PRIu64 ", \"userspace\": %" PRIu64 ", \"timed\": %" PRIu64 ", ",
		   s->count, s->userspace, s->timed);
	number("total_ns", s->timed, s->total, out);
	buf_append_str(out, ", ");
	number("min_ns", s->timed, s->min, out);
	buf_append_str(out, ", ");
	number("max_ns", s->timed, s->max, out);
	buf_append_str(out, ", ");
	json_histogram(&line->row, out);
	buf_append_char(out, '}');
}

static void json_section(const struct section *s, const struct exits *e, struct buf *out)
{
	const struct exits_list *l = &e->lists[s->kind];

	buf_printf(out, "\"%s\": [", s->member);
	for (size_t i = 0; i < l->count && !out->err; i++) {
		buf_append_str(out, i ? ",\n" : "\n");
		json_line(&l->lines[i], out);
	}
	buf_append_str(out, l->count ? "\n],\n" : "],\n");
}

static void json_events(const struct exits *e, struct buf *out)
{
	buf_append_str(out, "\"events\": {");
	for (size_t i = 0; i < e->event_count && !out->err; i++)
		buf_printf(out, "%s\"%s\": %" PRIu64, i ? ", " : "", e->events[i].name,
			   e->events[i].count);
	buf_append_str(out, "}\n}\n");
}

int render_exits_json(const struct guest *guest, const struct exits *e,
		      const struct render_when *when, struct buf *out)
{
	buf_append_str(out, "{\n\"format\": \"kvmprofs exits\",\n\"version\": 1,\n");
	member("guest", guest->name, out);
	buf_printf(out, "\"pid\": %d,\n", (int)guest->pid);
	member("uuid", guest->uuid, out);
	member("engine", e->engine, out);
	if (e->recent)
		member("window", "recent", out);
	member("note", e->note, out);
	buf_append_str(out, "\"since\": \"");
	render_date(out, when, e->note[0] ? when->now_ns : e->since_ns);
	buf_printf(out, "\",\n\"duration_ns\": %" PRIu64 ",\n\"times_known\": %s,\n", length_ns(e),
		   e->entered ? "true" : "false");
	number("exits_total", has_exits(e), e->exits, out);
	buf_printf(out,
		   ",\n\"lost\": %" PRIu64 ",\n\"lost_others\": %" PRIu64
		   ",\n\"lost_switches\": %" PRIu64 ",\n\"kernel_irqs\": %" PRIu64
		   ",\n\"vcpus_seen\": %u,\n",
		   e->lost.rows, e->lost.others, e->lost.switches, e->kernel_irqs, e->threads);
	json_times(e, out);
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		json_section(&sections[i], e, out);
	json_events(e, out);
	return out->err;
}
