/* What is counted of one guest: by boot, by vCPU, by mode, and only of the time it is asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/tally.h"
#include "tests/unit/lib/gone.h"

#define KERNEL 0xffffffff81000000ULL
#define USER   0x401000ULL

static struct tally_memory memory;
static const struct tally_clock zero;

static struct tally *begin(void)
{
	struct tally *t;

	atomic_init(&memory.tables.left, 1u << 30);
	atomic_init(&memory.recent.left, 1u << 30);
	atomic_init(&memory.snapshots.left, 1u << 30);
	t = tally_create(1, &memory, &zero);
	assert_non_null(t);
	tally_set_sampler(t, SAMPLER_KIND_PERF, "", 0, &zero);
	tally_begin_epoch(t, 1, 1000);
	return t;
}

static void end(struct tally *t)
{
	tally_put(t);
	assert_int_equal(memory.tables.left, 1u << 30);
	assert_int_equal(memory.recent.left, 1u << 30);
	assert_int_equal(memory.snapshots.left, 1u << 30);
}

static void file(struct tally *t, enum sample_mode mode, uint64_t ip, unsigned vcpu, uint64_t time)
{
	struct sample s = {.ip = ip, .time = time, .pid = 1, .tid = 1, .mode = mode};

	mutex_lock(&t->lock);
	with_lock__tally_sample(t, &s, vcpu);
	mutex_unlock(&t->lock);
}

static void observe(struct tally *t, struct tally_observation o, uint64_t now)
{
	mutex_lock(&t->lock);
	with_lock__tally_observation(t, &o, now);
	mutex_unlock(&t->lock);
}

static struct tally_copy copy_of(struct tally *t, int vcpu, struct tally_clock now)
{
	struct tally_copy c;

	assert_int_equal(tally_copy(t, vcpu, true, &now, &c), 0);
	return c;
}

static uint64_t kernel_of(struct tally *t, unsigned epoch_index)
{
	struct tally_copy c = copy_of(t, -1, zero);
	uint64_t n = c.epochs[epoch_index].kernel;

	assert_true(epoch_index < c.epoch_count);
	tally_copy_deinit(&c);
	return n;
}

static void test_modes_and_vcpus(void **state)
{
	struct tally *t = begin();
	struct tally_copy c;

	(void)state;
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 2000);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 1, 2000);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL + 8, 1, 2000);
	file(t, SAMPLE_GUEST_USER, USER, 1, 2000);
	file(t, SAMPLE_GUEST_USER, KERNEL, VCPU_UNKNOWN, 2000);
	file(t, SAMPLE_HOST_KERNEL, KERNEL, 0, 2000);
	file(t, SAMPLE_HOST_USER, USER, 0, 2000);
	file(t, SAMPLE_OTHER, USER, 0, 2000);
	c = copy_of(t, -1, zero);
	assert_int_equal(c.epochs[0].kernel, 3);
	assert_int_equal(c.epochs[0].user, 2);
	assert_int_equal(c.epochs[0].user_contradictory, 1);
	assert_int_equal(c.epochs[0].entry_count, 3);
	assert_int_equal(c.host_kernel, 1);
	assert_int_equal(c.host_user, 1);
	tally_copy_deinit(&c);
	c = copy_of(t, 1, zero);
	assert_int_equal(c.epochs[0].kernel, 2);
	assert_int_equal(c.epochs[0].user, 1);
	assert_int_equal(c.epochs[0].entry_count, 2);
	tally_copy_deinit(&c);
	assert_int_equal(tally_vcpu(t, 0).kernel, 1);
	assert_int_equal(tally_vcpu(t, VCPU_UNKNOWN).user, 1);
	assert_int_equal(tally_vcpu(t, 17).user, 0);
	end(t);
}

/* A sample is filed by its time, not by when it is read. */
static void test_epochs_by_time(void **state)
{
	struct tally *t = begin();

	(void)state;
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 500); /* before it was noticed: the first boot */
	tally_begin_epoch(t, 2, 5000);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 4999);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 5000);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 5001);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 9000);
	tally_begin_epoch(t, 2, 7000); /* seen again */
	tally_begin_epoch(t, 1, 8000); /* somebody with an old set */
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 10000);
	assert_int_equal(kernel_of(t, 0), 2);
	assert_int_equal(kernel_of(t, 1), 4);
	end(t);
}

