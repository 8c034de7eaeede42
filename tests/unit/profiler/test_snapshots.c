/* A guest's snapshots: their names, how many, how large, and that they never change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <pthread.h>

#include "profiler/snapshots.h"
#include "symsrc/base/cleanup.h"

#define KERNEL 0xffffffff81000000ULL
#define BYTES  (1u << 20)

static struct tally_memory memory;
static const struct tally_clock zero;

static struct tally *begin(size_t bytes)
{
	struct tally *t;

	atomic_init(&memory.tables.left, BYTES);
	atomic_init(&memory.recent.left, BYTES);
	atomic_init(&memory.snapshots.left, bytes);
	atomic_init(&memory.snapshots_held, 0);
	t = tally_create(1, &memory, &zero);
	assert_non_null(t);
	tally_set_sampler(t, SAMPLER_KIND_PERF, "", 0, &zero);
	tally_begin_epoch(t, 1, 0);
	return t;
}

static void end(struct tally *t, size_t bytes)
{
	tally_put(t);
	assert_int_equal(memory.snapshots.left, bytes);
	assert_int_equal(memory.snapshots_held, 0);
}

static void file(struct tally *t, uint64_t ip)
{
	struct sample s = {.ip = ip, .time = clock_now_ns(), .mode = SAMPLE_GUEST_KERNEL};

	mutex_lock(&t->lock);
	with_lock__tally_sample(t, &s, 0);
	mutex_unlock(&t->lock);
}

static struct snapshot *freeze(struct tally *t, const char *name)
{
	struct profile header = {.samples = 0};
	struct tally_copy copy;

	assert_int_equal(tally_copy(t, -1, true, &zero, &copy), 0);
	return snapshot_create(name, &header, &copy, NULL, &memory);
}

static int make(struct tally *t, const char *name)
{
	struct snapshot *s = freeze(t, name);
	int r = s ? snapshots_add(t->snapshots, s) : -ENOMEM;

	snapshot_put(s);
	return r;
}

static void test_names(void **state)
{
	static const char *const bad[] = {"", ".", "..", ".a", "a/b", "a\nb", "\x7f", "\xc2\x85"};
	struct tally *t = begin(BYTES);
	char name[80] = "";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(snapshots_check(t->snapshots, bad[i]), -EINVAL);
	memset(name, 'x', PROFILER_SNAPSHOT_NAME_MAX);
	assert_int_equal(snapshots_check(t->snapshots, name), -ENAMETOOLONG);
	name[PROFILER_SNAPSHOT_NAME_MAX - 1] = '\0';
	assert_int_equal(make(t, name), 0);
	assert_int_equal(make(t, name), -EEXIST);
	assert_int_equal(make(t, "a b~"), 0);
	assert_int_equal(snapshots_remove(t->snapshots, "nobody"), -ENOENT);
	assert_int_equal(snapshots_remove(t->snapshots, name), 0);
	assert_int_equal(snapshots_remove(t->snapshots, name), -ENOENT);
	end(t, BYTES);
}

static void test_no_more_than_there_is_room_for(void **state)
{
	struct profiler_snapshot list[SNAPSHOTS_MAX];
	struct tally *t = begin(BYTES);
	char name[16];

	(void)state;
	for (int i = 0; i < SNAPSHOTS_MAX; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(make(t, name), 0);
	}
	assert_int_equal(make(t, "more"), -ENOSPC);
	assert_int_equal(snapshots_remove(t->snapshots, "3"), 0);
	assert_int_equal(make(t, "more"), 0);
	assert_int_equal(snapshots_list(t->snapshots, list), SNAPSHOTS_MAX);
	assert_string_equal(list[3].name, "4");
	assert_string_equal(list[SNAPSHOTS_MAX - 1].name, "more");
	for (int i = 1; i < SNAPSHOTS_MAX; i++)
		assert_true(list[i].id > list[i - 1].id);
	end(t, BYTES);
}

static void test_no_more_memory_than_allowed(void **state)
{
	size_t bytes = 2 * sizeof(struct snapshot) + 1000 * sizeof(struct counts_entry);
	struct tally *t = begin(bytes);

	(void)state;
	assert_int_equal(make(t, "small"), 0);
	for (unsigned i = 0; i < 2000; i++)
		file(t, KERNEL + i);
	assert_int_equal(make(t, "large"), -ENOMEM);
	assert_int_equal(memory.snapshots_held, 1);
	end(t, bytes);
}

static void test_it_stays_what_it_was(void **state)
{
	struct tally *t = begin(BYTES);
	struct profiler_snapshot list[SNAPSHOTS_MAX];
	struct snapshot *s;
	struct tally_copy copy;

	(void)state;
	file(t, KERNEL);
	assert_int_equal(make(t, "one"), 0);
	file(t, KERNEL);
	tally_reset(t, clock_now_ns(), &zero);
	snapshots_list(t->snapshots, list);
	s = snapshots_get(t->snapshots, list[0].id);
	assert_null(snapshots_get(t->snapshots, list[0].id + 1));
	/* Forgotten, but somebody has it still. */
	assert_int_equal(snapshots_remove(t->snapshots, "one"), 0);
	assert_null(snapshots_get(t->snapshots, list[0].id));
	assert_int_equal(tally_copy_dup(&s->copy, &copy), 0);
	assert_int_equal(copy.epochs[0].kernel, 1);
	assert_int_equal(copy.epochs[0].entry_count, 1);
	assert_int_equal(copy.epochs[0].entries[0].ip, KERNEL);
	tally_copy_deinit(&copy);
	snapshot_put(s);
	end(t, BYTES);
}

static void *make_and_forget(void *arg)
{
	struct profiler_snapshot list[SNAPSHOTS_MAX];
	struct tally *t = arg;

	for (int i = 0; i < 200; i++) {
		size_t n;

		make(t, "same");
		n = snapshots_list(t->snapshots, list);
		for (size_t k = 0; k < n; k++)
			snapshot_put(snapshots_get(t->snapshots, list[k].id));
		snapshots_remove(t->snapshots, "same");
	}
	return NULL;
}

static void test_many_at_once(void **state)
{
	struct tally *t = begin(BYTES);
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_and_forget, t), 0);
	for (int i = 0; i < 1000; i++)
		file(t, KERNEL + (uint64_t)i % 7);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	end(t, BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_no_more_than_there_is_room_for),
		cmocka_unit_test(test_no_more_memory_than_allowed),
		cmocka_unit_test(test_it_stays_what_it_was),
		cmocka_unit_test(test_many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
