#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/log.h"
#include "symsrc/memory/kernel_impl.h"

#define SCANNED_MAX   ((uint64_t)1 << 40) /* bytes; the deadline ends it earlier */
#define CLOCK_STEP_MS 4
#define FOUR_GIB      ((uint64_t)4 << 30)

static const char *const symbol_names[KERNEL_SYMBOL_COUNT] = {
	[KERNEL_LINUX_BANNER] = "linux_banner",
	[KERNEL_START_NOTES] = "__start_notes",
	[KERNEL_STOP_NOTES] = "__stop_notes",
	[KERNEL_START_BTF] = "__start_BTF",
	[KERNEL_STOP_BTF] = "__stop_BTF",
	[KERNEL_START_ORC_IP] = "__start_orc_unwind_ip",
	[KERNEL_STOP_ORC_IP] = "__stop_orc_unwind_ip",
	[KERNEL_START_ORC] = "__start_orc_unwind",
	[KERNEL_STOP_ORC] = "__stop_orc_unwind",
	[KERNEL_JIFFIES] = "jiffies_64",
	[KERNEL_MAX_PFN] = "max_pfn",
	[KERNEL_BOOT_ID] = "sysctl_bootid",
	[KERNEL_PTR_KEY] = "ptr_key",
	[KERNEL_PAGE_OFFSET_BASE] = "page_offset_base",
	[KERNEL_FREE_MODULE] = "free_module",
};

/* How well where RAM is thought to be agrees with what the kernel thinks. */
enum fit { FIT_NOT, FIT_UNKNOWN, FIT_ALL };

struct pick {
	struct ram *ram;
	struct kernel_mark *dead; /* or NULL */
	unsigned layout;
	struct kernel_candidate list[KERNEL_CANDIDATES_MAX];
	size_t candidates;
	struct kernel_mark trampolines; /* those alone */
	struct kernel *current;		/* of this layout's candidates so far */
	struct kernel_image dead_image;

	struct kernel *best; /* of the layouts so far */
	enum fit fit;
	bool saw_dead;
	struct errmsg refused; /* of the first candidate that was none; code 0: there was none */
	struct ram_sights sights;
	bool scanned;
};

/* ---- which of several ----------------------------------------------------------------------- */

static bool advances(const struct kernel *k)
{
	uint64_t now;

	return k->mark.jiffies_va &&
	       image_read(k->ram, &k->mark.image, k->mark.jiffies_va, &now, sizeof(now)) == 0 &&
	       now > k->mark.jiffies;
}

static void wait_a_tick(const struct ram *ram)
{
	struct pollfd cancel = {.fd = ram->limits ? ram->limits->cancel_fd : -1, .events = POLLIN};

	poll(&cancel, 1, CLOCK_STEP_MS);
}

/* Whether b's clock advances and a's does not, for as long as it takes to see one of them. */
static bool only_second_runs(const struct kernel *a, const struct kernel *b)
{
	uint64_t until_ns = clock_now_ns() + KERNEL_ALIVE_MS * NSEC_PER_MSEC;

	log_debug("guest memory: two kernels: which one runs?");
	do {
		if (advances(a))
			return false;
		if (advances(b))
			return true;
		wait_a_tick(a->ram);
	} while (clock_now_ns() < until_ns);
	return false;
}

/* What has no clock is believed. */
static bool runs(const struct kernel *k)
{
	uint64_t until_ns = clock_now_ns() + KERNEL_ALIVE_MS * NSEC_PER_MSEC;

	if (!k->mark.jiffies_va)
		return true;
	while (!advances(k)) {
		if (clock_now_ns() >= until_ns)
			return false;
		wait_a_tick(k->ram);
	}
	return true;
}

/* Takes k over. Never more than two are held at a time: each takes up to some 100 MB. */
static void compare(struct pick *p, struct kernel *k)
{
	struct kernel *other = k;

	if (!p->current || only_second_runs(p->current, k)) {
		other = p->current;
		p->current = k;
	}
	kernel_destroy(other);
}

