/* Answers of qemu-guest-agent and the base64 in them, at every size of the pieces they come in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/agent_answer.h"
#include "symsrc/base/cleanup.h"

/* ---- base64 --------------------------------------------------------------------------------- */

/* RFC 4648, section 10, and the digits at the ends of the alphabet. */
static const struct {
	const char *text;
	const char *bytes;
	size_t n;
} vectors[] = {
	{"", "", 0},
	{"Zg==", "f", 1},
	{"Zm8=", "fo", 2},
	{"Zm9v", "foo", 3},
	{"Zm9vYg==", "foob", 4},
	{"Zm9vYmE=", "fooba", 5},
	{"Zm9vYmFy", "foobar", 6},
	{"AAAA", "\0\0\0", 3},
	{"////", "\xff\xff\xff", 3},
	{"+/+/", "\xfb\xff\xbf", 3},
};

static ptrdiff_t decode(const char *text, size_t chunk, uint8_t *ret)
{
	struct agent_base64 b = {0};
	size_t n = strlen(text), now;
	ptrdiff_t len = 0;

	for (size_t at = 0; at < n; at += now) {
		ptrdiff_t got;

		now = n - at < chunk ? n - at : chunk;
		got = agent_base64_feed(&b, text + at, now, ret + len);
		if (got < 0)
			return got;
		assert_true((size_t)got <= AGENT_BASE64_BYTES(now));
		len += got;
	}
	return agent_base64_end(&b) < 0 ? -EBADMSG : len;
}

static void test_base64(void **state)
{
	uint8_t bytes[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		for (size_t chunk = 1; chunk <= 9; chunk++) {
			assert_int_equal(decode(vectors[i].text, chunk, bytes), vectors[i].n);
			assert_memory_equal(bytes, vectors[i].bytes, vectors[i].n);
		}
	}
}

static void test_bad_base64(void **state)
{
	static const char *const bad[] = {"Z",
					  "Zg",
					  "Zg=",
					  "=",
					  "Z===",
					  "====",
					  "Zg=a",
					  "Zg==Zg==",
					  "Zm9v\n",
					  "Zm 9v",
					  "Zm9-",
					  "Zm9_",
					  "Zg===",
					  "Zm8==",
					  "\xc3\xa4"
					  "aa",
					  "Zm9vYg==="};
	uint8_t bytes[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		for (size_t chunk = 1; chunk <= 9; chunk++)
			assert_int_equal(decode(bad[i], chunk, bytes), -EBADMSG);
	}
}

/* ---- answers -------------------------------------------------------------------------------- */

struct got {
	struct buf out, err;
	int fail;
};

static int data(void *ctx, enum agent_data which, const void *bytes, size_t n)
{
	struct got *g = ctx;

	assert_true(n > 0);
	assert_true(which == AGENT_DATA_OUT || which == AGENT_DATA_ERR);
	buf_append(which == AGENT_DATA_OUT ? &g->out : &g->err, bytes, n);
	return g->fail;
}

static void got_init(struct got *g)
{
	g->fail = 0;
	buf_init(&g->out, 1 << 20);
	buf_init(&g->err, 1 << 20);
}

static void got_deinit(struct got *g)
{
	buf_deinit(&g->out);
	buf_deinit(&g->err);
}

/* Feeds it and returns what comes of it; *taken: how many bytes it took. */
static int read_answer(const char *line, size_t n, size_t chunk, struct got *g, size_t *taken,
		       struct json_object **ret, struct errmsg *why)
{
	struct agent_answer a;
	size_t at = 0, now;
	int r = 0;

	agent_answer_init(&a, g ? data : NULL, g);
	while (r == 0 && !a.done && at < n) {
		ptrdiff_t took;

		now = n - at < chunk ? n - at : chunk;
		took = agent_answer_feed(&a, line + at, now, why);
		if (took < 0)
			r = (int)took;
		at += took > 0 ? (size_t)took : 0;
	}
	*taken = at;
	if (r == 0 && !a.done)
		r = -EAGAIN;
	if (r == 0)
		r = agent_answer_result(&a, ret, why);
	agent_answer_deinit(&a);
	return r;
}

