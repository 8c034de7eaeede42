/* info, status and buildids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "fs/render.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/madeprofile.h"

static struct guest guest = {.pid = 4242,
			     .name = "web1\x1b",
			     .uuid = "11111111-2222-3333-4444-555555555555",
			     .vmm = "qemu-system-x86_64",
			     .state = "running",
			     .accel = GUEST_ACCEL_KVM,
			     .memory_bytes = 1u << 30,
			     .vcpu_count = 2};
static const struct guest_entry entry = {.guest = &guest,
					 .epoch = 2,
					 .epoch_start_ns = 40 * NSEC_PER_SEC,
					 .epoch_reason = "QMP RESET"};

static bool has(const struct buf *b, const char *line)
{
	const char *at = strstr(b->data, line);

	return at && (at == b->data || at[-1] == '\n') && at[strlen(line)] == '\n';
}

static void test_info_while_it_waits(void **state)
{
	struct symsrc_status st = {.state = SYMSRC_FAILED,
				   .source_uri = "auto",
				   .attempts = 3,
				   .looks = 4,
				   .next_try_ns = 102 * NSEC_PER_SEC};
	struct buf b;

	(void)state;
	errmsg_set(&st.error, -EHOSTUNREACH, "ssh web1: no route to host");
	source_attempts_add(&st.tried, "memory", 0, NULL, 68 * NSEC_PER_MSEC);
	source_attempts_add(&st.tried, "ssh://web1\n?identity=/key", -EHOSTUNREACH, &st.error,
			    4000 * NSEC_PER_MSEC);
	for (int i = 0; i < 100; i++)
		source_attempts_add(&st.tried, "vsock:3", -ENODEV, NULL, 0);
	buf_init(&b, 10000);
	assert_int_equal(render_info(&entry, &st, NULL, true, &made_when, &b), 0);
	assert_true(has(&b, "name web1\\x1b"));
	assert_true(has(&b, "pid 4242"));
	assert_true(has(&b, "paused yes"));
	assert_true(has(&b, "uuid 11111111-2222-3333-4444-555555555555"));
	assert_true(has(&b, "vmm qemu-system-x86_64"));
	assert_true(has(&b, "accelerator kvm"));
	assert_true(has(&b, "memory 1073741824"));
	assert_true(has(&b, "state running"));
	assert_true(has(&b, "vcpus 2"));
	assert_true(has(&b, "epoch 2"));
	assert_true(has(&b, "epoch_reason QMP RESET"));
	assert_true(has(&b, "epoch_age 60.000 s"));
	assert_true(has(&b, "kernel -"));
	assert_true(has(&b, "source auto"));
	assert_true(has(&b, "source_state failed"));
	assert_true(has(&b, "source_error ssh web1: no route to host"));
	assert_true(has(&b, "source_attempts 3"));
	assert_true(has(&b, "source_looks 4"));
	assert_true(has(&b, "source_next_try in 2.000 s"));
	assert_true(has(&b, "source_how -"));
	assert_true(has(&b, "source_note -"));
	assert_true(has(&b, "source_age -"));
	assert_true(has(&b, "attempt memory ok 0.068 s"));
	assert_true(has(&b,
			"attempt ssh://web1\\x0a?identity=/key failed after 4.000 s: ssh web1: no "
			"route to host"));
	assert_true(has(&b, "attempt vsock:3 failed after 0.000 s: No such device"));
	buf_deinit(&b);
}

static void test_info_with_symbols(void **state)
{
	struct symsrc_status st = {.state = SYMSRC_READY,
				   .source_uri = "auto",
				   .used = "ssh://root@127.0.0.1:2201",
				   .fetched_ns = 90 * NSEC_PER_SEC};
	struct symbols s = {.release = "6.1.0-18-amd64",
			    .kernel_id = {.len = 20, .bytes = {0xab}},
			    .how = "trampoline; 5 anchors",
			    .note = "core symbols only: the kernel has no BTF",
			    .modules = blob_from_bytes("a 1 0 - Live 0x0\nb 1 0 - Live 0x0\n", 34)};
	struct symtab_builder *builder = symtab_builder_create();
	struct buf b;

	(void)state;
	assert_int_equal(symtab_builder_add(builder, 0xffffffff81000000, 'T', 0, 1, 0, 0), 0);
	assert_int_equal(symtab_builder_finish(builder, "x", 1, &s.table), 0);
	buf_init(&b, 10000);
	assert_int_equal(render_info(&entry, &st, &s, false, &made_when, &b), 0);
	assert_true(has(&b, "kernel 6.1.0-18-amd64"));
	assert_true(has(&b, "build_id ab00000000000000000000000000000000000000"));
	assert_true(has(&b, "symbols 1"));
	assert_true(has(&b, "modules 2"));
	assert_true(has(&b, "source_used ssh://root@127.0.0.1:2201"));
	assert_true(has(&b, "source_how trampoline; 5 anchors"));
	assert_true(has(&b, "source_note core symbols only: the kernel has no BTF"));
	buf_clear(&b);
	st.misfit = true;
	assert_int_equal(render_info(&entry, &st, &s, false, &made_when, &b), 0);
	assert_non_null(strstr(b.data, "\nsource_note hardly any sample has a name"));
	assert_true(has(&b, "source_state ready"));
	assert_true(has(&b, "source_error -"));
	assert_true(has(&b, "source_age 10.000 s"));
	buf_deinit(&b);
	symtab_destroy(s.table);
	blob_put(s.modules);
	symtab_builder_destroy(builder);
}

static void test_status(void **state)
{
	struct render_status s = {.version = "1.2.3",
				  .pid = 99,
				  .sampler = SAMPLER_AUTO,
				  .guests = 4,
				  .cpu_user_ns = NSEC_PER_SEC / 2,
				  .cpu_system_ns = NSEC_PER_SEC / 2,
				  .rss_bytes = 4096,
				  .rss_peak_bytes = 8192};
	struct buf b;

	(void)state;
	s.totals = (struct profiler_totals){.perf_running = true,
					    .event = "cycles",
					    .freq = 997,
					    .cpus = 8,
					    .samples = 123,
					    .lost = 5,
					    .lost_exact = true,
					    .since_ns = 50 * NSEC_PER_SEC};
	buf_init(&b, 10000);
	assert_int_equal(render_status(&s, &made_when, &b), 0);
	assert_true(has(&b, "version 1.2.3"));
	assert_true(has(&b, "uptime 50.000 s"));
	assert_true(has(&b, "guests 4"));
	assert_true(has(&b, "sampler auto"));
	assert_true(has(&b, "perf running"));
	assert_true(has(&b, "event cycles"));
	assert_true(has(&b, "frequency 997"));
	assert_true(has(&b, "cpus 8"));
	assert_true(has(&b, "samples 123"));
	assert_true(has(&b, "lost 5"));
	assert_true(has(&b, "lost_is exact"));
	assert_true(has(&b, "own_cpu_user 0.500 s"));
	assert_true(has(&b, "own_cpu_percent 2.00"));
	assert_true(has(&b, "own_memory 4096"));
	buf_deinit(&b);
}

static void test_status_says_why_perf_does_not_run(void **state)
{
	struct render_status s = {.version = "1"};
	struct buf b;

	(void)state;
	strcpy(s.totals.perf_error, "perf_event_open: not permitted");
	s.totals.freq = 997;
	buf_init(&b, 10000);
	render_status(&s, &made_when, &b);
	assert_true(has(&b, "perf perf_event_open: not permitted"));
	assert_true(has(&b, "lost_is -"));
	assert_true(has(&b, "samples_host_user -"));
	assert_true(has(&b, "frequency -"));
	assert_true(has(&b, "cpus -"));
	buf_deinit(&b);
}

static void test_buildids(void **state)
{
	struct symbols_module modules[] = {{.name = "ext4", .id = {.len = 20, .bytes = {2}}},
					   {.name = "none"},
					   {.name = "dm_mod", .id = {.len = 8, .bytes = {3}}}};
	struct symbols s = {
		.kernel_id = {.len = 20, .bytes = {1}}, .module_count = 3, .module_list = modules};
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	assert_int_equal(render_buildids(&s, &b), 0);
	assert_string_equal(b.data,
			    "0100000000000000000000000000000000000000 [guest.kernel.kallsyms]\n"
			    "0200000000000000000000000000000000000000 [ext4]\n"
			    "0300000000000000000000000000000000000000 [dm_mod]\n");
	buf_deinit(&b);
}

static void test_no_buildids_says_so(void **state)
{
	struct symbols s = {0};
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	assert_int_equal(render_buildids(&s, &b), 0);
	assert_int_equal(b.data[0], '#');
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_info_while_it_waits),
		cmocka_unit_test(test_info_with_symbols),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_status_says_why_perf_does_not_run),
		cmocka_unit_test(test_buildids),
		cmocka_unit_test(test_no_buildids_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
