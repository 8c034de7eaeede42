/* Recognising the kernel that runs, and the remains of one that does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/memory/kernel_impl.h"
#include "tests/unit/lib/fakeram.h"

#define RAM_SIZE   (32u << 20)
#define TRAMPOLINE 0x98000u
#define IMAGE_PA   0x200000u
#define IMAGE_VA   0xffffffff81000000ULL
#define IMAGE_SIZE 0x600000u
#define BANNER	   (IMAGE_VA + 0x1000)
#define NOTES	   (IMAGE_VA + 0x2000)
#define BOOT_ID	   (IMAGE_VA + 0x3000)
#define PTR_KEY	   (IMAGE_VA + 0x3010)
#define BASE	   (IMAGE_VA + 0x3020)
#define JIFFIES	   (IMAGE_VA + 0x4000)
#define LIST	   (IMAGE_VA + 0x5000) /* modules: the list's head */
#define FIRST	   0xfffb6c20ULL       /* INITIAL_JIFFIES at 1000 Hz */

struct fixture {
	struct fakeram f;
	uint64_t root;
	struct kernel k;
};

static uint64_t pa_of(uint64_t va)
{
	return va - IMAGE_VA + IMAGE_PA;
}

static void put(struct fixture *x, uint64_t va, const void *bytes, size_t n)
{
	fakeram_put(&x->f, pa_of(va), bytes, n);
}

static void put_u64(struct fixture *x, uint64_t va, uint64_t v)
{
	fakeram_put_u64(&x->f, pa_of(va), v);
}

/* As arch/x86/realmode/init.c, setup_real_mode(): the kernel's top entry, and low memory. */
static void make_trampoline(struct fixture *x, uint64_t page, uint64_t va, uint64_t pa)
{
	uint64_t root = fakeram_table(&x->f);

	for (uint64_t i = 0; i < IMAGE_SIZE; i += 0x200000)
		fakeram_map(&x->f, root, 4, va + i, pa + i, 21);
	fakeram_map(&x->f, page, 4, 0, 0, 21);
	fakeram_put_u64(&x->f, page + 4088, fakeram_get_u64(&x->f, root + 4088));
}

static void note_trampolines(struct fixture *x)
{
	struct kernel_candidate list[KERNEL_TRAMPOLINES];
	int n = find_by_trampoline(&x->f.ram, list, KERNEL_TRAMPOLINES);

	assert_int_equal(n, 1);
	kernel_note_trampolines(&x->k.mark, list, 1);
}

static void make_mark(struct fixture *x)
{
	x->k.ram = &x->f.ram;
	x->k.candidate = (struct kernel_candidate){
		.way = KERNEL_BY_TRAMPOLINE,
		.image = {.va = IMAGE_VA, .pa = IMAGE_PA, .size = IMAGE_SIZE, .levels = 4},
		.trampoline = TRAMPOLINE,
		.maps_itself = true};
	x->k.candidate.image.root = x->root;
	x->k.at[KERNEL_LINUX_BANNER] = BANNER;
	x->k.at[KERNEL_START_NOTES] = NOTES;
	x->k.at[KERNEL_STOP_NOTES] = NOTES + 64;
	x->k.at[KERNEL_BOOT_ID] = BOOT_ID;
	x->k.at[KERNEL_PTR_KEY] = PTR_KEY;
	x->k.at[KERNEL_PAGE_OFFSET_BASE] = BASE;
	x->k.at[KERNEL_JIFFIES] = JIFFIES;
	note_trampolines(x);
	assert_int_equal(kernel_make_mark(&x->k), 0);
}

static int set_up(void **state)
{
	static struct fixture x;

	memset(&x, 0, sizeof(x));
	fakeram_init(&x.f, RAM_SIZE);
	x.root = fakeram_table(&x.f);
	fakeram_map(&x.f, x.root, 4, IMAGE_VA, IMAGE_PA, 21);
	make_trampoline(&x, TRAMPOLINE, IMAGE_VA, IMAGE_PA);
	put(&x, BANNER, "Linux version 6.1.0 (x) #1", 27);
	put(&x, NOTES, "build-id of this one", 20);
	put_u64(&x, BASE, 0xffff888000000000ULL);
	put_u64(&x, JIFFIES, FIRST + 1000);
	put_u64(&x, LIST, LIST);
	put_u64(&x, LIST + 8, LIST);
	make_mark(&x);
	*state = &x;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	fakeram_deinit(&x->f);
	return 0;
}

