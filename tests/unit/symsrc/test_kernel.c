/* The kernel that runs in a guest's RAM: which one it is, and all that is read of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/memory/kernel_impl.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/kernelmaker.h"
#include "tests/unit/lib/modulemaker.h"

#define JIFFIES	 (KERNELMAKER_VARS + 1 * 64) /* as kernelmaker.c has them */
#define MAX_PFN	 (KERNELMAKER_VARS + 2 * 64)
#define BOOT_ID	 (KERNELMAKER_VARS + 3 * 64)
#define PTR_KEY	 (KERNELMAKER_VARS + 4 * 64)
#define FIRST	 0xfffb6c20ULL /* of jiffies */
#define FOUR_GIB ((uint64_t)4 << 30)

/* A guest whose RAM holds several kernels; one of them may run. */
static struct world {
	struct kernelmaker *kernels[2];
	int running;		/* whose clock goes; -1: none's */
	unsigned layouts, used; /* how many there are; the one that is in use */
	unsigned right;		/* which of them is */
	bool hides;		/* in the others no kernel is to be seen */
	uint64_t end;		/* RAM ends there in the right layout; 0: nobody asks */
} w;

static struct ram ram;
static struct errmsg why;
static struct collect got;
static void *btf;
static size_t btf_len;

static uint64_t *var(int i, uint32_t offset)
{
	return kernelmaker_at(w.kernels[i], offset);
}

static int read_world(void *ctx, uint64_t gpa, void *buf, size_t n)
{
	int r = -ENXIO;

	(void)ctx;
	if (w.end && gpa >= FOUR_GIB && gpa + n <= w.end && w.used == w.right)
		return 0;
	if (w.hides && w.used != w.right && gpa >= KERNELMAKER_LOW_SIZE)
		return -ENXIO;
	for (size_t i = 0; r < 0 && i < 2 && w.kernels[i]; i++)
		r = kernelmaker_ops.read(w.kernels[i], gpa, buf, n);
	if (w.running >= 0)
		*var(w.running, JIFFIES) += 1;
	return r;
}

static int next_world(void *ctx, uint64_t gpa, struct ram_extent *ret)
{
	int r = -ENOENT;

	(void)ctx;
	for (size_t i = 0; r < 0 && i < 2 && w.kernels[i]; i++)
		r = kernelmaker_ops.next(w.kernels[i], gpa, ret);
	return r;
}

static int use_layout(void *ctx, unsigned index)
{
	(void)ctx;
	if (index >= (w.layouts ? w.layouts : 1))
		return -ENOENT;
	w.used = index;
	return 0;
}

static const struct ram_ops world_ops = {read_world, next_world, use_layout};

static int set_up(void **state)
{
	(void)state;
	w = (struct world){.running = -1};
	ram_init(&ram, &world_ops, NULL, NULL);
	why = (struct errmsg){0};
	collect_init(&got);
	btf = modulemaker_btf(&modulemaker_layouts[MODULEMAKER_OLD], &btf_len);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	kernelmaker_destroy(w.kernels[0]);
	kernelmaker_destroy(w.kernels[1]);
	collect_deinit(&got);
	free(btf);
	return 0;
}

static struct kernelmaker_options usual(void)
{
	struct kernelmaker_options o = kernelmaker_like(6, 1);

	o.btf = btf;
	o.btf_len = btf_len;
	return o;
}

static void boot(int i, const struct kernelmaker_options *o)
{
	w.kernels[i] = kernelmaker_create(o);
	/* Low memory is the first one's. */
	if (i > 0 && o->trampoline)
		memcpy(kernelmaker_ram(w.kernels[0], o->trampoline),
		       kernelmaker_ram(w.kernels[i], o->trampoline), RAM_PAGE);
}

static int read_kernel(struct kernel_mark *dead, struct kernel **ret)
{
	*ret = NULL;
	return kernel_read(&ram, dead, false, ret, &why);
}

static struct kernel *must_read(struct kernel_mark *dead)
{
	struct kernel *k;

	if (read_kernel(dead, &k) != 0)
		fail_msg("%s", why.text);
	return k;
}

static int deliver(struct kernel *k)
{
	const struct source_sink sink = collect_sink(&got);

	return kernel_deliver(k, GUEST_FILES_ALL, &sink, &why);
}

