#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "symsrc/base/clock.h"
#include "symsrc/memory/kernel_impl.h"
#include "symsrc/memory/ramscan.h"

#define ENTRY_ADDRESS	0x000ffffffffff000ULL
#define TRAMPOLINE_LAST 4088 /* of trampoline_pgd: what maps the kernel's image */
#define BANNER_BYTES	128
#define NOTES_BYTES	1024

/* include/linux/jiffies.h: INITIAL_JIFFIES is minus five minutes, as 32 bits, whatever HZ is. */
#define HZ_MAX	      1000
#define JIFFIES_FIRST ((uint64_t)UINT32_MAX + 1 - 300ULL * HZ_MAX)

/* How long each birth is, in the order in which the mark has them. */
static const struct birth_kind {
	enum kernel_symbol symbol;
	size_t len;
} births[KERNEL_BIRTHS] = {
	{KERNEL_BOOT_ID, 16},
	{KERNEL_PTR_KEY, 16},
	{KERNEL_PAGE_OFFSET_BASE, 8},
};

/* ---- reading it ----------------------------------------------------------------------------- */

static int digest_range(struct ram *ram, const struct kernel_image *image, uint64_t va, size_t n,
			uint32_t *digest)
{
	unsigned char bytes[NOTES_BYTES];
	int r = image_read(ram, image, va, bytes, n);

	if (r == 0)
		*digest = (uint32_t)crc32_z(*digest, bytes, n);
	return r;
}

static int read_digest(struct ram *ram, const struct kernel_mark *m, uint32_t *ret)
{
	uint32_t digest = 0;
	int r = 0;

	if (m->banner_va)
		r = digest_range(ram, &m->image, m->banner_va, BANNER_BYTES, &digest);
	if (r == 0 && m->notes_va)
		r = digest_range(ram, &m->image, m->notes_va, m->notes_len, &digest);
	if (r == 0)
		*ret = digest;
	return r;
}

static int read_trampoline(struct ram *ram, const struct kernel_mark *m, uint64_t *ret)
{
	uint64_t entry;
	int r = ram_read_u64(ram, m->trampoline + TRAMPOLINE_LAST, &entry);

	if (r == 0)
		*ret = entry & ENTRY_ADDRESS;
	return r;
}

/* A random UUID (version 4) that is not written to the end yet counts as not drawn. */
static bool is_whole_uuid(const uint8_t *uuid)
{
	return uuid[6] >> 4 == 4 && uuid[8] >> 6 == 2;
}

static int read_birth(struct ram *ram, const struct kernel_mark *m, size_t i, uint8_t *ret)
{
	uint8_t bytes[KERNEL_BIRTH_MAX] = {0};
	int r = 0;

	if (m->births[i].va)
		r = image_read(ram, &m->image, m->births[i].va, bytes, births[i].len);
	if (r < 0)
		return r;
	if (births[i].symbol == KERNEL_BOOT_ID && !is_whole_uuid(bytes))
		memset(bytes, 0, sizeof(bytes));
	memcpy(ret, bytes, sizeof(bytes));
	return 0;
}

/* What a mark says, read anew. */
static int read_again(struct ram *ram, const struct kernel_mark *m, struct kernel_mark *ret)
{
	struct kernel_mark now = *m;
	int r = read_digest(ram, m, &now.digest);

	if (r == 0 && m->trampoline)
		r = read_trampoline(ram, m, &now.trampoline_entry);
	for (size_t i = 0; r == 0 && i < KERNEL_BIRTHS; i++)
		r = read_birth(ram, m, i, now.births[i].bytes);
	if (r == 0 && m->jiffies_va)
		r = image_read(ram, &m->image, m->jiffies_va, &now.jiffies, sizeof(now.jiffies));
	now.looked_ns = clock_now_ns();
	if (r == 0)
		*ret = now;
	return r;
}

/* Of the kernel that it leads to, not of the page: pages of processes do as well, and come and
 * go. Never 0. */
static uint32_t digest_of(const struct kernel_candidate *c)
{
	const uint64_t place[] = {c->image.va, c->image.pa};

	return (uint32_t)crc32_z(0, (const unsigned char *)place, sizeof(place)) | 1;
}

void kernel_note_trampolines(struct kernel_mark *m, const struct kernel_candidate *list, size_t n)
{
	memset(m->trampolines, 0, sizeof(m->trampolines));
	for (size_t i = 0; i < n && i < KERNEL_TRAMPOLINES; i++)
		m->trampolines[i] = digest_of(&list[i]);
}

