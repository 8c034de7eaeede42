/* From the ring into the tallies: whose each sample is, and what becomes of the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/reader.h"
#include "symsrc/base/cleanup.h"
#include "tests/unit/lib/guestmaker.h"
#include "tests/unit/lib/pipewalk.h"
#include "tests/unit/lib/ringmaker.h"

#define KERNEL	     0xffffffff81000000ULL
#define USER	     0x401000ULL
#define GUEST_KERNEL PERF_RECORD_MISC_GUEST_KERNEL
#define CPU	     3
#define GUEST_USER   PERF_RECORD_MISC_GUEST_USER

struct world {
	struct guests *guests;
	struct tallies *tallies;
	struct reader reader;
	struct ringmaker maker;
	struct ring ring;
	struct totals_delta found;
};

static const struct tally_clock zero;

static void clock_of(void *ctx, struct tally_clock *ret)
{
	(void)ctx;
	*ret = zero;
}

static void begin(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->guests = guests_create();
	w->tallies = tallies_create(w->guests, clock_of, NULL);
	assert_non_null(w->tallies);
	assert_int_equal(reader_init(&w->reader, w->tallies), 0);
	ringmaker_init(&w->maker, 1 << 16, 0);
	ring_init(&w->ring, w->maker.page, w->maker.data, w->maker.size);
}

static void end(struct world *w)
{
	reader_deinit(&w->reader);
	tallies_destroy(w->tallies);
	guests_destroy(w->guests);
	ringmaker_deinit(&w->maker);
}

static void drain(struct world *w)
{
	reader_drain(&w->reader, &w->ring, CPU, &w->found);
}

static void put(struct world *w, uint16_t misc, uint64_t ip, uint32_t pid, uint32_t tid)
{
	ringmaker_sample(&w->maker, misc, ip, pid, tid, clock_now_ns());
}

static struct tally_copy copy_of(struct world *w, uint64_t serial)
{
	const struct tally_set *set = tallies_acquire(w->tallies);
	struct tally *t = tally_set_find(set, serial);
	struct tally_copy c;

	assert_non_null(t);
	assert_int_equal(tally_copy(t, -1, false, &zero, &c), 0);
	tally_set_put(set);
	return c;
}

static struct tally_vcpu vcpu_of(struct world *w, uint64_t serial, unsigned vcpu)
{
	const struct tally_set *set = tallies_acquire(w->tallies);
	struct tally_vcpu v = tally_vcpu(tally_set_find(set, serial), vcpu);

	tally_set_put(set);
	return v;
}

static const struct symbols *no_symbols(void *ctx, uint64_t serial, uint32_t epoch)
{
	(void)ctx;
	(void)serial;
	(void)epoch;
	return NULL;
}

static void pause_guest(struct world *w, uint64_t serial)
{
	const struct tally_set *set = tallies_acquire(w->tallies);

	tally_pause(tally_set_find(set, serial), true, clock_now_ns(), &zero);
	tally_set_put(set);
}

static void take(struct feed *f, struct buf *b)
{
	char piece[4096];
	ssize_t n;

	while ((n = feed_read(f, piece, sizeof(piece))) > 0)
		assert_int_equal(buf_append(b, piece, (size_t)n), 0);
}

static void check_sample(const struct perf_event_header *h, uint16_t misc, uint64_t ip,
			 uint32_t pid, uint32_t tid)
{
	assert_int_equal(h->misc, misc);
	assert_int_equal(pipewalk_u64(h, 16), ip);
	assert_int_equal(pipewalk_u32(h, 24), pid);
	assert_int_equal(pipewalk_u32(h, 28), tid);
	assert_int_equal(pipewalk_u32(h, 40), CPU);
}

static void two_guests(struct world *w)
{
	guestmaker_publish(
		w->guests,
		(struct guest *[]){guestmaker_create(1, 100, 2), guestmaker_create(2, 200, 1)}, 2);
}

static void test_each_sample_goes_to_its_guest(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	two_guests(&w);
	put(&w, GUEST_KERNEL, KERNEL, 100, 101);
	put(&w, GUEST_KERNEL, KERNEL, 200, 201);
	put(&w, GUEST_KERNEL, KERNEL, 100, 102);
	put(&w, GUEST_USER, USER, 100, 102);
	put(&w, GUEST_KERNEL, KERNEL, 100, 999); /* a vCPU that is not known yet */
	put(&w, GUEST_KERNEL, KERNEL, 100, 201); /* nor is another guest's thread one of ours */
	drain(&w);
	assert_int_equal(copy_of(&w, 1).epochs[0].kernel, 4);
	assert_int_equal(copy_of(&w, 1).epochs[0].user, 1);
	assert_int_equal(copy_of(&w, 2).epochs[0].kernel, 1);
	assert_int_equal(vcpu_of(&w, 1, 0).kernel, 1);
	assert_int_equal(vcpu_of(&w, 1, 1).kernel, 1);
	assert_int_equal(vcpu_of(&w, 1, 1).user, 1);
	assert_int_equal(vcpu_of(&w, 1, VCPU_UNKNOWN).kernel, 2);
	assert_int_equal(w.found.samples, 6);
	assert_int_equal(w.found.guest_kernel, 5);
	assert_int_equal(w.found.guest_user, 1);
	assert_int_equal(w.found.stranger_guest, 0);
	end(&w);
}

