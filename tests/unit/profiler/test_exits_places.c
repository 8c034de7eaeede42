/* Where the programs in the kernel have threads and rows: what is found is what was added, also
 * where guesses are wrong, places are used again and two CPUs add the same. The maps are this
 * test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <linux/types.h>
#include <cmocka.h>

#include "profiler/exits/abi.h"
#include "profiler/exits/numbers.h"

#define THREADS 4
#define ROWS	6
#undef __noinline
#define __noinline
#undef __always_inline
#define __always_inline inline
enum { BPF_ANY, BPF_NOEXIST };

static struct map {
	enum { ARRAY, HASH, QUEUE } type;
	uint32_t room;
	size_t key_size, size;
	uint32_t count; /* entries of a hash map, or of a queue */
	char *keys, *values;
	unsigned lookups;
} threads = {ARRAY, THREADS + 1, 4, sizeof(struct exits_thread_place), 0, NULL, NULL, 0},
  rows = {ARRAY, ROWS + 1, 4, sizeof(struct exits_row_place), 0, NULL, NULL, 0},
  empty_thread = {ARRAY, 1, 4, sizeof(struct exits_thread_place), 0, NULL, NULL, 0},
  empty_row = {ARRAY, 1, 4, sizeof(struct exits_row_place), 0, NULL, NULL, 0},
  row_owners = {ARRAY, ROWS + 1, 4, sizeof(uint64_t), 0, NULL, NULL, 0},
  thread_places = {HASH, THREADS, 4, 4, 0, NULL, NULL, 0},
  row_places = {HASH, ROWS, sizeof(struct exits_key), 4, 0, NULL, NULL, 0},
  free_threads = {QUEUE, THREADS, 0, 4, 0, NULL, NULL, 0},
  free_rows = {QUEUE, ROWS, 0, 4, 0, NULL, NULL, 0};

static uint32_t numbers[EXITS_NUMBERS];

static struct map *const maps[] = {&row_owners,	  &threads,	 &rows,
				   &empty_thread, &empty_row,	 &thread_places,
				   &row_places,	  &free_threads, &free_rows};

/* Runs once, before something is added to that hash map: another CPU is quicker. */
static struct map *raced;
static void (*racer)(void);

static void *bpf_map_lookup_elem(struct map *m, const void *key)
{
	uint32_t i;

	m->lookups++;
	if (m->type == ARRAY) {
		memcpy(&i, key, sizeof(i));
		return i < m->room ? m->values + i * m->size : NULL;
	}
	for (i = 0; i < m->count; i++) {
		if (memcmp(m->keys + i * m->key_size, key, m->key_size) == 0)
			return m->values + i * m->size;
	}
	return NULL;
}

static long bpf_map_update_elem(struct map *m, const void *key, const void *value, int flags)
{
	void (*race)(void) = racer, *old;

	if (m->type == ARRAY) {
		memcpy(bpf_map_lookup_elem(m, key), value, m->size);
		return 0;
	}
	if (race && m == raced) {
		racer = NULL;
		race();
	}
	old = bpf_map_lookup_elem(m, key);
	if (old && flags == BPF_ANY) {
		memcpy(old, value, m->size);
		return 0;
	}
	if (old || m->count == m->room)
		return -1;
	memcpy(m->keys + m->count * m->key_size, key, m->key_size);
	memcpy(m->values + m->count++ * m->size, value, m->size);
	return 0;
}

static void map_remove(struct map *m, const void *key)
{
	char *value = bpf_map_lookup_elem(m, key);
	size_t i = (size_t)(value - m->values) / m->size;

	assert_non_null(value);
	m->count--;
	memmove(m->keys + i * m->key_size, m->keys + (i + 1) * m->key_size,
		(m->count - i) * m->key_size);
	memmove(value, value + m->size, (m->count - i) * m->size);
}

static long bpf_map_push_elem(struct map *m, const void *value, int flags)
{
	(void)flags;
	assert_true(m->count < m->room);
	memcpy(m->values + m->count++ * m->size, value, m->size);
	return 0;
}

static long bpf_map_pop_elem(struct map *m, void *value)
{
	if (m->count == 0)
		return -1;
	memcpy(value, m->values, m->size);
	memmove(m->values, m->values + m->size, --m->count * m->size);
	return 0;
}

static void begin_thread(struct exits_thread *t, uint32_t tid, uint32_t tgid, uint32_t vcpu)
{
	t->tgid = tgid;
	t->tid = tid;
	t->vcpu = vcpu;
}

