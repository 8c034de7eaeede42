/* utilization: where the samples hit, a line a guest. */
#include "fs/render.h"

#include <inttypes.h>

static void row(const struct profiler_shares *s, pid_t pid, const char *name, struct buf *out)
{
	render_percent(out, 7, s->host_kernel, s->total);
	render_percent(out, 7, s->host_user, s->total);
	render_percent(out, 10, s->guest_kernel, s->total);
	render_percent(out, 9, s->guest_user, s->total);
	buf_printf(out, " %7d ", (int)pid);
	render_text(out, name);
	buf_append_char(out, '\n');
}

static void lost(const struct profiler_shares *s, struct buf *out)
{
	if (s->lost)
		buf_printf(out, "# lost: %" PRIu64 "\n", s->lost);
}

int render_utilization(const struct profiler_shares *host, const struct render_share *guests,
		       size_t count, struct buf *out)
{
	if (host)
		lost(host, out);
	else if (count)
		lost(&guests[0].shares, out);
	buf_append_str(out, "#  SYS     US GUEST_SYS GUEST_US     PID NAME\n");
	if (host)
		row(host, 0, "[host]", out);
	for (size_t i = 0; i < count && !out->err; i++)
		row(&guests[i].shares, guests[i].guest->pid, guests[i].guest->name, out);
	return out->err;
}
