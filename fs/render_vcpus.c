/* PID/vcpus: a line a vCPU. */
#include "fs/render.h"

#include <inttypes.h>

static void row(const struct profiler_vcpu *v, const struct render_thread *t, struct buf *out)
{
	if (v->unnumbered)
		buf_printf(out, "    - %7d ", (int)v->tid);
	else
		buf_printf(out, "%5u %7d ", v->index, (int)v->tid);
	if (t->cpu >= 0)
		buf_printf(out, "%4d ", t->cpu);
	else
		buf_append_str(out, "   - ");
	buf_printf(out, "%5c ", t->state ? t->state : '-');
	if (v->unnumbered)
		buf_append_str(out, "       - ");
	else
		buf_printf(out, "%8" PRIu64 " ", v->kernel + v->user);
	if (v->has_exits)
		buf_printf(out, "%5" PRIu64 "\n", v->exits);
	else
		buf_append_str(out, "    -\n");
}

/* Who would have told. */
static void unknown(size_t count, struct buf *out)
{
	buf_printf(out,
		   "# missing: %s: neither names of threads nor QMP nor KVM's debugfs tell: "
		   "-name NAME,debug-threads=on or -qmp for QEMU, or mount -t debugfs debugfs "
		   "/sys/kernel/debug\n",
		   count ? "which thread is which vCPU, their samples, and vcpu/"
			 : "the vCPUs, and vcpu/");
}

int render_vcpus(const struct profiler_vcpu *vcpus, const struct render_thread *threads,
		 size_t count, bool paused, struct buf *out)
{
	if (paused)
		buf_append_str(out, "# paused: samples are not counted now\n");
	if (count == 0 || vcpus[0].unnumbered)
		unknown(count, out);
	buf_append_str(out, "# INDEX TID CPU STATE SAMPLES EXITS\n");
	for (size_t i = 0; i < count && !out->err; i++)
		row(&vcpus[i], &threads[i], out);
	return out->err;
}