static void assert_read(const char *line, const char *out, const char *err, const char *rest)
{
	for (size_t chunk = 1; chunk <= strlen(line) + 1; chunk++) {
		struct json_object *value;
		struct errmsg why = {0};
		struct got g;
		size_t taken;

		got_init(&g);
		if (read_answer(line, strlen(line), chunk, &g, &taken, &value, &why) < 0)
			fail_msg("%s: %s", line, why.text);
		assert_string_equal(g.out.data, out);
		assert_string_equal(g.err.data, err);
		assert_string_equal(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN),
				    rest);
		assert_int_equal(taken, strchr(line, '\n') + 1 - line);
		json_object_put(value);
		got_deinit(&g);
	}
}

static void test_answers(void **state)
{
	(void)state;
	assert_read("{\"return\": {\"count\": 6, \"buf-b64\": \"Zm9vYmFy\", \"eof\": false}}\n",
		    "foobar", "", "{\"count\":6,\"buf-b64\":\"\",\"eof\":false}");
	assert_read("{\"return\":{\"buf-b64\":\"Zm9v\",\"count\":3}}\nnext", "foo", "",
		    "{\"buf-b64\":\"\",\"count\":3}");
	assert_read("{\"return\": {\"exitcode\": 0, \"err-data\": \"Zg==\", \"out-data\" :\t"
		    "\"Zm9v\", \"exited\": true}}\r\n",
		    "foo", "f",
		    "{\"exitcode\":0,\"err-data\":\"\",\"out-data\":\"\",\"exited\":true}");
	assert_read("{\"return\": {\"buf-b64\": \"\"}}\n", "", "", "{\"buf-b64\":\"\"}");
	assert_read("{\"return\": 1000}\n", "", "", "1000");
	assert_read("{\"return\": {}}\n", "", "", "{}");
}

/* As libvirt writes them. */
static void test_escaped_slashes(void **state)
{
	(void)state;
	assert_read("{\"return\":{\"buf-b64\":\"\\/\\/\\/\\/\"}}\n", "\xff\xff\xff", "",
		    "{\"buf-b64\":\"\"}");
}

/* What looks like base64 but is not where it belongs stays text. */
static void test_look_alikes(void **state)
{
	(void)state;
	assert_read("{\"return\": [\"buf-b64\", \"Zm9v\"]}\n", "", "", "[\"buf-b64\",\"Zm9v\"]");
	assert_read("{\"return\": {\"a\": \"buf-b64\", \"b\": \"Zm9v\"}}\n", "", "",
		    "{\"a\":\"buf-b64\",\"b\":\"Zm9v\"}");
	assert_read("{\"return\": {\"xbuf-b64\": \"Zm9v\", \"buf-b64x\": \"Zm9v\"}}\n", "", "",
		    "{\"xbuf-b64\":\"Zm9v\",\"buf-b64x\":\"Zm9v\"}");
	assert_read("{\"return\": {\"x\\\"buf-b64\": \"\\\"\\\\\"}}\n", "", "",
		    "{\"x\\\"buf-b64\":\"\\\"\\\\\"}");
	assert_read("{\"return\": {\"a-name-of-seventeen-bytes\": \"Zm9v\"}}\n", "", "",
		    "{\"a-name-of-seventeen-bytes\":\"Zm9v\"}");
}

/* Without a taker it is text like any other. */
static void test_nobody_takes_data(void **state)
{
	static const char line[] = "{\"return\":{\"buf-b64\":\"!?\"}}\n";
	struct json_object *value;
	size_t taken;

	(void)state;
	assert_int_equal(read_answer(line, strlen(line), 7, NULL, &taken, &value, NULL), 0);
	assert_string_equal(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN),
			    "{\"buf-b64\":\"!?\"}");
	json_object_put(value);
}

static void assert_refused(const char *line, size_t n, int code, const char *text)
{
	for (size_t chunk = 1; chunk <= 64; chunk++) {
		struct json_object *value;
		struct errmsg why = {0};
		struct got g;
		size_t taken;
		int r;

		got_init(&g);
		r = read_answer(line, n, chunk, &g, &taken, &value, &why);
		if (r != code || why.code != code || !strstr(why.text, text))
			fail_msg("%s: %d %s", line, r, why.text);
		got_deinit(&g);
	}
}

