/* PID/vcpus: a line a vCPU. */
#include "fs/render.h"

#include <inttypes.h>

static void row(const struct profiler_vcpu *v, const struct render_thread *t, struct buf *out)
{
	buf_printf(out, "%5u %7d ", v->index, (int)v->tid);
	if (t->cpu >= 0)
		buf_printf(out, "%4d ", t->cpu);
	else
		buf_append_str(out, "   - ");
	buf_printf(out, "%5c %8" PRIu64 " ", t->state ? t->state : '-', v->kernel + v->user);
	if (v->has_exits)
		buf_printf(out, "%5" PRIu64 "\n", v->exits);
	else
		buf_append_str(out, "    -\n");
}

int render_vcpus(const struct profiler_vcpu *vcpus, const struct render_thread *threads,
		 size_t count, bool paused, struct buf *out)
{
	if (paused)
		buf_append_str(out, "# paused: samples are not counted now\n");
	buf_append_str(out, "# INDEX TID CPU STATE SAMPLES EXITS\n");
	for (size_t i = 0; i < count && !out->err; i++)
		row(&vcpus[i], &threads[i], out);
	return out->err;
}
