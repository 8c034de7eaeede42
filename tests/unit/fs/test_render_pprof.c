/* profile.pb.gz, unpacked and taken apart again by the published format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include <zlib.h>

#include "fs/render.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "tests/unit/lib/madeprofile.h"

#define BIG	(8 << 20)
#define STRINGS 200

static struct guest web = {.serial = 1, .pid = 4242, .name = "b\xfcro\n"};

static char long_name[512];

static struct profile_row rows[] = {
	{600, 'g', "clear_page_erms", PROFILE_OBJECT_KERNEL, 0xffffffff81002000, 0, false},
	{200, 'u', PROFILE_SYMBOL_USER, PROFILE_SYMBOL_USER, 0, 0, false},
	{100, 'g', "ext4_readpage", "[ext4]", 0xffffffffc0001000, 0, false},
	{50, 'g', long_name, PROFILE_OBJECT_KERNEL, 0xffffffff71002000, 0,
	 false}, /* a boot before */
	{30, 'g', "\xff\x01;\"<", "[ext4]", 0xffffffffc0002000, 0, false},
	{20, 'g', "0xffffffff8f001234", PROFILE_OBJECT_UNKNOWN, 0xffffffff8f001234, 0, true},
};

static struct profile made(void)
{
	struct profile p = made_profile(rows, ARRAY_SIZE(rows));

	memset(long_name, 0xe9, sizeof(long_name) - 1);
	p.freq = 100;
	return p;
}

/* -- a reader of its own ----------------------------------------------------------------- */

struct field {
	unsigned number;
	uint64_t value;	   /* of a number, or the length */
	const char *bytes; /* NULL: a number */
};

static uint64_t varint(const char **at, const char *end)
{
	uint64_t n = 0;

	for (unsigned shift = 0;; shift += 7) {
		assert_true(*at < end && shift < 64);
		n |= (uint64_t)(**at & 127) << shift;
		if (!(*(*at)++ & 128))
			return n;
	}
}

static bool next_field(const char **at, const char *end, struct field *f)
{
	uint64_t key;

	if (*at == end)
		return false;
	key = varint(at, end);
	*f = (struct field){.number = (unsigned)(key >> 3), .value = varint(at, end)};
	if ((key & 7) == 2) {
		assert_true(f->value <= (uint64_t)(end - *at));
		f->bytes = *at;
		*at += f->value;
	} else {
		assert_int_equal(key & 7, 0);
	}
	return true;
}

/* The value of a field of a message, 0 when there is none. */
static uint64_t value_of(const struct field *message, unsigned number)
{
	const char *at = message->bytes, *end = at + message->value;
	struct field f;

	while (next_field(&at, end, &f)) {
		if (f.number == number && !f.bytes)
			return f.value;
	}
	return 0;
}

/* The i-th number of a packed field of a message. */
static uint64_t packed_of(const struct field *message, unsigned number, size_t i)
{
	const char *at = message->bytes, *end = at + message->value;
	struct field f;

	while (next_field(&at, end, &f)) {
		if (f.number == number && f.bytes) {
			const char *in = f.bytes;
			uint64_t n = 0;

			for (size_t k = 0; k <= i; k++)
				n = varint(&in, f.bytes + f.value);
			return n;
		}
	}
	return 0;
}

struct read {
	char *raw;
	size_t len;
	char strings[STRINGS][3000];
	size_t string_count;
	struct field samples[10], mappings[10], locations[10], functions[10];
	size_t sample_count, mapping_count, location_count, function_count, type_count;
	uint64_t time, duration, period;
};

static void keep(struct field *list, size_t *count, const struct field *f)
{
	assert_true(*count < 10);
	list[(*count)++] = *f;
}