static void test_host_and_strangers(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	two_guests(&w);
	put(&w, PERF_RECORD_MISC_KERNEL, KERNEL, 100, 101);
	put(&w, PERF_RECORD_MISC_USER, USER, 100, 100);
	put(&w, PERF_RECORD_MISC_KERNEL, KERNEL, 0, 0);
	put(&w, PERF_RECORD_MISC_KERNEL, KERNEL, 300, 300);
	put(&w, PERF_RECORD_MISC_USER, USER, 300, 300);
	put(&w, GUEST_KERNEL, KERNEL, 300, 301);
	put(&w, GUEST_KERNEL, KERNEL, UINT32_MAX, UINT32_MAX); /* it has just exited */
	put(&w, PERF_RECORD_MISC_HYPERVISOR, KERNEL, 100, 101);
	drain(&w);
	assert_int_equal(copy_of(&w, 1).host_kernel, 1);
	assert_int_equal(copy_of(&w, 1).host_user, 1);
	assert_int_equal(copy_of(&w, 1).epochs[0].kernel, 0);
	assert_int_equal(w.found.host_kernel, 2);
	assert_int_equal(w.found.host_user, 2);
	assert_int_equal(w.found.host_idle, 1);
	assert_int_equal(w.found.stranger_guest, 2);
	assert_int_equal(w.found.samples, 8);
	end(&w);
}

static void test_lost(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	ringmaker_lost(&w.maker, 10);
	drain(&w);
	assert_int_equal(w.found.lost, 10);
	w.reader.exact_lost = true;
	ringmaker_lost(&w.maker, 10);
	drain(&w);
	assert_int_equal(w.found.lost, 10);
	end(&w);
}

/* A guest that was published after the samples were taken, but before they are read. */
static void test_new_guests_are_seen_at_once(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	put(&w, GUEST_KERNEL, KERNEL, 100, 101);
	two_guests(&w);
	drain(&w);
	assert_int_equal(copy_of(&w, 1).epochs[0].kernel, 1);
	end(&w);
}

/* A reset in the middle of a round: samples before it belong to the boot before. */
static void test_epoch_within_a_round(void **state)
{
	struct tally_copy c;
	struct world w;

	(void)state;
	begin(&w);
	two_guests(&w);
	reader_refresh(&w.reader);
	put(&w, GUEST_KERNEL, KERNEL, 100, 101);
	guests_new_epoch(w.guests, 1, 1, "test");
	put(&w, GUEST_KERNEL, KERNEL, 100, 101);
	put(&w, GUEST_KERNEL, KERNEL, 100, 101);
	drain(&w);
	c = copy_of(&w, 1);
	assert_int_equal(c.epoch_count, 2);
	assert_int_equal(c.epochs[0].kernel, 1);
	assert_int_equal(c.epochs[1].kernel, 2);
	assert_int_equal(copy_of(&w, 2).epoch_count, 1);
	end(&w);
}

