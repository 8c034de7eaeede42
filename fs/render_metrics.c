/* metrics: OpenMetrics text (prometheus.io/docs/specs/om/open_metrics_spec). Only counters and
 * gauges, so that it is classic Prometheus text, too, which knows no other types of OpenMetrics and
 * takes UNIT and EOF for comments (node_exporter's textfile collector). A guest's series are
 * bounded: nothing grows with symbols, objects, vCPUs or devices. */
#include "fs/render.h"

#include <inttypes.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"

static const struct render_quote label_quotes[] = {{'"', "\\\""}, {'\\', "\\\\"}, {0}};

struct metrics {
	const struct render_status *status;
	const struct render_metrics_guest *guests;
	size_t count;
	const struct render_when *when;
	struct buf *out;
};

enum metric_type { GAUGE, COUNTER };

struct family {
	const char *name;
	enum metric_type type;
	const char *unit; /* what the name ends with, or NULL */
	const char *help;
	void (*samples)(const struct metrics *m, const struct family *f);
};

#define EXITS_TO_VMM "kvmprofs_guest_exits_to_vmm"

/* -- pieces ------------------------------------------------------------------------------ */

static void label(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, "%s=\"", key);
	render_quoted(out, value, label_quotes);
	buf_append_char(out, '"');
}

static void begin(const struct metrics *m, const struct family *f)
{
	buf_printf(m->out, "%s%s", f->name, f->type == COUNTER ? "_total" : "");
}

static void begin_guest(const struct metrics *m, const struct family *f, const struct guest *g)
{
	begin(m, f);
	buf_printf(m->out, "{pid=\"%d\",", (int)g->pid);
	label(m->out, "name", g->name);
}

static void end(const struct metrics *m, uint64_t value)
{
	buf_printf(m->out, " %" PRIu64 "\n", value);
}

static void end_seconds(const struct metrics *m, uint64_t ns)
{
	buf_printf(m->out, " %" PRIu64 ".%03u\n", (uint64_t)(ns / NSEC_PER_SEC),
		   (unsigned)(ns % NSEC_PER_SEC / NSEC_PER_MSEC));
}

static void plain(const struct metrics *m, const struct family *f, uint64_t value)
{
	begin(m, f);
	end(m, value);
}

static void with_mode(const struct metrics *m, const struct family *f, const char *mode,
		      uint64_t value)
{
	begin(m, f);
	buf_printf(m->out, "{mode=\"%s\"}", mode);
	end(m, value);
}

/* -- the daemon -------------------------------------------------------------------------- */

static void build_info(const struct metrics *m, const struct family *f)
{
	begin(m, f);
	buf_append_char(m->out, '{');
	label(m->out, "version", m->status->version);
	buf_append_char(m->out, '}');
	end(m, 1);
}

static void start_time(const struct metrics *m, const struct family *f)
{
	begin(m, f);
	end_seconds(m, render_wall_ns(m->when, m->status->totals.since_ns));
}

static void cpu(const struct metrics *m, const struct family *f)
{
	begin(m, f);
	buf_append_str(m->out, "{mode=\"user\"}");
	end_seconds(m, m->status->cpu_user_ns);
	begin(m, f);
	buf_append_str(m->out, "{mode=\"system\"}");
	end_seconds(m, m->status->cpu_system_ns);
}

static void memory(const struct metrics *m, const struct family *f)
{
	plain(m, f, m->status->rss_bytes);
}

static void guest_count(const struct metrics *m, const struct family *f)
{
	plain(m, f, m->status->guests);
}

static void frequency(const struct metrics *m, const struct family *f)
{
	plain(m, f, m->status->totals.freq);
}

static void cpus(const struct metrics *m, const struct family *f)
{
	plain(m, f, m->status->totals.cpus);
}

static void samples(const struct metrics *m, const struct family *f)
{
	const struct profiler_totals *t = &m->status->totals;

	if (!render_has_samples(t))
		return;
	with_mode(m, f, "guest", t->guest_samples - t->stranger_guest);
	with_mode(m, f, "unknown_guest", t->stranger_guest);
	with_mode(m, f, "host_kernel", t->host_kernel);
	with_mode(m, f, "host_user", t->host_user);
	with_mode(m, f, "host_idle", t->host_idle);
}

static void qmp_samples(const struct metrics *m, const struct family *f)
{
	plain(m, f, m->status->totals.qmp_samples);
}

