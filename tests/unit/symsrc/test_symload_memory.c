/* The loader follows a guest by its memory. The guest is forged in memory of this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/log.h"
#include "symsrc/source_ssh.h"
#include "symsrc/symload.h"
#include "tests/unit/lib/kernelmaker.h"
#include "tests/unit/lib/modulemaker.h"
#include "tests/unit/lib/selfvmm.h"
#include "tests/unit/lib/wait.h"

#define RAM_SIZE  (256u << 20)
#define MAIN_SIZE (KERNELMAKER_END + KERNELMAKER_ROOM)
#define JIFFIES	  (KERNELMAKER_VARS + 1 * 64)
#define BOOT_ID	  (KERNELMAKER_VARS + 3 * 64)
#define PTR_KEY	  (KERNELMAKER_VARS + 4 * 64)
#define FIRST	  0xfffb6c20ULL
#define LOOK_MS	  20
#define SERIAL	  1

static struct selfvmm vm;
static struct kernelmaker *km;
static struct guests *gs;
static struct symload *sl;
static void *btf;

static struct ticker {
	pthread_t thread;
	atomic_bool stop;
	bool runs;
} ticker;

/* ---- the guest ------------------------------------------------------------------------------ */

static void *in_guest(uint32_t offset)
{
	return vm.ram + km->o.text_pa + offset;
}

static void set_jiffies(uint64_t value)
{
	__atomic_store_n((uint64_t *)in_guest(JIFFIES), value, __ATOMIC_RELAXED);
}

static void *tick(void *arg)
{
	uint64_t *jiffies = in_guest(JIFFIES);

	(void)arg;
	while (!atomic_load(&ticker.stop)) {
		__atomic_fetch_add(jiffies, 1, __ATOMIC_RELAXED);
		usleep(4000);
	}
	return NULL;
}

static void run_guest(void)
{
	atomic_store(&ticker.stop, false);
	assert_int_equal(pthread_create(&ticker.thread, NULL, tick, NULL), 0);
	ticker.runs = true;
}

static void stop_guest(void)
{
	atomic_store(&ticker.stop, true);
	if (ticker.runs)
		pthread_join(ticker.thread, NULL);
	ticker.runs = false;
}

static void load_kernel(void)
{
	memcpy(vm.ram + km->o.text_pa, km->main, MAIN_SIZE);
	memcpy(vm.ram, km->low, KERNELMAKER_LOW_SIZE);
}

static void make_kernel(uint64_t text_va, uint64_t text_pa)
{
	struct kernelmaker_options o = kernelmaker_like(6, 1);

	kernelmaker_destroy(km);
	free(btf);
	btf = modulemaker_btf(&modulemaker_layouts[MODULEMAKER_OLD], &o.btf_len);
	o.btf = btf;
	if (text_va) {
		o.text_va = text_va;
		o.text_pa = text_pa;
	}
	km = kernelmaker_create(&o);
	memset(kernelmaker_at(km, BOOT_ID), 0, 16);
}

/* ---- fixture -------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	source_ssh_init(NULL);
	selfvmm_init(&vm, RAM_SIZE);
	vm.guest->serial = SERIAL;
	make_kernel(0, 0);
	gs = guests_create();
	return gs ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	symload_stop(sl);
	symload_destroy(sl);
	sl = NULL;
	stop_guest();
	guests_destroy(gs);
	selfvmm_deinit(&vm);
	kernelmaker_destroy(km);
	km = NULL;
	free(btf);
	btf = NULL;
	return 0;
}

static void start_with(const char *uri, bool recorded)
{
	const struct source_rule rule = {(char *)"*", (char *)uri};
	const struct symload_config config = {.rules = &rule,
					      .rule_count = 1,
					      .fetchers = 1,
					      .look_ms = LOOK_MS,
					      .cpu_is_free = true,
					      .recorded = recorded};
	const struct guest *list[] = {vm.guest};

	assert_int_equal(symload_create(&config, gs, &sl), 0);
	assert_int_equal(symload_start(sl, NULL), 0);
	assert_int_equal(guests_publish(gs, list, 1), 0);
}

static void start(const char *uri)
{
	start_with(uri, false);
}

static struct symsrc_status status(void)
{
	struct symsrc_status st;

	symload_status(sl, SERIAL, &st);
	return st;
}

static bool is_ready(uint32_t epoch)
{
	struct symsrc_status st = status();

	return st.state == SYMSRC_READY && st.epoch == epoch;
}

static void assert_reason(const char *reason)
{
	const struct guest_set *set = guests_acquire(gs);

	assert_string_equal(guest_set_find_serial(set, SERIAL)->epoch_reason, reason);
	guest_set_put(set);
}

/* The symbols of this boot are those of the kernel that is made now. */
static void assert_symbols(void)
{
	const struct symbols *s = symload_symbols(sl, SERIAL, 0);

	assert_non_null(s);
	assert_int_equal(s->kallsyms->size, km->kallsyms_len);
	assert_memory_equal(s->kallsyms->data, km->kallsyms, km->kallsyms_len);
	symbols_put(s);
}