/* ---- one candidate -------------------------------------------------------------------------- */

/* What is wrong with a candidate, and not with the guest, its VMM or our time. */
static bool is_refusal(int r)
{
	return r == -ENOENT || r == -EBADMSG || r == -ENXIO || r == -EFAULT || r == -EBUSY ||
	       r == -ENODATA;
}

static void find_symbols(struct kernel *k)
{
	ksyms_find_many(k->ksyms, symbol_names, KERNEL_SYMBOL_COUNT, k->at);
	ksyms_find_many(k->ksyms, kmodules_root_names, KMODULES_ROOT_COUNT, k->roots.va);
}

static int read_candidate(const struct pick *p, struct kernel *k, struct errmsg *why)
{
	int r = ksyms_read(p->ram, &k->candidate, &k->ksyms, why);

	if (r < 0)
		return r;
	find_symbols(k);
	k->mark.layout = p->layout;
	memcpy(k->mark.trampolines, p->trampolines.trampolines, sizeof(k->mark.trampolines));
	r = kernel_make_mark(k);
	return r < 0 ? ram_explain(r, why) : 0;
}

static bool is_at(const struct kernel_image *a, const struct kernel_image *b)
{
	return a->va && a->va == b->va && a->pa == b->pa;
}

/* One kernel is found in several ways. */
static bool is_known(const struct pick *p, const struct kernel_image *image)
{
	return is_at(image, &p->dead_image) ||
	       (p->current && is_at(image, &p->current->candidate.image));
}

static bool is_of_boot_before(const struct pick *p, const struct kernel *k)
{
	if (p->dead && kernel_is_dead(&k->mark, p->dead))
		return true;
	return p->ram->limits && p->ram->limits->remains && !runs(k);
}

static void take(struct pick *p, struct kernel *k)
{
	if (!is_of_boot_before(p, k)) {
		compare(p, k);
		return;
	}
	p->saw_dead = true;
	p->dead_image = k->candidate.image;
	kernel_destroy(k);
}

/* 0 also when it is refused. */
static int try_candidate(struct pick *p, const struct kernel_candidate *c)
{
	struct kernel *k = calloc(1, sizeof(*k));
	struct errmsg why = {0};
	int r;

	if (!k)
		return -ENOMEM;
	k->ram = p->ram;
	k->candidate = *c;
	r = read_candidate(p, k, &why);
	if (r == 0 && !is_known(p, &k->candidate.image)) {
		take(p, k);
		return 0;
	}
	kernel_destroy(k);
	if (is_refusal(r) && p->refused.code == 0)
		errmsg_set(&p->refused, r, "%s", why.text);
	return is_refusal(r) ? 0 : r;
}

/* Remains lie there for as long as the guest is in its firmware, and are come by at each attempt:
 * they are not to be decoded each time. */
static bool is_remains(struct pick *p, const struct kernel_image *image)
{
	if (!p->dead || !is_at(image, &p->dead->image) || !kernel_lies_dead(p->ram, p->dead))
		return false;
	p->saw_dead = true;
	p->dead_image = *image;
	return true;
}

static int try_candidates(struct pick *p)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->candidates; i++) {
		if (is_known(p, &p->list[i].image) || is_remains(p, &p->list[i].image))
			continue;
		if (p->current && advances(p->current))
			return 0; /* that one it is */
		r = try_candidate(p, &p->list[i]);
	}
	return r;
}

/* ---- layouts -------------------------------------------------------------------------------- */

static bool is_ram(struct ram *ram, uint64_t gpa)
{
	uint64_t unused;
	int r = ram_read_u64(ram, gpa, &unused);

	return r == 0 || r == -EBUSY;
}

/* The kernel knows where its RAM ends: max_pfn (arch/x86/kernel/setup.c). */
static enum fit fit_of(const struct kernel *k)
{
	uint64_t pages = 0, end;