/* ---- looks ---------------------------------------------------------------------------------- */

static int look(struct fixture *x)
{
	return kernel_look(&x->f.ram, &x->k.mark);
}

static void test_the_same_while_its_clock_goes(void **state)
{
	struct fixture *x = *state;

	for (uint64_t j = 1001; j < 1010; j++) {
		put_u64(x, JIFFIES, FIRST + j);
		assert_int_equal(look(x), KERNEL_SAME);
		assert_int_equal(x->k.mark.jiffies, FIRST + j);
	}
}

static void test_an_idle_guest_is_the_same(void **state)
{
	assert_int_equal(look(*state), KERNEL_SAME);
}

static void test_a_look_is_cheap(void **state)
{
	struct fixture *x = *state;
	unsigned reads = x->f.reads;

	put_u64(x, JIFFIES, FIRST + 1001);
	assert_int_equal(look(x), KERNEL_SAME);
	assert_true(x->f.reads - reads <= 10);
}

static void test_a_clock_that_goes_back(void **state)
{
	struct fixture *x = *state;

	put_u64(x, JIFFIES, FIRST + 999);
	assert_int_equal(look(x), KERNEL_REBOOTED);
	/* Still: nobody has taken the news yet. */
	assert_int_equal(look(x), KERNEL_REBOOTED);
}

static void test_another_kernel_in_its_place(void **state)
{
	struct fixture *x = *state;

	put_u64(x, JIFFIES, FIRST + 1001);
	put(x, NOTES, "build-id of another", 20);
	assert_int_equal(look(x), KERNEL_REBOOTED);
}

static void test_another_kernel_elsewhere(void **state)
{
	struct fixture *x = *state;

	put_u64(x, JIFFIES, FIRST + 1001);
	fakeram_put_u64(&x->f, TRAMPOLINE + 4088, 0x5000063);
	assert_int_equal(look(x), KERNEL_REBOOTED);
}

/* The CPU marks what it has used; that changes nothing. */
static void test_flags_of_the_trampoline(void **state)
{
	struct fixture *x = *state;
	uint64_t entry = fakeram_get_u64(&x->f, TRAMPOLINE + 4088);

	fakeram_put_u64(&x->f, TRAMPOLINE + 4088, entry ^ 0x60);
	assert_int_equal(look(x), KERNEL_SAME);
}

static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16};

/* The guest draws it when somebody asks for it the first time. */
static void test_a_boot_id_that_is_drawn(void **state)
{
	struct fixture *x = *state;
	uint8_t other[16];

	put(x, BOOT_ID, uuid, 8); /* half of it so far */
	assert_int_equal(look(x), KERNEL_SAME);
	put(x, BOOT_ID, uuid, 16);
	assert_int_equal(look(x), KERNEL_SAME);
	assert_memory_equal(x->k.mark.births[0].bytes, uuid, 16);
	assert_int_equal(look(x), KERNEL_SAME);
	memcpy(other, uuid, 16);
	other[0]++;
	put(x, BOOT_ID, other, 16);
	assert_int_equal(look(x), KERNEL_REBOOTED);
}

static void test_a_boot_id_that_is_gone(void **state)
{
	static const uint8_t zeros[16];
	struct fixture *x = *state;

	put(x, BOOT_ID, uuid, 16);
	assert_int_equal(look(x), KERNEL_SAME);
	put(x, BOOT_ID, zeros, 16);
	assert_int_equal(look(x), KERNEL_REBOOTED);
}

/* What was drawn is drawn once: it is a snapshot of the same boot. */
static void test_a_snapshot_of_the_same_boot(void **state)
{
	struct fixture *x = *state;

	put(x, PTR_KEY, "sixteen bytes  1", 16);
	put_u64(x, JIFFIES, FIRST + 5000);
	assert_int_equal(look(x), KERNEL_SAME);
	put_u64(x, JIFFIES, FIRST + 2000);
	assert_int_equal(look(x), KERNEL_CHANGED);
	assert_int_equal(look(x), KERNEL_SAME);
	put(x, PTR_KEY, "sixteen bytes  2", 16);
	put_u64(x, JIFFIES, FIRST + 1000);
	assert_int_equal(look(x), KERNEL_REBOOTED);
}