static void test_old_epochs_are_forgotten(void **state)
{
	struct tally *t = begin();
	struct tally_copy c;

	(void)state;
	for (uint32_t e = 1; e <= SYMSRC_EPOCHS_KEPT + 2; e++) {
		tally_begin_epoch(t, e, 1000 * e);
		file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 1000 * e);
		file(t, SAMPLE_GUEST_USER, USER, 0, 1000 * e);
	}
	c = copy_of(t, -1, zero);
	assert_int_equal(c.epoch_count, SYMSRC_EPOCHS_KEPT);
	assert_int_equal(c.epochs[0].epoch, 3);
	assert_int_equal(c.forgotten.kernel, 2);
	assert_int_equal(c.forgotten.user, 2);
	tally_copy_deinit(&c);
	end(t);
}

static void test_table_full(void **state)
{
	struct tally *t = begin();
	struct tally_copy c;

	(void)state;
	for (uint64_t i = 0; i < COUNTS_ENTRIES_MAX + 100; i++)
		file(t, SAMPLE_GUEST_KERNEL, KERNEL + i, 0, 2000);
	c = copy_of(t, -1, zero);
	assert_int_equal(c.epochs[0].kernel, COUNTS_ENTRIES_MAX + 100);
	assert_int_equal(c.epochs[0].entry_count, COUNTS_ENTRIES_MAX);
	assert_int_equal(c.epochs[0].table_full, 100);
	tally_copy_deinit(&c);
	end(t);
}

/* Samples that were taken before the reset, but are read after it, are not counted. */
static void test_reset(void **state)
{
	struct tally *t = begin();
	struct tally_copy c;

	(void)state;
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 2000);
	tally_begin_epoch(t, 2, 2500);
	file(t, SAMPLE_HOST_USER, USER, 0, 2600);
	tally_reset(t, 3000, &(struct tally_clock){.samples = 100, .lost = 7});
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 2999);
	file(t, SAMPLE_HOST_USER, USER, 0, 2999);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 3000);
	c = copy_of(t, -1, (struct tally_clock){.samples = 150, .lost = 9});
	assert_int_equal(c.epoch_count, 1);
	assert_int_equal(c.epochs[0].epoch, 2);
	assert_int_equal(c.epochs[0].kernel, 1);
	assert_int_equal(c.host_user, 0);
	assert_int_equal(c.since_ns, 3000);
	assert_int_equal(c.elapsed.samples, 50);
	assert_int_equal(c.elapsed.lost, 2);
	assert_int_equal(c.forgotten.kernel + c.forgotten.user, 0);
	tally_copy_deinit(&c);
	end(t);
}

static void test_news(void **state)
{
	struct tally *t = begin();

	(void)state;
	assert_int_equal(tally_news_ns(t), 0);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 2000);
	file(t, SAMPLE_HOST_USER, USER, 0, 1900);
	assert_int_equal(tally_news_ns(t), 2000);
	tally_pause(t, true, 2500, &zero);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 2600);
	assert_int_equal(tally_news_ns(t), 2000);
	tally_reset(t, 3000, &zero);
	assert_int_equal(tally_news_ns(t), 3000);
	end(t);
}

