/* Where a kernel runs, by sampled addresses: found at each of many places, or said not to be known.
 *
 * The kernel is 16 MiB of functions, made of instructions that kernels are made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/slide.h"

#define LINKED	   0xffffffff81000000ULL
#define TEXT	   (16u << 20)
#define IMAGE	   (40ULL << 20)
#define PLACE	   (2ULL << 20)
#define PLACES	   ((0xffffffffc0000000ULL - LINKED - IMAGE) / PLACE)
#define FUNCTIONS  (TEXT / 64)
#define MODULES_VA 0xffffffffc0000000ULL

static const struct {
	uint8_t n, bytes[9];
} kinds[] = {
	{1, {0x55}},
	{1, {0x5d}},
	{2, {0x31, 0xc0}},
	{2, {0x74, 0x12}},
	{2, {0x85, 0xc0}},
	{3, {0x48, 0x89, 0xe5}},
	{3, {0x48, 0x8b, 7}},
	{4, {0x48, 0x8b, 0x47, 0x18}},
	{4, {0x48, 0x83, 0xec, 0x28}},
	{5, {0xe8, 0x11, 0x22, 0x33, 0}},
	{5, {0x0f, 0x1f, 0x44, 0, 0}},
	{6, {0x0f, 0x84, 0x21, 1, 0, 0}},
	{7, {0x48, 0xc7, 0xc0, 0, 0, 0, 0x82}},
	{7, {0x48, 0x8b, 0x87, 0x40, 2, 0, 0}},
	{9, {0x65, 0x48, 0x8b, 4, 0x25, 0xc0, 0xfb, 1, 0}},
};

/* A kernel, and where its instructions are. */
struct made {
	uint8_t *text;
	uint64_t *starts;
	uint32_t *instructions;
	size_t instruction_count;
	struct slide_code code;
};

static struct made ours, other;
static uint64_t seed;

static unsigned below(unsigned n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(seed >> 33) % n;
}

static void make(struct made *m)
{
	size_t at = 0;

	m->text = malloc(TEXT);
	m->starts = malloc(FUNCTIONS * sizeof(*m->starts));
	m->instructions = malloc(TEXT * sizeof(*m->instructions));
	assert_true(m->text && m->starts && m->instructions);
	memset(m->text, 0xcc, TEXT);
	for (size_t i = 0; i < FUNCTIONS && at < TEXT - 4096; i++) {
		size_t count = 4 + below(200);

		m->starts[m->code.start_count++] = LINKED + at;
		for (; count; count--) {
			size_t kind = below(sizeof(kinds) / sizeof(kinds[0]));

			m->instructions[m->instruction_count++] = (uint32_t)at;
			memcpy(m->text + at, kinds[kind].bytes, kinds[kind].n);
			at += kinds[kind].n;
		}
		at = (at + 15) & ~(size_t)15;
	}
	m->code.starts = m->starts;
	m->code.from = LINKED;
	m->code.to = LINKED + IMAGE;
	m->code.sections[0] = (struct slide_section){LINKED, m->text, TEXT};
	m->code.section_count = 1;
}

static void discard(struct made *m)
{
	free(m->text);
	free(m->starts);
	free(m->instructions);
}

static int group_setup(void **state)
{
	(void)state;
	seed = 1;
	make(&ours);
	make(&other);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	discard(&ours);
	discard(&other);
	return 0;
}

static bool has(const uint64_t *ips, size_t n, uint64_t ip)
{
	for (size_t i = 0; i < n; i++) {
		if (ips[i] == ip)
			return true;
	}
	return false;
}

/* Distinct addresses where it runs: as profiles have them, most in a few hot spots. One in
 * so many is where the running kernel has patched itself. */
static void sample(const struct made *m, uint64_t slide, uint64_t *ips, size_t n, unsigned patched)
{
	unsigned spots[4];

	for (size_t i = 0; i < 4; i++)
		spots[i] = below((unsigned)m->instruction_count - 64);
	for (size_t i = 0; i < n;) {
		unsigned at = below(3) ? spots[below(4)] + below(64)
				       : below((unsigned)m->instruction_count);
		uint64_t ip = LINKED + m->instructions[at] + slide;

		if (patched && below(patched) == 0)
			ip++;
		if (!has(ips, i, ip))
			ips[i++] = ip;
	}
}

