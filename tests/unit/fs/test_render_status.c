/* status, where it speaks of a recording: how that ended, and what else it has to show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "fs/render.h"
#include "profiler/perfdata/recording.h"
#include "tests/unit/lib/madeprofile.h"

#define BIG (64 << 10)

static char path[] = "/var/tmp/perf.data.kvm";

static struct recording_event events[] = {
	{.name = "cycles", .samples = 100, .guest_samples = 60},
	{.name = "dummy:HG", .is_dummy = true},
	{.name = "cpu-clock", .samples = 7, .guest_samples = 3, .reads = true},
};

static struct recording made(void)
{
	return (struct recording){.path = path, .events = {.list = events, .count = 3}};
}

/* All of these lines are there, in this order and nothing between them. */
static void assert_lines(const struct recording *r, const char *lines)
{
	struct render_status s = {.version = "1.2.3", .totals.recording = r};
	struct buf b;

	buf_init(&b, BIG);
	assert_int_equal(render_status(&s, &made_when, &b), 0);
	buf_append_char(&b, '\0');
	if (!strstr(b.data, lines))
		fail_msg("no %s in:\n%s", lines, b.data);
	buf_deinit(&b);
}

static void test_how_it_ended(void **state)
{
	static const struct {
		enum perfdata_end end;
		const char *why, *line;
	} ends[] = {
		{PERFDATA_WHOLE, "", "\nrecording_state whole\n"},
		{PERFDATA_UNFINISHED, "",
		 "\nrecording_state unfinished: perf was killed; all whole records count\n"},
		{PERFDATA_CUT, "",
		 "\nrecording_state cut off within a record; all whole records count\n"},
		{PERFDATA_CUT_BEHIND, "",
		 "\nrecording_state cut off behind the records; all of them count, build-ids and "
		 "names of events may be missing\n"},
		{PERFDATA_DAMAGED, "a record of 3 bytes",
		 "\nrecording_state damaged; all records before that count: a record of 3 bytes\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct recording r = made();

		r.facts.end = ends[i].end;
		strcpy(r.facts.why, ends[i].why);
		assert_lines(&r, ends[i].line);
	}
}

/* Which events there are, how to see another one, and where perf would count otherwise. */
static void test_events(void **state)
{
	struct recording r = made();

	(void)state;
	assert_lines(&r, "\nrecording_event cycles: 100 samples, 60 in guests, shown here\n"
			 "recording_event cpu-clock: 7 samples, 3 in guests; --event shows it; "
			 "perf report weighs its samples by a counter (:S), here by periods\n");
	r.shown = 2;
	assert_lines(&r, "\nrecording_event cycles: 100 samples, 60 in guests; --event shows it\n"
			 "recording_event cpu-clock: 7 samples, 3 in guests, shown here; "
			 "perf report weighs its samples by a counter (:S), here by periods\n");
}

static void test_formats(void **state)
{
	struct recording r = made();

	(void)state;
	assert_lines(&r, "\nrecording /var/tmp/perf.data.kvm\nrecording_format file\n");
	r.facts.pipe = true;
	r.facts.compressed = true;
	r.facts.swapped = true;
	assert_lines(&r, "\nrecording_format pipe, compressed, of the other byte order\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_how_it_ended),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_formats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
