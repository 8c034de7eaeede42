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

int render_stats(const struct guest *guest, const struct profiler_stats *stats, struct buf *out)
{
	const struct kvmstats *now = &stats->now;

	buf_append_str(out, "# guest: ");
	render_text(out, guest->name);
	buf_printf(out, " (pid %d)\n# source: KVM's counters in debugfs, of %zu VM%s\n",
		   (int)guest->pid, now->vms, now->vms == 1 ? "" : "s");
	if (now->refused)
		buf_printf(
			out,
			"# refused: %zu more; a kernel in lockdown (Secure Boot) lets nobody read "
			"them\n",
			now->refused);
	buf_append_str(out, "# per second: over ");
	render_seconds(out, stats->span_ns);
	buf_printf(out, ", since %s\n# NAME TOTAL PER_SECOND\n",
		   stats->has_before ? "an earlier reading" : "the guest was started");
	for (size_t i = 0; i < now->count; i++) {
		const struct kvmstat *s = &now->list[i];

		buf_printf(out, "%s %" PRIu64 " ", s->name, s->value);
		append_rate(out, s->value, kvmstats_value(&stats->before, s->name), stats->span_ns);
		buf_append_char(out, '\n');
	}
	return out->err;
}
