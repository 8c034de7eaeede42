/* The profile in the formats that other tools read: folded, JSON. */
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
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/madeprofile.h"

#define BIG 1000000

static struct guest web = {.serial = 1, .pid = 4242, .name = "web 1;\"<b>\n"};

/* Longer than any symbol. */
static char long_name[512];

static struct profile_row rows[] = {
	{600, 'g', "clear_page_erms", PROFILE_OBJECT_KERNEL, 0xffffffff81002000, 0, false},
	{200, 'u', PROFILE_SYMBOL_USER, PROFILE_SYMBOL_USER, 0, 0, false},
	{120, 'g', "a;b c\"d\\e<f>&g'h\x01\x7f\xff 12", "[ext;4]", 0xffffffffc0001000, 0, false},
	{50, 'g', "0xffffffff81001234", PROFILE_OBJECT_UNKNOWN, 0xffffffff81001234, 0, true},
	{30, 'g', long_name, "[ext;4]", 0xffffffffc0002000, 0, false},
};

static struct profile made(void)
{
	struct profile p = made_profile(rows, ARRAY_SIZE(rows));

	memset(long_name, ';', sizeof(long_name) - 1);
	p.lost = 3;
	return p;
}

/* -- folded ------------------------------------------------------------------------------ */

static void test_folded(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	p.row_count = 4;
	buf_init(&b, BIG);
	assert_int_equal(render_folded(&web, &p, &b), 0);
	assert_string_equal(b.data,
			    "web\\x201\\x3b\"<b>\\x0a;[guest.kernel.kallsyms];clear_page_erms 600\n"
			    "web\\x201\\x3b\"<b>\\x0a;[guest.user];[guest.user] 200\n"
			    "web\\x201\\x3b\"<b>\\x0a;[ext\\x3b4];"
			    "a\\x3bb\\x20c\"d\\e<f>&g'h\\x01\\x7f\\xff\\x2012 120\n"
			    "web\\x201\\x3b\"<b>\\x0a;[unknown];0xffffffff81001234 50\n");
	buf_deinit(&b);
}

static size_t semicolons(const char *at, const char *end)
{
	size_t n = 0;

	for (; at < end; at++)
		n += *at == ';';
	return n;
}

/* Whatever the names are: three frames, two separators, one blank, one number. */
static void test_folded_lines_cannot_be_forged(void **state)
{
	struct profile p = made();
	size_t lines = 0;
	struct buf b;

	(void)state;
	buf_init(&b, BIG);
	assert_int_equal(render_folded(&web, &p, &b), 0);
	for (const char *at = b.data; *at; at += strcspn(at, "\n") + 1) {
		const char *blank = at + strcspn(at, " ");
		const char *end;

		assert_int_equal(strtoull(blank, (char **)&end, 10), rows[lines].samples);
		assert_int_equal(*end, '\n');
		assert_int_equal(semicolons(at, end), 2);
		lines++;
	}
	assert_int_equal(lines, ARRAY_SIZE(rows));
	buf_deinit(&b);
}

/* -- JSON -------------------------------------------------------------------------------- */

static struct json_object *parsed(const struct guest *guest, const struct profile *p)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *o;
	struct buf b;

	buf_init(&b, BIG);
	assert_int_equal(render_json(guest, p, &made_when, &b), 0);
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	o = json_tokener_parse_ex(t, b.data, (int)b.len + 1);
	if (!o)
		print_message("%s\n%s\n", json_tokener_error_desc(json_tokener_get_error(t)),
			      b.data);
	assert_non_null(o);
	json_tokener_free(t);
	buf_deinit(&b);
	return o;
}

static struct json_object *get(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	assert_true(json_object_object_get_ex(o, key, &v));
	return v;
}

static void assert_text(struct json_object *o, const char *key, const char *want)
{
	assert_string_equal(json_object_get_string(get(o, key)), want);
}

static void assert_number(struct json_object *o, const char *key, int64_t want)
{
	assert_true(json_object_is_type(get(o, key), json_type_int));
	assert_int_equal(json_object_get_int64(get(o, key)), want);
}

static void test_json_header(void **state)
{
	struct profile p = made();
	struct json_object *o = parsed(&web, &p);

	(void)state;
	assert_text(o, "format", "kvmprofs profile");
	assert_number(o, "version", 1);
	assert_text(o, "guest", "web 1;\"<b>\\x0a");
	assert_number(o, "pid", 4242);
	assert_null(get(o, "uuid"));
	assert_text(o, "sampler", "perf");
	assert_null(get(o, "sampler_note"));
	assert_text(o, "event", "cycles");
	assert_number(o, "frequency", 997);
	assert_text(o, "since", "2026-11-21T19:24:44Z");
	assert_true(json_object_get_double(get(o, "since_unix")) == 1795289084.0);
	assert_true(json_object_get_double(get(o, "duration")) == 10.0);
	assert_false(json_object_get_boolean(get(o, "paused")));
	assert_number(o, "boots", 1);
	assert_number(o, "samples", 1000);
	assert_number(o, "guest_kernel", 800);
	assert_number(o, "guest_user", 200);
	assert_number(o, "unresolved", 50);
	assert_number(o, "lost", 3);
	json_object_put(o);
}

static void test_json_rows(void **state)
{
	struct profile p = made();
	struct json_object *o = parsed(&web, &p), *list = get(o, "rows"), *row;

	(void)state;
	assert_int_equal(json_object_array_length(list), ARRAY_SIZE(rows));
	row = json_object_array_get_idx(list, 0);
	assert_number(row, "samples", 600);
	assert_text(row, "type", "kernel");
	assert_text(row, "symbol", "clear_page_erms");
	assert_text(row, "object", PROFILE_OBJECT_KERNEL);
	assert_text(row, "address", "0xffffffff81002000");
	row = json_object_array_get_idx(list, 1);
	assert_text(row, "type", "user");
	assert_null(get(row, "address"));
	row = json_object_array_get_idx(list, 2);
	assert_text(row, "symbol", "a;b c\"d\\e<f>&g'h\\x01\\x7f\\xff 12");
	row = json_object_array_get_idx(list, 4);
	assert_text(row, "symbol", long_name);
	json_object_put(o);
}

static void test_empty_profiles(void **state)
{
	struct profile p = {.sampler = SAMPLER_KIND_NONE};
	struct json_object *o = parsed(&web, &p);
	struct buf b;

	(void)state;
	assert_int_equal(json_object_array_length(get(o, "rows")), 0);
	assert_text(o, "sampler", "none");
	json_object_put(o);
	buf_init(&b, BIG);
	assert_int_equal(render_folded(&web, &p, &b), 0);
	assert_int_equal(b.len, 0);
	buf_deinit(&b);
}

static void test_too_much_is_an_error(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	buf_init(&b, 300);
	assert_int_equal(render_folded(&web, &p, &b), -EFBIG);
	buf_clear(&b);
	assert_int_equal(render_json(&web, &p, &made_when, &b), -EFBIG);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_folded),
		cmocka_unit_test(test_folded_lines_cannot_be_forged),
		cmocka_unit_test(test_json_header),
		cmocka_unit_test(test_json_rows),
		cmocka_unit_test(test_empty_profiles),
		cmocka_unit_test(test_too_much_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
