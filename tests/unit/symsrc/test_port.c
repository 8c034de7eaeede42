/* What our own program in a guest sends, taken apart at every size of the pieces; and what it never
 * sends. The program itself: test_virtio_guest.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/port.h"
#include "tests/unit/lib/collect.h"

#define SESSION 0x01020305
#define STATE	"11111111-2222-3333-4444-555555555555SUMofALL"

/* ---- making packets ------------------------------------------------------------------------- */

struct stream {
	struct buf bytes;
	uint32_t session, count;
};

static void stream_init(struct stream *s)
{
	buf_init(&s->bytes, 64 << 20);
	s->session = SESSION;
	s->count = 0;
}

static void put32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (24 - 8 * i));
}

static void packet(struct stream *s, unsigned type, const void *payload, size_t n)
{
	unsigned char head[PORT_HEAD] = PORT_MAGIC;
	uLong crc;

	put32(head + 4, s->session);
	put32(head + 8, s->count++);
	head[12] = (unsigned char)type;
	head[14] = (unsigned char)(n >> 8);
	head[15] = (unsigned char)n;
	crc = crc32(crc32(0, NULL, 0), head, 16);
	put32(head + 16, (uint32_t)crc32(crc, payload, (uInt)n));
	assert_int_equal(buf_append(&s->bytes, head, sizeof(head)), 0);
	assert_int_equal(buf_append(&s->bytes, payload, n), 0);
}

static void hello(struct stream *s)
{
	packet(s, PORT_HELLO, "\1", 1);
}

static void file(struct stream *s, enum port_file code, const char *module, const char *text)
{
	char name[80];

	snprintf(name, sizeof(name), "%c%s", (char)code, module);
	packet(s, PORT_FILE, name, 1 + strlen(module));
	if (*text)
		packet(s, PORT_DATA, text, strlen(text));
}

static void whole(struct stream *s)
{
	hello(s);
	packet(s, PORT_STATE, STATE, PORT_STATE_LEN);
	file(s, PORT_VERSION_FILE, "", "Linux version 6.1\n");
	file(s, PORT_MODULES, "", "ext4 1 0 - Live 0x1\n");
	file(s, PORT_MODULE_NOTE, "ext4", "note");
	file(s, PORT_MODULE_NOTE, "jbd2", "NOTE");
	file(s, PORT_KALLSYMS, "", "1 T a\n");
	packet(s, PORT_DATA, "2 T b\n", 6);
	file(s, PORT_MODULES, "", "");
	packet(s, PORT_END, "", 0);
}

/* ---- reading them --------------------------------------------------------------------------- */

/* As if magic and session had been found by the probe. */
static int read_stream(const struct stream *s, size_t chunk, const struct source_sink *sink,
		       struct port *p, struct errmsg *why)
{
	size_t at = PORT_FIND_LEN, now;
	int r = 0;

	port_init(p, SESSION, sink);
	for (; r == 0 && at < s->bytes.len; at += now) {
		now = s->bytes.len - at < chunk ? s->bytes.len - at : chunk;
		r = port_feed(p, s->bytes.data + at, now, why);
	}
	return r;
}

static void assert_whole(const struct collect *c)
{
	collect_assert(c, GUEST_FILE_VERSION, 1, "Linux version 6.1\n", 18);
	collect_assert(c, GUEST_FILE_MODULES, 2, "ext4 1 0 - Live 0x1\n", 20);
	collect_assert(c, GUEST_FILE_MODULE_NOTE, 2, "noteNOTE", 8);
	collect_assert(c, GUEST_FILE_KALLSYMS, 1, "1 T a\n2 T b\n", 12);
	assert_string_equal(c->modules.data, "ext4 jbd2 ");
}

static void test_whole(void **state)
{
	CLEANUP_FREE struct port *p = malloc(sizeof(*p));
	struct stream s;

	(void)state;
	stream_init(&s);
	whole(&s);
	for (size_t chunk = 1; chunk <= s.bytes.len; chunk++) {
		struct collect c;
		struct source_sink sink;

		collect_init(&c);
		sink = collect_sink(&c);
		assert_int_equal(read_stream(&s, chunk, &sink, p, NULL), 0);
		assert_true(p->ended && p->has_state);
		assert_memory_equal(p->state, STATE, PORT_STATE_LEN);
		assert_whole(&c);
		collect_deinit(&c);
	}
	buf_deinit(&s.bytes);
}

