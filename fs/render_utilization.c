/* utilization: where the samples hit, a line a guest. */
#include "fs/render.h"

#include <inttypes.h>

static void percent(int width, bool is_known, uint64_t part, uint64_t total, struct buf *out)
{
	if (is_known)
		render_percent(out, width, part, total);
	else
		buf_printf(out, "%*s", width, "-");
}

/* Without perf the registers of guests are all that is known. */
static void row(const struct profiler_shares *s, pid_t pid, const char *name, struct buf *out)
{
	bool guest = !s->no_perf || (pid && s->total);

	percent(7, !s->no_perf, s->host_kernel, s->total, out);
	percent(7, !s->no_perf, s->host_user, s->total, out);
	percent(10, guest, s->guest_kernel, s->total, out);
	percent(9, guest, s->guest_user, s->total, out);
	buf_printf(out, " %7d ", (int)pid);
	render_text(out, name);
	buf_append_char(out, '\n');
}

static void header(const struct profiler_shares *s, struct buf *out)
{
	if (s->no_perf)
		buf_append_str(out, "# -: not measured, perf does not run; status says why\n");
	else if (s->lost)
		buf_printf(out, "# lost: %" PRIu64 "\n", s->lost);
}

int render_utilization(const struct profiler_shares *host, const struct render_share *guests,
		       size_t count, struct buf *out)
{
	if (host)
		header(host, out);
	else if (count)
		header(&guests[0].shares, out);
	for (size_t i = 0; i < count && !out->err; i++) {
		if (guests[i].paused)
			render_paused(out, guests[i].guest);
	}
	buf_append_str(out, "#  SYS     US GUEST_SYS GUEST_US     PID NAME\n");
	if (host)
		row(host, 0, "[host]", out);
	for (size_t i = 0; i < count && !out->err; i++)
		row(&guests[i].shares, guests[i].guest->pid, guests[i].guest->name, out);
	return out->err;
}