static void test_pause(void **state)
{
	struct tally *t = begin();
	struct tally_copy c;

	(void)state;
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 2000);
	tally_pause(t, true, 3000, &(struct tally_clock){.samples = 100});
	tally_pause(t, true, 3500, &(struct tally_clock){.samples = 120}); /* again: no change */
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 2900);			   /* taken before */
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 3000);
	c = copy_of(t, -1, (struct tally_clock){.samples = 150});
	assert_true(c.paused);
	assert_int_equal(c.epochs[0].kernel, 2);
	assert_int_equal(c.elapsed.samples, 100);
	tally_copy_deinit(&c);
	tally_pause(t, false, 4000, &(struct tally_clock){.samples = 200});
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 3900);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 4000);
	c = copy_of(t, -1, (struct tally_clock){.samples = 210});
	assert_false(c.paused);
	assert_int_equal(c.epochs[0].kernel, 3);
	assert_int_equal(c.elapsed.samples, 110);
	tally_copy_deinit(&c);
	end(t);
}

static void test_reset_while_paused(void **state)
{
	struct tally *t = begin();

	(void)state;
	tally_pause(t, true, 3000, &zero);
	tally_reset(t, 4000, &zero);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 4500);
	assert_int_equal(kernel_of(t, 0), 0);
	tally_pause(t, false, 5000, &zero);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 5000);
	assert_int_equal(kernel_of(t, 0), 1);
	end(t);
}

/* Two rates do not add up: what is counted is of one sampler. */
static void test_change_of_sampler(void **state)
{
	struct tally_observation o = {.vcpu = 2, .ip = KERNEL, .kernel = true};
	struct tally *t = begin();
	struct tally_copy c;

	(void)state;
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 2000);
	observe(t, o, 2000);
	assert_int_equal(kernel_of(t, 0), 1);
	assert_false(tally_set_sampler(t, SAMPLER_KIND_PERF, "same", 3000, &zero));
	assert_true(tally_set_sampler(t, SAMPLER_KIND_QMP, "blind", 3000, &zero));
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, 4000);
	observe(t, o, 4000);
	o.kernel = false;
	observe(t, o, 4000);
	o.halted = true;
	observe(t, o, 4000);
	c = copy_of(t, -1, zero);
	assert_int_equal(c.sampler, SAMPLER_KIND_QMP);
	assert_string_equal(c.note, "blind");
	assert_int_equal(c.epochs[0].kernel, 1);
	assert_int_equal(c.epochs[0].user, 1);
	assert_int_equal(c.since_ns, 3000);
	tally_copy_deinit(&c);
	assert_int_equal(tally_vcpu(t, 2).halted, 1);
	tally_set_trouble(t, "busy");
	c = copy_of(t, -1, zero);
	assert_string_equal(c.note, "busy");
	tally_copy_deinit(&c);
	end(t);
}

/* -- the last ten seconds, with a clock that is made up ------------------------------------ */

static uint64_t recent_kernel(struct tally *t, int vcpu, uint64_t now, uint64_t ip)
{
	struct tally_copy c;
	uint64_t n = 0;

	assert_int_equal(tally_copy_recent(t, vcpu, now, &c), 0);
	for (unsigned e = 0; e < c.epoch_count; e++) {
		for (size_t i = 0; i < c.epochs[e].entry_count; i++)
			n += c.epochs[e].entries[i].ip == ip;
	}
	tally_copy_deinit(&c);
	return n;
}

#define AT(s) ((uint64_t)((s) * (double)NSEC_PER_SEC))