/* Memory lies otherwise now: as the second layout has it. */
static int use_layout(void *ctx, unsigned index)
{
	struct fakeram *f = ctx;

	f->bad_from = IMAGE_PA;
	f->bad_to = IMAGE_PA + IMAGE_SIZE;
	f->bad_error = index == 1 ? 0 : -ENXIO;
	return index < 2 ? 0 : -ENOENT;
}

/* It was saved when less memory was plugged in. */
static void test_a_snapshot_with_another_layout(void **state)
{
	struct fixture *x = *state;
	struct ram_ops ops = *x->f.ram.ops;

	put(x, PTR_KEY, "sixteen bytes  1", 16);
	put_u64(x, JIFFIES, FIRST + 5000);
	assert_int_equal(look(x), KERNEL_SAME);
	ops.use_layout = use_layout;
	ram_init(&x->f.ram, &ops, &x->f, NULL);
	put_u64(x, JIFFIES, FIRST + 2000);
	assert_int_equal(look(x), KERNEL_CHANGED);
	assert_int_equal(x->k.mark.layout, 1);
	assert_int_equal(look(x), KERNEL_SAME);
}

static void test_another_key(void **state)
{
	struct fixture *x = *state;

	put(x, PTR_KEY, "sixteen bytes  1", 16);
	assert_int_equal(look(x), KERNEL_SAME);
	put(x, PTR_KEY, "sixteen bytes  2", 16);
	assert_int_equal(look(x), KERNEL_REBOOTED);
}

static void test_modules_that_come(void **state)
{
	struct fixture *x = *state;

	x->k.mark.modules = (struct kmodules_mark){.head_va = LIST, .first = LIST, .last = LIST};
	assert_int_equal(look(x), KERNEL_SAME);
	put_u64(x, LIST, IMAGE_VA + 0x6000);
	assert_int_equal(look(x), KERNEL_CHANGED);
}

/* Its clock has stopped, and there is a trampoline that was not there before. */
static void test_a_successor_with_a_trampoline_of_its_own(void **state)
{
	struct fixture *x = *state;

	make_trampoline(x, 0x9c000, IMAGE_VA + 0x2000000, 0x1000000);
	put_u64(x, JIFFIES, FIRST + 1001);
	assert_int_equal(look(x), KERNEL_SAME); /* its clock goes: it runs */
	assert_int_equal(look(x), KERNEL_REBOOTED);
}

static void test_memory_that_cannot_be_read(void **state)
{
	struct fixture *x = *state;

	x->f.bad_from = pa_of(BANNER);
	x->f.bad_to = x->f.bad_from + 1;
	x->f.bad_error = -EBUSY;
	assert_int_equal(look(x), -EBUSY);
}

/* ---- the dead ------------------------------------------------------------------------------- */

static struct kernel_mark mark_at(const struct fixture *x, uint64_t jiffies, uint64_t ms)
{
	struct kernel_mark m = x->k.mark;

	m.jiffies = jiffies;
	m.looked_ns = ms * NSEC_PER_MSEC;
	return m;
}

/* A reset: the last look was three seconds ago, the clock went on until the end. */
static void test_remains_stay_dead(void **state)
{
	struct kernel_mark dead = mark_at(*state, FIRST + 50000, 1000);

	for (uint64_t ms = 4000; ms < 60000; ms += 500) {
		struct kernel_mark found = mark_at(*state, FIRST + 52500, ms);

		assert_true(kernel_is_dead(&found, &dead));
	}
}

/* The news of its end was a false alarm: it still runs. */
static void test_who_runs_is_not_dead(void **state)
{
	struct kernel_mark dead = mark_at(*state, FIRST + 50000, 1000);
	struct kernel_mark first = mark_at(*state, FIRST + 52500, 4000);
	struct kernel_mark second = mark_at(*state, FIRST + 52600, 4500);

	assert_true(kernel_is_dead(&first, &dead));
	assert_false(kernel_is_dead(&second, &dead));
}

/* A snapshot of minutes ago is loaded: its clock is seen there once, and leaps when it runs. */
static void test_a_clock_that_leaps(void **state)
{
	struct kernel_mark dead = mark_at(*state, FIRST + 50000, 1000);
	struct kernel_mark loaded = mark_at(*state, FIRST + 50000, 2000);
	struct kernel_mark leapt = mark_at(*state, FIRST + 150000, 2500);
	struct kernel_mark later = mark_at(*state, FIRST + 150125, 3000);

	assert_true(kernel_is_dead(&loaded, &dead));
	assert_true(kernel_is_dead(&leapt, &dead));
	assert_true(kernel_is_dead(&leapt, &dead));
	assert_false(kernel_is_dead(&later, &dead));
}

