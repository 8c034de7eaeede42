/* Who answers behind a serial port: the agent, our own program, others' answers, noise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/guest-helper/protocol.h"
#include "symsrc/serial_probe.h"

#define ID 0x01020a05 /* with a newline in it */

/* Feeds all of it in pieces; returns how many bytes it took. */
static size_t feed(struct serial_probe *p, const char *bytes, size_t n, size_t chunk)
{
	size_t at = 0;

	serial_probe_init(p, ID);
	while (at < n && p->who == SERIAL_NOBODY) {
		size_t now = n - at < chunk ? n - at : chunk;
		ptrdiff_t took = serial_probe_feed(p, bytes + at, now, NULL);

		assert_true(took > 0);
		at += (size_t)took;
	}
	return at;
}

/* Whoever it is, whatever comes before, and what comes behind is not taken. */
static void assert_who(const char *before, const char *answer, size_t n, enum serial_who who)
{
	char all[512];
	size_t lead = strlen(before);
	struct serial_probe p;

	memcpy(all, before, lead);
	memcpy(all + lead, answer, n);
	memcpy(all + lead + n, "\xff\xff", 2);
	for (size_t chunk = 1; chunk <= lead + n + 2; chunk++) {
		size_t took = feed(&p, all, lead + n + 2, chunk);

		assert_int_equal(p.who, who);
		assert_int_equal(took, who == SERIAL_NOBODY ? lead + n + 2 : lead + n);
	}
}

static const char *const noise[] = {
	"",
	"\xff",
	"\xff\xff\xff",
	"{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n",
	"\xff{\"return\": 7}\n",
	"\xff{\"return\": {\"buf-b64\": \"Zm9v",
	"\xffKVP\x01\x02\x03\x04",
	"\xffKVP",
	"\xff{\"return\": \"16910853\"}\n",
	"\xff[16910853]\n",
	"\xff{\n\n{\"return\": 16910853}\n",
	"login: \x1b[31m",
	"\xff{\"return\": 16910853x}\n",
	"\xff                                                                                    "
	"                                                                                        "
	"\n",
};

static void test_who(void **state)
{
	static const char agent[] = "\xff{\"return\": 16910853}\n";
	static const char other[] = "\xff{\"return\": 16910854}\n";
	static const char old[] = "{\"return\": 16910853}\n"; /* guest-sync has no delimiter */
	static const char ours[] = PORT_MAGIC "\x01\x02\x0a\x05";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(noise); i++) {
		assert_who(noise[i], agent, sizeof(agent) - 1, SERIAL_AGENT);
		assert_who(noise[i], ours, sizeof(ours) - 1, SERIAL_PORT);
		assert_who(noise[i], other, sizeof(other) - 1, SERIAL_NOBODY);
		assert_who(noise[i], PORT_MAGIC "\x01\x02\x0a\x04", 8, SERIAL_NOBODY);
	}
	assert_who("", old, sizeof(old) - 1, SERIAL_NOBODY);
}

/* No byte of an ID is 0xFF or 0, so that nothing in it begins another answer. */
static void test_request(void **state)
{
	char line[SERIAL_PROBE_REQUEST];
	struct serial_probe p;
	size_t n;

	(void)state;
	serial_probe_init(&p, 0xffffffff);
	assert_int_equal(p.id, 0x7f7f7f7f);
	serial_probe_init(&p, 0);
	assert_int_equal(p.id, 1);
	serial_probe_init(&p, 0x7f7f7f7f);
	n = serial_probe_request(&p, line);
	assert_string_equal(line, "\xff{\"execute\":\"guest-sync-delimited\","
				  "\"arguments\":{\"id\":2139062143}}\n");
	assert_int_equal(n, strlen(line));
}

/* One that never stops talking is not listened to for ever. */
static void test_much_noise(void **state)
{
	CLEANUP_FREE char *much = malloc(1 << 20);
	struct errmsg why = {0};
	struct serial_probe p;
	ptrdiff_t r = 1;
	unsigned times = 0;

	(void)state;
	memset(much, 'x', 1 << 20);
	serial_probe_init(&p, ID);
	for (; r > 0; times++)
		r = serial_probe_feed(&p, much, 1 << 20, &why);
	assert_int_equal(r, -EBADMSG);
	assert_int_equal(why.code, -EBADMSG);
	assert_true(times > 64 && times < 128); /* MiB: an agent's longest answer fits */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_much_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