static bool is_noted(const struct kernel_mark *m, uint32_t digest)
{
	for (size_t i = 0; i < KERNEL_TRAMPOLINES; i++) {
		if (m->trampolines[i] == digest)
			return true;
	}
	return false;
}

/* ---- making it ------------------------------------------------------------------------------ */

/* 0 also when it is not where the image is known to be. */
static uint64_t place_of(const struct kernel *k, enum kernel_symbol symbol)
{
	return image_pa(&k->candidate.image, k->at[symbol]) ? k->at[symbol] : 0;
}

int kernel_make_mark(struct kernel *k)
{
	struct kernel_mark m = {.image = k->candidate.image,
				.layout = k->mark.layout,
				.banner_va = place_of(k, KERNEL_LINUX_BANNER),
				.jiffies_va = place_of(k, KERNEL_JIFFIES)};
	uint64_t notes = place_of(k, KERNEL_START_NOTES), end = k->at[KERNEL_STOP_NOTES];

	memcpy(m.trampolines, k->mark.trampolines, sizeof(m.trampolines));
	/* Another page than the trampoline itself may be used for something else tomorrow. */
	if (k->candidate.way == KERNEL_BY_TRAMPOLINE && k->candidate.maps_itself)
		m.trampoline = k->candidate.trampoline;
	if (notes && end > notes) {
		m.notes_va = notes;
		m.notes_len = end - notes < NOTES_BYTES ? (uint32_t)(end - notes) : NOTES_BYTES;
	}
	for (size_t i = 0; i < KERNEL_BIRTHS; i++)
		m.births[i].va = place_of(k, births[i].symbol);
	return read_again(k->ram, &m, &k->mark);
}

/* ---- telling boots apart -------------------------------------------------------------------- */

static bool is_drawn(const struct kernel_birth *b)
{
	static const uint8_t zeros[KERNEL_BIRTH_MAX];

	return b->va && memcmp(b->bytes, zeros, sizeof(zeros)) != 0;
}

/* What was drawn stays: another value, or none, belongs to another boot. */
static bool births_differ(const struct kernel_mark *before, const struct kernel_mark *now)
{
	for (size_t i = 0; i < KERNEL_BIRTHS; i++) {
		const struct kernel_birth *b = &before->births[i], *n = &now->births[i];

		if (is_drawn(b) && b->va == n->va &&
		    memcmp(b->bytes, n->bytes, sizeof(b->bytes)) != 0)
			return true;
	}
	return false;
}

static bool is_same_image(const struct kernel_mark *a, const struct kernel_mark *b)
{
	return a->image.va == b->image.va && a->image.pa == b->image.pa && a->digest == b->digest;
}

/* The clock of a kernel that began to run not long ago. */
static bool has_started_again(const struct kernel_mark *now, const struct kernel_mark *dead)
{
	return now->jiffies < dead->jiffies && now->jiffies >= JIFFIES_FIRST;
}

/* By no more than could be in the time between, with half of it to spare. */
static bool has_advanced(const struct kernel_mark *now, uint64_t jiffies, uint64_t looked_ns)
{
	uint64_t passed_ms = (now->looked_ns - looked_ns) / NSEC_PER_MSEC;
	uint64_t most = passed_ms * HZ_MAX / 1000;

	return now->jiffies > jiffies && now->jiffies - jiffies <= most + most / 2 + 10;
}

/* The clock of a snapshot that was loaded leaps to where it would be had it never been saved, and
 * goes on from there. What firmware wrote over it does not go on. */
static bool goes_on_after_leap(const struct kernel_mark *found, struct kernel_mark *dead)
{
	if (found->jiffies <= dead->jiffies || found->jiffies == dead->leapt)
		return false;
	if (dead->leapt && has_advanced(found, dead->leapt, dead->leapt_ns))
		return true;
	dead->leapt = found->jiffies;
	dead->leapt_ns = found->looked_ns;
	return false;
}

bool kernel_is_dead(const struct kernel_mark *found, struct kernel_mark *dead)
{
	if (!is_same_image(found, dead) || births_differ(dead, found))
		return false;
	if (!found->jiffies_va) {
		if (!dead->over)
			dead->looked_ns = found->looked_ns;
		dead->over = true;
		return found->looked_ns - dead->looked_ns < KERNEL_CLOCKLESS_NS;
	}
	if (has_started_again(found, dead))
		return false;
	if (dead->over)
		return !has_advanced(found, dead->jiffies, dead->looked_ns) &&
		       !goes_on_after_leap(found, dead);
	dead->jiffies = found->jiffies;
	dead->looked_ns = found->looked_ns;
	dead->over = true;
	return true;
}

