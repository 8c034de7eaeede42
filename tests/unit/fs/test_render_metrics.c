/* metrics, by the published parser where it is installed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "fs/render.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/madeprofile.h"

#define BIG    (8 << 20)
#define PYTHON "/usr/bin/python3 -c '"

static struct guest web = {.pid = 4242,
			   .name = "web1",
			   .uuid = "11111111-2222-3333-4444-555555555555",
			   .vmm = "qemu-system-x86_64",
			   .accel = GUEST_ACCEL_KVM,
			   .memory_bytes = 1u << 30,
			   .vcpu_count = 2};
static struct guest odd = {.pid = 5000, .name = "e\"} 1\n# EOF\nx{a=\"\\n\xff\x01"};
static const struct guest_entry web_entry = {.guest = &web, .epoch = 3};
static const struct guest_entry odd_entry = {.guest = &odd, .epoch = 1};

static struct exits_line reasons[101] = {
	{"io",
	 {.what = 0x7b},
	 {.sums = {.count = 300, .userspace = 299, .total = 3 * NSEC_PER_SEC}}},
	{"[other]", {.kind = EXITS_KINDS}, {.sums = {.count = 5, .total = 1500 * NSEC_PER_MSEC}}},
};
static struct exits_line vmm_reasons[] = {
	{"IO", {.kind = EXITS_VMM, .what = 2}, {.sums = {.count = 7, .userspace = 7}}},
};
static struct exits exits = {
	.engine = "bpf", .lists = {[EXITS_REASON] = {2, reasons}, [EXITS_VMM] = {1, vmm_reasons}}};
static const struct exits uncounted = {.note = "no KVM here",
				       .lists = {[EXITS_REASON] = {2, reasons}}};

static const struct render_metrics_guest guests[] = {
	{&web_entry,
	 {.sampler = SAMPLER_KIND_PERF,
	  .freq = 997,
	  .guest_kernel = 10,
	  .guest_user = 20,
	  .host_kernel = 30,
	  .host_user = 40},
	 &exits,
	 true},
	{&odd_entry, {.sampler = SAMPLER_KIND_QMP, .freq = 50, .paused = true}, &uncounted, false},
};

static struct render_status made(void)
{
	return (struct render_status){.version = "1.2.3",
				      .guests = 2,
				      .totals = {.freq = 997,
						 .cpus = 8,
						 .perf_running = true,
						 .guest_samples = 1007,
						 .stranger_guest = 7,
						 .host_kernel = 300,
						 .host_user = 200,
						 .host_idle = 100,
						 .lost = 5,
						 .since_ns = 40 * NSEC_PER_SEC},
				      .cpu_user_ns = 1500 * NSEC_PER_MSEC,
				      .cpu_system_ns = 500 * NSEC_PER_MSEC,
				      .rss_bytes = 4096};
}

static void assert_line(const struct buf *b, const char *line)
{
	const char *at = strstr(b->data, line);

	if (!at || (at != b->data && at[-1] != '\n') || at[strlen(line)] != '\n')
		fail_msg("no line %s in:\n%s", line, b->data);
}

/* Line by line: under a sanitizer each strstr() walks all that is left of the text. */
static size_t lines_with(const struct buf *b, const char *start)
{
	size_t lines = 0;

	for (const char *at = b->data; *at; at = strchr(at, '\n') + 1)
		lines += strncmp(at, start, strlen(start)) == 0;
	return lines;
}

/* Of the host, that is: registers are read all the same. */
static void test_without_perf_there_are_no_zeros(void **state)
{
	struct render_status s = made();
	struct buf b;

	(void)state;
	buf_init(&b, BIG);
	s.totals.perf_running = false;
	assert_int_equal(render_metrics(&s, guests, 2, &made_when, &b), 0);
	assert_int_equal(lines_with(&b, "kvmprofs_samples_total"), 0);
	assert_int_equal(lines_with(&b, "kvmprofs_lost_samples_total"), 0);
	assert_int_equal(lines_with(&b, "kvmprofs_throttled_total"), 0);
	assert_null(strstr(b.data, "mode=\"host_"));
	assert_line(&b, "kvmprofs_guest_samples_total{pid=\"4242\",name=\"web1\","
			"mode=\"guest_user\"} 20");
	buf_deinit(&b);
}

