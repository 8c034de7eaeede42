/* What a guest sends over ssh, taken apart: frames, and the wire around them. */
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
#include "symsrc/frames.h"
#include "symsrc/wire.h"
#include "tests/unit/lib/collect.h"

#define B "0123456789abcdef0123456789abcde0"

/* A build-id note: namesz 4, descsz 2 (padded to 4), type 3, "GNU". */
#define NOTE(x)	 "\4\0\0\0\2\0\0\0\3\0\0\0GNU\0" x x "\0\0"
#define NOTE_LEN 20

static const char version[] = "Linux version 6.1.0 (someone)\n";
static const char kallsyms[] = "ffffffff81000000 T _text\nffffffff81000040 t 0123456789abcdef01\n";
static const char modules[] = "ext4 1000 1 - Live 0xffffffffc0000000\n";
static const char notes[] = NOTE("\xaa") NOTE("\xbb");

static struct buf stream;

static void add(const void *bytes, size_t n)
{
	assert_int_equal(buf_append(&stream, bytes, n), 0);
}

static void add_frame(const char *name, const void *bytes, size_t n)
{
	assert_int_equal(buf_printf(&stream, "%s %s\n", B, name), 0);
	add(bytes, n);
}

/* What a guest with two modules sends. */
static void add_all(void)
{
	static const char names[] = "/sys/module/ext4/notes/.note.gnu.build-id "
				    "/sys/module/jbd2/notes/.note.gnu.build-id\n";

	add_frame("version", version, sizeof(version) - 1);
	add_frame("modules", modules, sizeof(modules) - 1);
	add_frame("names", names, sizeof(names) - 1);
	add_frame("module_notes", notes, 2 * NOTE_LEN);
	add_frame("kallsyms", kallsyms, sizeof(kallsyms) - 1);
	add_frame("modules_again", modules, sizeof(modules) - 1);
	add_frame("end", "", 0);
}

static int setup(void **state)
{
	(void)state;
	buf_init(&stream, 1u << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_deinit(&stream);
	return 0;
}

/* Feeds the stream in chunks of this size. Returns the first error. */
static int feed_frames(struct frames *f, size_t chunk, struct errmsg *why)
{
	int r = 0;

	for (size_t at = 0; r == 0 && at < stream.len; at += chunk) {
		size_t n = stream.len - at < chunk ? stream.len - at : chunk;

		r = frames_feed(f, stream.data + at, n, why);
	}
	return r;
}

static int run_frames(struct collect *c, size_t chunk, bool *complete, struct errmsg *why)
{
	const struct source_sink sink = collect_sink(c);
	struct frames f;
	int r;

	frames_init(&f, B, &sink);
	r = feed_frames(&f, chunk, why);
	*complete = frames_complete(&f);
	frames_deinit(&f);
	return r;
}

static void assert_all(const struct collect *c)
{
	collect_assert(c, GUEST_FILE_VERSION, 1, version, sizeof(version) - 1);
	collect_assert(c, GUEST_FILE_KALLSYMS, 1, kallsyms, sizeof(kallsyms) - 1);
	collect_assert(c, GUEST_FILE_MODULE_NOTE, 2, notes, 2 * NOTE_LEN);
	assert_string_equal(c->modules.data, "ext4 jbd2 ");
	assert_int_equal(c->times[GUEST_FILE_MODULES], 2);
	assert_int_equal(c->times[GUEST_FILE_BOOT_ID], 0);
}

static void test_every_chunk_size(void **state)
{
	(void)state;
	add_all();
	for (size_t chunk = 1; chunk <= stream.len + 1; chunk++) {
		struct collect c;
		bool complete;

		collect_init(&c);
		assert_int_equal(run_frames(&c, chunk, &complete, NULL), 0);
		assert_true(complete);
		assert_all(&c);
		collect_deinit(&c);
	}
}

/* Content full of beginnings of the boundary, at every chunk size. */
static void test_almost_a_boundary(void **state)
{
	static const char body[] = "0123456789abcdef0123456789abcde1"
				   "0123456789abcdef0123456789abcdef0123456789abcdef0123"
				   "00120123456789abcdef0123456789abcde0\n" /* no blank */
				   "012301234567012345678";

	(void)state;
	add_frame("kallsyms", body, sizeof(body) - 1);
	add_frame("end", "", 0);
	for (size_t chunk = 1; chunk <= stream.len; chunk++) {
		struct collect c;
		bool complete;

		collect_init(&c);
		assert_int_equal(run_frames(&c, chunk, &complete, NULL), 0);
		assert_true(complete);
		collect_assert(&c, GUEST_FILE_KALLSYMS, 1, body, sizeof(body) - 1);
		collect_deinit(&c);
	}
}

/* Expects this error with this text in it, and returns with an empty stream. */
static void assert_refused(int code, const char *text)
{
	const size_t chunks[] = {1, stream.len};

	for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
		struct errmsg why = {0};
		struct collect c;
		bool complete;

		collect_init(&c);
		assert_int_equal(run_frames(&c, chunks[i], &complete, &why), code);
		assert_non_null(strstr(why.text, text));
		collect_deinit(&c);
	}
	buf_clear(&stream);
}