bool kernel_lies_dead(struct ram *ram, struct kernel_mark *dead)
{
	struct kernel_mark now;

	if (!dead->banner_va && !dead->notes_va)
		return false;
	return read_again(ram, dead, &now) == 0 && kernel_is_dead(&now, dead);
}

/* ---- looking -------------------------------------------------------------------------------- */

/* Numbers that no two boots draw alike: boot_id, and the key that hides pointers. */
static bool has_random_birth(const struct kernel_mark *m)
{
	return is_drawn(&m->births[0]) || is_drawn(&m->births[1]);
}

/* A clock that goes back and the same random numbers: a snapshot of this boot was loaded. */
static bool is_other_boot(const struct kernel_mark *before, const struct kernel_mark *now)
{
	return now->digest != before->digest || now->trampoline_entry != before->trampoline_entry ||
	       births_differ(before, now) ||
	       (now->jiffies < before->jiffies && !has_random_birth(before));
}

/* A clock that stands still may belong to a kernel that another one has replaced: that one has
 * a trampoline, too. Those that were there before do not count. */
static int look_for_successor(struct ram *ram, const struct kernel_mark *mark, bool *ret_found)
{
	struct kernel_candidate *list = calloc(KERNEL_TRAMPOLINES, sizeof(*list));
	int n = list ? find_by_trampoline(ram, list, KERNEL_TRAMPOLINES) : -ENOMEM;

	for (int i = 0; i < n; i++)
		*ret_found |= !is_noted(mark, digest_of(&list[i]));
	free(list);
	return n < 0 ? n : 0;
}

static int look_at_boot(struct ram *ram, struct kernel_mark *mark)
{
	struct kernel_mark now = {0};
	bool found = false, went_back;
	int r = read_again(ram, mark, &now);

	if (r < 0)
		return r;
	if (is_other_boot(mark, &now))
		return KERNEL_REBOOTED;
	if (mark->jiffies_va == 0 || now.jiffies == mark->jiffies)
		r = look_for_successor(ram, mark, &found);
	if (r < 0)
		return r;
	went_back = now.jiffies < mark->jiffies;
	*mark = now;
	if (found)
		return KERNEL_REBOOTED;
	return went_back ? KERNEL_CHANGED : KERNEL_SAME;
}

static int look_at_modules(struct ram *ram, const struct kernel_mark *mark)
{
	bool changed = false;
	struct paging p;
	int r;

	if (!mark->modules.head_va)
		return KERNEL_SAME;
	paging_init(&p, ram, mark->image.root, mark->image.levels);
	r = kmodules_look(&p, &mark->modules, &changed);
	/* The newest module, whose state is looked at, has gone and its memory, too. */
	if (r == -EFAULT || r == -ENXIO)
		return KERNEL_CHANGED;
	if (r < 0)
		return r;
	return changed ? KERNEL_CHANGED : KERNEL_SAME;
}

/* KERNEL_REBOOTED also when there is no RAM any more where it was. */
static int look_in_layout(struct ram *ram, unsigned layout, struct kernel_mark *mark)
{
	int r = ram_use_layout(ram, layout);

	if (r == 0)
		r = look_at_boot(ram, mark);
	return r == -ENOENT || r == -ENXIO ? KERNEL_REBOOTED : r;
}

/* The layouts are others, or in another order, once the VMM has told where RAM lies, or memory was
 * plugged in: that is no reboot. A layout that shows the very same kernel is right; its clock may
 * be behind where a snapshot of this boot was loaded that had other memory. */
static int look_in_others(struct ram *ram, struct kernel_mark *mark)
{
	for (unsigned i = 0; i < KERNEL_LAYOUTS_MAX; i++) {
		struct kernel_mark m = *mark;
		int r = i == mark->layout ? KERNEL_REBOOTED : look_in_layout(ram, i, &m);

		if (r < 0 && !ramscan_may_go_on(r))
			return r;
		if (r != KERNEL_SAME && r != KERNEL_CHANGED)
			continue;
		*mark = m;
		mark->layout = i;
		return r;
	}
	return KERNEL_REBOOTED;
}

int kernel_look(struct ram *ram, struct kernel_mark *mark)
{
	int r = look_in_layout(ram, mark->layout, mark);

	if (r == KERNEL_REBOOTED)
		r = look_in_others(ram, mark);
	return r == KERNEL_SAME ? look_at_modules(ram, mark) : r;
}
