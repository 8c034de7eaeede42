/* The guest's RAM for a fetch: opened here, where the privilege is, by the thread that fetches,
 * and kept with the guest. */
#include "symsrc/base/clock.h"
#include "symsrc/base/log.h"
#include "symsrc/symload_impl.h"
#include "symsrc/vmmram.h"

bool symload_ram_facts_same(const struct guest *a, const struct guest *b)
{
	return a->memory_bytes == b->memory_bytes && guest_ram_equals(&a->ram, &b->ram);
}

void load_ram_deinit(struct load_ram *ram)
{
	vmmram_put(ram->opened);
	guest_put(ram->of);
	*ram = (struct load_ram){0};
}

static bool is_right(struct load_ram *ram, const struct guest *g)
{
	uint64_t now = clock_now_ns();

	if (!ram->opened || ram->doubtful || !symload_ram_facts_same(ram->of, g))
		return false;
	if (now - ram->checked_ns < SYMLOAD_RAM_CHECK_SEC * NSEC_PER_SEC)
		return true;
	ram->checked_ns = now;
	return vmmram_is_current(ram->opened);
}

static void open_ram(const char *proc_root, const struct guest *g, struct load_ram *ram)
{
	load_ram_deinit(ram);
	ram->of = guest_get(g);
	ram->checked_ns = clock_now_ns();
	if (vmmram_open(proc_root, g, &ram->opened, &ram->why) < 0) {
		ram->opened = NULL;
		log_debug("guest %d: %s", (int)g->pid, ram->why.text);
	}
}

void symload_prepare_ram(struct symload *sl, struct job *job)
{
	struct source_target *t = &job->req.target;

	/* Whoever goes by a recorded guest's pid now is somebody else, or has booted since. */
	if (sl->recorded || !source_wants_ram(job->req.uri))
		return;
	/* Where memory that was plugged in lies is known by QMP alone. */
	if (job->ram.doubtful)
		guests_doubt(sl->gs, job->guest->serial);
	if (!is_right(&job->ram, job->guest)) {
		open_ram(sl->proc_root, job->guest, &job->ram);
		/* What was missing may be in memory that is known only now. */
		job->whole |= job->ram.opened && job->had && job->had->partial;
	}
	t->ram = job->ram.opened;
	t->ram_why = job->ram.why;
}
