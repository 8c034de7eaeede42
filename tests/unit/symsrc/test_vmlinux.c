/* Symbols out of a kernel's ELF file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/vmlinux.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/elfmaker.h"
#include "tests/unit/lib/guestroot.h"

#define TEXT 0xffffffff81000000ULL

static const struct elfmaker_symbol kernel[] = {
	{"later", TEXT + 0x40, ELFMAKER_TEXT, STB_LOCAL, STT_FUNC},
	{"_text", TEXT, ELFMAKER_TEXT, STB_GLOBAL, STT_NOTYPE},
	{"_stext", TEXT, ELFMAKER_TEXT, STB_GLOBAL, STT_NOTYPE},
	{"weak_code", TEXT + 0x80, ELFMAKER_TEXT, STB_WEAK, STT_FUNC},
	{"constant", 0xffffffff82000010, ELFMAKER_RODATA, STB_LOCAL, STT_OBJECT},
	{"linux_banner", ELFMAKER_BANNER, ELFMAKER_RODATA, STB_GLOBAL, STT_OBJECT},
	{"variable", 0xffffffff82200020, ELFMAKER_DATA, STB_GLOBAL, STT_OBJECT},
	{"weak_variable", 0xffffffff82200030, ELFMAKER_DATA, STB_WEAK, STT_OBJECT},
	{"zeros", 0xffffffff82300000, ELFMAKER_BSS, STB_LOCAL, STT_OBJECT},
	{"of_each_cpu", 0x30, ELFMAKER_PERCPU, STB_LOCAL, STT_OBJECT},
	/* None of these is in kallsyms. */
	{"number", 0xffffffff82300abc, ELFMAKER_ABS, STB_LOCAL, STT_NOTYPE},
	{"offset", 0x18, ELFMAKER_ABS, STB_GLOBAL, STT_NOTYPE},
	{"__kstrtab_weak_code", 0xffffffff82000300, ELFMAKER_RODATA, STB_LOCAL, STT_OBJECT},
	{"kallsyms_token_table", 0xffffffff82000310, ELFMAKER_RODATA, STB_GLOBAL, STT_OBJECT},
	{".L1", TEXT + 1, ELFMAKER_TEXT, STB_LOCAL, STT_NOTYPE},
	{"file.c", 0, ELFMAKER_ABS, STB_LOCAL, STT_FILE},
	{"elsewhere", TEXT, ELFMAKER_UNDEF, STB_GLOBAL, STT_NOTYPE},
	{"comment", TEXT, ELFMAKER_COMMENT, STB_GLOBAL, STT_OBJECT},
	{"no_section", TEXT, 77, STB_GLOBAL, STT_OBJECT},
	/* Nor may these get into it. */
	{"two words", TEXT + 2, ELFMAKER_TEXT, STB_GLOBAL, STT_FUNC},
	{"line\n0", TEXT + 3, ELFMAKER_TEXT, STB_GLOBAL, STT_FUNC},
	{"escape\033[2J", TEXT + 4, ELFMAKER_TEXT, STB_GLOBAL, STT_FUNC},
};

static struct errmsg why;
static struct vmlinux v;
static struct collect got;
static void *bytes, *note;
static size_t len;

static struct elfmaker_options options(void)
{
	struct elfmaker_options o = {.symbols = kernel,
				     .count = sizeof(kernel) / sizeof(kernel[0])};

	note = guestroot_note("vmlinux", &o.notes_len);
	o.notes = note;
	return o;
}

static int set_up(void **state)
{
	(void)state;
	why = (struct errmsg){0};
	v = (struct vmlinux){.fd = -1};
	collect_init(&got);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	vmlinux_close(&v);
	collect_deinit(&got);
	free(bytes);
	free(note);
	bytes = note = NULL;
	return 0;
}

static int open_made(const struct elfmaker_options *o)
{
	bytes = elfmaker_create(o, &len);
	return vmlinux_from_bytes(bytes, len, "made", &v, &why);
}

static int put_kallsyms(uint64_t slide)
{
	const struct source_sink sink = collect_sink(&got);

	sink.begin(sink.ctx, GUEST_FILE_KALLSYMS, NULL);
	return vmlinux_put_kallsyms(&v, slide, &sink, &why);
}

static void test_lines_as_kallsyms_has_them(void **state)
{
	static const char lines[] = "0000000000000030 A of_each_cpu\n"
				    "ffffffff91000000 T _text\n"
				    "ffffffff91000000 T _stext\n"
				    "ffffffff91000040 t later\n"
				    "ffffffff91000080 W weak_code\n"
				    "ffffffff92000010 r constant\n"
				    "ffffffff92000100 R linux_banner\n"
				    "ffffffff92200020 D variable\n"
				    "ffffffff92200030 V weak_variable\n"
				    "ffffffff92300000 b zeros\n";
	const struct elfmaker_options o = options();

	(void)state;
	assert_int_equal(open_made(&o), 0);
	assert_int_equal(v.text, TEXT);
	assert_int_equal(v.id.len, 20);
	assert_int_equal(put_kallsyms(0x10000000), 0);
	collect_assert(&got, GUEST_FILE_KALLSYMS, 1, lines, sizeof(lines) - 1);
}