	if (!k->at[KERNEL_MAX_PFN] ||
	    image_read(k->ram, &k->mark.image, k->at[KERNEL_MAX_PFN], &pages, sizeof(pages)) < 0)
		return FIT_UNKNOWN;
	if (pages > UINT64_MAX / RAM_PAGE)
		return FIT_NOT;
	end = pages * RAM_PAGE;
	if (end <= FOUR_GIB) /* all layouts are the same there */
		return FIT_ALL;
	if (!is_ram(k->ram, end - RAM_PAGE))
		return FIT_NOT;
	return is_ram(k->ram, end) ? FIT_UNKNOWN : FIT_ALL;
}

/* Keeps what was found in this layout if it is the best so far. */
static void keep_best(struct pick *p)
{
	struct kernel *other = p->current;
	enum fit fit = other ? fit_of(other) : FIT_NOT;

	if (other && (!p->best || fit > p->fit)) {
		other = p->best;
		p->best = p->current;
		p->fit = fit;
	}
	kernel_destroy(other);
	p->current = NULL;
}

typedef int find_fn(struct pick *p);

static int by_trampoline(struct pick *p)
{
	int n = find_by_trampoline(p->ram, p->list, KERNEL_CANDIDATES_MAX);

	p->candidates = n < 0 ? 0 : (size_t)n;
	kernel_note_trampolines(&p->trampolines, p->list, p->candidates);
	return n;
}

static int by_scan(struct pick *p)
{
	int n = find_by_scan(p->ram, SCANNED_MAX, p->list, KERNEL_CANDIDATES_MAX, &p->sights);

	p->candidates = n < 0 ? 0 : (size_t)n;
	p->scanned |= n >= 0;
	return n;
}

/* 0, found or not; negative errno: it is over. */
static int find_in_layouts(struct pick *p, find_fn *find)
{
	int r = 0;

	for (p->layout = 0; p->layout < KERNEL_LAYOUTS_MAX; p->layout++) {
		r = ram_use_layout(p->ram, p->layout);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		r = find(p);
		if (r >= 0)
			r = try_candidates(p);
		if (r < 0)
			return r;
		keep_best(p);
		if (p->best && p->fit == FIT_ALL)
			return 0;
	}
	return 0;
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* No kernel: why. */
static int explain_none(const struct pick *p, bool quick, struct errmsg *why)
{
	int r;

	if (p->saw_dead)
		return errmsg_set(why, -EAGAIN,
				  "guest memory: there is only the kernel of the boot before yet");
	if (quick)
		return errmsg_set(why, -EAGAIN, "guest memory: no kernel yet");
	if (p->refused.code == -EBUSY)
		return ram_explain(-EBUSY, why);
	r = explain_sights(&p->sights, why);
	/* Linux, but nothing to be read of it: what was wrong with it says more. */
	if (r != -EAGAIN && r != -ENOTSUP && p->refused.code == -EBADMSG)
		return errmsg_set(why, -EBADMSG, "%s", p->refused.text);
	return r;
}

static int pick(struct pick *p, bool quick, struct errmsg *why)
{
	int r = find_in_layouts(p, by_trampoline);

	if (r == 0 && !p->best && !quick)
		r = find_in_layouts(p, by_scan);
	if (r < 0)
		return ram_explain(r, why);
	return p->best ? 0 : explain_none(p, quick, why);
}

int kernel_pick(struct ram *ram, struct kernel_mark *dead, bool quick, struct kernel **ret,
		struct errmsg *why)
{
	struct pick *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->ram = ram;
	p->dead = dead;
	r = pick(p, quick, why);
	if (r == 0 && p->best)
		r = ram_use_layout(ram, p->best->mark.layout);
	if (r == 0 && p->best)
		*ret = take_ptr(p->best);
	kernel_destroy(p->current);
	kernel_destroy(p->best);
	free(p);
	return r;
}