static void test_recent_is_the_last_ten_seconds(void **state)
{
	struct tally *t = begin();
	struct tally_copy c;

	(void)state;
	t->recent.since_ns = 0;
	for (unsigned s = 1; s <= 30; s++)
		file(t, SAMPLE_GUEST_KERNEL, KERNEL + s, s % 2, AT(s + 0.5));
	file(t, SAMPLE_GUEST_USER, USER, 1, AT(29));
	file(t, SAMPLE_GUEST_USER, KERNEL, 1, AT(5)); /* late, and too old */
	assert_int_equal(tally_copy_recent(t, -1, AT(31), &c), 0);
	assert_int_equal(c.since_ns, AT(21));
	assert_int_equal(c.taken_ns, AT(31));
	assert_int_equal(c.epoch_count, 1);
	assert_int_equal(c.epochs[0].epoch, 1);
	assert_int_equal(c.epochs[0].kernel, 10);
	assert_int_equal(c.epochs[0].user, 1);
	assert_int_equal(c.epochs[0].user_contradictory, 0);
	tally_copy_deinit(&c);
	assert_int_equal(recent_kernel(t, -1, AT(31), KERNEL + 20), 0);
	assert_int_equal(recent_kernel(t, -1, AT(31), KERNEL + 21), 1);
	assert_int_equal(recent_kernel(t, 0, AT(31), KERNEL + 21), 0);
	assert_int_equal(recent_kernel(t, 1, AT(31), KERNEL + 21), 1);
	/* Nothing new, and it gets old nevertheless. */
	assert_int_equal(recent_kernel(t, -1, AT(40), KERNEL + 30), 1);
	assert_int_equal(recent_kernel(t, -1, AT(41), KERNEL + 30), 0);
	tally_expire(t, AT(60));
	assert_int_equal(memory.recent.left, 1u << 30);
	end(t);
}

static void test_recent_goes_on_over_a_reset_and_stops_with_a_pause(void **state)
{
	struct tally *t = begin();

	(void)state;
	t->recent.since_ns = 0;
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, AT(100));
	tally_reset(t, AT(101), &zero);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, AT(102));
	tally_pause(t, true, AT(103), &zero);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, AT(104));
	tally_pause(t, false, AT(105), &zero);
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, AT(106));
	assert_int_equal(recent_kernel(t, -1, AT(107), KERNEL), 3);
	assert_int_equal(kernel_of(t, 0), 2);
	/* Other samples do not add up with these. */
	tally_set_sampler(t, SAMPLER_KIND_QMP, "", AT(108), &zero);
	assert_int_equal(recent_kernel(t, -1, AT(108), KERNEL), 0);
	observe(t, (struct tally_observation){.ip = KERNEL, .kernel = true}, AT(109));
	observe(t, (struct tally_observation){.ip = USER}, AT(109));
	observe(t, (struct tally_observation){.halted = true}, AT(109));
	assert_int_equal(recent_kernel(t, -1, AT(109), KERNEL), 1);
	end(t);
}

static void test_recent_keeps_boots_apart(void **state)
{
	struct tally *t = begin();
	struct tally_copy c;

	(void)state;
	t->recent.since_ns = 0;
	tally_begin_epoch(t, 300, AT(50));
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, AT(51));
	tally_begin_epoch(t, 302, AT(52));
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, AT(51.5));
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, AT(53));
	tally_begin_epoch(t, 303, AT(54));
	assert_int_equal(tally_copy_recent(t, -1, AT(55), &c), 0);
	assert_int_equal(c.epoch_count, 2);
	assert_int_equal(c.epochs[0].epoch, 300);
	assert_int_equal(c.epochs[0].kernel, 2);
	assert_int_equal(c.epochs[1].epoch, 302);
	assert_int_equal(c.epochs[1].kernel, 1);
	tally_copy_deinit(&c);
	end(t);
}

static void test_recent_says_what_found_no_room(void **state)
{
	struct tally *t = begin();
	struct tally_copy c;

	(void)state;
	t->recent.since_ns = 0;
	atomic_store(&memory.recent.left, 4096);
	for (unsigned i = 0; i < RECENT_BLOCK_SAMPLES + 7; i++)
		file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, AT(20));
	assert_int_equal(tally_copy_recent(t, -1, AT(21), &c), 0);
	assert_int_equal(c.epochs[0].kernel, RECENT_BLOCK_SAMPLES);
	assert_int_equal(c.refused, 7);
	tally_copy_deinit(&c);
	/* Room comes back with time. */
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, AT(31));
	assert_int_equal(tally_copy_recent(t, -1, AT(31), &c), 0);
	assert_int_equal(c.epochs[0].kernel, 1);
	assert_int_equal(c.refused, 0);
	tally_copy_deinit(&c);
	tally_put(t);
	assert_int_equal(memory.recent.left, 4096);
}