static void lost(const struct metrics *m, const struct family *f)
{
	if (render_has_samples(&m->status->totals))
		plain(m, f, m->status->totals.lost);
}

static void throttled(const struct metrics *m, const struct family *f)
{
	if (render_has_samples(&m->status->totals))
		plain(m, f, m->status->totals.throttled);
}

/* -- guests ------------------------------------------------------------------------------ */

static void guest_info(const struct metrics *m, const struct family *f)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct guest *g = m->guests[i].entry->guest;

		begin_guest(m, f, g);
		buf_append_char(m->out, ',');
		label(m->out, "uuid", g->uuid);
		buf_append_char(m->out, ',');
		label(m->out, "vmm", g->vmm);
		buf_printf(m->out, ",accelerator=\"%s\",sampler=\"%s\"}",
			   guest_accel_name(g->accel),
			   render_sampler_name(m->guests[i].counts.sampler));
		end(m, 1);
	}
}

static void guest_mode(const struct metrics *m, const struct family *f,
		       const struct render_metrics_guest *g, const char *mode, uint64_t value)
{
	begin_guest(m, f, g->entry->guest);
	buf_printf(m->out, ",mode=\"%s\"}", mode);
	end(m, value);
}

static void guest_samples(const struct metrics *m, const struct family *f)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct render_metrics_guest *g = &m->guests[i];

		guest_mode(m, f, g, "guest_kernel", g->counts.guest_kernel);
		guest_mode(m, f, g, "guest_user", g->counts.guest_user);
		if (!render_has_samples(&m->status->totals))
			continue;
		guest_mode(m, f, g, "host_kernel", g->counts.host_kernel);
		guest_mode(m, f, g, "host_user", g->counts.host_user);
	}
}

/* Of more reasons than any kernel has, the rest is one. */
#define REASONS_MAX 100

static void add_sums(struct exits_sums *to, const struct exits_sums *s)
{
	to->count += s->count;
	to->userspace += s->userspace;
	to->total += s->total;
}

static void guest_reason(const struct metrics *m, const struct family *f, const struct guest *g,
			 const char *reason, const struct exits_sums *s)
{
	begin_guest(m, f, g);
	buf_append_char(m->out, ',');
	label(m->out, "reason", reason);
	buf_append_char(m->out, '}');
	if (f->unit)
		end_seconds(m, s->total);
	else
		end(m, strcmp(f->name, EXITS_TO_VMM) == 0 ? s->userspace : s->count);
}

static void reasons_of(const struct metrics *m, const struct family *f, const struct guest *g,
		       const struct exits_list *list)
{
	struct exits_sums other = {0};

	for (size_t i = 0; i < list->count; i++) {
		const struct exits_line *l = &list->lines[i];

		if (i < REASONS_MAX && l->key.kind != EXITS_KINDS)
			guest_reason(m, f, g, l->name, &l->row.sums);
		else
			add_sums(&other, &l->row.sums);
	}
	if (other.count)
		guest_reason(m, f, g, "[other]", &other);
}

/* None of a guest whose exits are not counted: that is not 0. */
static void guest_exits(const struct metrics *m, const struct family *f)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct render_metrics_guest *g = &m->guests[i];

		if (g->exits && !g->exits->note[0])
			reasons_of(m, f, g->entry->guest, &g->exits->lists[EXITS_REASON]);
	}
}

/* By the VMM's own reasons: all that is known where kvm_exit does not fire. */
static void guest_vmm_exits(const struct metrics *m, const struct family *f)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct render_metrics_guest *g = &m->guests[i];

		if (g->exits && !g->exits->note[0])
			reasons_of(m, f, g->entry->guest, &g->exits->lists[EXITS_VMM]);
	}
}

static void each_guest(const struct metrics *m, const struct family *f,
		       uint64_t (*value)(const struct render_metrics_guest *g))
{
	for (size_t i = 0; i < m->count; i++) {
		begin_guest(m, f, m->guests[i].entry->guest);
		buf_append_char(m->out, '}');
		end(m, value(&m->guests[i]));
	}
}

static uint64_t frequency_of(const struct render_metrics_guest *g)
{
	return g->counts.freq;
}

static uint64_t vcpus_of(const struct render_metrics_guest *g)
{
	return g->entry->guest->vcpu_count;
}

static uint64_t memory_of(const struct render_metrics_guest *g)
{
	return g->entry->guest->memory_bytes;
}

static uint64_t boots_of(const struct render_metrics_guest *g)
{
	return g->entry->epoch;
}

