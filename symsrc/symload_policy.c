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
	       err == -EFBIG;
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
bool symload_is_worth_checking(const char *used)
{
	return strncmp(used, "kallsyms:", strlen("kallsyms:")) != 0;
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