static uint64_t text_pa_of(struct kernel *k)
{
	struct kernel_mark m;

	kernel_get_mark(k, &m);
	return m.image.pa;
}

/* ---- what comes out ------------------------------------------------------------------------- */

static void test_all_of_it(void **state)
{
	static const char boot_id[] = "47114711-4711-4711-8711-471147114711\n";
	struct kernelmaker_options o = usual();
	uint8_t *id;
	struct kernel *k;

	(void)state;
	boot(0, &o);
	id = kernelmaker_at(w.kernels[0], BOOT_ID);
	for (int i = 0; i < 16; i++)
		id[i] = i % 2 ? 0x11 : 0x47;
	id[8] = 0x87;
	k = must_read(NULL);
	assert_true(kernel_is_whole(k, NULL));
	if (deliver(k) != 0)
		fail_msg("%s", why.text);
	collect_assert(&got, GUEST_FILE_KALLSYMS, 1, w.kernels[0]->kallsyms,
		       w.kernels[0]->kallsyms_len);
	collect_assert(&got, GUEST_FILE_VERSION, 1, w.kernels[0]->banner,
		       strlen(w.kernels[0]->banner));
	collect_assert(&got, GUEST_FILE_BTF, 1, btf, btf_len);
	collect_assert(&got, GUEST_FILE_BOOT_ID, 1, boot_id, strlen(boot_id));
	collect_assert(&got, GUEST_FILE_MODULES, 1, "", 0);
	collect_assert(&got, GUEST_FILE_KERNEL_NOTES, 1,
		       kernelmaker_at(w.kernels[0], KERNELMAKER_NOTES), 36);
	assert_int_equal(got.times[GUEST_FILE_ORC], 0);
	kernel_destroy(k);
}

static void test_no_boot_id_before_somebody_asked(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel *k;

	(void)state;
	boot(0, &o);
	memset(kernelmaker_at(w.kernels[0], BOOT_ID), 0, 16);
	k = must_read(NULL);
	assert_int_equal(deliver(k), 0);
	assert_int_equal(got.times[GUEST_FILE_BOOT_ID], 0);
	kernel_destroy(k);
}

/* Functions and data of the core; what is missing is said. */
static void test_without_btf(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(6, 1);
	struct kernel *k;

	(void)state;
	boot(0, &o);
	k = must_read(NULL);
	assert_false(kernel_is_whole(k, &why));
	assert_non_null(strstr(why.text, "BTF"));
	assert_int_equal(deliver(k), 0);
	collect_assert(&got, GUEST_FILE_KALLSYMS, 1, w.kernels[0]->kallsyms,
		       w.kernels[0]->kallsyms_len);
	assert_int_equal(got.times[GUEST_FILE_MODULES], 0);
	assert_int_equal(got.times[GUEST_FILE_BTF], 0);
	kernel_destroy(k);
}

static void test_btf_that_is_none(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel *k;

	(void)state;
	memset(btf, 0x55, btf_len);
	boot(0, &o);
	k = must_read(NULL);
	assert_false(kernel_is_whole(k, &why));
	assert_int_equal(deliver(k), 0);
	assert_int_equal(got.times[GUEST_FILE_KALLSYMS], 1);
	kernel_destroy(k);
}

/* CONFIG_KALLSYMS_ALL=n: nobody knows where the modules are. */
static void test_functions_alone(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);
	struct kernel *k;

	(void)state;
	o.data_symbols = o.own_symbols = false;
	boot(0, &o);
	if (read_kernel(NULL, &k) != 0)
		skip(); /* whether anchors suffice without data is ksyms' to say */
	assert_false(kernel_is_whole(k, &why));
	assert_non_null(strstr(why.text, "KALLSYMS_ALL"));
	assert_int_equal(deliver(k), 0);
	kernel_destroy(k);
}

static void test_by_a_scan(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel *k;
	char how[128];

	(void)state;
	o.trampoline = 0;
	boot(0, &o);
	k = must_read(NULL);
	kernel_describe(k, how, sizeof(how));
	assert_memory_equal(how, "vmcoreinfo", 10);
	assert_int_equal(deliver(k), 0);
	collect_assert(&got, GUEST_FILE_KALLSYMS, 1, w.kernels[0]->kallsyms,
		       w.kernels[0]->kallsyms_len);
	kernel_destroy(k);
}

