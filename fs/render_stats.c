#include "fs/render.h"

#include <inttypes.h>

#include "symsrc/base/clock.h"

/* Hundredths of a change a second, rounded towards zero. Counters that were reset, and gauges, may
 * have fallen. */
static void append_rate(struct buf *out, uint64_t now, uint64_t before, uint64_t span_ns)
{
	uint64_t change = now >= before ? now - before : before - now;
	/* 128 bits, since a counter of nanoseconds is large. */
	unsigned __int128 hundredths =
		span_ns ? (unsigned __int128)change * 100 * NSEC_PER_SEC / span_ns : 0;

	buf_printf(out, "%s%" PRIu64 ".%02u", now < before && hundredths ? "-" : "",
		   (uint64_t)(hundredths / 100), (unsigned)(hundredths % 100));
}

static void append_span(struct buf *out, const struct profiler_reading *r)
{
	buf_append_str(out, "# per second: over ");
	render_seconds(out, r->span_ns);
	buf_printf(out, ", since %s\n",
		   r->before.taken_ns ? "an earlier reading" : "the guest was started");
}

/* The rows of a reading that the other one does not have. */
static void append_rows(struct buf *out, const struct profiler_reading *r,
			const struct kvmstats *other)
{
	for (size_t i = 0; i < r->now.count; i++) {
		const struct kvmstat *s = &r->now.list[i];

		if (other && kvmstats_has(other, s->name))
			continue;
		buf_printf(out, "%s %" PRIu64 " ", s->name, s->value);
		append_rate(out, s->value, kvmstats_value(&r->before, s->name), r->span_ns);
		buf_append_char(out, '\n');
	}
}

static void append_debugfs(struct buf *out, const struct profiler_stats *stats)
{
	const struct kvmstats *now = &stats->debugfs.now;

	if (!now->taken_ns) {
		buf_printf(out, "# no debugfs: %s\n", stats->debugfs_error.text);
		return;
	}
	buf_printf(out, "# source: KVM's counters in debugfs, of %zu VM%s\n", now->vms,
		   now->vms == 1 ? "" : "s");
	if (now->refused)
		buf_printf(
			out,
			"# refused: %zu more; a kernel in lockdown (Secure Boot) lets nobody read "
			"them\n",
			now->refused);
	append_span(out, &stats->debugfs);
	append_rows(out, &stats->debugfs, NULL);
}

static void append_qmp(struct buf *out, const struct profiler_stats *stats, uint64_t now_ns)
{
	const struct profiler_reading *r = &stats->qmp;

	if (!stats->has_qmp)
		return;
	if (!r->now.taken_ns) {
		buf_append_str(out, "# source: QMP query-stats, which is asked now: for the next "
				    "reading, if this VMM knows it (QEMU 7.1)\n");
		return;
	}
	buf_append_str(out, "# source: QMP query-stats, ");
	render_seconds(out, now_ns > r->now.taken_ns ? now_ns - r->now.taken_ns : 0);
	buf_append_str(out, " ago\n");
	append_span(out, r);
	append_rows(out, r, &stats->debugfs.now);
}

int render_stats(const struct guest *guest, const struct profiler_stats *stats,
		 const struct render_when *when, struct buf *out)
{
	buf_append_str(out, "# guest: ");
	render_text(out, guest->name);
	buf_printf(out, " (pid %d)\n# NAME TOTAL PER_SECOND\n", (int)guest->pid);
	append_debugfs(out, stats);
	append_qmp(out, stats, when->now_ns);
	return out->err;
}
