/* What QEMU's monitor says of registers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/registers.h"

#define MAX 4200
static struct registers got[MAX];
static size_t got_count;

static void take(void *ctx, const struct registers *r)
{
	(void)ctx;
	assert_true(got_count < MAX);
	got[got_count++] = *r;
}

/* On the heap, without a NUL: a byte read behind it is seen. */
static int parse_n(const char *text, size_t n)
{
	char *copy = malloc(n ? n : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, text, n);
	got_count = 0;
	r = registers_parse(copy, n, take, NULL);
	free(copy);
	return r;
}

static int parse(const char *text)
{
	return parse_n(text, strlen(text));
}

static void assert_got(size_t i, unsigned cpu, uint64_t ip, bool kernel, bool halted)
{
	assert_int_equal(got[i].cpu, cpu);
	assert_int_equal(got[i].ip, ip);
	assert_int_equal(got[i].kernel, kernel);
	assert_int_equal(got[i].halted, halted);
}

/* As QEMU 7.2 says it, with carriage returns: idle in the kernel, user code, firmware. */
static const char qemu[] =
	"\r\nCPU#0\r\nRAX=0000000000000000 RBX=0000000000000000\r\n"
	"RIP=ffffffff81c0a1eb RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n"
	"ES =0000 0000000000000000 00000000 00000000\r\n"
	"CS =0010 0000000000000000 ffffffff 00a09b00 DPL=0 CS64 [-RA]\r\n"
	"CR0=80050033 CR2=00007f1c CR3=000000000280a000 CR4=000006f0\r\n\r\n"
	"CPU#1\r\nRAX=0000000000000000\r\n"
	"RIP=00007f0000401000 RFL=00000202 [-------] CPL=3 II=0 A20=1 SMM=0 HLT=0\r\n"
	"CS =0033 0000000000000000 ffffffff 00a0fb00 DPL=3 CS64 [-RA]\r\n\r\n"
	"CPU#12\r\nEAX=00000000 EBX=00000000\r\n"
	"EIP=0000e05b EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n"
	"CS =f000 000f0000 0000ffff 00009b00\r\n";

static void test_as_qemu_says_it(void **state)
{
	(void)state;
	assert_int_equal(parse(qemu), 3);
	assert_int_equal(got_count, 3);
	assert_got(0, 0, 0xffffffff81c0a1eb, true, true);
	assert_got(1, 1, 0x00007f0000401000, false, false);
	assert_got(2, 12, 0xfe05b, true, false);
}

/* Cut anywhere: an answer or an error, never more CPUs, and no byte behind the end. */
static void test_cut_anywhere(void **state)
{
	(void)state;
	for (size_t n = 0; n < sizeof(qemu) - 1; n++) {
		int r = parse_n(qemu, n);

		assert_true(r <= 3);
		assert_true(r < 0 || (size_t)r == got_count);
	}
}

static void test_many_cpus(void **state)
{
	static char text[MAX * 100];
	size_t n = 0;

	(void)state;
	for (unsigned i = 0; i < 4096; i++)
		n += (size_t)sprintf(text + n, "CPU#%u\nRIP=%x RFL=2 CPL=0 HLT=0\n", i, i);
	assert_int_equal(parse_n(text, n), 4096);
	assert_got(4095, 4095, 4095, true, false);
	n += (size_t)sprintf(text + n, "CPU#5\nRIP=1 RFL=2 CPL=0 HLT=0\n");
	assert_int_equal(parse_n(text, n), -EBADMSG);
}

static void test_another_architecture(void **state)
{
	(void)state;
	assert_int_equal(parse("CPU#0\n PC=ffff800010011f6c X00=00\nPSTATE=600000c5 -ZC- EL1h\n"),
			 -EOPNOTSUPP);
	assert_int_equal(parse("CPU#0\nCPU#1\n"), -EOPNOTSUPP);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = {
		"",
		"unknown command: 'info registers'\n",
		"RIP=1 CPL=0 HLT=0\n",
		"CPU#\nRIP=1 CPL=0 HLT=0\n",
		"CPU#4096\nRIP=1 CPL=0 HLT=0\n",
		"CPU#99999999999999999999\nRIP=1 CPL=0 HLT=0\n",
		"CPU#0\nRIP=11112222333344445 CPL=0 HLT=0\n",
		"CPU#0\nRIP= CPL=0 HLT=0\n",
		"CPU#0\nRIP=xyz CPL=0 HLT=0\n",
		"CPU#0\nRIP=1 CPL=4 HLT=0\n",
		"CPU#0\nRIP=1 CPL= HLT=0\n",
		"CPU#0\nRIP=1 HLT=0\n",
		"CPU#0\nRIP=1 CPL=0\n",
		"CPU#0\nRIP=1 CPL=0 HLT=",
		"CPU#0\nEIP=1 CPL=0 HLT=0\nCS =zz 0\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse(bad[i]), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_qemu_says_it), cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_many_cpus),	cmocka_unit_test(test_another_architecture),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
