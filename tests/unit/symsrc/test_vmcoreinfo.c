/* VMCOREINFO: what kernels write, and what nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/vmcoreinfo.h"

/* Debian's 6.1 with 5-level page tables, lines left out. */
static const char of_6_1[] = "OSRELEASE=6.1.0-56-amd64\n"
			     "BUILD-ID=eb4fbcd037e7253717950bf2b93bd5566f47c56f\n"
			     "PAGESIZE=4096\n"
			     "SYMBOL(init_uts_ns)=ffffffffb81fb000\n"
			     "OFFSET(uts_namespace.name)=0\n"
			     "SYMBOL(swapper_pg_dir)=ffffffffb8010000\n"
			     "SYMBOL(_stext)=ffffffffb6600000\n"
			     "SYMBOL(kallsyms_names)=ffffffffb77bdac0\n"
			     "SYMBOL(kallsyms_num_syms)=ffffffffb77bdab8\n"
			     "SYMBOL(kallsyms_token_table)=ffffffffb792ddd8\n"
			     "SYMBOL(kallsyms_token_index)=ffffffffb792e170\n"
			     "SYMBOL(kallsyms_offsets)=ffffffffb77619c8\n"
			     "SYMBOL(kallsyms_relative_base)=ffffffffb77bdab0\n"
			     "NUMBER(phys_base)=-757071872\n"
			     "SYMBOL(init_top_pgt)=ffffffffb8010000\n"
			     "NUMBER(pgtable_l5_enabled)=1\n"
			     "KERNELOFFSET=35600000\n"
			     "CRASHTIME=1700000000\n";

/* From memory that ends where the text does, for the sanitizer. */
static int parse(const char *text, size_t n, struct vmcoreinfo *ret)
{
	CLEANUP_FREE char *copy = malloc(n + !n);

	memcpy(copy, text, n);
	return vmcoreinfo_parse(copy, n, ret);
}

static void test_real(void **state)
{
	struct vmcoreinfo info;
	char hex[BUILD_ID_HEX_SIZE];

	(void)state;
	assert_int_equal(parse(of_6_1, strlen(of_6_1), &info), 0);
	assert_string_equal(info.release, "6.1.0-56-amd64");
	build_id_to_hex(&info.build_id, hex);
	assert_string_equal(hex, "eb4fbcd037e7253717950bf2b93bd5566f47c56f");
	assert_true(info.has_phys_base);
	assert_int_equal(info.stext - 0xffffffff80000000ULL + info.phys_base, 0x9400000);
	assert_int_equal(info.kernel_offset, 0x35600000);
	assert_true(info.l5);
	assert_int_equal(info.stext, 0xffffffffb6600000ULL);
	assert_int_equal(info.init_uts_ns, 0xffffffffb81fb000ULL);
	assert_int_equal(info.root, 0xffffffffb8010000ULL);
	assert_int_equal(info.kallsyms_names, 0xffffffffb77bdac0ULL);
	assert_int_equal(info.kallsyms_num_syms, 0xffffffffb77bdab8ULL);
	assert_int_equal(info.kallsyms_token_table, 0xffffffffb792ddd8ULL);
	assert_int_equal(info.kallsyms_token_index, 0xffffffffb792e170ULL);
	assert_int_equal(info.kallsyms_offsets, 0xffffffffb77619c8ULL);
	assert_int_equal(info.kallsyms_relative_base, 0xffffffffb77bdab0ULL);
}

/* 4.19 says neither its build-id nor where kallsyms is. */
static void test_old(void **state)
{
	static const char text[] = "OSRELEASE=4.19.0-27-amd64\nPAGESIZE=4096\n"
				   "SYMBOL(_stext)=ffffffff81000000\n"
				   "SYMBOL(swapper_pg_dir)=ffffffff8220a000\n"
				   "NUMBER(phys_base)=16777216\n";
	struct vmcoreinfo info;

	(void)state;
	assert_int_equal(parse(text, strlen(text), &info), 0);
	assert_int_equal(info.build_id.len, 0);
	assert_int_equal(info.kallsyms_names, 0);
	assert_int_equal(info.root, 0xffffffff8220a000ULL);
	assert_int_equal(info.phys_base, 16777216);
	assert_false(info.l5);
}

