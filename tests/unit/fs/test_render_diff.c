/* diff/NAME: shares side by side, biggest change first, what is new and what is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fs/render.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"

#define K PROFILE_OBJECT_KERNEL

static const struct guest guest = {.pid = 42, .name = "web\n"};
static const struct render_when when = {.now_ns = 100 * NSEC_PER_SEC,
					.wall_ns = 1000000000 * NSEC_PER_SEC};

static void assert_rows(const struct profile *before, const struct profile *now, const char *want)
{
	CLEANUP_BUF struct buf out;
	const char *rows;

	buf_init(&out, 65536);
	assert_int_equal(render_diff(&guest, before, now, &when, &out), 0);
	assert_int_equal(buf_append_char(&out, '\0'), 0);
	rows = strstr(out.data, "# BASELINE DELTA SYMBOL OBJECT\n");
	assert_non_null(rows);
	assert_string_equal(strchr(rows, '\n') + 1, want);
}

static void test_biggest_change_first(void **state)
{
	struct profile_row before_rows[] = {
		{500, 'g', "stays", K, 1, 0, false},	   {300, 'g', "falls", K, 2, 0, false},
		{100, 'g', "gone", "[ext4]", 3, 0, false}, {90, 'g', "same", "[ext4]", 4, 0, false},
		{10, 'g', "same", K, 5, 0, false},
	};
	struct profile_row now_rows[] = {
		{100, 'g', "stays", K, 1, 0, false},
		{50, 'u', "[guest.user]", "[guest.user]", 0, 0, false},
		{25, 'g', "falls", K, 2, 0, false},
		{20, 'g', "same", "[ext4]", 4, 0, false},
		{5, 'g', "same", K, 5, 0, false},
	};
	struct profile before = {.samples = 1000, .row_count = 5, .rows = before_rows};
	struct profile now = {.samples = 200, .row_count = 5, .rows = now_rows};

	(void)state;
	assert_rows(&before, &now,
		    "     -    +25.00% [guest.user] [guest.user]\n"
		    " 30.00%   -17.50% falls [guest.kernel.kallsyms]\n"
		    " 10.00%   -10.00% gone [ext4]\n"
		    "  1.00%    +1.50% same [guest.kernel.kallsyms]\n"
		    "  9.00%    +1.00% same [ext4]\n"
		    " 50.00%    +0.00% stays [guest.kernel.kallsyms]\n");
}

static void test_without_samples(void **state)
{
	struct profile_row row = {3, 'g', "f", K, 1, 0, false};
	struct profile none = {0}, some = {.samples = 3, .row_count = 1, .rows = &row};

	(void)state;
	assert_rows(&none, &none, "");
	assert_rows(&none, &some, "     -   +100.00% f [guest.kernel.kallsyms]\n");
	assert_rows(&some, &none, "100.00%  -100.00% f [guest.kernel.kallsyms]\n");
}

static void test_header(void **state)
{
	struct profile before = {.samples = 7, .snapshot = "one", .taken_ns = 2 * NSEC_PER_SEC};
	struct profile now = {
		.samples = 9, .since_ns = 90 * NSEC_PER_SEC, .taken_ns = 100 * NSEC_PER_SEC};
	CLEANUP_BUF struct buf out;

	(void)state;
	buf_init(&out, 4096);
	assert_int_equal(render_diff(&guest, &before, &now, &when, &out), 0);
	assert_int_equal(buf_append_char(&out, '\0'), 0);
	assert_string_equal(out.data, "# guest: web\\x0a (pid 42)\n"
				      "# baseline: snapshot one\n"
				      "# before: 7 samples since 2001-09-09T01:45:00Z for 2.000 s\n"
				      "# now: 9 samples since 2001-09-09T01:46:30Z for 10.000 s\n"
				      "# BASELINE DELTA SYMBOL OBJECT\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_biggest_change_first),
		cmocka_unit_test(test_without_samples),
		cmocka_unit_test(test_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