static void test_each_place(void **state)
{
	struct slide_guess guess;
	uint64_t ips[64];
	unsigned unknown = 0;

	(void)state;
	for (uint64_t place = 0; place < PLACES; place += 2) {
		int r;

		sample(&ours, place * PLACE, ips, 64, 30);
		r = slide_find(&ours.code, ips, 64, &guess);
		assert_true(r == 0 || r == -EAGAIN);
		if (r == 0)
			assert_true(guess.slide == place * PLACE);
		unknown += r != 0;
	}
	assert_true(unknown < PLACES / 50);
}

/* However few there are, what is said is right; and it does not take many. */
static void test_how_many(void **state)
{
	static const unsigned known_at_least[] = {[24] = 8, [37] = 20, [63] = 36};
	struct slide_guess guess;
	uint64_t ips[64];

	(void)state;
	for (size_t n = 1; n < 64; n += n < 24 ? 1 : 13) {
		unsigned known = 0;

		for (unsigned i = 0; i < 40; i++) {
			uint64_t slide = below(PLACES) * PLACE;

			sample(&ours, slide, ips, n, 30);
			if (slide_find(&ours.code, ips, n, &guess) != 0)
				continue;
			assert_true(guess.slide == slide && guess.places == 1);
			known++;
		}
		assert_true(known >= known_at_least[n]);
		if (n < 24)
			assert_int_equal(known, 0);
	}
}

static void test_another_kernel(void **state)
{
	struct slide_guess guess;
	uint64_t ips[128];
	unsigned refused = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		int r;

		sample(&other, below(PLACES) * PLACE, ips, 128, 0);
		r = slide_find(&ours.code, ips, 128, &guess);
		assert_true(r < 0);
		refused += r == -ENOENT;
	}
	assert_true(refused > 95);
}

/* A release later a third of its code has moved on. */
static void test_a_relative(void **state)
{
	struct slide_guess guess;
	uint64_t ips[64];
	unsigned refused = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		int r;

		sample(&ours, 300 * PLACE, ips, 64, 0);
		for (size_t k = 0; k < 64; k++) {
			if (ips[k] - 300 * PLACE > LINKED + TEXT / 3 * 2)
				ips[k] += 5;
		}
		r = slide_find(&ours.code, ips, 64, &guess);
		assert_true(r < 0 || guess.hits >= 57); /* that third is hardly run */
		refused += r == -ENOENT;
	}
	assert_true(refused > 50);
}

/* Modules lie elsewhere, and say nothing. */
static void test_modules_and_nothing(void **state)
{
	struct slide_guess guess;
	uint64_t ips[256];

	(void)state;
	assert_int_equal(slide_find(&ours.code, NULL, 0, &guess), -EAGAIN);
	assert_int_equal(guess.used, 0);
	assert_true(guess.places > PLACES - 2);
	for (size_t i = 0; i < 200; i++)
		ips[i] = MODULES_VA + 4096 * i;
	assert_int_equal(slide_find(&ours.code, ips, 200, &guess), -EAGAIN);
	assert_int_equal(guess.used, 0);
	sample(&ours, 77 * PLACE, ips + 200, 32, 0);
	assert_int_equal(slide_find(&ours.code, ips, 232, &guess), 0);
	assert_true(guess.slide == 77 * PLACE && guess.used == 32 && guess.hits == 32);
}

/* A few that are left of the boot before. */
static void test_remains(void **state)
{
	struct slide_guess guess;
	uint64_t ips[64];

	(void)state;
	sample(&ours, 400 * PLACE, ips, 5, 0);
	sample(&ours, 100 * PLACE, ips + 5, 50, 0);
	assert_int_equal(slide_find(&ours.code, ips, 55, &guess), 0);
	assert_true(guess.slide == 100 * PLACE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_place),	    cmocka_unit_test(test_how_many),
		cmocka_unit_test(test_another_kernel),	    cmocka_unit_test(test_a_relative),
		cmocka_unit_test(test_modules_and_nothing), cmocka_unit_test(test_remains),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
