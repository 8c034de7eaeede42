/* The profile in the formats that other tools read: folded, JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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
			    "a\\x3bb\\x20c\"d\\e<f>&g\\x27h\\x01\\x7f\\xff\\x2012 120\n"
			    "web\\x201\\x3b\"<b>\\x0a;[unknown];0xffffffff81001234 50\n");
	buf_deinit(&b);
}

/* What flamegraph.pl, inferno (src/flamegraph/merge.rs) and speedscope make of a line: what is
 * behind the last blank is digits alone, not more than 64 bits; before it are frames between
 * semicolons, none of them empty. Of a second number, for which they would look at the end of the
 * rest, or of a byte that one of them trims, takes for the end of a script's string or cannot
 * decode, there is none. */
static size_t frames_of(const char *line, const char *blank)
{
	size_t n = 1;

	assert_int_not_equal(*line, ';');
	for (const char *at = line; at < blank; at++) {
		assert_in_range(*at, '!', '~');
		assert_int_not_equal(*at, '\'');
		if (*at == ';') {
			assert_true(at + 1 < blank && at[1] != ';');
			n++;
		}
	}
	return n;
}

static const char *assert_folded_line(const char *line, uint64_t samples)
{
	const char *end = line + strcspn(line, "\n"), *blank = memrchr(line, ' ', end - line);
	char *behind;

	assert_int_equal(*end, '\n');
	assert_non_null(blank);
	assert_int_equal(strspn(blank + 1, "0123456789"), end - blank - 1);
	assert_int_equal(strtoull(blank + 1, &behind, 10), samples);
	assert_ptr_equal(behind, end);
	assert_int_equal(frames_of(line, blank), 3);
	return end + 1;
}

static void assert_folded(const struct guest *guest, const struct profile *p)
{
	const char *at;
	struct buf b;

	buf_init(&b, BIG);
	assert_int_equal(render_folded(guest, p, &b), 0);
	at = b.data;
	for (size_t i = 0; i < p->row_count; i++)
		at = assert_folded_line(at, p->rows[i].samples);
	assert_int_equal(*at, '\0');
	buf_deinit(&b);
}

/* Whatever the names are, and however many samples. */
static void test_folded_lines_cannot_be_forged(void **state)
{
	static const char *const names[] = {"",	 " ",	 "7 8.5 ",	   "\t9\n",
					    ";", ";;\\", "\\'); x(1); //", "\xe2\x80\xa8 1"};
	struct profile p = made();
	struct guest odd = web;

	(void)state;
	assert_folded(&web, &p);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct profile_row r = {UINT64_MAX - i, 'g', names[i], names[i], 0, 0, false};

		snprintf(odd.name, sizeof(odd.name), "%s", names[i]);
		p.rows = &r;
		p.row_count = 1;
		assert_folded(&odd, &p);
	}
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
