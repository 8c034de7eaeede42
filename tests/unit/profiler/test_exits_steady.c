/* Entries that are read while they are written: another process counts, by the programs' own C,
 * into memory that both have, and whatever this one copies is as it was at one moment. Nothing is
 * counted twice, and from one reading to the next nothing counts backwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/types.h>
#include <cmocka.h>

#include "profiler/exits/raw.h"
#include "profiler/exits/steady.h"
#include "symsrc/base/clock.h"

#define GUEST	7
#define VCPU	10
#define ROWS	8
#define TEST_NS (NSEC_PER_SEC / 2)
#define MOST_NS (60 * NSEC_PER_SEC) /* where the other process is not given a CPU */

/* ---- what counts, in the other process ---------------------------------------------------------
 */

static struct shared {
	struct exits_thread t;
	struct exits_raw_row rows[ROWS];
	uint64_t begun; /* the clock of the first event */
} * shared;

static struct event {
	uint64_t reason, what, write, err, prev, prev_state, next, woken;
} now_counted;

#define AT(field)                                \
	{                                        \
		offsetof(struct event, field), 8 \
	}
static const struct exits_constants constants = {.fields = {.reason = AT(reason),
							    .isa = {-1, 0},
							    .vmm_reason = AT(reason),
							    .vmm_errno = AT(err),
							    .pio_rw = AT(write),
							    .pio_port = AT(what),
							    .prev_pid = AT(prev),
							    .prev_state = AT(prev_state),
							    .next_pid = AT(next),
							    .wakeup_pid = AT(woken),
							    .exit = 0,
							    .entry = 1,
							    .pio = 2,
							    .vmm = 3,
							    .mmio = -1,
							    .msr = -1,
							    .fast = -1,
							    .msi = -1,
							    .irq = -1},
						 .limits = {{ROWS, ROWS, 0}, {ROWS, ROWS, 0}}};
static uint64_t ticks = 1000;

#define PROGRAM static inline /* not all are used */
#undef __noinline
#define __noinline inline
#undef __always_inline
#define __always_inline inline
enum { BPF_NOEXIST = 1 };
static int processes, pools, lost;

static void *bpf_map_lookup_elem(const int *map, const void *key)
{
	static struct exits_process process;
	static uint64_t none;

	(void)key;
	return map == &processes ? (void *)&process : (void *)&none;
}

static long bpf_map_update_elem(const int *map, const void *key, const void *value, int flags)
{
	(void)map;
	(void)key;
	(void)value;
	(void)flags;
	return -1;
}

static void bpf_probe_read_kernel(void *to, size_t n, const void *from)
{
	memcpy(to, from, n);
}

static uint64_t bpf_ktime_get_ns(void)
{
	ticks += 100;
	return ticks;
}

static uint64_t bpf_get_current_pid_tgid(void)
{
	return (uint64_t)GUEST << 32 | VCPU;
}

#define on_exit count_exit /* stdlib.h has one */
#include "profiler/exits/counting.h"

static int is_kernel_thread(uint32_t *ret_tgid)
{
	(void)ret_tgid;
	return 0;
}

static int field_in_place(const char *ctx, struct exits_field f, __u64 *ret)
{
	(void)ctx;
	(void)f;
	(void)ret;
	return 0;
}

static struct exits_thread *find_thread(uint32_t tid)
{
	return tid == VCPU ? &shared->t : NULL;
}

static struct exits_thread *add_thread(uint32_t tid, uint32_t tgid, uint32_t vcpu)
{
	begin_thread(&shared->t, tid, tgid, vcpu);
	return &shared->t;
}

static struct exits_row *find_row(struct exits_thread *t, uint32_t kind, __u64 what, uint32_t more,
				  uint32_t tid)
{
	const struct exits_key key = {
		.what = what, .more = more, .kind = kind, .tgid = t->tgid, .tid = tid};

	for (int i = 0; i < ROWS; i++) {
		if (memcmp(&shared->rows[i].key, &key, sizeof(key)) == 0)
			return &shared->rows[i].row;
	}
	return NULL;
}

static long add_row(const struct exits_key *key)
{
	int i = 0;

	while (shared->rows[i].key.tgid)
		i++;
	shared->rows[i].key = *key;
	return 0;
}

/* One exit after the other, to the VMM and back and sometimes asleep. */
static void count_for_ever(void)
{
	on_entry(&now_counted); /* from now on everything has a time */
	for (uint64_t n = 0;; n++) {
		struct event e = {.reason = 20 + n % 3, .what = 0x80 + n % 2, .write = 1};

		now_counted = e;
		count_exit(&now_counted);
		on_pio(&now_counted);
		now_counted.reason = VMM_IO;
		on_userspace(&now_counted);
		now_counted = (struct event){.prev = VCPU, .prev_state = 1, .woken = VCPU};
		if (n % 5 == 0) {
			on_switch(&now_counted);
			on_wakeup(&now_counted);
			now_counted = (struct event){.next = VCPU};
			on_switch(&now_counted);
		}
		on_entry(&now_counted);
	}
}