static const struct retired *module_gone(const struct retired *before, const char *a, const char *b)
{
	char old[64], now[64];

	snprintf(old, sizeof(old), "ffffffffc0000000 t f\t[%s]\n", a);
	snprintf(now, sizeof(now), "ffffffffc0000000 t f\t[%s]\n", b);
	return gone_after(before, old, now);
}

static uint64_t count_at(const struct tally_epoch_copy *e, uint64_t ip)
{
	uint64_t n = 0;

	for (size_t i = 0; i < e->entry_count; i++)
		n += e->entries[i].ip == ip ? e->entries[i].count : 0;
	return n;
}

/* What was counted in a module is told from what is counted in its successor, of that boot alone,
 * once for each time, and also over a reset. */
static void test_a_module_takes_anothers_place(void **state)
{
	const uint64_t module = 0xffffffffc0000010;
	const struct retired *one = module_gone(NULL, "a", "b"),
			     *two = module_gone(retired_get(one), "b", "c");
	struct tally *t = begin();
	struct tally_copy c;

	(void)state;
	t->recent.since_ns = 0;
	file(t, SAMPLE_GUEST_KERNEL, module, 0, AT(1));
	tally_begin_epoch(t, 2, AT(2));
	file(t, SAMPLE_GUEST_KERNEL, module, 0, AT(3));
	file(t, SAMPLE_GUEST_KERNEL, KERNEL, 0, AT(3));
	file(t, SAMPLE_GUEST_USER, USER, 0, AT(3));
	tally_retire(t, 2, one, AT(4));
	file(t, SAMPLE_GUEST_KERNEL, module, 0, AT(4));
	file(t, SAMPLE_GUEST_KERNEL, module, 1, AT(3)); /* comes late */
	tally_retire(t, 2, one, AT(5));			/* known */
	for (int recent = 0; recent < 2; recent++) {
		if (recent)
			assert_int_equal(tally_copy_recent(t, -1, AT(4), &c), 0);
		else
			c = copy_of(t, -1, zero);
		assert_int_equal(c.epoch_count, 2);
		assert_int_equal(c.epochs[0].retired, 0);
		assert_int_equal(count_at(&c.epochs[0], module), 1);
		assert_int_equal(c.epochs[1].retired, 1);
		assert_int_equal(count_at(&c.epochs[1], module), 1);
		assert_int_equal(count_at(&c.epochs[1], retired_move(one, 0, module)), 2);
		assert_int_equal(count_at(&c.epochs[1], KERNEL), 1);
		tally_copy_deinit(&c);
	}
	tally_reset(t, AT(5), &zero);
	file(t, SAMPLE_GUEST_KERNEL, module, 0, AT(5));
	tally_retire(t, 2, one, AT(6));
	c = copy_of(t, -1, zero);
	assert_int_equal(c.epochs[0].retired, 1);
	assert_int_equal(count_at(&c.epochs[0], module), 1);
	tally_copy_deinit(&c);
	tally_retire(t, 2, two, AT(6));
	tally_retire(t, 2, one, AT(7)); /* late */
	c = copy_of(t, -1, zero);
	assert_int_equal(c.epochs[0].retired, 2);
	assert_int_equal(count_at(&c.epochs[0], retired_move(two, 1, module)), 1);
	tally_copy_deinit(&c);
	retired_put(one);
	retired_put(two);
	end(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recent_is_the_last_ten_seconds),
		cmocka_unit_test(test_a_module_takes_anothers_place),
		cmocka_unit_test(test_recent_goes_on_over_a_reset_and_stops_with_a_pause),
		cmocka_unit_test(test_recent_keeps_boots_apart),
		cmocka_unit_test(test_recent_says_what_found_no_room),
		cmocka_unit_test(test_modes_and_vcpus),
		cmocka_unit_test(test_epochs_by_time),
		cmocka_unit_test(test_old_epochs_are_forgotten),
		cmocka_unit_test(test_table_full),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_news),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_reset_while_paused),
		cmocka_unit_test(test_change_of_sampler),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
