#include <errno.h>
#include <fnmatch.h>
#include <string.h>
#include <unistd.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/text.h"
#include "symsrc/symload_impl.h"

#define YOUNG_SEC	60
#define YOUNG_PAUSE_SEC 2
#define PAUSE_MAX_SEC	30
#define REFUSED_MIN_SEC 10 /* after a refusal: every attempt is a line in the guest's log */
#define REFUSED_MAX_SEC 300

const char *symload_uri_for(const struct source_rule *rules, size_t count, const struct guest *g)
{
	uint64_t pid;

	for (size_t i = 0; i < count; i++) {
		if (text_to_u64(rules[i].pattern, 10, INT32_MAX, &pid) && (pid_t)pid == g->pid)
			return rules[i].uri;
		if (fnmatch(rules[i].pattern, g->name, 0) == 0)
			return rules[i].uri;
	}
	return "auto";
}

static bool is_pointless(int err)
{
	return err == -EINVAL || err == -ENOSYS;
}

/* Errors that another attempt will most likely meet again. */
static bool is_refusal(int err)
{
	return err == -EACCES || err == -EPERM || err == -EKEYREJECTED || err == -EBADMSG ||
	       err == -EFBIG || err == -ENOBUFS;
}

unsigned symload_pause_sec(int err, unsigned failures, bool young)
{
	unsigned first = is_refusal(err) ? REFUSED_MIN_SEC : 1;
	unsigned max = is_refusal(err) ? REFUSED_MAX_SEC : PAUSE_MAX_SEC;
	unsigned pause = failures > 10 ? max : first << (failures - 1);

	if (is_pointless(err))
		return 0;
	if (young && pause > YOUNG_PAUSE_SEC)
		return YOUNG_PAUSE_SEC;
	return pause < max ? pause : max;
}

/* A source whose files are copies does not change behind our back. */
static bool is_worth_checking(const char *used)
{
	return strncmp(used, "kallsyms:", strlen("kallsyms:")) != 0;
}

bool symload_is_memory(const char *used)
{
	return strcmp(used, "memory") == 0 || strncmp(used, "vmlinux:", strlen("vmlinux:")) == 0;
}

/* Other sources ask somebody in the guest, by a connection for each look. */
static bool is_cheap_to_look_at(const struct load *l)
{
	return l->mark.len > 0 && symload_is_memory(l->used);
}

bool load_is_patient(const struct load *l)
{
	return l->slow || (!l->whole && load_symbols(l, l->epoch) && !is_cheap_to_look_at(l));
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void load_charge(struct load *l, uint64_t cpu_ns)
{
	l->paid_ns = later(l->paid_ns, clock_now_ns()) + SYMLOAD_CPU_SHARE * cpu_ns;
}

uint64_t load_when_affordable(const struct load *l, uint64_t when_ns)
{
	const uint64_t credit = NSEC_PER_SEC * SYMLOAD_CPU_SHARE * SYMLOAD_CPU_CREDIT_SEC;

	return l->paid_ns > credit ? later(when_ns, l->paid_ns - credit) : when_ns;
}

/* While a guest boots its modules come one after the other. One that loads and unloads all the
 * time must not keep us busy: a fetch rests, too. */
uint64_t load_next_look(const struct symload *sl, const struct load *l, const struct job *job)
{
	uint64_t now = clock_now_ns();

	if (!is_cheap_to_look_at(l))
		return is_worth_checking(l->used)
			       ? now + later(sl->check_ns, SYMLOAD_CPU_SHARE * job->cpu_ns)
			       : NEVER;
	if (load_is_young(l) && SYMLOAD_YOUNG_LOOK_MS * NSEC_PER_MSEC < sl->look_ns)
		return now + later(SYMLOAD_YOUNG_LOOK_MS * NSEC_PER_MSEC,
				   SYMLOAD_YOUNG_CPU_SHARE * job->cpu_ns);
	return now + later(sl->look_ns, SYMLOAD_CPU_SHARE * job->cpu_ns);
}

/* A guest that is not ready is tried again soon, but quickly: what is thorough costs time of a
 * CPU, or of whoever is asked besides. Should what is quick not be so, since somebody has forged
 * what it leads to, it rests as well. */
static uint64_t next_of_unready(struct load *l, const struct job *job, uint64_t rested)
{
	unsigned pause_ms = l->young ? SYMLOAD_BOOT_MS : SYMLOAD_QUIET_MS;
	unsigned share = l->young ? SYMLOAD_YOUNG_CPU_SHARE : SYMLOAD_CPU_SHARE;
	uint64_t now = clock_now_ns(), next = now + pause_ms * NSEC_PER_MSEC;
	bool was_quick = job->req.limits.quick && now - job->began_ns < NSEC_PER_SEC;
	uint64_t pause_ns = 0;

	if (!was_quick)
		l->failures++;
	if (!was_quick && !l->young)
		pause_ns = symload_pause_sec(job->result, l->failures, false) * NSEC_PER_SEC;
	if (!job->req.limits.quick) {
		l->thorough_ns = later(rested, now + pause_ns);
		return next;
	}
	/* Not every source knows a quick way, and a forged guest may make it long. */
	return later(next, now + later(pause_ns, share * job->cpu_ns));
}

uint64_t load_next_attempt(struct load *l, const struct job *job)
{
	uint64_t now = clock_now_ns(), rested = now + SYMLOAD_CPU_SHARE * job->cpu_ns;
	unsigned pause;

	if (job->result == -EAGAIN)
		return next_of_unready(l, job, rested);
	l->failures++;
	pause = symload_pause_sec(job->result, l->failures, l->young);
	return pause ? later(rested, now + pause * NSEC_PER_SEC) : NEVER;
}

/* start: clock ticks since boot (proc_pid_stat(5)). */
static bool guest_is_young(const struct guest *g)
{
	struct timespec ts;
	uint64_t started;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	started = g->start / (uint64_t)sysconf(_SC_CLK_TCK);
	return (uint64_t)ts.tv_sec < started + YOUNG_SEC;
}

bool load_is_young(const struct load *l)
{
	bool later_boot = l->epoch > 1;

	if (later_boot && clock_now_ns() - l->epoch_start_ns < YOUNG_SEC * NSEC_PER_SEC)
		return true;
	return guest_is_young(l->guest);
}