static void test_none(void **state)
{
	static const char *const texts[] = {
		"",
		"OSRELEASE",
		"OSRELEASE=6.1\n",
		"XOSRELEASE=6.1\nSYMBOL(_stext)=1\n",
		/* A line without its end may be cut. */
		"OSRELEASE=6.1\nSYMBOL(_stext)=ffffffff81",
		"OSRELEASE=6.1\nSYMBOL(_stext)=0x10\n",
		"OSRELEASE=6.1\nSYMBOL(_stext)=-1\n",
		"OSRELEASE=6.1\nSYMBOL(_stext)=10000000000000000\n",
	};
	struct vmcoreinfo info = {.stext = 7};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(parse(texts[i], strlen(texts[i]), &info), -EBADMSG);
	/* What is behind the NUL, or behind the page, is not looked at. */
	assert_int_equal(parse("OSRELEASE=6.1\n\0SYMBOL(_stext)=10\n", 33, &info), -EBADMSG);
	assert_int_equal(info.stext, 7);
}

static void test_page_is_the_end(void **state)
{
	char text[2 * VMCOREINFO_MAX];
	struct vmcoreinfo info;
	static const char head[] = "OSRELEASE=6.1\n", stext[] = "SYMBOL(_stext)=10\n";

	(void)state;
	memset(text, '\n', sizeof(text));
	memcpy(text, head, strlen(head));
	memcpy(text + VMCOREINFO_MAX - strlen(stext), stext, strlen(stext));
	assert_int_equal(parse(text, sizeof(text), &info), 0);
	memset(text + 20, '\n', sizeof(text) - 20);
	memcpy(text + VMCOREINFO_MAX - strlen(stext) + 1, stext, strlen(stext));
	assert_int_equal(parse(text, sizeof(text), &info), -EBADMSG);
}

/* Values of all kinds of wrong are as if they were not there. */
static void test_wrong_values(void **state)
{
	static const char text[] =
		"OSRELEASE=6.1\x01\\\nSYMBOL(_stext)=10\nNUMBER(phys_base)=--1\n"
		"BUILD-ID=00112233445566778899aabbccddeeff0011223344\nKERNELOFFSET=g\n"
		"NUMBER(pgtable_l5_enabled)=2\nSYMBOL(init_top_pgt)=\n=\n==\nSYMBOL(_stext)\n";
	static const char odd[] = "OSRELEASE=6.1\nSYMBOL(_stext)=10\nBUILD-ID=00112\n";
	static const char bad[] = "OSRELEASE=6.1\nSYMBOL(_stext)=10\nBUILD-ID=0x11\n";
	struct vmcoreinfo info;

	(void)state;
	assert_int_equal(parse(text, sizeof(text), &info), 0);
	assert_string_equal(info.release, "6.1\\x01\\x5c");
	assert_false(info.has_phys_base);
	assert_false(info.l5);
	assert_int_equal(info.build_id.len, 0);
	assert_int_equal(info.kernel_offset, 0);
	assert_int_equal(info.root, 0);
	assert_int_equal(info.stext, 0x10);
	assert_int_equal(parse(odd, sizeof(odd), &info), 0);
	assert_int_equal(info.build_id.len, 0);
	assert_int_equal(parse(bad, sizeof(bad), &info), 0);
	assert_int_equal(info.build_id.len, 0);
}

static void test_long_values(void **state)
{
	char text[1024] = "OSRELEASE=";
	struct vmcoreinfo info;

	(void)state;
	memset(text + 10, 'x', 500);
	memcpy(text + 510, "\nSYMBOL(_stext)=10\n", 20);
	assert_int_equal(parse(text, sizeof(text), &info), 0);
	assert_string_equal(info.release, "");
	/* As long as fits, with all of it to be escaped. */
	memset(text + 10, '\x7f', 127);
	memcpy(text + 137, "\nSYMBOL(_stext)=10\n", 20);
	assert_int_equal(parse(text, sizeof(text), &info), 0);
	assert_int_equal(strlen(info.release), (sizeof(info.release) - 1) / 4 * 4);
}

/* Every beginning of it, as when it is just being written. */
static void test_cut(void **state)
{
	struct vmcoreinfo info;
	size_t whole = (size_t)(strstr(of_6_1, "SYMBOL(kallsyms_names)") - of_6_1);

	(void)state;
	for (size_t n = 0; n < sizeof(of_6_1); n++)
		assert_int_equal(parse(of_6_1, n, &info), n < whole ? -EBADMSG : 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real),	     cmocka_unit_test(test_old),
		cmocka_unit_test(test_none),	     cmocka_unit_test(test_page_is_the_end),
		cmocka_unit_test(test_wrong_values), cmocka_unit_test(test_long_values),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
