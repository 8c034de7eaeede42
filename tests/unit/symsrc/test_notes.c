/* ELF notes: the build-id in them, wherever they end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/notes.h"

static uint8_t bytes[1024];
static size_t len;

static void put_u32(uint32_t v)
{
	memcpy(bytes + len, &v, 4);
	len += 4;
}

static void put_padded(const void *p, size_t n)
{
	memset(bytes + len, 0, n + 3);
	memcpy(bytes + len, p, n);
	len += (n + 3) / 4 * 4;
}

static void put_note(const char *name, uint32_t type, const void *desc, uint32_t desc_len)
{
	put_u32((uint32_t)strlen(name) + 1);
	put_u32(desc_len);
	put_u32(type);
	put_padded(name, strlen(name) + 1);
	put_padded(desc, desc_len);
}

static const uint8_t sha1[20] = {0xde, 0xad, 0xbe, 0xef, 1,  2,	 3,  4,	 5,  6,
				 7,    8,    9,	   10,	 11, 12, 13, 14, 15, 0x10};

/* As /sys/kernel/notes: Xen's come first. */
static void put_kernel_notes(void)
{
	len = 0;
	put_note("Xen", 6, "linux", 6);
	put_note("Xen", 5, "2.6", 4);
	put_note("GNU", 1, "not a build-id", 15);
	put_note("GNU", 3, sha1, 20);
	put_note("Linux", 257, "x", 1);
}

/* From memory that ends where the notes do, for the sanitizer. */
static int find(size_t n, struct build_id *ret)
{
	CLEANUP_FREE void *copy = malloc(n + !n);

	memcpy(copy, bytes, n);
	return notes_build_id(copy, n, ret);
}

static void assert_hex(const struct build_id *id, const char *expected)
{
	char hex[BUILD_ID_HEX_SIZE];

	build_id_to_hex(id, hex);
	assert_string_equal(hex, expected);
}

static void test_kernel_notes(void **state)
{
	struct build_id id;

	(void)state;
	put_kernel_notes();
	assert_int_equal(find(len, &id), 0);
	assert_int_equal(id.len, 20);
	assert_hex(&id, "deadbeef0102030405060708090a0b0c0d0e0f10");
}

/* Cut anywhere: either the build-id was whole, or an error and nothing written. */
static void test_cut_anywhere(void **state)
{
	size_t whole;

	(void)state;
	put_kernel_notes();
	whole = len - (12 + 8 + 4); /* without the last note */
	for (size_t n = 0; n < len; n++) {
		struct build_id id = {.len = 77};
		int r = find(n, &id);

		if (n >= whole) {
			assert_int_equal(r, 0);
			continue;
		}
		assert_true(r == -EBADMSG || r == -ENOENT);
		assert_int_equal(id.len, 77);
	}
}

static void test_none(void **state)
{
	struct build_id id;

	(void)state;
	len = 0;
	assert_int_equal(find(0, &id), -ENOENT);
	put_note("Xen", 3, sha1, 20); /* somebody else's type 3 */
	put_note("GNU", 3, "", 0);    /* an empty one */
	assert_int_equal(find(len, &id), -ENOENT);
}

static void test_other_lengths(void **state)
{
	uint8_t sha256[32];
	struct build_id id;

	(void)state;
	memset(sha256, 0xab, sizeof(sha256));
	len = 0;
	put_note("GNU", 3, sha1, 8);
	assert_int_equal(find(len, &id), 0);
	assert_int_equal(id.len, 8);
	assert_hex(&id, "deadbeef01020304000000000000000000000000");
	len = 0;
	put_note("GNU", 3, sha256, 32);
	assert_int_equal(find(len, &id), 0);
	assert_int_equal(id.len, 20);
	assert_hex(&id, "abababababababababababababababababababab");
	/* 17 bytes, whose padding nobody wrote */
	len = 0;
	put_note("GNU", 3, sha1, 17);
	assert_int_equal(find(len - 3, &id), 0);
	assert_int_equal(id.len, 17);
}

static void test_sizes_that_overflow(void **state)
{
	static const uint32_t sizes[] = {0xffffffff, 0xfffffffe, 0xfffffffc, 0x80000000, 1000};
	struct build_id id;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		put_kernel_notes();
		memcpy(bytes, &sizes[i], 4); /* the first name's size */
		assert_int_equal(find(len, &id), -EBADMSG);
		assert_int_equal(notes_first_len(bytes, len), 0);
		put_kernel_notes();
		memcpy(bytes + 4, &sizes[i], 4); /* the first descriptor's */
		assert_int_equal(find(len, &id), -EBADMSG);
		assert_int_equal(notes_first_len(bytes, len), 0);
	}
}

static void test_first_len(void **state)
{
	(void)state;
	len = 0;
	put_note("GNU", 3, sha1, 20);
	assert_int_equal(notes_first_len(bytes, len), 36);
	put_note("GNU", 3, sha1, 20);
	assert_int_equal(notes_first_len(bytes, len), 36);
	for (size_t n = 0; n < 36; n++)
		assert_int_equal(notes_first_len(bytes, n), 0);
	len = 0;
	put_note("Linux", 257, "x", 1);
	assert_int_equal(notes_first_len(bytes, len), 12 + 8 + 4);
	assert_int_equal(notes_first_len(bytes, len - 1), 0);
}

static void test_no_id_is_zeros(void **state)
{
	(void)state;
	assert_hex(&(struct build_id){0}, "0000000000000000000000000000000000000000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernel_notes),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_other_lengths),
		cmocka_unit_test(test_sizes_that_overflow),
		cmocka_unit_test(test_first_len),
		cmocka_unit_test(test_no_id_is_zeros),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
