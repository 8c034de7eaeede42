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
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/port.h"
#include "tests/unit/lib/collect.h"

#define SESSION 0x01020305
#define STATE	"11111111-2222-3333-4444-555555555555SUMofALL"

/* Three blocks: of the kernel, and of two modules. */
static const char known_text[] = "1 T a\n2 T b\n3 T c\n"
				 "4 t d\t[ext4]\n5 t e\t[ext4]\n6 t f\t[ext4]\n"
				 "7 t g\t[jbd2]\n8 t h\t[jbd2]\n9 t i\t[jbd2]\n";
static struct port_blocks known;

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
	packet(s, PORT_HELLO, "\2", 1);
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

	port_init(p, SESSION, sink, known.count ? &known : NULL);
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
	assert_true(p->changed);
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

/* ---- by what has changed -------------------------------------------------------------------- */

static void same(struct stream *s, uint32_t first, uint32_t count)
{
	unsigned char payload[PORT_SAME_LEN];

	put32(payload, first);
	put32(payload + 4, count);
	packet(s, PORT_SAME, payload, sizeof(payload));
}

static void sum(struct stream *s, const char *text)
{
	unsigned char payload[PORT_SUM_LEN];

	put32(payload, (uint32_t)crc32(0, (const unsigned char *)text, (uInt)strlen(text)));
	packet(s, PORT_SUM, payload, sizeof(payload));
}

static void begin_kallsyms(struct stream *s)
{
	stream_init(s);
	hello(s);
	packet(s, PORT_STATE, STATE, PORT_STATE_LEN);
	file(s, PORT_KALLSYMS, "", "");
}

/* jbd2 has gone, and msr has come in front of ext4: what the host then has is the whole text. */
static void test_changes(void **state)
{
	static const char now[] = "1 T a\n2 T b\n3 T c\n0 t m\t[msr]\n"
				  "4 t d\t[ext4]\n5 t e\t[ext4]\n6 t f\t[ext4]\n";
	CLEANUP_FREE struct port *p = malloc(sizeof(*p));
	struct stream s;

	(void)state;
	port_blocks_make(&known, known_text, strlen(known_text));
	assert_int_equal(known.count, 3);
	begin_kallsyms(&s);
	same(&s, 0, 1);
	packet(&s, PORT_DATA, "0 t m\t[msr]\n", 12);
	same(&s, 1, 1);
	sum(&s, now);
	packet(&s, PORT_END, "", 0);
	for (size_t chunk = 1; chunk <= s.bytes.len; chunk++) {
		struct collect c;
		struct source_sink sink;

		collect_init(&c);
		sink = collect_sink(&c);
		assert_int_equal(read_stream(&s, chunk, &sink, p, NULL), 0);
		assert_true(p->ended);
		collect_assert(&c, GUEST_FILE_KALLSYMS, 1, now, strlen(now));
		collect_deinit(&c);
	}
	buf_deinit(&s.bytes);
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

static void same_of_another_file(struct stream *s)
{
	stream_init(s);
	hello(s);
	file(s, PORT_MODULES, "", "");
	same(s, 0, 1);
}

static void same_behind_the_last(struct stream *s)
{
	begin_kallsyms(s);
	same(s, 2, 2);
}

static void same_that_overflows(struct stream *s)
{
	begin_kallsyms(s);
	same(s, 1, UINT32_MAX);
}

static void same_of_none(struct stream *s)
{
	begin_kallsyms(s);
	same(s, 1, 0);
}

static void same_without_a_sum(struct stream *s)
{
	begin_kallsyms(s);
	same(s, 0, 3);
	packet(s, PORT_END, "", 0);
}

static void same_before_another_file(struct stream *s)
{
	begin_kallsyms(s);
	same(s, 0, 3);
	file(s, PORT_MODULES, "", "");
}

static void another_sum(struct stream *s)
{
	begin_kallsyms(s);
	same(s, 0, 2);
	sum(s, known_text);
}

static void sum_of_no_file(struct stream *s)
{
	stream_init(s);
	hello(s);
	sum(s, "");
}

static void short_sum(struct stream *s)
{
	begin_kallsyms(s);
	packet(s, PORT_SUM, "123", 3);
}

static void data_behind_the_sum(struct stream *s)
{
	begin_kallsyms(s);
	same(s, 0, 3);
	sum(s, known_text);
	packet(s, PORT_DATA, "x", 1);
}

static void test_wrong_changes(void **state)
{
	static const struct wrong wrongs[] = {
		{"not here", same_of_another_file},
		{"not here", same_behind_the_last},
		{"not here", same_that_overflows},
		{"not here", same_of_none},
		{"no sum", same_without_a_sum},
		{"no sum", same_before_another_file},
		{"do not fit", another_sum},
		{"a sum", sum_of_no_file},
		{"a sum", short_sum},
		{"bytes of no file", data_behind_the_sum},
	};
	struct stream s;

	(void)state;
	port_blocks_make(&known, known_text, strlen(known_text));
	for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++) {
		wrongs[i].make(&s);
		assert_refused(&s, -EBADMSG, wrongs[i].text);
		buf_deinit(&s.bytes);
	}
	/* Nobody said that anything is here. */
	known.count = 0;
	begin_kallsyms(&s);
	same(&s, 0, 1);
	assert_refused(&s, -EBADMSG, "not here");
	buf_deinit(&s.bytes);
}