static void follow_a_running_guest(void)
{
	load_kernel();
	run_guest();
	start("memory");
	wait_until(is_ready(1));
}

/* One that has run for long, and stands still now. */
static void follow_until_it_stops(void)
{
	load_kernel();
	set_jiffies(FIRST + 100000);
	run_guest();
	start("memory");
	wait_until(is_ready(1));
	stop_guest();
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_symbols_out_of_memory(void **state)
{
	const struct symbols *s;

	(void)state;
	load_kernel();
	run_guest();
	start("auto");
	wait_until(is_ready(1));
	assert_string_equal(status().used, "memory");
	assert_symbols();
	s = symload_symbols(sl, SERIAL, 0);
	assert_string_equal(s->release, "6.1.0-forged");
	assert_memory_equal(s->how, "trampoline; ", 12);
	assert_string_equal(s->note, "");
	assert_non_null(s->btf);
	symbols_put(s);
}

/* A guest of a recording is not who goes by its pid today. */
static void test_memory_of_a_recorded_guest(void **state)
{
	(void)state;
	load_kernel();
	run_guest();
	start_with("memory", true);
	wait_until(status().error.code == -EOPNOTSUPP);
	assert_false(is_ready(1));
}

/* It boots while we look on: nobody in it is asked by ssh, and its symbols come at once. */
static void test_a_guest_that_boots(void **state)
{
	(void)state;
	vm.guest->links.ssh_port = 1;
	start("auto");
	wait_until(status().attempts >= 2);
	assert_int_equal(status().error.code, -EAGAIN);
	assert_null(strstr(status().error.text, "ssh"));
	load_kernel();
	run_guest();
	wait_until(is_ready(1));
	assert_symbols();
}

/* The same kernel at the same place, and nobody tells. */
static void test_a_reboot_that_nobody_tells_of(void **state)
{
	(void)state;
	follow_until_it_stops();
	load_kernel();
	*(uint64_t *)in_guest(PTR_KEY) += 1;
	run_guest();
	wait_until(is_ready(2));
	assert_reason("guest memory: another boot");
	assert_symbols();
}

/* Its clock goes back, but what was drawn once is the same: it is read anew, and no other boot. */
static void test_an_earlier_moment_of_the_same_boot(void **state)
{
	unsigned looks;

	(void)state;
	follow_until_it_stops();
	load_kernel();
	run_guest();
	wait_until(status().attempts >= 2 && status().error.code == 0);
	looks = status().looks;
	wait_until(status().looks > looks + 2);
	assert_true(is_ready(1));
	assert_symbols();
}

static void test_another_kernel_that_nobody_tells_of(void **state)
{
	(void)state;
	follow_a_running_guest();
	stop_guest();
	make_kernel(0xffffffffa2000000, 0xa400000);
	load_kernel();
	run_guest();
	wait_until(is_ready(2));
	assert_symbols();
}

/* A reset leaves RAM as it was: these are no symbols of the new boot. */
static void test_remains_are_not_taken(void **state)
{
	(void)state;
	follow_until_it_stops();
	assert_int_equal(guests_new_epoch(gs, SERIAL, 1, "QMP RESET"), 0);
	wait_until(status().epoch == 2 && status().attempts >= 3);
	assert_int_equal(status().state, SYMSRC_FAILED);
	assert_int_equal(status().error.code, -EAGAIN);
	load_kernel();
	run_guest();
	wait_until(is_ready(2));
	assert_symbols();
}

/* Reset in the middle of the first fetch, which knows no more than its remains do. */
static void test_remains_of_a_boot_that_nobody_saw(void **state)
{
	(void)state;
	load_kernel();
	start("memory");
	wait_until(guests_new_epoch(gs, SERIAL, 1, "QMP RESET") == 0);
	wait_until(status().epoch == 2 && status().attempts >= 2);
	assert_int_equal(status().state, SYMSRC_FAILED);
	assert_int_equal(status().error.code, -EAGAIN);
	load_kernel();
	run_guest();
	wait_until(is_ready(2));
	assert_symbols();
}

static void test_a_false_alarm(void **state)
{
	(void)state;
	follow_a_running_guest();
	assert_int_equal(guests_new_epoch(gs, SERIAL, 1, "TSC"), 0);
	wait_until(is_ready(2));
	assert_symbols();
	assert_reason("TSC");
}

/* A snapshot is loaded, and who told of a reset meanwhile saw its clock as it was saved. */
static void test_a_snapshot_that_is_loaded(void **state)
{
	(void)state;
	follow_a_running_guest();
	stop_guest();
	assert_int_equal(guests_new_epoch(gs, SERIAL, 1, "QMP RESET"), 0);
	wait_until(status().error.code == -EAGAIN);
	set_jiffies(FIRST + 1000000);
	run_guest();
	wait_until(is_ready(2));
	assert_symbols();
}

/* Looks go on beside it and count as no attempts. */
static void test_all_stays_as_it_is(void **state)
{
	uint64_t fetched_ns;

	(void)state;
	follow_a_running_guest();
	fetched_ns = status().fetched_ns;
	wait_until(status().looks > 20);
	assert_int_equal(status().attempts, 1);
	assert_int_equal(status().fetched_ns, fetched_ns);
	assert_true(is_ready(1));
}

/* Loads and unloads something. */
static void bump_modules(void)
{
	uint64_t *sequence = in_guest(KERNELMAKER_VARS + 6 * 64);

	__atomic_fetch_add(sequence, 0x0000000200000002, __ATOMIC_RELAXED);
	sequence[1] += 0x0000000200000002;
}

static void test_the_list_of_modules_changes(void **state)
{
	uint64_t fetched_ns;

	(void)state;
	follow_a_running_guest();
	fetched_ns = status().fetched_ns;
	bump_modules();
	wait_until(status().fetched_ns > fetched_ns);
	assert_true(is_ready(1));
}

/* What was read whole is not replaced by a part: memory that was plugged in may hold the rest. */
static void test_a_part_does_not_replace_the_whole(void **state)
{
	const struct symbols *s;
	uint8_t *in_ram;

	(void)state;
	load_kernel();
	in_ram = memmem(vm.ram, RAM_SIZE, btf, 64);
	assert_non_null(in_ram);
	run_guest();
	start("memory");
	wait_until(is_ready(1));
	in_ram[0] ^= 0xff;
	bump_modules();
	wait_until(status().error.code == -ESTALE);
	assert_true(is_ready(1));
	s = symload_symbols(sl, SERIAL, 0);
	assert_string_equal(s->note, "");
	symbols_put(s);
	in_ram[0] ^= 0xff;
	wait_until(status().error.code == 0);
	assert_true(is_ready(1));
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_symbols_out_of_memory),
		TEST(test_memory_of_a_recorded_guest),
		TEST(test_a_guest_that_boots),
		TEST(test_a_reboot_that_nobody_tells_of),
		TEST(test_an_earlier_moment_of_the_same_boot),
		TEST(test_another_kernel_that_nobody_tells_of),
		TEST(test_remains_are_not_taken),
		TEST(test_remains_of_a_boot_that_nobody_saw),
		TEST(test_a_false_alarm),
		TEST(test_a_snapshot_that_is_loaded),
		TEST(test_all_stays_as_it_is),
		TEST(test_the_list_of_modules_changes),
		TEST(test_a_part_does_not_replace_the_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