static void test_metrics(void **state)
{
	struct render_status s = made();
	struct buf b;

	(void)state;
	buf_init(&b, BIG);
	assert_int_equal(render_metrics(&s, guests, 2, &made_when, &b), 0);
	assert_line(&b, "kvmprofs_build_info{version=\"1.2.3\"} 1");
	assert_line(&b, "kvmprofs_start_time_seconds 1795289034.000");
	assert_line(&b, "# TYPE kvmprofs_cpu_seconds counter\n# UNIT kvmprofs_cpu_seconds seconds");
	assert_line(&b, "kvmprofs_cpu_seconds_total{mode=\"user\"} 1.500");
	assert_line(&b, "kvmprofs_cpu_seconds_total{mode=\"system\"} 0.500");
	assert_line(&b, "kvmprofs_resident_memory_bytes 4096");
	assert_line(&b, "kvmprofs_guests 2");
	/* Each sample is in one of the modes. */
	assert_line(&b, "kvmprofs_samples_total{mode=\"guest\"} 1000");
	assert_line(&b, "kvmprofs_samples_total{mode=\"unknown_guest\"} 7");
	assert_line(&b, "kvmprofs_lost_samples_total 5");
	assert_line(&b, "kvmprofs_guest_info{pid=\"4242\",name=\"web1\","
			"uuid=\"11111111-2222-3333-4444-555555555555\",vmm=\"qemu-system-x86_64\","
			"accelerator=\"kvm\",sampler=\"perf\"} 1");
	assert_line(&b, "kvmprofs_guest_samples_total{pid=\"4242\",name=\"web1\","
			"mode=\"guest_kernel\"} 10");
	assert_line(
		&b,
		"kvmprofs_guest_samples_total{pid=\"4242\",name=\"web1\",mode=\"host_user\"} 40");
	assert_line(&b, "kvmprofs_guest_sampling_frequency_hertz{pid=\"4242\",name=\"web1\"} 997");
	assert_line(&b, "kvmprofs_guest_exits_total{pid=\"4242\",name=\"web1\",reason=\"io\"} 300");
	assert_line(
		&b,
		"kvmprofs_guest_exits_to_vmm_total{pid=\"4242\",name=\"web1\",reason=\"io\"} 299");
	assert_line(&b, "kvmprofs_guest_exit_seconds_total{pid=\"4242\",name=\"web1\",reason="
			"\"io\"} 3.000");
	assert_line(&b, "kvmprofs_guest_exit_seconds_total{pid=\"4242\",name=\"web1\","
			"reason=\"[other]\"} 1.500");
	assert_line(&b,
		    "kvmprofs_guest_vmm_exits_total{pid=\"4242\",name=\"web1\",reason=\"IO\"} 7");
	assert_null(strstr(b.data, "exits_total{pid=\"5000\""));
	assert_line(&b, "kvmprofs_guest_vcpus{pid=\"4242\",name=\"web1\"} 2");
	assert_line(&b, "kvmprofs_guest_memory_bytes{pid=\"4242\",name=\"web1\"} 1073741824");
	assert_line(&b, "kvmprofs_guest_boots_total{pid=\"4242\",name=\"web1\"} 3");
	assert_line(&b, "kvmprofs_guest_symbols{pid=\"4242\",name=\"web1\"} 1");
	assert_line(&b, "kvmprofs_guest_paused{pid=\"5000\","
			"name=\"e\\\"} 1\\\\x0a# EOF\\\\x0ax{a=\\\"\\\\n\\\\xff\\\\x01\"} 1");
	assert_string_equal(b.data + b.len - 6, "# EOF\n");
	buf_deinit(&b);
}