/* What is repeated again and again grows no further than what is sent. */
static void test_repeated_blocks(void **state)
{
	CLEANUP_FREE char *text = malloc(PORT_DATA_MAX);
	struct stream s;

	(void)state;
	memset(text, 'x', PORT_DATA_MAX);
	port_blocks_make(&known, text, PORT_DATA_MAX);
	begin_kallsyms(&s);
	for (unsigned i = 0; i <= GUEST_KALLSYMS_MAX / PORT_DATA_MAX; i++)
		same(&s, 0, 1);
	assert_refused(&s, -EFBIG, "above the limit");
	buf_deinit(&s.bytes);
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
	packet(&s, PORT_HELLO, "\3more", 5);
	assert_refused(&s, -EPROTONOSUPPORT, "speaks version 3, this one 2");
	buf_deinit(&s.bytes);
	stream_init(&s);
	packet(&s, PORT_HELLO, "\0", 1);
	assert_refused(&s, -EPROTONOSUPPORT, "speaks version 0, this one 2");
	buf_deinit(&s.bytes);
}

static int forget_known(void **state)
{
	(void)state;
	known.count = 0;
	return 0;
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* All of it is in a block, none is longer than a packet, and each is of one module. */
static void test_blocks(void **state)
{
	CLEANUP_BUF struct buf text;
	struct port_blocks *b = malloc(sizeof(*b));
	size_t n;

	(void)state;
	buf_init(&text, 16 << 20);
	for (unsigned i = 0; i < 10000; i++)
		buf_printf(&text, "%016x t kernel%u\n", i, i);
	for (unsigned i = 0; i < 3000; i++)
		buf_printf(&text, "%016x t module%u\t[m%u]\n", i, i, i / 1000);
	buf_append_str(&text, "no newline\t[m2]");
	port_blocks_make(b, text.data, text.len);
	assert_in_range(b->count, 9 + 3, 16 + 2 * 3 + 1);
	assert_int_equal(b->start[b->count], text.len);
	for (uint32_t i = 0; i < b->count; i++) {
		assert_non_null(port_blocks_find(b, i, 1, &n));
		assert_in_range(n, 1, PORT_DATA_MAX);
	}
	assert_ptr_equal(port_blocks_find(b, 0, (uint32_t)b->count, &n), text.data);
	assert_int_equal(n, text.len);
	free(b);
}

/* More blocks than a list holds: what is behind them is not known, which costs bytes only. */
static void test_more_blocks_than_are_kept(void **state)
{
	CLEANUP_BUF struct buf text, lines;
	struct port_blocks *b = malloc(sizeof(*b));
	size_t count = 0;

	(void)state;
	buf_init(&text, 16 << 20);
	buf_init(&lines, 128 << 10);
	for (unsigned i = 0; i < 2 * PORT_HAVE_MAX; i++)
		buf_printf(&text, "1 t f\t[m%u]\n", i);
	port_blocks_make(b, text.data, text.len);
	assert_int_equal(b->count, PORT_HAVE_MAX);
	port_blocks_lines(b, &lines);
	assert_int_equal(lines.err, 0);
	for (const char *at = lines.data, *end; (end = strchr(at, '\n')); at = end + 1) {
		assert_true(end + 1 - at <= PORT_LINE_MAX);
		assert_int_equal(strncmp(at, "have ", 5), 0);
		count += (size_t)(end - at - 4) / (1 + PORT_DIGEST_LEN);
	}
	assert_int_equal(count, PORT_HAVE_MAX);
	free(b);
}

/* What the host says to a guest of that version, and how much it then has of kallsyms. */
static int order_of(const char *version, const struct port_order *what, char *ret, size_t size)
{
	struct serial_link link = {.limits = {.deadline_ns = UINT64_MAX, .cancel_fd = -1}};
	struct port_order order = *what;
	struct port_result got;
	struct source_sink sink;
	struct collect c;
	struct stream s;
	int fds[2];
	ssize_t n;
	int r;

	stream_init(&s);
	packet(&s, PORT_HELLO, version, 1);
	packet(&s, PORT_STATE, STATE, PORT_STATE_LEN);
	file(&s, PORT_KALLSYMS, "", "1 T a\n");
	packet(&s, PORT_END, "", 0);
	collect_init(&c);
	sink = collect_sink(&c);
	order.sink = &sink;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	link.fd = fds[0];
	assert_int_equal(write(fds[1], s.bytes.data + PORT_FIND_LEN, s.bytes.len - PORT_FIND_LEN),
			 s.bytes.len - PORT_FIND_LEN);
	r = port_fetch(&link, SESSION, "", 0, &order, &got, NULL);
	if (r == 0)
		assert_int_equal(got.delivered, 6);
	n = recv(fds[1], ret, size - 1, MSG_DONTWAIT);
	ret[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	close(fds[1]);
	collect_deinit(&c);
	buf_deinit(&s.bytes);
	return r;
}

/* Version 1 knows no "have", and sends all; and no modules. */
static void test_older_guest(void **state)
{
	struct blob *had = blob_from_bytes(known_text, strlen(known_text));
	struct port_order order = {.what.want = GUEST_FILE_BIT(GUEST_FILE_KALLSYMS), .had = had};
	const struct port_order list = {.what.release = "6.1"};
	const struct port_order file = {.what = {.release = "6.1", .path = "kernel/a.ko"}};
	char said[512];

	(void)state;
	assert_int_equal(order_of("\1", &order, said, sizeof(said)), 0);
	assert_string_equal(said, "get kallsyms\n");
	assert_int_equal(order_of("\2", &order, said, sizeof(said)), 0);
	assert_int_equal(strncmp(said, "have ", 5), 0);
	assert_string_equal(said + 4 + 3 * (1 + PORT_DIGEST_LEN), "\nget kallsyms\n");
	order.had = NULL;
	assert_int_equal(order_of("\2", &order, said, sizeof(said)), 0);
	assert_string_equal(said, "get kallsyms\n");
	assert_int_equal(order_of("\1", &list, said, sizeof(said)), -EOPNOTSUPP);
	assert_string_equal(said, "");
	assert_int_equal(order_of("\2", &list, said, sizeof(said)), 0);
	assert_string_equal(said, "list 6.1\n");
	assert_int_equal(order_of("\2", &file, said, sizeof(said)), 0);
	assert_string_equal(said, "read 6.1 kernel/a.ko\n");
	blob_put(had);
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
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_full_packet),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_other_packets),
		cmocka_unit_test(test_wrong_packets),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_unasked),
		cmocka_unit_test(test_older_guest),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_more_blocks_than_are_kept),
		cmocka_unit_test_teardown(test_changes, forget_known),
		cmocka_unit_test_teardown(test_wrong_changes, forget_known),
		cmocka_unit_test_teardown(test_repeated_blocks, forget_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
