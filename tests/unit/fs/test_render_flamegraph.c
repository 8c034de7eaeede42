/* flamegraph.svg: boxes as wide as they should be, nothing from outside, and no name that could
 * become markup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/render.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/madeprofile.h"

#define BIG (64 << 20)

static struct guest web = {.serial = 1, .pid = 4242, .name = "web1"};
static struct guest odd = {
	.serial = 2, .pid = 5000, .name = "</title><script>alert('1')</script>\x01 ]]>&amp;\xff"};

static char long_name[512];

static struct profile_row rows[] = {
	{500, 'g', "clear_page_erms", PROFILE_OBJECT_KERNEL, 0xffffffff81002000, 0, false},
	{250, 'u', PROFILE_SYMBOL_USER, PROFILE_SYMBOL_USER, 0, 0, false},
	{150, 'g', "a;b\"c<d>&e'f\x01\x7f\xff--]]>", "[<ext4>]", 0, 0, false},
	{60, 'g', long_name, PROFILE_OBJECT_KERNEL, 0, 0, false},
	{40, 'g', "0xffffffff81001234", PROFILE_OBJECT_UNKNOWN, 0xffffffff81001234, 0, true},
};

static struct profile made(void)
{
	memset(long_name, '<', sizeof(long_name) - 1);
	return made_profile(rows, ARRAY_SIZE(rows));
}

/* What a parser says of it; there is one wherever Python is. */
static void assert_well_formed(const struct buf *b)
{
	static const char python[] = "/usr/bin/python3";
	FILE *f;

	if (access(python, X_OK) != 0) {
		print_message("no %s here: not parsed\n", python);
		return;
	}
	f = popen("/usr/bin/python3 -c 'import sys, xml.etree.ElementTree as t; "
		  "assert t.parse(sys.stdin.buffer).getroot().tag.endswith(\"}svg\")'",
		  "w");
	assert_non_null(f);
	assert_int_equal(fwrite(b->data, 1, b->len, f), b->len);
	assert_int_equal(pclose(f), 0);
}

static void test_boxes(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	buf_init(&b, BIG);
	assert_int_equal(render_flamegraph(&web, &p, &made_when, &b), 0);
	/* the guest over all, its kernel as wide as its 560 of 1000 samples, a symbol in it */
	assert_non_null(strstr(b.data, "<svg class=\"f a a\" data-n=\"1000\" x=\"24.00\" y=\"116\" "
				       "width=\"1152.00\""));
	assert_non_null(strstr(b.data, "<svg class=\"f j k\" data-n=\"560\" x=\"24.00\" y=\"158\" "
				       "width=\"645.12\""));
	assert_non_null(strstr(b.data, "<svg class=\"f s k\" data-n=\"500\" x=\"24.00\" y=\"200\" "
				       "width=\"576.00\" height=\"40\"><title>clear_page_erms "
				       "[guest.kernel.kallsyms]\n500 samples, 50.00%</title>"));
	assert_non_null(strstr(b.data, "<svg class=\"f j u\" data-n=\"250\" x=\"669.12\" "));
	assert_non_null(strstr(b.data, ">clear_page_erms</text>"));
	assert_non_null(strstr(b.data, "pid 4242 \xc2\xb7 1000 samples in 10.000 s since "
				       "2026-11-21T19:24:44Z \xc2\xb7 perf: cycles at 997 Hz"));
	assert_well_formed(&b);
	buf_deinit(&b);
}

static void test_names_are_text(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	buf_init(&b, BIG);
	assert_int_equal(render_flamegraph(&odd, &p, &made_when, &b), 0);
	assert_null(strstr(b.data, "<script>alert"));
	assert_null(strstr(b.data, "<d>"));
	assert_null(strstr(b.data, "<<"));
	assert_null(memchr(b.data, '\x01', b.len));
	assert_null(memchr(b.data, '\xff', b.len));
	assert_non_null(strstr(b.data, "a;b&quot;c&lt;d&gt;&amp;e&#39;f\\x01\\x7f\\xff--]]&gt;"));
	assert_well_formed(&b);
	buf_deinit(&b);
}