/* As Prometheus reads it, and as node_exporter's textfile collector does. */
static void test_two_parsers(void **state)
{
	struct render_status s = made();
	struct buf b;
	FILE *f;

	(void)state;
	if (system(PYTHON "import prometheus_client' 2>/dev/null") != 0) {
		print_message("no prometheus_client for Python here: not parsed\n");
		return;
	}
	buf_init(&b, BIG);
	assert_int_equal(render_metrics(&s, guests, 2, &made_when, &b), 0);
	f = popen(PYTHON
		  "import sys\n"
		  "from prometheus_client import parser\n"
		  "from prometheus_client.openmetrics import parser as om\n"
		  "text = sys.stdin.read()\n"
		  "names = set()\n"
		  "for read in om, parser:\n"
		  "    families = list(read.text_string_to_metric_families(text))\n"
		  "    samples = [s for f in families for s in f.samples]\n"
		  "    names.add(tuple(sorted(s.name for s in samples)))\n"
		  "    paused = [s for s in samples if s.name == \"kvmprofs_guest_paused\"]\n"
		  "    assert [s.value for s in paused] == [0, 1]\n"
		  "    assert paused[1].labels == {\"pid\": \"5000\", \"name\":\n"
		  "        \"e\\\"} 1\\\\x0a# EOF\\\\x0ax{a=\\\"\\\\n\\\\xff\\\\x01\"}, paused\n"
		  "assert len(names) == 1'",
		  "w");
	assert_non_null(f);
	assert_int_equal(fwrite(b.data, 1, b.len, f), b.len);
	assert_int_equal(pclose(f), 0);
	buf_deinit(&b);
}

/* Whatever a kernel's reasons are, they are not without end, and no series is there twice. */
static void test_many_reasons(void **state)
{
	struct render_status s = made();
	struct buf b;

	(void)state;
	for (size_t i = 0; i < 101; i++) {
		reasons[i].key.kind = i == 100 ? EXITS_KINDS : EXITS_REASON;
		reasons[i].row.sums.count = 5;
		snprintf(reasons[i].name, sizeof(reasons[i].name), "%zu", i);
	}
	exits.lists[EXITS_REASON].count = 101;
	buf_init(&b, BIG);
	assert_int_equal(render_metrics(&s, guests, 1, &made_when, &b), 0);
	assert_int_equal(lines_with(&b, "kvmprofs_guest_exits_total"), 101);
	assert_line(&b,
		    "kvmprofs_guest_exits_total{pid=\"4242\",name=\"web1\",reason=\"[other]\"} 5");
	buf_deinit(&b);
}

/* A host full of guests: a bounded number of series each. */
static void test_many_guests(void **state)
{
	size_t n = 4096;
	struct render_metrics_guest *many = calloc(n, sizeof(*many));
	struct render_status s = made();
	struct buf b;

	(void)state;
	for (size_t i = 0; i < n; i++)
		many[i] = guests[0];
	buf_init(&b, BIG);
	assert_int_equal(render_metrics(&s, many, n, &made_when, &b), 0);
	assert_int_equal(lines_with(&b, "kvmprofs_guest_"), (11 + 7) * n);
	buf_deinit(&b);
	free(many);
}

static void test_no_guests(void **state)
{
	struct render_status s = made();
	struct buf b;

	(void)state;
	buf_init(&b, BIG);
	assert_int_equal(render_metrics(&s, NULL, 0, &made_when, &b), 0);
	assert_line(&b, "# TYPE kvmprofs_guest_samples counter");
	assert_null(strstr(b.data, "pid="));
	buf_clear(&b);
	b.max = 500;
	assert_int_equal(render_metrics(&s, NULL, 0, &made_when, &b), -EFBIG);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_without_perf_there_are_no_zeros),
		cmocka_unit_test(test_two_parsers),
		cmocka_unit_test(test_many_guests),
		cmocka_unit_test(test_no_guests),
		cmocka_unit_test(test_many_reasons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