#define IN_ORDER()
static void give_up_number(struct exits_thread *t)
{
	t->had_tid = t->tid;
	t->tid = 0;
}

#include "profiler/exits/places.h"

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++) {
		maps[i]->count = 0;
		maps[i]->keys = calloc(maps[i]->room, maps[i]->key_size + 1);
		maps[i]->values = aligned_alloc(64, (maps[i]->room * maps[i]->size + 63) / 64 * 64);
		if (!maps[i]->keys || !maps[i]->values)
			return -1;
		memset(maps[i]->values, 0, maps[i]->room * maps[i]->size);
	}
	for (uint32_t i = 1; i <= THREADS; i++)
		bpf_map_push_elem(&free_threads, &i, 0);
	for (uint32_t i = 1; i <= ROWS; i++)
		bpf_map_push_elem(&free_rows, &i, 0);
	memset(numbers, 0, sizeof(numbers));
	racer = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++) {
		free(maps[i]->keys);
		free(maps[i]->values);
	}
	return 0;
}

/* As bpf.c does it. */
static uint32_t forget_thread(uint32_t tid)
{
	uint32_t place = *(uint32_t *)bpf_map_lookup_elem(&thread_places, &tid);

	map_remove(&thread_places, &tid);
	memset(bpf_map_lookup_elem(&threads, &place), 0, threads.size);
	return place;
}

static struct exits_key key_of(const struct exits_thread *t, uint64_t what)
{
	return (struct exits_key){
		.what = what, .more = 1, .kind = EXITS_PIO, .tgid = t->tgid, .tid = t->tid};
}

static struct exits_row *find_port(struct exits_thread *t, uint64_t port)
{
	return find_row(t, EXITS_PIO, port, 1, t->tid);
}

static struct exits_row *add_port(struct exits_thread *t, uint64_t port)
{
	struct exits_key key = key_of(t, port);

	assert_int_equal(add_row(&key), 0);
	return find_port(t, port);
}

static void test_thread_is_found_without_the_hash(void **state)
{
	struct exits_thread *t = add_thread(10, 7, 1);
	unsigned before = thread_places.lookups;

	(void)state;
	assert_non_null(t);
	assert_ptr_equal(find_thread(10), t);
	assert_null(find_thread(11)); /* nobody's low bits */
	assert_int_equal(thread_places.lookups, before);
	assert_null(find_thread(10 + EXITS_NUMBERS));
	assert_ptr_equal(find_thread(10), t);
}

static void test_threads_with_equal_low_bits(void **state)
{
	struct exits_thread *a = add_thread(10, 7, 1), *b = add_thread(10 + EXITS_NUMBERS, 8, 1);

	(void)state;
	assert_ptr_not_equal(a, b);
	for (int i = 0; i < 3; i++) {
		unsigned before = thread_places.lookups;

		assert_ptr_equal(find_thread(10), a);
		assert_int_equal(thread_places.lookups, before);
		assert_ptr_equal(find_thread(10 + EXITS_NUMBERS), b);
	}
	/* When the first one is gone, the other is as quick. */
	forget_thread(10);
	assert_null(find_thread(10));
	assert_ptr_equal(find_thread(10 + EXITS_NUMBERS), b);
	thread_places.lookups = 0;
	assert_ptr_equal(find_thread(10 + EXITS_NUMBERS), b);
	assert_int_equal(thread_places.lookups, 0);
}

static void test_kernel_has_an_entry(void **state)
{
	struct exits_thread *kernel = find_thread(EXITS_KERNEL);

	(void)state;
	assert_ptr_equal(kernel, threads.values);
	assert_ptr_not_equal(add_thread(EXITS_NUMBERS, 7, 1), kernel);
	forget_thread(EXITS_NUMBERS);
	assert_ptr_equal(find_thread(EXITS_KERNEL), kernel);
}

static void test_place_is_used_again(void **state)
{
	struct exits_thread *t = add_thread(10, 7, 1), *again;
	uint32_t place;

	(void)state;
	assert_non_null(add_thread(11, 7, 1));
	assert_non_null(add_thread(12, 7, 1));
	assert_non_null(add_thread(13, 7, 1));
	assert_null(add_thread(14, 7, 1)); /* full */
	place = forget_thread(10);
	t->events[3] = 5; /* a program was still there */
	bpf_map_push_elem(&free_threads, &place, 0);
	again = add_thread(20, 8, 1);
	assert_ptr_equal(again, t);
	assert_int_equal(again->events[3], 0);
	assert_null(find_thread(10));
	assert_ptr_equal(find_thread(20), again);
}

