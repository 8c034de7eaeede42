/* The files that hold VM exits: exits, exits.json, events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <json-c/json.h>

#include "fs/render.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/madeprofile.h"

static struct guest web = {.serial = 1, .pid = 4242, .name = "web\"1"};

static struct exits_line reasons[] = {
	{"io",
	 {.what = 0x7b, .more = 2},
	 {.sums = {.count = 300,
		   .userspace = 299,
		   .timed = 300,
		   .total = 3000000,
		   .min = 2500,
		   .max = 90123},
	  .buckets = {[13] = 300}}},
	{"hlt",
	 {.what = 0x78, .more = 2},
	 {.sums = {.count = 100, .timed = 99, .total = 9000000, .min = 80000, .max = 200000},
	  .buckets = {[16] = 99}}},
};
static struct exits_line ports[] = {
	{"0x0080:W", {.kind = EXITS_PIO, .what = 0x80, .more = 1}, {.sums = {.count = 7}}},
	{"[other]", {.kind = EXITS_KINDS}, {.sums = {.count = 5}}},
};
static struct exits_event events[] = {{"kvm_exit", 400}, {"kvm_pio", 12}};

static struct exits made(void)
{
	return (struct exits){
		.engine = "bpf",
		.entered = true,
		.since_ns = 90 * NSEC_PER_SEC,
		.taken_ns = 100 * NSEC_PER_SEC,
		.lost = {3, 4, 5},
		.kernel_irqs = 17,
		.threads = 2,
		.times = {[EXITS_IN_GUEST] = 5 * NSEC_PER_SEC, [EXITS_HALTED] = 15 * NSEC_PER_SEC},
		.exits = 400,
		.lists = {[EXITS_REASON] = {2, reasons}, [EXITS_PIO] = {2, ports}},
		.event_count = 2,
		.events = events};
}

static void has(const struct buf *b, const char *text)
{
	if (!strstr(b->data, text))
		fail_msg("'%s' is not in:\n%s", text, b->data);
}

static void test_exits(void **state)
{
	struct exits e = made();
	struct buf b;

	(void)state;
	buf_init(&b, 100000);
	assert_int_equal(render_exits(&web, &e, &made_when, &b), 0);
	has(&b, "# guest: web\"1 (pid 4242)\n# engine: bpf\n");
	has(&b, " for 10.000 s\n# exits: 400\n# lost: 3\n");
	has(&b, "# in the guest: 25.00% (5.000 s)\n");
	has(&b, "# lost of the events that `events` alone counts: 4\n");
	has(&b, "# lost of the scheduler's events, which the times are from: 5\n");
	has(&b, "by other threads of the kernel, for any guest: 17; ");
	has(&b, "# halted: 75.00% (15.000 s)\n");
	has(&b, "# REASON COUNT COUNT% TIME% MIN_US AVG_US P50_US P99_US MAX_US USERSPACE\n"
		"io                              300  75.00  25.00       2.500      10.000      "
		"12.288      16.302      90.123       299\n"
		"hlt                             100  25.00  75.00      80.000      90.909      "
		"97.973     130.410     200.000         0\n");
	has(&b, "# PORT COUNT");
	has(&b, "0x0080:W                          7  58.33      -           -           -         "
		"  -    "
		"       -           -         0\n[other] ");
	assert_null(strstr(b.data, "# missing"));
	buf_deinit(&b);
}

/* Ten columns whatever is known, so that scripts find theirs. */
static void test_every_row_has_ten_columns(void **state)
{
	struct exits e = made();
	struct buf b;
	char *save = NULL;

	(void)state;
	buf_init(&b, 100000);
	assert_int_equal(render_exits(&web, &e, &made_when, &b), 0);
	for (char *line = strtok_r(b.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *words = NULL;
		int n = 0;

		if (line[0] == '#')
			continue;
		for (char *w = strtok_r(line, " ", &words); w; w = strtok_r(NULL, " ", &words))
			n++;
		assert_int_equal(n, 10);
	}
	buf_deinit(&b);
}

static void test_what_is_missing_is_said(void **state)
{
	struct exits e = made();
	struct buf b;

	(void)state;
	buf_init(&b, 100000);
	e.entered = false;
	e.exits = 0;
	render_exits(&web, &e, &made_when, &b);
	has(&b, "# missing: kvm_exit and kvm_entry");
	has(&b, "# exits: -\n");
	has(&b, "# in the guest: -\n# handling in the kernel: -\n# in the VMM: -\n"
		"# halted: 75.00% (15.000 s)\n# waiting for a CPU: 0.00% (0.000 s)\n");
	buf_clear(&b);
	e.threads = 0;
	render_exits(&web, &e, &made_when, &b);
	has(&b,
	    "# missing: no event of a vCPU was counted: there was none, or it is among the lost");
	e.lost.rows = 0;
	buf_clear(&b);
	render_exits(&web, &e, &made_when, &b);
	has(&b, "# missing: no vCPU has had an event of KVM yet that rows and times are made of");
	has(&b, "# halted: -\n# waiting for a CPU: -\n");
	buf_clear(&b);
	e = (struct exits){.note = "no VM exits: the guest runs under TCG, not KVM"};
	render_exits(&web, &e, &made_when, &b);
	assert_string_equal(b.data, "# no VM exits: the guest runs under TCG, not KVM\n");
	buf_clear(&b);
	render_events(&web, &e, &made_when, &b);
	assert_string_equal(b.data, "# no VM exits: the guest runs under TCG, not KVM\n");
	buf_deinit(&b);
}

static void test_recent(void **state)
{
	struct exits e = made();
	struct buf b;

	(void)state;
	e.recent = true;
	buf_init(&b, 100000);
	assert_int_equal(render_exits(&web, &e, &made_when, &b), 0);
	has(&b, "# window: the last 10 s\n# since: ");
	has(&b, "# MIN_US and MAX_US: new records, or bounds: powers of 2 ns\n");
	buf_clear(&b);
	assert_int_equal(render_exits_json(&web, &e, &made_when, &b), 0);
	has(&b, "\"window\": \"recent\",\n");
	buf_deinit(&b);
}

static void test_events(void **state)
{
	struct exits e = made();
	struct buf b;

	(void)state;
	buf_init(&b, 100000);
	assert_int_equal(render_events(&web, &e, &made_when, &b), 0);
	has(&b, "# COUNT EVENT\n         400 kvm:kvm_exit\n          12 kvm:kvm_pio\n");
	buf_deinit(&b);
}

static struct json_object *parsed(const struct exits *e)
{
	struct json_object *o;
	struct buf b;

	buf_init(&b, 100000);
	assert_int_equal(render_exits_json(&web, e, &made_when, &b), 0);
	o = json_tokener_parse(b.data);
	assert_non_null(o);
	buf_deinit(&b);
	return o;
}

static bool is_null(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	assert_true(json_object_object_get_ex(o, key, &v));
	return v == NULL;
}

/* What nobody has measured is no 0. */
static void test_json_of_what_is_not_known(void **state)
{
	struct exits e = made();
	struct json_object *o, *of;

	(void)state;
	e.entered = false;
	e.exits = 0;
	o = parsed(&e);
	of = json_object_object_get(o, "time_ns");
	assert_true(is_null(o, "exits_total"));
	assert_true(is_null(of, "guest") && is_null(of, "kernel") && is_null(of, "vmm"));
	assert_false(is_null(of, "halted") || is_null(of, "waiting"));
	of = json_object_array_get_idx(json_object_object_get(o, "pio"), 0);
	assert_true(is_null(of, "total_ns") && is_null(of, "min_ns") && is_null(of, "max_ns"));
	json_object_put(o);
}

static void test_json(void **state)
{
	struct exits e = made();
	struct json_object *o = parsed(&e), *first, *h;

	(void)state;
	assert_string_equal(json_object_get_string(json_object_object_get(o, "guest")), "web\"1");
	first = json_object_array_get_idx(json_object_object_get(o, "exits"), 0);
	assert_string_equal(json_object_get_string(json_object_object_get(first, "name")), "io");
	assert_int_equal(json_object_get_int64(json_object_object_get(first, "total_ns")), 3000000);
	h = json_object_object_get(first, "log2_ns");
	assert_int_equal(json_object_array_length(h), 14);
	assert_int_equal(json_object_get_int(json_object_array_get_idx(h, 13)), 300);
	assert_int_equal(json_object_array_length(json_object_object_get(o, "mmio")), 0);
	json_object_put(o);
	e = (struct exits){.note = "no \"KVM\" here"};
	json_object_put(parsed(&e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exits),
		cmocka_unit_test(test_every_row_has_ten_columns),
		cmocka_unit_test(test_what_is_missing_is_said),
		cmocka_unit_test(test_recent),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_of_what_is_not_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