static uint64_t symbols_of(const struct render_metrics_guest *g)
{
	return g->has_symbols;
}

static uint64_t paused_of(const struct render_metrics_guest *g)
{
	return g->counts.paused;
}

static void guest_frequency(const struct metrics *m, const struct family *f)
{
	each_guest(m, f, frequency_of);
}

static void guest_vcpus(const struct metrics *m, const struct family *f)
{
	each_guest(m, f, vcpus_of);
}

static void guest_memory(const struct metrics *m, const struct family *f)
{
	each_guest(m, f, memory_of);
}

static void guest_boots(const struct metrics *m, const struct family *f)
{
	each_guest(m, f, boots_of);
}

static void guest_symbols(const struct metrics *m, const struct family *f)
{
	each_guest(m, f, symbols_of);
}

static void guest_paused(const struct metrics *m, const struct family *f)
{
	each_guest(m, f, paused_of);
}

static const struct family families[] = {
	{"kvmprofs_build_info", GAUGE, NULL, "1, with the version", build_info},
	{"kvmprofs_start_time_seconds", GAUGE, "seconds", "When it began, since 1970", start_time},
	{"kvmprofs_cpu_seconds", COUNTER, "seconds", "Its own CPU time", cpu},
	{"kvmprofs_resident_memory_bytes", GAUGE, "bytes", "Its own memory", memory},
	{"kvmprofs_guests", GAUGE, NULL, "Guests that run", guest_count},
	{"kvmprofs_sampling_frequency_hertz", GAUGE, "hertz", "Samples a second on each CPU",
	 frequency},
	{"kvmprofs_sampling_cpus", GAUGE, NULL, "CPUs that are sampled", cpus},
	{"kvmprofs_samples", COUNTER, NULL, "Samples by what the CPU was doing", samples},
	{"kvmprofs_qmp_samples", COUNTER, NULL, "Samples that are registers read over QMP",
	 qmp_samples},
	{"kvmprofs_lost_samples", COUNTER, NULL, "Samples that the kernel could not write", lost},
	{"kvmprofs_throttled", COUNTER, NULL, "Times that the kernel slowed the event down",
	 throttled},
	{"kvmprofs_guest_info", GAUGE, NULL, "1, with what a guest is", guest_info},
	{"kvmprofs_guest_samples", COUNTER, NULL,
	 "Samples of a guest since the mount or its last reset", guest_samples},
	{"kvmprofs_guest_sampling_frequency_hertz", GAUGE, "hertz",
	 "Samples a second while a vCPU runs", guest_frequency},
	{"kvmprofs_guest_exits", COUNTER, NULL, "VM exits", guest_exits},
	{EXITS_TO_VMM, COUNTER, NULL, "VM exits that the VMM had to handle", guest_exits},
	{"kvmprofs_guest_exit_seconds", COUNTER, "seconds", "Time until the guest ran again",
	 guest_exits},
	{"kvmprofs_guest_vmm_exits", COUNTER, NULL, "Exits to the VMM by what it was asked for",
	 guest_vmm_exits},
	{"kvmprofs_guest_paused", GAUGE, NULL, "1 while its samples are not counted", guest_paused},
	{"kvmprofs_guest_vcpus", GAUGE, NULL, "vCPUs of a guest", guest_vcpus},
	{"kvmprofs_guest_memory_bytes", GAUGE, "bytes",
	 "Memory of a guest at its start; 0: not known", guest_memory},
	{"kvmprofs_guest_boots", COUNTER, NULL, "Boots of a guest that were seen", guest_boots},
	{"kvmprofs_guest_symbols", GAUGE, NULL, "1 when the symbols of its current boot are here",
	 guest_symbols},
};

static void put_family(const struct metrics *m, const struct family *f)
{
	buf_printf(m->out, "# TYPE %s %s\n", f->name, f->type == COUNTER ? "counter" : "gauge");
	if (f->unit)
		buf_printf(m->out, "# UNIT %s %s\n", f->name, f->unit);
	buf_printf(m->out, "# HELP %s %s\n", f->name, f->help);
	f->samples(m, f);
}

int render_metrics(const struct render_status *s, const struct render_metrics_guest *guests,
		   size_t count, const struct render_when *when, struct buf *out)
{
	struct metrics m = {
		.status = s, .guests = guests, .count = count, .when = when, .out = out};

	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		put_family(&m, &families[i]);
	return buf_append_str(out, "# EOF\n");
}