/* Pushed ones do not replace the state of before; they may also come behind the end. */
static void test_states(void **state)
{
	CLEANUP_FREE struct port *p = malloc(sizeof(*p));
	const struct source_sink *nobody = NULL;
	char other[PORT_STATE_LEN] = {7};
	struct stream s;

	(void)state;
	stream_init(&s);
	hello(&s);
	packet(&s, PORT_STATE, STATE, PORT_STATE_LEN);
	packet(&s, PORT_STATE, other, PORT_STATE_LEN);
	packet(&s, PORT_END, "", 0);
	packet(&s, PORT_STATE, other, PORT_STATE_LEN);
	assert_int_equal(read_stream(&s, 7, nobody, p, NULL), 0);
	assert_memory_equal(p->state, STATE, PORT_STATE_LEN);
	buf_deinit(&s.bytes);
}

/* A full packet is the longest that there is. */
static void test_full_packet(void **state)
{
	CLEANUP_FREE struct port *p = malloc(sizeof(*p));
	CLEANUP_FREE char *much = calloc(1, PORT_DATA_MAX + 1);
	struct errmsg why = {0};
	struct source_sink sink;
	struct collect c;
	struct stream s;

	(void)state;
	for (size_t n = PORT_DATA_MAX; n <= PORT_DATA_MAX + 1; n++) {
		stream_init(&s);
		collect_init(&c);
		sink = collect_sink(&c);
		hello(&s);
		file(&s, PORT_KALLSYMS, "", "");
		packet(&s, PORT_DATA, much, n);
		assert_int_equal(read_stream(&s, 10000, &sink, p, &why),
				 n == PORT_DATA_MAX ? 0 : -EBADMSG);
		assert_int_equal(c.files[GUEST_FILE_KALLSYMS].len, n == PORT_DATA_MAX ? n : 0);
		collect_deinit(&c);
		buf_deinit(&s.bytes);
	}
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void assert_refused(const struct stream *s, int code, const char *text)
{
	CLEANUP_FREE struct port *p = malloc(sizeof(*p));

	for (size_t chunk = 1; chunk < 70; chunk += 3) {
		struct errmsg why = {0};
		struct collect c;
		struct source_sink sink;
		int r;

		collect_init(&c);
		sink = collect_sink(&c);
		r = read_stream(s, chunk, &sink, p, &why);
		if (r != code || why.code != code || !strstr(why.text, text))
			fail_msg("%d \"%s\", but expected %d and \"%s\"", r, why.text, code, text);
		collect_deinit(&c);
	}
}

/* Any byte of it changed, any byte of it missing: noticed, always. */
static void test_damage(void **state)
{
	CLEANUP_FREE struct port *p = malloc(sizeof(*p));
	struct stream s;

	(void)state;
	stream_init(&s);
	whole(&s);
	for (size_t i = PORT_FIND_LEN; i < s.bytes.len; i++) {
		struct errmsg why = {0};
		struct collect c;
		struct source_sink sink;

		collect_init(&c);
		sink = collect_sink(&c);
		s.bytes.data[i] ^= 0x10;
		/* A length that has grown leaves it waiting. */
		if (read_stream(&s, 1000, &sink, p, &why) == 0)
			assert_false(p->ended);
		else
			assert_int_equal(why.code, -EBADMSG);
		s.bytes.data[i] ^= 0x10;
		collect_deinit(&c);
	}
	for (size_t i = PORT_FIND_LEN; i < s.bytes.len - 1; i++) {
		struct stream less;
		struct collect c;
		struct source_sink sink;

		collect_init(&c);
		sink = collect_sink(&c);
		stream_init(&less);
		buf_append(&less.bytes, s.bytes.data, i);
		buf_append(&less.bytes, s.bytes.data + i + 1, s.bytes.len - i - 1);
		if (read_stream(&less, 1000, &sink, p, NULL) == 0)
			assert_false(p->ended);
		buf_deinit(&less.bytes);
		collect_deinit(&c);
	}
	buf_deinit(&s.bytes);
}

/* A guest set back to an earlier moment, or another session's packets. */
static void test_other_packets(void **state)
{
	struct stream s;

	(void)state;
	stream_init(&s);
	hello(&s);
	s.count = 3;
	packet(&s, PORT_END, "", 0);
	assert_refused(&s, -EBADMSG, "bytes were lost");
	buf_deinit(&s.bytes);
	stream_init(&s);
	hello(&s);
	s.session++;
	packet(&s, PORT_END, "", 0);
	assert_refused(&s, -EBADMSG, "bytes were lost");
	buf_deinit(&s.bytes);
}

struct wrong {
	const char *text;
	void (*make)(struct stream *s);
};

static void no_hello(struct stream *s)
{
	packet(s, PORT_STATE, STATE, PORT_STATE_LEN);
}

static void two_hellos(struct stream *s)
{
	hello(s);
	hello(s);
}

static void empty_hello(struct stream *s)
{
	packet(s, PORT_HELLO, "", 0);
}

static void unknown_file(struct stream *s)
{
	hello(s);
	file(s, PORT_FILE_COUNT, "", "x");
}

static void nameless_file(struct stream *s)
{
	hello(s);
	packet(s, PORT_FILE, "", 0);
}

static void file_twice(struct stream *s)
{
	hello(s);
	file(s, PORT_KALLSYMS, "", "x");
	file(s, PORT_KALLSYMS, "", "x");
}

static void named_kallsyms(struct stream *s)
{
	hello(s);
	file(s, PORT_KALLSYMS, "ext4", "x");
}

static void path_for_a_module(struct stream *s)
{
	hello(s);
	file(s, PORT_MODULE_NOTE, "../ext4", "x");
}

static void long_module(struct stream *s)
{
	hello(s);
	file(s, PORT_MODULE_NOTE,
	     "0123456789012345678901234567890123456789012345678901234567890123", "x");
}

static void data_of_nothing(struct stream *s)
{
	hello(s);
	packet(s, PORT_DATA, "x", 1);
}

static void empty_data(struct stream *s)
{
	hello(s);
	file(s, PORT_KALLSYMS, "", "");
	packet(s, PORT_DATA, "", 0);
}

static void short_state(struct stream *s)
{
	hello(s);
	packet(s, PORT_STATE, STATE, PORT_STATE_LEN - 1);
}

static void unknown_packet(struct stream *s)
{
	hello(s);
	packet(s, 99, "", 0);
}

static void more_after_the_end(struct stream *s)
{
	hello(s);
	packet(s, PORT_END, "", 0);
	file(s, PORT_KALLSYMS, "", "x");
}

static void test_wrong_packets(void **state)
{
	static const struct wrong wrongs[] = {
		{"no greeting", no_hello},	    {"a greeting", two_hellos},
		{"a greeting", empty_hello},	    {"not asked for", unknown_file},
		{"not asked for", nameless_file},   {"too often", file_twice},
		{"a strange name", named_kallsyms}, {"a strange name", path_for_a_module},
		{"a strange name", long_module},    {"bytes of no file", data_of_nothing},
		{"bytes of no file", empty_data},   {"another length", short_state},
		{"unknown kind", unknown_packet},   {"after the end", more_after_the_end},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++) {
		struct stream s;

		stream_init(&s);
		wrongs[i].make(&s);
		assert_refused(&s, -EBADMSG, wrongs[i].text);
		buf_deinit(&s.bytes);
	}
}

static void test_limits(void **state)
{
	CLEANUP_FREE char *much = calloc(1, PORT_DATA_MAX);
	char module[16];
	struct stream s;

	(void)state;
	stream_init(&s);
	hello(&s);
	file(&s, PORT_VERSION_FILE, "", "");
	packet(&s, PORT_DATA, much, GUEST_VERSION_MAX + 1);
	assert_refused(&s, -EFBIG, "/proc/version is above the limit");
	buf_deinit(&s.bytes);
	stream_init(&s);
	hello(&s);
	for (unsigned i = 0; i <= PORT_NOTES_TOTAL_MAX / 4096; i++) {
		snprintf(module, sizeof(module), "m%u", i);
		file(&s, PORT_MODULE_NOTE, module, "");
		packet(&s, PORT_DATA, much, 4096);
	}
	assert_refused(&s, -EFBIG, "above the limit");
	buf_deinit(&s.bytes);
}

static void test_failures(void **state)
{
	struct stream s;

	(void)state;
	stream_init(&s);
	hello(&s);
	packet(&s, PORT_FAILED, "/proc/kallsyms: \x1b[31m", 21);
	assert_refused(&s, -EIO, "kvmprofs in the guest: /proc/kallsyms: \\x1b[31m");
	buf_deinit(&s.bytes);
	stream_init(&s);
	packet(&s, PORT_HELLO, "\2more", 5);
	assert_refused(&s, -EPROTONOSUPPORT, "speaks version 2, this one 1");
	buf_deinit(&s.bytes);
}

/* Nobody asked for files: none may come. */
static void test_unasked(void **state)
{
	CLEANUP_FREE struct port *p = malloc(sizeof(*p));
	struct errmsg why = {0};
	struct stream s;

	(void)state;
	stream_init(&s);
	whole(&s);
	assert_int_equal(read_stream(&s, 100, NULL, p, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "not asked for"));
	buf_deinit(&s.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),	      cmocka_unit_test(test_states),
		cmocka_unit_test(test_full_packet),   cmocka_unit_test(test_damage),
		cmocka_unit_test(test_other_packets), cmocka_unit_test(test_wrong_packets),
		cmocka_unit_test(test_limits),	      cmocka_unit_test(test_failures),
		cmocka_unit_test(test_unasked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
