#include "profiler/perfopen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "profiler/cpus.h"
#include "profiler/record.h"
#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"

static int open_real(const struct perf_event_attr *attr, unsigned cpu)
{
	long fd = syscall(SYS_perf_event_open, attr, -1, (int)cpu, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}

const struct perf_world perf_world_real = {
	.roots = {.sys = "/sys"},
	.sysctl = "/proc/sys/kernel",
	.cpus_online = CPUS_ONLINE,
	.open = open_real,
};

static int read_text(const char *root, const char *name, struct buf *b)
{
	char path[256];

	if (snprintf(path, sizeof(path), "%s/%s", root, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return io_read_file(AT_FDCWD, path, b);
}

bool perf_vpmu_is_mediated(const struct perf_world *w, const char **ret_parameter)
{
	/* module_param_named(enable_mediated_pmu, ...): Linux 7.0, arch/x86/kvm/x86.c */
	static const char *const files[][2] = {
		{"module/kvm_intel/parameters/enable_mediated_pmu",
		 "kvm_intel.enable_mediated_pmu"},
		{"module/kvm_amd/parameters/enable_mediated_pmu", "kvm_amd.enable_mediated_pmu"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		CLEANUP_BUF struct buf b;

		buf_init(&b, 64);
		if (read_text(w->roots.sys, files[i][0], &b) == 0 &&
		    (b.data[0] == 'Y' || b.data[0] == '1')) {
			*ret_parameter = files[i][1];
			return true;
		}
	}
	return false;
}

/* exclude_host stays 0, since the host's share is counted too; precise_ip stays 0, since PEBS
 * cannot sample guests. wakeup_watermark 0 means half of the ring, however large that came out
 * (kernel/events/ring_buffer.c, ring_buffer_init()). */
void perf_plan_attr(const struct perf_plan *plan, struct perf_event_attr *ret)
{
	*ret = (struct perf_event_attr){
		.size = sizeof(*ret),
		.type = plan->event.type,
		.config = plan->event.config,
		.config1 = plan->event.config1,
		.config2 = plan->event.config2,
		.sample_freq = plan->freq,
		.freq = 1,
		.sample_type = RECORD_SAMPLE_TYPE,
		.read_format =
			PERF_FORMAT_TOTAL_TIME_ENABLED | (plan->exact_lost ? PERF_FORMAT_LOST : 0),
		.disabled = 1,
		.watermark = 1,
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC,
	};
}

uint64_t perf_plan_period(const struct perf_plan *plan)
{
	const struct event *e = &plan->event;
	bool counts_time = e->type == PERF_TYPE_SOFTWARE && (e->config == PERF_COUNT_SW_CPU_CLOCK ||
							     e->config == PERF_COUNT_SW_TASK_CLOCK);

	return counts_time && plan->freq ? NSEC_PER_SEC / plan->freq : 1;
}

/* On hybrid CPUs a generic event needs to say which of the two PMUs it means, in the upper half
 * of config (perf_event_open(2), PERF_TYPE_HARDWARE). 0 when this CPU has no PMU of that name. */
static uint64_t hybrid_type(const struct perf_world *w, const char *pmu, unsigned cpu)
{
	char path[256];
	struct cpus cpus;
	uint64_t type;

	snprintf(path, sizeof(path), "%s/bus/event_source/devices/%s/cpus", w->roots.sys, pmu);
	if (cpus_read(path, &cpus) < 0 || !cpus_has(&cpus, cpu))
		return 0;
	snprintf(path, sizeof(path), "%s/bus/event_source/devices/%s/type", w->roots.sys, pmu);
	return io_read_u64(AT_FDCWD, path, &type) < 0 ? 0 : type;
}

static int open_hybrid(const struct perf_world *w, struct perf_event_attr *attr, unsigned cpu)
{
	static const char *const pmus[] = {"cpu_core", "cpu_atom"};
	uint64_t type = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pmus) && !type; i++)
		type = hybrid_type(w, pmus[i], cpu);
	if (!type)
		return -ENOENT;
	attr->config |= type << 32;
	return w->open(attr, cpu);
}

int perf_plan_open(const struct perf_world *w, const struct perf_plan *plan, unsigned cpu)
{
	struct perf_event_attr attr;
	int fd;

	perf_plan_attr(plan, &attr);
	fd = w->open(&attr, cpu);
	if (fd == -ENOENT && attr.type == PERF_TYPE_HARDWARE)
		fd = open_hybrid(w, &attr, cpu);
	return fd;
}

/* Opens it once to see. A kernel before 6.0 says EINVAL to PERF_FORMAT_LOST. */
static int try_plan(const struct perf_world *w, struct perf_plan *plan, unsigned cpu)
{
	int fd;

	plan->exact_lost = true;
	fd = perf_plan_open(w, plan, cpu);
	if (fd == -EINVAL) {
		plan->exact_lost = false;
		fd = perf_plan_open(w, plan, cpu);
	}
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int explain_permission(const struct perf_world *w, const char *event, int err,
			      struct errmsg *why)
{
	CLEANUP_BUF struct buf paranoid;

	buf_init(&paranoid, 64);
	if (read_text(w->sysctl, "perf_event_paranoid", &paranoid) < 0)
		buf_append_str(&paranoid, "?");
	return errmsg_set(why, err,
			  "event '%s': no permission to sample all CPUs "
			  "(kernel.perf_event_paranoid is %.*s): run as root or with CAP_PERFMON; "
			  "in a container its seccomp filter may be the cause",
			  event, (int)strcspn(paranoid.data, "\n"), paranoid.data);
}

/* The event that all hosts have, unless it is the one that failed. */
static const char *other_event(const char *event)
{
	return strcmp(event, "cpu-clock") == 0 ? "" : "; use -e cpu-clock";
}

int perf_explain(const struct perf_world *w, const char *event, int err, struct errmsg *why)
{
	const char *what;

	switch (-err) {
	case EACCES:
	case EPERM: return explain_permission(w, event, err, why);
	case ENOENT:
	case ENODEV:
	case ENXIO:
		what = "this host has no counter for it (a virtual machine without a PMU?)";
		break;
	case EOPNOTSUPP:
		what = "the kernel does not sample guests with it (a guest with a mediated vPMU "
		       "runs, or this PMU cannot)";
		break;
	case EBUSY: what = "the counter is taken by somebody else"; break;
	case EMFILE:
	case ENFILE:
		return errmsg_set(why, err,
				  "event '%s': too many open files, one is needed for each CPU; "
				  "raise `ulimit -n`",
				  event);
	case ENOSYS:
		return errmsg_set(why, err, "this kernel has no perf events (CONFIG_PERF_EVENTS)");
	case EINVAL: /* what the user got wrong is told before */
		what = "this kernel cannot sample with it";
		err = -EIO;
		break;
	default: what = strerrordesc_np(-err);
	}
	return errmsg_set(why, err, "event '%s': %s%s", event, what, other_event(event));
}

/* What the kernel allows at most; UINT64_MAX when it does not say. */
static uint64_t max_freq(const struct perf_world *w)
{
	char path[256];
	uint64_t max;

	snprintf(path, sizeof(path), "%s/perf_event_max_sample_rate", w->sysctl);
	return io_read_u64(AT_FDCWD, path, &max) < 0 ? UINT64_MAX : max;
}

unsigned perf_default_freq(const struct perf_world *w)
{
	uint64_t max = max_freq(w);

	if (max >= PERF_DEFAULT_FREQ)
		return PERF_DEFAULT_FREQ;
	return max ? (unsigned)max : 1;
}

static int check_freq(const struct perf_world *w, unsigned freq, struct errmsg *why)
{
	uint64_t max = max_freq(w);

	if (freq == 0)
		return errmsg_set(why, -EINVAL, "frequency 0: must be at least 1 Hz");
	if (freq <= max)
		return 0;
	return errmsg_set(why, -EINVAL,
			  "frequency %u Hz: this kernel allows %llu at most; use -F %llu, or raise "
			  "kernel.perf_event_max_sample_rate with sysctl",
			  freq, (unsigned long long)max, (unsigned long long)max);
}

/* Why not cycles; empty when it opens and may be held. */
static void reason_against_cycles(const struct perf_world *w, struct perf_plan *plan, unsigned cpu,
				  char reason[static sizeof(plan->reason)])
{
	const char *parameter;
	int r;

	reason[0] = '\0';
	if (perf_vpmu_is_mediated(w, &parameter)) {
		snprintf(reason, sizeof(plan->reason),
			 "%s is on: a hardware event would keep VMs from starting", parameter);
		return;
	}
	r = try_plan(w, plan, cpu);
	if (r == -ENOENT || r == -ENODEV || r == -ENXIO)
		snprintf(reason, sizeof(plan->reason), "this host has no hardware counters");
	else if (r == -EOPNOTSUPP)
		snprintf(reason, sizeof(plan->reason),
			 "the kernel does not sample guests with cycles here");
	else if (r < 0)
		snprintf(reason, sizeof(plan->reason), "cycles: %s", strerrordesc_np(-r));
}

static int plan_auto(const struct perf_world *w, struct perf_plan *plan, unsigned cpu,
		     struct errmsg *why)
{
	char reason[sizeof(plan->reason)];
	int r;

	r = event_parse("cycles", &w->roots, &plan->event, why);
	if (r < 0)
		return r;
	reason_against_cycles(w, plan, cpu, reason);
	if (!reason[0]) {
		snprintf(plan->reason, sizeof(plan->reason), "hardware counters can be had");
		return 0;
	}
	r = event_parse("cpu-clock", &w->roots, &plan->event, why);
	if (r < 0)
		return r;
	memcpy(plan->reason, reason, sizeof(reason));
	r = try_plan(w, plan, cpu);
	return r < 0 ? perf_explain(w, plan->event.name, r, why) : 0;
}

static int plan_asked(const struct perf_world *w, const char *spec, struct perf_plan *plan,
		      unsigned cpu, struct errmsg *why)
{
	const char *parameter;
	int r;

	r = event_parse(spec, &w->roots, &plan->event, why);
	if (r < 0)
		return r;
	if (plan->event.core_pmu && perf_vpmu_is_mediated(w, &parameter))
		return errmsg_set(why, -EBUSY,
				  "event '%s': %s is on, and a hardware event would keep VMs from "
				  "starting; use -e cpu-clock",
				  plan->event.name, parameter);
	r = try_plan(w, plan, cpu);
	return r < 0 ? perf_explain(w, plan->event.name, r, why) : 0;
}

int perf_plan_make(const struct perf_world *w, const char *spec, unsigned freq, unsigned cpu,
		   struct perf_plan *ret, struct errmsg *why)
{
	struct perf_plan plan = {.freq = freq};
	int r;

	r = check_freq(w, freq, why);
	if (r < 0)
		return r;
	r = strcmp(spec, "auto") == 0 ? plan_auto(w, &plan, cpu, why)
				      : plan_asked(w, spec, &plan, cpu, why);
	if (r < 0)
		return r;
	*ret = plan;
	return 0;
}