static void test_quick_means_no_scan(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel *k = NULL;

	(void)state;
	o.trampoline = 0;
	boot(0, &o);
	assert_int_equal(kernel_read(&ram, NULL, true, &k, &why), -EAGAIN);
	assert_null(k);
}

/* ---- a reboot meanwhile --------------------------------------------------------------------- */

static int begin_and_reboot(void *ctx, enum guest_file file, const char *module)
{
	(void)ctx;
	(void)module;
	if (file == GUEST_FILE_KALLSYMS)
		*var(0, JIFFIES) = FIRST + 1;
	return 0;
}

static int ignore(void *ctx, const void *bytes, size_t n)
{
	(void)ctx;
	(void)bytes;
	(void)n;
	return 0;
}

static void test_a_reboot_while_it_is_delivered(void **state)
{
	const struct source_sink sink = {begin_and_reboot, ignore, NULL};
	struct kernelmaker_options o = usual();
	struct kernel *k;

	(void)state;
	boot(0, &o);
	*var(0, JIFFIES) = FIRST + 100000;
	k = must_read(NULL);
	assert_int_equal(kernel_deliver(k, GUEST_FILES_ALL, &sink, &why), -EAGAIN);
	assert_non_null(strstr(why.text, "rebooted meanwhile"));
	kernel_destroy(k);
}

/* ---- the dead ------------------------------------------------------------------------------- */

static struct kernel_mark mark_of_the_dead(void)
{
	struct kernel *k = must_read(NULL);
	struct kernel_mark m;

	kernel_get_mark(k, &m);
	kernel_destroy(k);
	return m;
}

static void assert_nothing_but_dead(struct kernel_mark *dead)
{
	struct kernel *k;

	assert_int_equal(read_kernel(dead, &k), -EAGAIN);
	assert_non_null(strstr(why.text, "the boot before"));
}

static void test_remains(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel_mark dead;

	(void)state;
	boot(0, &o);
	dead = mark_of_the_dead();
	*var(0, JIFFIES) += 700; /* it ran on until the reset */
	for (int i = 0; i < 3; i++)
		assert_nothing_but_dead(&dead);
}

/* A guest may stay in its firmware for long: each attempt comes by them. */
static void test_remains_cost_little(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel_mark dead;
	struct kernel *k;
	uint64_t budget;

	(void)state;
	boot(0, &o);
	dead = mark_of_the_dead();
	budget = ram.budget;
	assert_int_equal(kernel_read(&ram, &dead, true, &k, &why), -EAGAIN);
	assert_non_null(strstr(why.text, "the boot before"));
	assert_in_range(budget - ram.budget, 1, 512 << 10);
}

/* Reset before anything was read of it: what does not run may be of the boot before. */
static void test_remains_of_a_boot_that_nobody_saw(void **state)
{
	const struct source_limits limits = {
		.deadline_ns = UINT64_MAX, .cancel_fd = -1, .remains = true};
	struct kernelmaker_options o = usual();

	(void)state;
	boot(0, &o);
	ram.limits = &limits;
	assert_nothing_but_dead(NULL);
	w.running = 0;
	kernel_destroy(must_read(NULL));
}

static void test_a_false_alarm(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel_mark dead;

	(void)state;
	boot(0, &o);
	dead = mark_of_the_dead();
	*var(0, JIFFIES) += 700;
	assert_nothing_but_dead(&dead);
	usleep(20000);
	*var(0, JIFFIES) += 5;
	kernel_destroy(must_read(&dead));
}

static void test_the_same_kernel_once_more(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel_mark dead;

	(void)state;
	boot(0, &o);
	*var(0, JIFFIES) = FIRST + 1000000;
	dead = mark_of_the_dead();
	assert_nothing_but_dead(&dead);
	*var(0, JIFFIES) = FIRST + 12;
	kernel_destroy(must_read(&dead));
}