static void test_number_of_another_process(void **state)
{
	struct exits_thread *t = add_thread(10, 7, 1), *again;

	(void)state;
	t->events[3] = 5;
	assert_ptr_equal(add_thread(10, 7, 0), t); /* by another thread of it, meanwhile */
	assert_int_equal(t->events[3], 5);
	again = add_thread(10, 8, 1);
	assert_ptr_equal(find_thread(10), again);
	assert_int_equal(again->tgid, 8);
	assert_int_equal(again->events[3], 0);
	/* What it counted remains the first process's, and the number is no way to it any more. */
	assert_ptr_not_equal(again, t);
	assert_int_equal(t->tgid, 7);
	assert_int_equal(t->events[3], 5);
	assert_int_equal(t->tid, 0);
	assert_int_equal(t->had_tid, 10);
	assert_int_equal(free_threads.count, THREADS - 2);
	numbers[10] = 0;
	assert_ptr_equal(add_thread(10, 8, 1), again);
	assert_non_null(add_thread(11, 7, 1));
	assert_non_null(add_thread(12, 7, 1));
	assert_null(add_thread(12, 8, 1)); /* full: nobody loses anything */
	assert_int_equal(find_thread(12)->tgid, 7);
}

/* What a hash map has said may be another key's by the time that it is read. */
static void test_hash_is_no_proof(void **state)
{
	struct exits_thread *t = add_thread(10, 7, 1), *other = add_thread(11, 7, 1);
	struct exits_key a, b;
	uint32_t key = 10, place = 2, none = 0;

	(void)state;
	numbers[10] = place; /* of another one, so that the hash map is asked */
	memcpy(bpf_map_lookup_elem(&thread_places, &key), &place, sizeof(place));
	assert_null(find_thread(10));
	assert_ptr_equal(find_thread(11), other);
	add_port(t, 0x80);
	add_port(other, 0x80);
	a = key_of(t, 0x80);
	b = key_of(other, 0x80);
	memcpy(bpf_map_lookup_elem(&row_places, &a), bpf_map_lookup_elem(&row_places, &b),
	       sizeof(place));
	*recent_of(t, EXITS_PIO, 0x80, 1) = none;
	assert_null(find_port(t, 0x80));
	assert_non_null(find_port(other, 0x80));
}

/* Nobody is missed for longer than up to his next event. */
static void test_number_that_was_cleared(void **state)
{
	struct exits_thread *t = add_thread(10, 7, 1);

	(void)state;
	numbers[10] = 0;
	assert_null(find_thread(10));
	assert_ptr_equal(add_thread(10, 7, 1), t);
	assert_ptr_equal(find_thread(10), t);
	assert_int_equal(free_threads.count, THREADS - 1);
}

static void renew(const struct exits_gone *gone, size_t count)
{
	exits_numbers_renew(numbers, (const struct exits_thread_place *)(void *)threads.values,
			    THREADS + 1, gone, count);
}

/* Strangers are told without the hash map again once nobody with their low bits is left. */
static void test_numbers_of_the_gone(void **state)
{
	struct exits_thread *a = add_thread(10, 7, 1), *b = add_thread(10 + EXITS_NUMBERS, 8, 1);
	struct exits_gone gone[] = {{.tid = 10}, {.tid = 11}, {.tid = 10 + EXITS_NUMBERS}};

	(void)state;
	assert_non_null(a);
	assert_non_null(add_thread(11, 7, 1));
	gone[0].place = forget_thread(10);
	gone[1].place = forget_thread(11);
	renew(gone, 2);
	thread_places.lookups = 0;
	assert_null(find_thread(11));
	assert_ptr_equal(find_thread(10 + EXITS_NUMBERS), b);
	assert_int_equal(thread_places.lookups, 0);
	assert_null(find_thread(10));

	gone[2].place = forget_thread(10 + EXITS_NUMBERS);
	assert_non_null(add_thread(12, 7, 1)); /* meanwhile */
	renew(gone + 2, 1);
	thread_places.lookups = 0;
	assert_null(find_thread(10));
	assert_null(find_thread(10 + EXITS_NUMBERS));
	assert_non_null(find_thread(12));
	assert_int_equal(thread_places.lookups, 0);
}

static struct exits_thread *quicker;
static void add_the_same_thread(void)
{
	quicker = add_thread(10, 7, 0);
}

static void test_two_add_the_same_thread(void **state)
{
	struct exits_thread *t;

	(void)state;
	raced = &thread_places;
	racer = add_the_same_thread;
	t = add_thread(10, 7, 0);
	assert_ptr_equal(t, quicker);
	assert_ptr_equal(find_thread(10), quicker);
	assert_int_equal(free_threads.count, THREADS - 1);
}

