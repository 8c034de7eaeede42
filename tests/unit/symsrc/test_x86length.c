/* Lengths of instructions: each kind of encoding that kernels are made of, as objdump has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "symsrc/x86length.h"

static const struct {
	const char *what;
	size_t n;
	uint8_t bytes[X86_LENGTH_MAX];
} known[] = {
	{"push %rbp", 1, {0x55}},
	{"push %r12", 2, {0x41, 0x54}},
	{"mov %rsp,%rbp", 3, {0x48, 0x89, 0xe5}},
	{"sub $0x18,%rsp", 4, {0x48, 0x83, 0xec, 0x18}},
	{"sub $0x118,%rsp", 7, {0x48, 0x81, 0xec, 0x18, 1, 0, 0}},
	{"mov 0x8(%rsp,%rax,8),%rcx", 5, {0x48, 0x8b, 0x4c, 0xc4, 8}},
	{"mov -0x7d000000(,%rax,8),%rax", 8, {0x48, 0x8b, 4, 0xc5, 0, 0, 0, 0x83}},
	{"mov 0x1000(%rdi),%eax", 6, {0x8b, 0x87, 0, 0x10, 0, 0}},
	{"mov %gs:0x1fbc0,%rax", 9, {0x65, 0x48, 0x8b, 4, 0x25, 0xc0, 0xfb, 1, 0}},
	{"mov 0x10(%rip),%eax", 6, {0x8b, 5, 0x10, 0, 0, 0}},
	{"movabs $1,%rax", 10, {0x48, 0xb8, 1, 0, 0, 0, 0, 0, 0, 0}},
	{"mov $1,%eax", 5, {0xb8, 1, 0, 0, 0}},
	{"mov $1,%ax", 4, {0x66, 0xb8, 1, 0}},
	{"movw $1,(%rax)", 5, {0x66, 0xc7, 0, 1, 0}},
	{"movq $1,(%rax)", 7, {0x48, 0xc7, 0, 1, 0, 0, 0}},
	{"movabs 0x1122334455667788,%al",
	 9,
	 {0xa0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11}},
	{"test $1,%al", 2, {0xa8, 1}},
	{"testb $1,(%rdi)", 3, {0xf6, 7, 1}},
	{"not %eax", 2, {0xf7, 0xd0}},
	{"testl $1,0x8(%rdi)", 7, {0xf7, 0x47, 8, 1, 0, 0, 0}},
	{"call", 5, {0xe8, 1, 2, 3, 4}},
	{"jmp", 2, {0xeb, 0xfe}},
	{"je", 6, {0x0f, 0x84, 1, 2, 3, 4}},
	{"endbr64", 4, {0xf3, 0x0f, 0x1e, 0xfa}},
	{"nopw %cs:0x0(%rax,%rax,1)", 10, {0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0}},
	{"lock cmpxchg %edx,(%rdi)", 4, {0xf0, 0x0f, 0xb1, 0x17}},
	{"rep stos %al,%es:(%rdi)", 2, {0xf3, 0xaa}},
	{"sti", 1, {0xfb}},
	{"hlt", 1, {0xf4}},
	{"wrmsr", 2, {0x0f, 0x30}},
	{"ud2", 2, {0x0f, 0x0b}},
	{"btsq $7,(%rax)", 5, {0x48, 0x0f, 0xba, 0x28, 7}},
	{"crc32q (%rdi),%rax", 6, {0xf2, 0x48, 0x0f, 0x38, 0xf1, 7}},
	{"palignr $8,%xmm1,%xmm0", 6, {0x66, 0x0f, 0x3a, 0x0f, 0xc1, 8}},
	{"vzeroupper", 3, {0xc5, 0xf8, 0x77}},
	{"vpaddd %ymm1,%ymm2,%ymm3", 4, {0xc5, 0xed, 0xfe, 0xd9}},
	{"rorx $6,%eax,%ebx", 6, {0xc4, 0xe3, 0x7b, 0xf0, 0xd8, 6}},
	{"vpternlogd $0x96,%zmm1,%zmm2,%zmm3", 7, {0x62, 0xf3, 0x6d, 0x48, 0x25, 0xd9, 0x96}},
	{"enter $0x10,$1", 4, {0xc8, 0x10, 0, 1}},
	{"ret $8", 3, {0xc2, 8, 0}},
};

static void test_known(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (x86_length(known[i].bytes, X86_LENGTH_MAX) != known[i].n)
			fail_msg("%s: %zu", known[i].what,
				 x86_length(known[i].bytes, X86_LENGTH_MAX));
		for (size_t n = 0; n < known[i].n; n++)
			assert_int_equal(x86_length(known[i].bytes, n), 0); /* not all there */
	}
}

static void test_none(void **state)
{
	static const uint8_t prefixes[16] = {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
					     0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90};
	static const uint8_t far_call[8] = {0x9a, 1, 2, 3, 4, 5, 6};
	static const uint8_t no_map[8] = {0xc4, 0x1f, 0, 0, 0, 0};

	(void)state;
	assert_int_equal(x86_length(prefixes, sizeof(prefixes)), 0);
	assert_int_equal(x86_length(far_call, sizeof(far_call)), 0);
	assert_int_equal(x86_length(no_map, sizeof(no_map)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