static void test_other_files(void **state)
{
	static const char banner[] = "Linux version 6.1.0-test (a@b) (gcc) #1 SMP\n";
	const struct elfmaker_options o = options();
	const struct source_sink sink = collect_sink(&got);

	(void)state;
	assert_int_equal(open_made(&o), 0);
	assert_int_equal(vmlinux_deliver(&v, GUEST_FILES_ALL, &sink, &why), 0);
	collect_assert(&got, GUEST_FILE_VERSION, 1, banner, sizeof(banner) - 1);
	collect_assert(&got, GUEST_FILE_KERNEL_NOTES, 1, o.notes, o.notes_len);
	assert_int_equal(got.times[GUEST_FILE_KALLSYMS], 0);
}

/* What it says would be wrong for each address. */
static void test_impossible_slides(void **state)
{
	const struct elfmaker_options o = options();

	(void)state;
	assert_int_equal(open_made(&o), 0);
	assert_int_equal(put_kallsyms(0x40000000), -EINVAL);
	assert_int_equal(put_kallsyms(-(uint64_t)0x2000000), -EINVAL);
	assert_int_equal(put_kallsyms(UINT64_MAX / 2), -EINVAL);
	assert_int_equal(got.files[GUEST_FILE_KALLSYMS].len, 0);
	assert_non_null(strstr(why.text, "0x7fffffffffffffff"));
}

/* Refused in one line that names the file. */
static void assert_refused(int r, int expected, const char *words)
{
	assert_int_equal(r, expected);
	assert_int_equal(why.code, expected);
	assert_memory_equal(why.text, "made: ", 6);
	assert_null(strchr(why.text, '\n'));
	if (!strstr(why.text, words))
		fail_msg("no \"%s\" in \"%s\"", words, why.text);
}

static void test_stripped(void **state)
{
	struct elfmaker_options o = options();

	(void)state;
	o.without_symtab = 1;
	assert_refused(open_made(&o), -ENODATA, "has no symbol table (stripped)");
}

static void test_other_machine(void **state)
{
	struct elfmaker_options o = options();

	(void)state;
	o.machine = EM_AARCH64;
	assert_refused(open_made(&o), -ENOEXEC, "not a kernel for x86-64");
}

static void test_no_kernel(void **state)
{
	struct elfmaker_options o = options();

	(void)state;
	o.count = 1; /* without _text */
	assert_refused(open_made(&o), -EBADMSG, "there is no _text");
}

static void test_no_elf(void **state)
{
	(void)state;
	assert_refused(vmlinux_from_bytes("MZ and so on", 12, "made", &v, &why), -ENOEXEC,
		       "not an ELF file");
}

static void test_without_a_build_id(void **state)
{
	struct elfmaker_options o = options();

	(void)state;
	o.notes_len = 0;
	assert_int_equal(open_made(&o), 0);
	assert_int_equal(v.id.len, 0);
}

/* Cut anywhere it is refused or smaller, and nothing that is not there is read. */
static void test_cut_files(void **state)
{
	const struct elfmaker_options o = options();
	struct vmlinux cut;

	(void)state;
	bytes = elfmaker_create(&o, &len);
	for (size_t n = 0; n < len; n += n < 4096 ? 7 : 509) {
		void *part = malloc(n ? n : 1);

		memcpy(part, bytes, n);
		if (vmlinux_from_bytes(part, n, "made", &cut, &why) == 0)
			vmlinux_close(&cut);
		free(part);
	}
}

static void test_files_by_name(void **state)
{
	const struct elfmaker_options o = options();
	char dir[] = "/tmp/test_vmlinux.XXXXXX", path[64];
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/vmlinux", dir);
	assert_int_equal(vmlinux_open(path, &v, &why), -ENOENT);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(vmlinux_open(path, &v, &why), -EINVAL);
	assert_non_null(strstr(why.text, "not a regular file"));
	unlink(path);
	bytes = elfmaker_create(&o, &len);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	fclose(f);
	assert_int_equal(vmlinux_open(path, &v, &why), 0);
	assert_int_equal(put_kallsyms(0), 0);
	assert_true(got.files[GUEST_FILE_KALLSYMS].len > 0);
	guestroot_remove(dir);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lines_as_kallsyms_has_them),
		TEST(test_other_files),
		TEST(test_impossible_slides),
		TEST(test_stripped),
		TEST(test_other_machine),
		TEST(test_no_kernel),
		TEST(test_no_elf),
		TEST(test_without_a_build_id),
		TEST(test_cut_files),
		TEST(test_files_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