static void test_rows_are_found_without_the_hash(void **state)
{
	struct exits_thread *t = add_thread(10, 7, 1);
	struct exits_row *a, *b;

	(void)state;
	assert_null(find_port(t, 0x80));
	a = add_port(t, 0x80);
	b = add_port(t, 0x81);
	assert_ptr_not_equal(a, b);
	row_places.lookups = 0;
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(find_port(t, 0x80), a);
		assert_ptr_equal(find_port(t, 0x81), b);
	}
	assert_int_equal(row_places.lookups, 0);
}

/* More than are remembered: each is found all the same, and no other. */
static void test_rows_that_share_a_guess(void **state)
{
	struct exits_thread *t = add_thread(10, 7, 1), *other = add_thread(11, 7, 1);
	struct exits_row *found[ROWS];

	(void)state;
	for (uint64_t i = 0; i < ROWS; i++)
		found[i] = add_port(i % 2 ? t : other, i / 2 << 40);
	for (int round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < ROWS; i++)
			assert_ptr_equal(find_port(i % 2 ? t : other, i / 2 << 40), found[i]);
	}
	assert_int_equal(add_row(&(struct exits_key){.what = 1, .tgid = 7, .tid = 10}), -1);
	assert_null(find_row(t, EXITS_REASON, 1, 0, 10));
}

static void test_row_place_is_used_again(void **state)
{
	struct exits_thread *t = add_thread(10, 7, 1);
	struct exits_row *row = add_port(t, 0x80);
	struct exits_key key = key_of(t, 0x80);
	uint32_t place = *(uint32_t *)bpf_map_lookup_elem(&row_places, &key);

	(void)state;
	map_remove(&row_places, &key);
	memset(bpf_map_lookup_elem(&rows, &place), 0, rows.size);
	row->sums.count = 5; /* a program was still there */
	assert_null(find_port(t, 0x80));
	for (uint64_t i = 1; i < ROWS; i++)
		assert_ptr_not_equal(add_port(t, i), row);
	bpf_map_push_elem(&free_rows, &place, 0);
	assert_ptr_equal(add_port(t, 0x90), row);
	assert_int_equal(row->sums.count, 0);
	assert_null(find_port(t, 0x80));
}

static uint64_t owner_of(uint32_t place)
{
	return *(uint64_t *)bpf_map_lookup_elem(&row_owners, &place);
}

static void test_whose_row_is_where(void **state)
{
	struct exits_thread *t = add_thread(10, 7, 1), *other = add_thread(11, 8, 1);
	struct exits_key twice = key_of(t, 0x80);

	(void)state;
	add_port(t, 0x80);
	add_port(other, 0x80);
	add_port(t, 0x81);
	assert_int_equal(owner_of(1), 7);
	assert_int_equal(owner_of(2), 8);
	assert_int_equal(owner_of(3), 7);
	assert_int_equal(add_row(&twice), -1);
	assert_int_equal(owner_of(4), 0);
}

static void add_the_same_row(void)
{
	assert_int_equal(add_row(&(struct exits_key){.what = 3, .kind = EXITS_MSI, .tgid = 7}), 0);
}

static void test_two_add_the_same_row(void **state)
{
	struct exits_thread *t = add_thread(7, 7, 0);
	struct exits_row *row;

	(void)state;
	raced = &row_places;
	racer = add_the_same_row;
	assert_int_equal(add_row(&(struct exits_key){.what = 3, .kind = EXITS_MSI, .tgid = 7}), -1);
	row = find_row(t, EXITS_MSI, 3, 0, 0);
	assert_non_null(row);
	assert_ptr_equal(find_row(t, EXITS_MSI, 3, 0, 0), row);
	assert_int_equal(free_rows.count, ROWS - 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_thread_is_found_without_the_hash),
		TEST(test_threads_with_equal_low_bits),
		TEST(test_kernel_has_an_entry),
		TEST(test_place_is_used_again),
		TEST(test_number_of_another_process),
		TEST(test_hash_is_no_proof),
		TEST(test_number_that_was_cleared),
		TEST(test_numbers_of_the_gone),
		TEST(test_two_add_the_same_thread),
		TEST(test_rows_are_found_without_the_hash),
		TEST(test_rows_that_share_a_guess),
		TEST(test_row_place_is_used_again),
		TEST(test_whose_row_is_where),
		TEST(test_two_add_the_same_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
