/* The pieces that all files are made of: percentages, dates, escaped text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <locale.h>

#include "fs/render.h"
#include "symsrc/base/clock.h"

#define SECOND NSEC_PER_SEC

static void assert_percent(int width, uint64_t part, uint64_t whole, const char *want)
{
	struct buf b;

	buf_init(&b, 100);
	assert_int_equal(render_percent(&b, width, part, whole), 0);
	assert_string_equal(b.data, want);
	buf_deinit(&b);
}

static void test_percent(void **state)
{
	(void)state;
	assert_percent(0, 0, 0, "0.00");
	assert_percent(0, 5, 0, "0.00");
	assert_percent(0, 1, 3, "33.33");
	assert_percent(0, 2, 3, "66.67");
	assert_percent(0, 1, 200000, "0.00");
	assert_percent(0, 7, 7, "100.00");
	assert_percent(6, 1, 100, "  1.00");
	assert_percent(7, 12, 100, "  12.00");
	/* No overflow, however long it has been counting. */
	assert_percent(0, UINT64_MAX / 2, UINT64_MAX, "50.00");
}

/* As perf prints them. */
static void test_percent_is_rounded_as_printf_does(void **state)
{
	char want[32];

	(void)state;
	assert_percent(0, 1, 800, "0.12");
	assert_percent(0, 3, 800, "0.38");
	assert_percent(0, 3, 20000, "0.01"); /* 0.015, of which the double is below */
	for (uint64_t whole = 1; whole < 30000; whole += 7) {
		for (uint64_t part = 1; part < whole; part += whole / 9 + 1) {
			snprintf(want, sizeof(want), "%.2f", 100.0 * (double)part / (double)whole);
			assert_percent(0, part, whole, want);
		}
	}
}

static void test_percent_is_the_same_in_every_locale(void **state)
{
	(void)state;
	if (!setlocale(LC_ALL, "de_DE.UTF-8"))
		print_message("no de_DE.UTF-8 here: the C locale only\n");
	assert_percent(0, 1, 3, "33.33");
	setlocale(LC_ALL, "C");
}

static void test_date(void **state)
{
	/* 2026-11-21 19:24:54 UTC, 100 s after the machine came up */
	struct render_when when = {.now_ns = 100 * SECOND, .wall_ns = 1795289094 * SECOND};
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	render_date(&b, &when, 100 * SECOND);
	buf_append_char(&b, ' ');
	render_date(&b, &when, 90 * SECOND);
	buf_append_char(&b, ' ');
	/* A moment that has not come yet is now. */
	render_date(&b, &when, 200 * SECOND);
	assert_string_equal(b.data,
			    "2026-11-21T19:24:54Z 2026-11-21T19:24:44Z 2026-11-21T19:24:54Z");
	buf_deinit(&b);
}

static void test_seconds(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	render_seconds(&b, 12 * SECOND + 5 * NSEC_PER_MSEC + 999);
	assert_string_equal(b.data, "12.005 s");
	buf_deinit(&b);
}

static void test_text_injects_no_line(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4000);
	render_text(&b, "a b\nroot\x1b[2J\\");
	assert_string_equal(b.data, "a b\\x0aroot\\x1b[2J\\x5c");
	buf_deinit(&b);
}

static void test_word_is_one_column(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4000);
	render_word(&b, "clear_page_erms");
	buf_append_char(&b, ' ');
	render_word(&b, "two words\n");
	buf_append_char(&b, ' ');
	render_word(&b, "");
	assert_string_equal(b.data, "clear_page_erms two\\x20words\\x0a -");
	buf_deinit(&b);
}

static void test_text_of_any_length_is_bounded(void **state)
{
	static char name[10000];
	struct buf b;

	(void)state;
	memset(name, '\n', sizeof(name) - 1);
	buf_init(&b, 100000);
	render_text(&b, name);
	assert_true(b.len < 2000);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_percent),
		cmocka_unit_test(test_percent_is_rounded_as_printf_does),
		cmocka_unit_test(test_percent_is_the_same_in_every_locale),
		cmocka_unit_test(test_date),
		cmocka_unit_test(test_seconds),
		cmocka_unit_test(test_text_injects_no_line),
		cmocka_unit_test(test_word_is_one_column),
		cmocka_unit_test(test_text_of_any_length_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