/* ---- who reads, in this one --------------------------------------------------------------------
 */

static pid_t writer;

static int setup(void **state)
{
	(void)state;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return -1;
	shared->begun = ticks + 100;
	add_thread(VCPU, GUEST, 1);
	writer = fork();
	if (writer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		count_for_ever();
	}
	return writer < 0;
}

static int teardown(void **state)
{
	(void)state;
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	munmap(shared, sizeof(*shared));
	return 0;
}

static void check_thread(const struct exits_thread *t)
{
	uint64_t all = 0;

	for (int i = 0; i < EXITS_TIMES; i++)
		all += t->times[i];
	assert_int_equal(all, t->since - shared->begun);
	if (!t->in_exit)
		return;
	assert_true(t->exit_at <= t->since);
	assert_in_range(t->reason, 20, 22);
	if (t->access_kind) {
		assert_int_equal(t->access_kind, EXITS_PIO);
		assert_in_range(t->access_what, 0x80, 0x81);
	}
}

static void check_row(const struct exits_row *row)
{
	uint64_t all = 0;

	for (int i = 0; i < EXITS_BUCKETS; i++)
		all += row->buckets[i];
	assert_int_equal(row->sums.timed, row->sums.count);
	assert_int_equal(all, row->sums.count);
	assert_true(row->sums.total >= row->sums.count * row->sums.min);
	assert_true(row->sums.total <= row->sums.count * row->sums.max);
}

/* False: the writer stands still in the middle, which a program in the kernel does not. */
static bool read_all(struct exits_raw *raw)
{
	struct exits_thread t;

	raw->taken_ns = 1;
	if (!exits_steady_thread(&shared->t, &t))
		return false;
	check_thread(&t);
	assert_int_equal(exits_raw_add_thread(raw, VCPU, &t), 0);
	for (int i = 0; i < ROWS; i++) {
		struct exits_row row;

		if (!shared->rows[i].key.tgid)
			continue;
		if (!exits_steady_row(&shared->rows[i].row, &row))
			return false;
		check_row(&row);
		assert_int_equal(exits_raw_add_row(raw, &shared->rows[i].key, &row), 0);
	}
	return true;
}

/* Of what has a time and what has begun, by the last digits of what it is. */
static void check_lines(const struct exits_list *l, uint64_t *before, uint64_t most)
{
	uint64_t all = 0;

	for (size_t i = 0; i < l->count; i++) {
		uint64_t *was = &before[l->lines[i].key.what % 8];

		assert_true(l->lines[i].row.sums.count >= *was);
		*was = l->lines[i].row.sums.count;
		all += *was;
	}
	assert_true(all <= most);
}

static void test_nothing_counts_backwards(void **state)
{
	static const struct exits_plan plan = {.fields = {.exit = 0}};
	uint64_t reasons[8] = {0}, ports[8] = {0}, vmm[8] = {0};
	uint64_t begin = clock_now_ns(), now = begin;

	(void)state;
	for (; now < begin + (reasons[20 % 8] ? TEST_NS : MOST_NS); now = clock_now_ns()) {
		struct exits shown = {0};
		struct exits_raw raw = {0};
		uint64_t most;

		if (!read_all(&raw)) {
			exits_raw_deinit(&raw);
			sched_yield();
			continue;
		}
		most = __atomic_load_n(&shared->t.events[0], __ATOMIC_ACQUIRE);
		assert_int_equal(exits_raw_show(&raw, NULL, 0, &plan, &shown), 0);
		check_lines(&shown.lists[EXITS_REASON], reasons, most);
		check_lines(&shown.lists[EXITS_PIO], ports, most);
		check_lines(&shown.lists[EXITS_VMM], vmm, most);
		exits_deinit(&shown);
		exits_raw_deinit(&raw);
	}
	assert_true(reasons[20 % 8] > 0);
}

/* As it is where its writer stands still. */
static void test_copy_ends(void **state)
{
	static struct exits_thread t = {.since = 2, .settled = 1, .tid = VCPU}, t_copy;
	static struct exits_row row = {.begun = 2, .ended = 1, .sums = {.count = 3}}, row_copy;

	(void)state;
	assert_false(exits_steady_thread(&t, &t_copy));
	assert_int_equal(t_copy.tid, VCPU);
	assert_false(exits_steady_row(&row, &row_copy));
	assert_int_equal(row_copy.sums.count, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef __x86_64__ /* steady.h: others may show what was written in another order */
		cmocka_unit_test_setup_teardown(test_nothing_counts_backwards, setup, teardown),
#endif
		cmocka_unit_test(test_copy_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