/* Its own remains lie in RAM, its trampoline, too; and the next one runs elsewhere. */
static void test_the_next_one_is_elsewhere(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel_mark dead;
	struct kernel *k;

	(void)state;
	boot(0, &o);
	dead = mark_of_the_dead();
	o.text_va = 0xffffffffa2000000;
	o.text_pa = 0xc000000;
	o.trampoline = 0x9a000;
	boot(1, &o);
	w.running = 1;
	k = must_read(&dead);
	assert_int_equal(text_pa_of(k), o.text_pa);
	kernel_destroy(k);
}

/* ---- which of several ----------------------------------------------------------------------- */

static void check_which_runs(int running)
{
	struct kernelmaker_options o = usual(), other = usual();
	struct kernel *k;

	other.text_va = 0xffffffffa2000000;
	other.text_pa = 0xc000000;
	other.trampoline = 0x9a000;
	boot(0, &o);
	boot(1, &other);
	w.running = running;
	k = must_read(NULL);
	assert_int_equal(text_pa_of(k), running == 1 ? other.text_pa : o.text_pa);
	kernel_destroy(k);
}

static void test_the_first_runs(void **state)
{
	(void)state;
	check_which_runs(0);
}

static void test_the_second_runs(void **state)
{
	(void)state;
	check_which_runs(1);
}

static void test_none_seems_to_run(void **state)
{
	(void)state;
	check_which_runs(-1);
}

/* ---- layouts -------------------------------------------------------------------------------- */

static void test_the_layout_that_shows_it(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel_mark m;
	struct kernel *k;

	(void)state;
	boot(0, &o);
	w.layouts = 3;
	w.right = 2;
	w.hides = true;
	k = must_read(NULL);
	kernel_get_mark(k, &m);
	assert_int_equal(m.layout, 2);
	assert_int_equal(w.used, 2);
	assert_int_equal(deliver(k), 0);
	w.used = 0;
	assert_int_equal(kernel_look(&ram, &m), KERNEL_SAME);
	/* The VMM has told where it lies: one layout, and no reboot. */
	w.layouts = 1;
	w.right = 0;
	assert_int_equal(kernel_look(&ram, &m), KERNEL_SAME);
	assert_int_equal(m.layout, 0);
	assert_int_equal(kernel_look(&ram, &m), KERNEL_SAME);
	w.right = 1; /* memory was taken away: it is not what it was */
	assert_int_equal(kernel_look(&ram, &m), KERNEL_REBOOTED);
	kernel_destroy(k);
}

/* It knows where its RAM ends; that tells between layouts that show the same below 4 GiB. */
static void test_the_layout_that_ends_where_it_should(void **state)
{
	struct kernelmaker_options o = usual();
	struct kernel_mark m;
	struct kernel *k;

	(void)state;
	boot(0, &o);
	w.end = FOUR_GIB + (1u << 30);
	w.right = 1;
	*var(0, MAX_PFN) = w.end / RAM_PAGE;
	for (w.layouts = 2; w.layouts < 4; w.layouts++) {
		k = must_read(NULL);
		kernel_get_mark(k, &m);
		assert_int_equal(m.layout, 1);
		kernel_destroy(k);
	}
	/* None fits well: the best is in use afterwards. */
	*var(0, MAX_PFN) -= 256;
	w.layouts = 2;
	w.right = 0;
	k = must_read(NULL);
	kernel_get_mark(k, &m);
	assert_int_equal(m.layout, 0);
	assert_int_equal(w.used, 0);
	kernel_destroy(k);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_of_it),
		TEST(test_no_boot_id_before_somebody_asked),
		TEST(test_without_btf),
		TEST(test_btf_that_is_none),
		TEST(test_functions_alone),
		TEST(test_by_a_scan),
		TEST(test_quick_means_no_scan),
		TEST(test_a_reboot_while_it_is_delivered),
		TEST(test_remains),
		TEST(test_remains_cost_little),
		TEST(test_remains_of_a_boot_that_nobody_saw),
		TEST(test_a_false_alarm),
		TEST(test_the_same_kernel_once_more),
		TEST(test_the_next_one_is_elsewhere),
		TEST(test_the_first_runs),
		TEST(test_the_second_runs),
		TEST(test_none_seems_to_run),
		TEST(test_the_layout_that_shows_it),
		TEST(test_the_layout_that_ends_where_it_should),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