/* The same kernel at the same addresses, booted once more. */
static void test_started_again_is_not_dead(void **state)
{
	struct kernel_mark dead = mark_at(*state, FIRST + 50000, 1000);
	struct kernel_mark remains = mark_at(*state, FIRST + 51000, 2000);
	struct kernel_mark again = mark_at(*state, FIRST + 30, 4000);

	assert_false(kernel_is_dead(&again, &dead));
	assert_true(kernel_is_dead(&remains, &dead));
	assert_false(kernel_is_dead(&again, &dead));
}

/* Firmware, or a boot loader, has put something where the clock was. */
static void test_a_clock_that_was_overwritten(void **state)
{
	static const uint64_t junk[] = {0,	    1,	       0x4141414141414141ULL,
					UINT64_MAX, FIRST - 1, FIRST + 9000000};
	struct kernel_mark dead = mark_at(*state, FIRST + 50000, 1000);
	struct kernel_mark found = mark_at(*state, FIRST + 51000, 2000);

	assert_true(kernel_is_dead(&found, &dead));
	for (size_t i = 0; i < sizeof(junk) / sizeof(*junk); i++) {
		for (uint64_t ms = 3000; ms < 9000; ms += 500) {
			found = mark_at(*state, junk[i], ms);
			assert_true(kernel_is_dead(&found, &dead));
		}
	}
}

static void test_another_one_is_not_dead(void **state)
{
	struct kernel_mark dead = mark_at(*state, FIRST + 50000, 1000), other;

	other = mark_at(*state, FIRST + 52500, 4000);
	other.image.va += 0x200000;
	assert_false(kernel_is_dead(&other, &dead));
	other = mark_at(*state, FIRST + 52500, 4000);
	other.image.pa += 0x200000;
	assert_false(kernel_is_dead(&other, &dead));
	other = mark_at(*state, FIRST + 52500, 4000);
	other.digest++;
	assert_false(kernel_is_dead(&other, &dead));
	assert_false(dead.over);
}

/* Born anew: what was drawn is not there yet, or is another. */
static void test_another_birth_is_not_dead(void **state)
{
	struct kernel_mark dead = mark_at(*state, FIRST + 50000, 1000);
	struct kernel_mark found = mark_at(*state, FIRST + 60000, 60000);

	memcpy(dead.births[0].bytes, uuid, 16);
	assert_false(kernel_is_dead(&found, &dead));
	memcpy(found.births[0].bytes, uuid, 16);
	assert_true(kernel_is_dead(&found, &dead));
	found.births[0].bytes[3]++;
	assert_false(kernel_is_dead(&found, &dead));
}

/* Without data symbols there is no clock: it is believed after a while. */
static void test_without_a_clock(void **state)
{
	struct kernel_mark dead = mark_at(*state, 0, 1000), found;

	dead.jiffies_va = 0;
	found = dead;
	found.looked_ns = 5000 * NSEC_PER_MSEC;
	assert_true(kernel_is_dead(&found, &dead));
	found.looked_ns += KERNEL_CLOCKLESS_NS - 1;
	assert_true(kernel_is_dead(&found, &dead));
	found.looked_ns += 1;
	assert_false(kernel_is_dead(&found, &dead));
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_same_while_its_clock_goes),
		TEST(test_an_idle_guest_is_the_same),
		TEST(test_a_look_is_cheap),
		TEST(test_a_clock_that_goes_back),
		TEST(test_another_kernel_in_its_place),
		TEST(test_another_kernel_elsewhere),
		TEST(test_flags_of_the_trampoline),
		TEST(test_a_boot_id_that_is_drawn),
		TEST(test_a_boot_id_that_is_gone),
		TEST(test_another_key),
		TEST(test_a_snapshot_of_the_same_boot),
		TEST(test_a_snapshot_with_another_layout),
		TEST(test_modules_that_come),
		TEST(test_a_successor_with_a_trampoline_of_its_own),
		TEST(test_memory_that_cannot_be_read),
		TEST(test_remains_stay_dead),
		TEST(test_who_runs_is_not_dead),
		TEST(test_a_clock_that_leaps),
		TEST(test_started_again_is_not_dead),
		TEST(test_a_clock_that_was_overwritten),
		TEST(test_another_one_is_not_dead),
		TEST(test_another_birth_is_not_dead),
		TEST(test_without_a_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