static void test_malformed(void **state)
{
	(void)state;
	add("noise", 5);
	add_frame("end", "", 0);
	assert_refused(-EBADMSG, "does not begin with a frame");
	add_frame("passwd", "", 0);
	assert_refused(-EBADMSG, "a frame \"passwd\"");
	add_frame("version", "x", 1);
	add_frame("version", "x", 1);
	assert_refused(-EBADMSG, "\"version\" twice");
	add_frame("a_name_that_is_longer_than_any_of_ours", "", 0);
	assert_refused(-EBADMSG, "without a name");
	add_frame("end", "more", 4);
	assert_refused(-EBADMSG, "goes on after its end");
}

static void test_guest_could_not_read(void **state)
{
	(void)state;
	add_frame("kallsyms", "", 0);
	add_frame("failed", "/proc/kallsyms\n", 15);
	add_frame("end", "", 0);
	assert_refused(-EIO, "could not read its file \"/proc/kallsyms\"");
}

static void test_broken_off(void **state)
{
	struct collect c;
	bool complete;

	(void)state;
	add_all();
	collect_init(&c);
	stream.len -= 2; /* not even the last line is whole */
	assert_int_equal(run_frames(&c, 7, &complete, NULL), 0);
	assert_false(complete);
	collect_deinit(&c);
}

static void test_too_long(void **state)
{
	(void)state;
	add_frame("boot_id", "", 0);
	for (size_t i = 0; i < guest_file_max(GUEST_FILE_BOOT_ID) + 1; i++)
		add("x", 1);
	assert_refused(-EFBIG, "/proc/sys/kernel/random/boot_id is above the limit");
	add_frame("failed", "", 0);
	for (size_t i = 0; i < FRAMES_NAME_MAX + 1; i++)
		add("x", 1);
	assert_refused(-EFBIG, "\"failed\" is above");
}

static void test_sink_refuses(void **state)
{
	struct errmsg why = {0};
	struct collect c;
	bool complete;

	(void)state;
	add_all();
	for (int at = 1; at <= 6; at++) {
		collect_init(&c);
		c.fail_at = at;
		c.fail_with = -ENOSPC;
		assert_int_equal(run_frames(&c, 10, &complete, &why), -ENOSPC);
		assert_int_equal(why.code, 0);
		collect_deinit(&c);
	}
}

/* Names and notes that cannot be matched up name nothing, rather than something wrong. */
static void assert_notes(const char *names, const char *bytes, size_t n, const char *delivered)
{
	struct collect c;
	bool complete;

	add_frame("names", names, strlen(names));
	add_frame("module_notes", bytes, n);
	add_frame("end", "", 0);
	collect_init(&c);
	assert_int_equal(run_frames(&c, 9, &complete, NULL), 0);
	assert_string_equal(c.modules.data, delivered);
	collect_deinit(&c);
	buf_clear(&stream);
}

static void test_notes_joined(void **state)
{
	(void)state;
	assert_notes("/sys/module/a/notes/x /sys/module/b/notes/x\n", notes, 2 * NOTE_LEN, "a b ");
	assert_notes("/sys/module/a/notes/x /sys/module/b/notes/x\n", notes, NOTE_LEN, "");
	assert_notes("/sys/module/a/notes/x\n", notes, 2 * NOTE_LEN, "");
	assert_notes("/sys/module/a/notes/x\n", notes, NOTE_LEN - 1, "");
	assert_notes("/sys/module/../notes/x /sys/module/b/notes/x\n", notes, 2 * NOTE_LEN, "b ");
	assert_notes("/etc/module/a/notes/x /sys/module/b\n", notes, 2 * NOTE_LEN, "");
	assert_notes("\n", notes, 0, "");
	assert_notes("", "", 0, "");
}

/* ---- the wire ----------------------------------------------------------------------------- */

/* Puts what the stream holds behind a greeting, packed if so said. */
static void wrap(const char *noise, bool gzip)
{
	size_t max = stream.len + 1024;
	CLEANUP_FREE unsigned char *packed = malloc(max);
	CLEANUP_FREE char *raw = malloc(max);
	z_stream z = {.next_in = (Bytef *)raw, .next_out = packed};

	memcpy(raw, stream.data, stream.len);
	z.avail_in = (uInt)stream.len;
	z.avail_out = (uInt)max;
	assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY),
			 Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	buf_clear(&stream);
	buf_printf(&stream, "%s%s %s\n", noise, B, gzip ? WIRE_GREETING_GZIP : WIRE_GREETING_RAW);
	if (gzip)
		add(packed, z.total_out);
	else
		add(raw, z.total_in);
	deflateEnd(&z);
}