static void assert_refused_str(const char *line, int code, const char *text)
{
	assert_refused(line, strlen(line), code, text);
}

static void test_what_is_no_answer(void **state)
{
	(void)state;
	assert_refused_str("\n", -EBADMSG, "neither a result nor an error");
	assert_refused_str("[]\n", -EBADMSG, "neither a result nor an error");
	assert_refused_str("220 smtp\n", -EBADMSG, "neither a result nor an error");
	assert_refused_str("{\"return\": {}} {}\n", -EBADMSG, "neither a result nor an error");
	assert_refused_str("{\"return\": {}\n", -EBADMSG, "neither a result nor an error");
	assert_refused_str("{\"return\": null}\n", -EBADMSG, "neither a result nor an error");
	assert_refused_str("{\"return\": \"a\nb\"}\n", -EBADMSG, "a line ends within a string");
	assert_refused_str("{\"return\": {\"buf-b64\": \"Zm9\"}}\n", -EBADMSG, "breaks off");
	assert_refused_str("{\"return\": {\"buf-b64\": \"Z\\u0041\"}}\n", -EBADMSG, "an escape");
	assert_refused_str("{\"return\": {\"buf-b64\": \"Zm9v\n", -EBADMSG, "base64 is none");
	assert_refused("{\"return\": \0{}}\n", 16, -EBADMSG, "binary data");
	assert_refused("{\"return\": \"\0\"}\n", 16, -EBADMSG, "binary data");
	assert_refused_str("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n", -EBADMSG, "neither");
}

static void test_errors(void **state)
{
	(void)state;
	assert_refused_str(
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such\\nfile\"}}\n",
		-EREMOTEIO, "no such\\x0afile");
	assert_refused_str("{\"error\": {}}\n", -EREMOTEIO, "no description");
	assert_refused_str("{\"error\": 7}\n", -EREMOTEIO, "no description");
	assert_refused_str("{\"error\": {\"desc\": 7}}\n", -EREMOTEIO, "no description");
}

/* Base64 without an end costs nothing; anything else has its maximum. */
static void test_bounds(void **state)
{
	CLEANUP_FREE char *much = malloc(AGENT_TEXT_MAX + 1);
	struct errmsg why = {0};
	struct agent_answer a;
	struct got g;

	(void)state;
	memset(much, 'A', AGENT_TEXT_MAX);
	got_init(&g);
	agent_answer_init(&a, data, &g);
	assert_true(agent_answer_feed(&a, "{\"return\": {\"buf-b64\": \"", 24, &why) > 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(agent_answer_feed(&a, much, AGENT_TEXT_MAX, &why), AGENT_TEXT_MAX);
	assert_true(a.text.cap < 4096);
	agent_answer_deinit(&a);
	got_deinit(&g);
	much[0] = '"';
	agent_answer_init(&a, NULL, NULL);
	assert_int_equal(agent_answer_feed(&a, much, AGENT_TEXT_MAX, &why), AGENT_TEXT_MAX);
	assert_int_equal(agent_answer_feed(&a, much + 1, 1, &why), -EFBIG);
	assert_int_equal(why.code, -EFBIG);
	agent_answer_deinit(&a);
}

static void test_the_taker_refuses(void **state)
{
	static const char line[] = "{\"return\":{\"buf-b64\":\"Zm9v\"}}\n";
	struct json_object *value;
	struct errmsg why = {0};
	struct got g;
	size_t taken;

	(void)state;
	got_init(&g);
	g.fail = -E2BIG;
	assert_int_equal(read_answer(line, strlen(line), 100, &g, &taken, &value, &why), -E2BIG);
	assert_int_equal(why.code, 0);
	got_deinit(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_bad_base64),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_escaped_slashes),
		cmocka_unit_test(test_look_alikes),
		cmocka_unit_test(test_nobody_takes_data),
		cmocka_unit_test(test_what_is_no_answer),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_the_taker_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
