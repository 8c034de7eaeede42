/* Names of modules that have gone: who had an address before somebody else did. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/retired.h"
#include "tests/unit/lib/gone.h"

#define K	0xffffffff81000000ULL
#define M	0xffffffffc0000000ULL
#define KERNEL	"ffffffff81000000 T _text\nffffffff81000100 T hot\nffffffff81001000 T _etext\n"
#define RMD160	"ffffffffc0000000 t rmd_init\t[rmd160]\nffffffffc0000100 t transform\t[rmd160]\n"
#define MSR	"ffffffffc0000000 t msr_open\t[msr]\nffffffffc0000180 t msr_exit\t[msr]\n"
#define BALLOON "ffffffffc0010000 t inflate\t[virtio_balloon]\n"

/* ip as it was sampled after set `since`; expected: "name[object]", "lost", NULL: it stays. */
static void assert_was_(const struct retired *r, uint32_t since, uint64_t ip, const char *expected,
			int line)
{
	uint64_t marked = retired_move(r, since, ip);
	char found[128] = "lost";
	struct symtab_hit h;

	if (marked == ip) {
		if (expected)
			fail_msg("line %d: it stays", line);
		return;
	}
	assert_true(retired_is_marked(marked));
	assert_int_equal(retired_address(marked), ip);
	assert_int_equal(retired_move(r, 0, marked), marked);
	if (retired_find(r, marked, &h)) {
		assert_true(h.start <= ip);
		snprintf(found, sizeof(found), "%.*s[%.*s]", h.name_len, h.name, h.object_len,
			 h.object);
	}
	if (!expected || strcmp(found, expected) != 0)
		fail_msg("line %d: %s", line, found);
}
#define assert_was(r, since, ip, expected) assert_was_(r, since, ip, expected, __LINE__)

static void test_nothing_has_gone(void **state)
{
	const struct retired *r = gone_after(NULL, KERNEL RMD160, KERNEL RMD160 BALLOON);

	(void)state;
	assert_null(r);
	assert_int_equal(retired_number(r), 0);
	assert_int_equal(retired_size(r), 0);
	assert_was(r, 0, M, NULL);
	assert_null(gone_after(NULL, KERNEL, KERNEL RMD160));
	/* The kernel's own stay where they are: they are another boot's else. */
	assert_null(gone_after(NULL, KERNEL, "ffffffff82000000 T _text\n"));
}

static void test_another_takes_its_place(void **state)
{
	const struct retired *r = gone_after(NULL, KERNEL RMD160 BALLOON, KERNEL MSR BALLOON);

	(void)state;
	assert_int_equal(retired_number(r), 1);
	assert_was(r, 0, M, "rmd_init[rmd160]");
	assert_was(r, 0, M + 0x1ff, "transform[rmd160]");
	assert_was(r, 0, M + 0x10010, NULL);
	assert_was(r, 0, K + 0x110, NULL);
	assert_was(r, 0, 0x401000, NULL);
	assert_was(r, 1, M, NULL);
	retired_put(r);
}

static void test_it_goes_and_nobody_comes(void **state)
{
	const struct retired *r = gone_after(NULL, KERNEL RMD160, KERNEL);

	(void)state;
	assert_was(r, 0, M + 0x100, "transform[rmd160]");
	r = gone_after(r, KERNEL, KERNEL MSR); /* nothing goes */
	assert_int_equal(retired_number(r), 1);
	assert_was(r, 1, M + 0x100, NULL);
	retired_put(r);
}

/* Each sample is of whoever was there then. */
static void test_one_after_the_other(void **state)
{
	const struct retired *r = gone_after(NULL, KERNEL RMD160, KERNEL MSR);

	(void)state;
	r = gone_after(r, KERNEL MSR, KERNEL BALLOON RMD160);
	assert_int_equal(retired_number(r), 2);
	assert_was(r, 0, M + 0x190, "transform[rmd160]");
	assert_was(r, 1, M + 0x190, "msr_exit[msr]");
	assert_was(r, 2, M + 0x190, NULL);
	retired_put(r);
}

static void numbered(char *text, size_t size, unsigned n)
{
	snprintf(text, size, KERNEL "%llx t f%u\t[m%u]\n", M + 0x10000ULL * (n % 8), n, n);
}

static void test_the_oldest_lose_their_names(void **state)
{
	const struct retired *r = NULL;
	char old[256], now[256];
	uint64_t first;

	(void)state;
	for (unsigned n = 0; n < RETIRED_SETS_MAX + 5; n++) {
		numbered(old, sizeof(old), n);
		numbered(now, sizeof(now), n + 1);
		r = gone_after(r, old, now);
		if (n == 0)
			first = retired_move(r, 0, M);
	}
	assert_int_equal(retired_number(r), RETIRED_SETS_MAX + 5);
	assert_false(retired_find(r, first, &(struct symtab_hit){0}));
	assert_was(r, 0, M, "lost"); /* and gets nobody else's */
	assert_was(r, 5, M + 0x50000, "f5[m5]");
	assert_was(r, 5, K + 0x100, NULL);
	retired_put(r);
}

/* More than is kept: no names, and none of others. */
static void test_too_much_at_once(void **state)
{
	size_t lines = RETIRED_MEMORY_MAX / 64, room = lines * 64 + 256, len;
	char *text = malloc(room);
	const struct retired *r = gone_after(NULL, KERNEL RMD160 BALLOON, KERNEL RMD160);

	(void)state;
	assert_non_null(text);
	len = (size_t)snprintf(text, room, KERNEL RMD160);
	for (size_t i = 0; i < lines; i++)
		len += (size_t)snprintf(text + len, room - len, "%zx t f%zu\t[huge]\n",
					(size_t)M + 0x100000 + 16 * i, i);
	r = gone_after(r, text, KERNEL RMD160);
	free(text);
	assert_int_equal(retired_number(r), 2);
	assert_was(r, 1, M + 0x100010, "lost");
	assert_was(r, 1, M, NULL);
	assert_was(r, 0, M + 0x10000, "inflate[virtio_balloon]");
	assert_true(retired_size(r) < 8192);
	retired_put(r);
}

/* Addresses of 32 bits, and of arm64. */
static void test_other_machines(void **state)
{
	const struct retired *r =
		gone_after(NULL, "c1000000 T _text\nf8000000 t foo\t[a]\n", "c1000000 T _text\n");

	(void)state;
	assert_was(r, 0, 0xf8000010, "foo[a]");
	retired_put(r);
	r = gone_after(NULL, "ffff800080000000 T _text\nffff80007a000000 t foo\t[a]\n",
		       "ffff800080000000 T _text\n");
	assert_was(r, 0, 0xffff80007a000010, "foo[a]");
	retired_put(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_has_gone),
		cmocka_unit_test(test_another_takes_its_place),
		cmocka_unit_test(test_it_goes_and_nobody_comes),
		cmocka_unit_test(test_one_after_the_other),
		cmocka_unit_test(test_the_oldest_lose_their_names),
		cmocka_unit_test(test_too_much_at_once),
		cmocka_unit_test(test_other_machines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