static void keep_string(struct read *r, const struct field *f)
{
	assert_true(r->string_count < STRINGS && f->value < 3000);
	memcpy(r->strings[r->string_count++], f->bytes, f->value);
	/* ASCII is UTF-8, whatever a name was. */
	for (size_t i = 0; i < f->value; i++)
		assert_in_range(f->bytes[i], 0x20, 0x7e);
}

static void keep_field(struct read *r, const struct field *f)
{
	switch (f->number) {
	case 1: r->type_count++; break;
	case 2: keep(r->samples, &r->sample_count, f); break;
	case 3: keep(r->mappings, &r->mapping_count, f); break;
	case 4: keep(r->locations, &r->location_count, f); break;
	case 5: keep(r->functions, &r->function_count, f); break;
	case 6: keep_string(r, f); break;
	case 9: r->time = f->value; break;
	case 10: r->duration = f->value; break;
	case 12: r->period = f->value; break;
	}
}

static struct read *read_back(const struct profile *p, const struct symbols *s)
{
	struct read *r = calloc(1, sizeof(*r));
	z_stream z = {0};
	const char *at;
	struct field f;
	struct buf b;

	r->raw = malloc(BIG);
	buf_init(&b, BIG);
	assert_int_equal(render_pprof(&web, p, s, &made_when, &b), 0);
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	z.next_in = (Bytef *)b.data;
	z.avail_in = (uInt)b.len;
	z.next_out = (Bytef *)r->raw;
	z.avail_out = BIG;
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.avail_in, 0);
	r->len = z.total_out;
	inflateEnd(&z);
	buf_deinit(&b);
	at = r->raw;
	while (next_field(&at, r->raw + r->len, &f))
		keep_field(r, &f);
	return r;
}

static void done(struct read *r)
{
	free(r->raw);
	free(r);
}

static const char *text_of(const struct read *r, const struct field *message, unsigned number)
{
	uint64_t i = value_of(message, number);

	assert_true(i < r->string_count);
	return r->strings[i];
}

/* -- tests ------------------------------------------------------------------------------- */

static void test_header(void **state)
{
	struct profile p = made();
	struct read *r = read_back(&p, NULL);

	(void)state;
	assert_string_equal(r->strings[0], "");
	assert_int_equal(r->time, 1795289084 * NSEC_PER_SEC);
	assert_int_equal(r->duration, 10 * NSEC_PER_SEC);
	assert_int_equal(r->period, NSEC_PER_SEC / 100);
	assert_int_equal(r->type_count, 2);
	done(r);
}

/* Each sample leads by ids, which are positions, to its symbol and its object. */
static void test_rows(void **state)
{
	struct profile p = made();
	struct read *r = read_back(&p, NULL);
	uint64_t samples = 0;

	(void)state;
	assert_int_equal(r->sample_count, ARRAY_SIZE(rows));
	assert_int_equal(r->mapping_count, 4);
	for (size_t i = 0; i < r->sample_count; i++) {
		const struct field *location = &r->locations[i];
		uint64_t mapping = value_of(location, 2);

		assert_int_equal(packed_of(&r->samples[i], 1, 0), i + 1);
		assert_int_equal(value_of(location, 1), i + 1);
		assert_int_equal(value_of(&r->functions[i], 1), i + 1);
		assert_in_range(mapping, 1, r->mapping_count);
		assert_int_equal(value_of(&r->mappings[mapping - 1], 1), mapping);
		assert_string_equal(text_of(r, &r->functions[i], 4),
				    text_of(r, &r->mappings[mapping - 1], 5));
		assert_int_equal(packed_of(&r->samples[i], 2, 1),
				 packed_of(&r->samples[i], 2, 0) * (NSEC_PER_SEC / 100));
		samples += packed_of(&r->samples[i], 2, 0);
	}
	assert_int_equal(samples, 1000);
	assert_string_equal(text_of(r, &r->mappings[0], 5), PROFILE_OBJECT_KERNEL);
	assert_string_equal(text_of(r, &r->functions[0], 2), "clear_page_erms");
	assert_int_equal(value_of(&r->locations[0], 3), 0xffffffff81002000);
	done(r);
}