/* The first error of feeding and finishing. */
static int run_wire(struct collect *c, size_t chunk, struct errmsg *why)
{
	const struct source_sink sink = collect_sink(c);
	struct wire w;
	int r = 0;

	wire_init(&w, B, &sink);
	for (size_t at = 0; r == 0 && at < stream.len; at += chunk) {
		size_t n = stream.len - at < chunk ? stream.len - at : chunk;

		r = wire_feed(&w, stream.data + at, n, why);
	}
	if (r == 0)
		r = wire_finish(&w, why);
	wire_deinit(&w);
	return r;
}

static void assert_wire_whole(void)
{
	for (size_t chunk = 1; chunk <= stream.len + 1; chunk++) {
		struct errmsg why = {0};
		struct collect c;

		collect_init(&c);
		if (run_wire(&c, chunk, &why) != 0)
			fail_msg("chunk %zu: %s", chunk, why.text);
		assert_all(&c);
		collect_deinit(&c);
	}
}

static void test_wire_every_chunk_size(void **state)
{
	(void)state;
	add_all();
	wrap("", false);
	assert_wire_whole();
	buf_clear(&stream);
	add_all();
	wrap("", true);
	assert_wire_whole();
}

static void test_talkative_login_shell(void **state)
{
	(void)state;
	add_all();
	wrap("Welcome!\nYou have mail. 0123456789abcdef\n", true);
	assert_wire_whole();
}

static void assert_wire_refused(int code, const char *text)
{
	const size_t chunks[] = {1, stream.len + 1};

	for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
		struct errmsg why = {0};
		struct collect c;

		collect_init(&c);
		assert_int_equal(run_wire(&c, chunks[i], &why), code);
		if (!strstr(why.text, text))
			fail_msg("\"%s\" is not in \"%s\"", text, why.text);
		collect_deinit(&c);
	}
	buf_clear(&stream);
}

static void test_wire_malformed(void **state)
{
	(void)state;
	assert_wire_refused(-EBADMSG, "answered nothing");
	add("This account is not available.\n", 31);
	assert_wire_refused(-EBADMSG, "did not run the command, but said \"This account");
	buf_printf(&stream, "%s kvmprofs 2 zstd\n", B);
	assert_wire_refused(-EBADMSG, "greets with \"kvmprofs 2 zstd\"");
	buf_printf(&stream, "%s %s\nno gzip at all", B, WIRE_GREETING_GZIP);
	assert_wire_refused(-EBADMSG, "does not unpack");
	for (size_t i = 0; i < WIRE_NOISE_MAX + 1; i++)
		add("\n", 1);
	assert_wire_refused(-EBADMSG, "without an end");
	add_all();
	wrap("", true);
	add("x", 1);
	assert_wire_refused(-EBADMSG, "after its end");
}

/* Cut anywhere, it is never taken for whole. */
static void test_wire_broken_off(void **state)
{
	size_t whole;

	(void)state;
	add_all();
	wrap("", true);
	whole = stream.len;
	for (stream.len = 0; stream.len < whole; stream.len++) {
		struct errmsg why = {0};
		struct collect c;

		collect_init(&c);
		assert_int_equal(run_wire(&c, 64, &why), -EBADMSG);
		collect_deinit(&c);
	}
}

/* Some KB that unpack into more than any kallsyms may have. */
static void test_bomb(void **state)
{
	struct errmsg why = {0};
	struct collect c;
	CLEANUP_FREE char *line = malloc(1u << 20);
	CLEANUP_FREE unsigned char *packed = malloc(1u << 20);
	z_stream z = {.next_out = packed, .avail_out = 1u << 20};

	(void)state;
	memset(line, 'a', 1u << 20);
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY),
			 Z_OK);
	z.next_in = (Bytef *)B " kallsyms\n";
	z.avail_in = FRAMES_BOUNDARY_LEN + 10;
	assert_int_equal(deflate(&z, Z_NO_FLUSH), Z_OK);
	for (int i = 0; i < 70; i++) {
		z.next_in = (Bytef *)line;
		z.avail_in = 1u << 20;
		assert_int_equal(deflate(&z, i == 69 ? Z_FINISH : Z_NO_FLUSH),
				 i == 69 ? Z_STREAM_END : Z_OK);
	}
	deflateEnd(&z);
	buf_printf(&stream, "%s %s\n", B, WIRE_GREETING_GZIP);
	add(packed, z.total_out);
	collect_init(&c);
	assert_int_equal(run_wire(&c, stream.len, &why), -EFBIG);
	assert_non_null(strstr(why.text, "/proc/kallsyms is above the limit"));
	assert_true(c.files[GUEST_FILE_KALLSYMS].len <= GUEST_KALLSYMS_MAX);
	collect_deinit(&c);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_chunk_size),
		TEST(test_almost_a_boundary),
		TEST(test_malformed),
		TEST(test_guest_could_not_read),
		TEST(test_broken_off),
		TEST(test_too_long),
		TEST(test_sink_refuses),
		TEST(test_notes_joined),
		TEST(test_wire_every_chunk_size),
		TEST(test_talkative_login_shell),
		TEST(test_wire_malformed),
		TEST(test_wire_broken_off),
		TEST(test_bomb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