/* The picture is as good without a network: it names nothing but the two namespaces. */
static void test_nothing_from_outside(void **state)
{
	static const char *const ways[] = {"href", "src=", "url(", "@import", "fetch(", "import("};
	struct profile p = made();
	struct buf b;

	(void)state;
	buf_init(&b, BIG);
	render_flamegraph(&web, &p, &made_when, &b);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		assert_null(strstr(b.data, ways[i]));
	for (const char *at = b.data; (at = strstr(at, "http")); at++)
		assert_int_equal(strncmp(at, "http://www.w3.org/", 18), 0);
	assert_null(strstr(b.data, "https"));
	buf_deinit(&b);
}

/* A hundred thousand symbols too narrow to be seen are one box, and a small file. */
static void test_narrow_boxes_are_summed(void **state)
{
	size_t n = 100001;
	struct profile_row *many = calloc(n, sizeof(*many));
	struct profile p = made();
	struct buf b;

	(void)state;
	many[0] = (struct profile_row){100000, 'g', "hot", PROFILE_OBJECT_KERNEL, 0, 0, false};
	for (size_t i = 1; i < n; i++)
		many[i] = (struct profile_row){1, 'g', "rare", PROFILE_OBJECT_KERNEL, 0, 0, false};
	p.samples = 200000;
	p.rows = many;
	p.row_count = n;
	buf_init(&b, BIG);
	assert_int_equal(render_flamegraph(&web, &p, &made_when, &b), 0);
	assert_true(b.len < 50000);
	assert_non_null(strstr(b.data, "<title>100000 more symbols\n100000 samples, 50.00%"));
	buf_deinit(&b);
	/* As many as can be seen. */
	for (size_t i = 0; i < n; i++)
		many[i].samples = i < 4000 ? 25 : 1;
	buf_init(&b, BIG);
	assert_int_equal(render_flamegraph(&web, &p, &made_when, &b), 0);
	assert_true(b.len < 2000000);
	buf_deinit(&b);
	free(many);
}

static void test_an_empty_profile(void **state)
{
	struct profile p = {.sampler = SAMPLER_KIND_NONE};
	struct buf b;

	(void)state;
	buf_init(&b, BIG);
	assert_int_equal(render_flamegraph(&web, &p, &made_when, &b), 0);
	assert_null(strstr(b.data, "<svg class=\"f"));
	assert_non_null(strstr(b.data, "No samples yet."));
	assert_non_null(strstr(b.data, ">web1</text>"));
	p.slice.vcpu = 4;
	buf_clear(&b);
	assert_int_equal(render_flamegraph(&web, &p, &made_when, &b), 0);
	assert_non_null(strstr(b.data, ">web1, vCPU 3</text>"));
	assert_well_formed(&b);
	buf_deinit(&b);
}

/* A title that is wider than the picture would be without its end. */
static void test_a_long_name_is_cut(void **state)
{
	struct profile p = made();
	struct guest g = web;
	struct buf b;

	(void)state;
	memset(g.name, 'w', sizeof(g.name) - 1);
	g.name[sizeof(g.name) - 1] = '\0';
	p.slice.vcpu = 4;
	buf_init(&b, BIG);
	assert_int_equal(render_flamegraph(&g, &p, &made_when, &b), 0);
	assert_non_null(strstr(b.data, "www\xe2\x80\xa6, vCPU 3</text>"));
	assert_well_formed(&b);
	buf_deinit(&b);
}

/* Counts that add up to more than 64 bits times a width. */
static void test_no_overflow(void **state)
{
	struct profile_row huge[] = {{1ULL << 60, 'g', "f", "[m]", 0, 0, false},
				     {1ULL << 60, 'g', "g", "[m]", 0, 0, false}};
	struct profile p = {.samples = 1ULL << 61, .rows = huge, .row_count = 2};
	struct buf b;

	(void)state;
	buf_init(&b, BIG);
	assert_int_equal(render_flamegraph(&web, &p, &made_when, &b), 0);
	assert_non_null(strstr(b.data, "x=\"600.00\" y=\"200\" width=\"576.00\""));
	buf_deinit(&b);
}

static void test_too_much_is_an_error(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	buf_init(&b, 5000);
	assert_int_equal(render_flamegraph(&web, &p, &made_when, &b), -EFBIG);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boxes),
		cmocka_unit_test(test_names_are_text),
		cmocka_unit_test(test_nothing_from_outside),
		cmocka_unit_test(test_narrow_boxes_are_summed),
		cmocka_unit_test(test_an_empty_profile),
		cmocka_unit_test(test_a_long_name_is_cut),
		cmocka_unit_test(test_no_overflow),
		cmocka_unit_test(test_too_much_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