/* [ext4] is the second object by name: behind the kernel, which comes first. */
static void test_objects_have_build_ids_and_places(void **state)
{
	static const char list[] = "dm_mod 8192 0 - Live 0xffffffffc0100000\n"
				   "ext4 16384 1 - Live 0xffffffffc0000000\n";
	struct symbols_module modules[] = {{.name = "dm_mod", .id = {1, {1}}},
					   {.name = "ext4", .id = {2, {0xab, 0xcd}}}};
	struct symbols s = {.kernel_id = {.len = 20, .bytes = {0x12}},
			    .modules = blob_from_bytes(list, sizeof(list) - 1),
			    .module_count = 2,
			    .module_list = modules};
	struct symtab_builder *b = symtab_builder_create();
	struct profile p = made();
	struct read *r;

	(void)state;
	assert_int_equal(symtab_builder_add(b, 0xffffffff81000000, 'T', 0, 5, 0, 0), 0);
	assert_int_equal(symtab_builder_add(b, 0xffffffff82000000, 'B', 5, 4, 0, 0), 0);
	assert_int_equal(symtab_builder_finish(b, "_text_end", 9, &s.table), 0);
	r = read_back(&p, &s);
	assert_string_equal(text_of(r, &r->mappings[0], 6),
			    "1200000000000000000000000000000000000000");
	assert_int_equal(value_of(&r->mappings[0], 2), 0xffffffff81000000);
	assert_int_equal(value_of(&r->mappings[0], 3), 0xffffffff82000000);
	assert_string_equal(text_of(r, &r->mappings[1], 5), "[ext4]");
	assert_string_equal(text_of(r, &r->mappings[1], 6),
			    "abcd000000000000000000000000000000000000");
	assert_int_equal(value_of(&r->mappings[1], 2), 0xffffffffc0000000);
	assert_int_equal(value_of(&r->mappings[1], 3), 0xffffffffc0004000);
	assert_string_equal(text_of(r, &r->mappings[2], 6), "");
	/* Where a symbol lay in an earlier boot is no place in this kernel. */
	assert_int_equal(value_of(&r->locations[0], 3), 0xffffffff81002000);
	assert_int_equal(value_of(&r->locations[1], 3), 0);
	done(r);
	symtab_destroy(s.table);
	symtab_builder_destroy(b);
	blob_put(s.modules);
}

static void test_an_empty_profile(void **state)
{
	struct profile p = {.sampler = SAMPLER_KIND_NONE};
	struct read *r = read_back(&p, NULL);

	(void)state;
	assert_int_equal(r->sample_count, 0);
	assert_int_equal(r->type_count, 1); /* samples alone: nobody knows how much time each is */
	assert_int_equal(r->period, 1);
	assert_string_equal(r->strings[0], "");
	done(r);
}

static void test_no_overflow(void **state)
{
	struct profile_row many = {1ULL << 40, 'g', "f", "[m]", 0, 0, false};
	struct profile p = {.freq = 997, .samples = 1ULL << 40, .rows = &many, .row_count = 1};
	struct read *r = read_back(&p, NULL);

	(void)state;
	assert_int_equal(packed_of(&r->samples[0], 2, 0), 1ULL << 40);
	assert_int_equal(packed_of(&r->samples[0], 2, 1), 1102820088040120361ULL);
	done(r);
}

static void test_too_much_is_an_error(void **state)
{
	struct profile p = made();
	struct buf b;

	(void)state;
	buf_init(&b, 300);
	assert_int_equal(render_pprof(&web, &p, NULL, &made_when, &b), -EFBIG);
	buf_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_objects_have_build_ids_and_places),
		cmocka_unit_test(test_an_empty_profile),
		cmocka_unit_test(test_no_overflow),
		cmocka_unit_test(test_too_much_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