/* A guest that ends takes its counts along; one with a reused pid begins at nothing. */
static void test_reused_pid(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	two_guests(&w);
	put(&w, GUEST_KERNEL, KERNEL, 100, 101);
	drain(&w);
	guestmaker_publish(w.guests, (struct guest *[]){guestmaker_create(3, 100, 1)}, 1);
	put(&w, GUEST_KERNEL, KERNEL, 100, 101);
	put(&w, GUEST_KERNEL, KERNEL, 200, 201);
	drain(&w);
	assert_int_equal(copy_of(&w, 3).epochs[0].kernel, 1);
	assert_int_equal(w.found.stranger_guest, 1);
	end(&w);
}

static void test_malformed_records(void **state)
{
	struct perf_event_header h = {PERF_RECORD_SAMPLE, GUEST_KERNEL, 16};
	uint64_t bytes[2] = {0, KERNEL};
	struct world w;

	(void)state;
	begin(&w);
	two_guests(&w);
	memcpy(bytes, &h, sizeof(h));
	ringmaker_put(&w.maker, bytes, sizeof(bytes));
	put(&w, GUEST_KERNEL, KERNEL, 100, 101);
	h.size = 0;
	ringmaker_put(&w.maker, &h, sizeof(h));
	drain(&w);
	assert_int_equal(w.found.samples, 1);
	put(&w, GUEST_KERNEL, KERNEL, 100, 101);
	drain(&w);
	assert_int_equal(w.found.samples, 2);
	assert_int_equal(copy_of(&w, 1).epochs[0].kernel, 2);
	end(&w);
}

/* What is counted as the guest's is recorded while somebody reads: not the host's, not a
 * stranger's, nothing of a guest that is paused. */
static void test_what_is_counted_is_recorded(void **state)
{
	struct livedata_config config = {.symbols_of = no_symbols, .kallsyms = "/dev/null"};
	struct pipewalk p;
	CLEANUP_BUF struct buf b;
	struct feed *feed;
	struct world w;

	(void)state;
	begin(&w);
	buf_init(&b, 1 << 20);
	two_guests(&w);
	config.guests = w.guests;
	assert_int_equal(livedata_create(&config, &w.reader.livedata, NULL), 0);
	put(&w, GUEST_KERNEL, KERNEL, 100, 101); /* before anybody reads */
	drain(&w);
	assert_int_equal(livedata_open(w.reader.livedata, 0, true, -1, &feed), 0);
	for (int i = 0; i < LIVEDATA_BATCH; i++)
		put(&w, GUEST_KERNEL, KERNEL, 100, 101);
	put(&w, GUEST_USER, USER, 200, 201);
	put(&w, PERF_RECORD_MISC_KERNEL, KERNEL, 100, 101);
	put(&w, GUEST_KERNEL, KERNEL, 300, 301);
	drain(&w);
	pause_guest(&w, 2);
	put(&w, GUEST_USER, USER, 200, 201);
	drain(&w);
	take(feed, &b);
	p = pipewalk_begin(b.data, b.len);
	assert_int_equal(pipewalk_samples(p), LIVEDATA_BATCH + 1);
	while (pipewalk_samples(p) > 1)
		check_sample(pipewalk_find(&p, PERF_RECORD_SAMPLE), GUEST_KERNEL, KERNEL, 100, 101);
	check_sample(pipewalk_find(&p, PERF_RECORD_SAMPLE), GUEST_USER, USER, 200, 201);
	feed_close(feed);
	feed_put(feed);
	livedata_stop(w.reader.livedata);
	livedata_destroy(w.reader.livedata);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_counted_is_recorded),
		cmocka_unit_test(test_each_sample_goes_to_its_guest),
		cmocka_unit_test(test_host_and_strangers),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_new_guests_are_seen_at_once),
		cmocka_unit_test(test_epoch_within_a_round),
		cmocka_unit_test(test_reused_pid),
		cmocka_unit_test(test_malformed_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
