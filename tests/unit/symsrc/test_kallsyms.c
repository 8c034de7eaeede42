/* The push parser of /proc/kallsyms: right lines at every chunk size, and every wrong one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/kallsyms.h"

#define MAX (1 << 20)

static const char typical[] = "0000000000000000 A fixed_percpu_data\n"
			      "0000000000001000 A cpu_debug_store\n"
			      "ffffffff81000000 T _stext\n"
			      "ffffffff81000000 T _text\n"
			      "ffffffff81000070 t __pfx_do_one\n"
			      "ffffffff81000080 t do_one.isra.0\n"
			      "ffffffff81000100 W weak_one\n"
			      "ffffffff81000200 ? odd_section\n"
			      "ffffffff82000000 T _etext\n"
			      "ffffffffc0201000 t ftrace_trampoline\t[__builtin__ftrace]\n"
			      "ffffffffc0301000 t ext4_init_fs\t[ext4]\n"
			      "ffffffffc0300000 t ext4_get_block\t[ext4]\n"
			      "ffffffffc0400000 t bpf_prog_6deef7357e7b4530_sd_fw_egress\t[bpf]\n";

struct parsed {
	struct buf text;
	struct kallsyms k;
	struct symtab_builder *builder;
	struct symtab *table;
	struct errmsg why;
	size_t fed; /* bytes until the error */
};

static void begin(struct parsed *p, size_t max)
{
	*p = (struct parsed){.builder = symtab_builder_create()};
	buf_init(&p->text, max);
	kallsyms_init(&p->k, &p->text, p->builder);
}

static void end(struct parsed *p)
{
	symtab_destroy(p->table);
	symtab_builder_destroy(p->builder);
	buf_deinit(&p->text);
}

/* Feeds the text in chunks, each from memory of its own that ends where the chunk does, and
 * makes the table. */
static int parse_n(struct parsed *p, const char *text, size_t n, size_t chunk)
{
	int r = 0;

	begin(p, MAX);
	while (r == 0 && p->fed < n) {
		size_t len = n - p->fed < chunk ? n - p->fed : chunk;
		CLEANUP_FREE char *copy = malloc(len);

		memcpy(copy, text + p->fed, len);
		r = kallsyms_feed(&p->k, copy, len, &p->why);
		p->fed += len;
	}
	if (r == 0)
		r = kallsyms_finish(&p->k, &p->why);
	if (r == 0)
		r = symtab_builder_finish(p->builder, p->text.data, p->text.len, &p->table);
	return r;
}

static int parse(struct parsed *p, const char *text)
{
	return parse_n(p, text, strlen(text), strlen(text));
}

static void assert_found(const struct symtab *t, uint64_t addr, const char *name,
			 const char *object)
{
	struct symtab_hit h;

	assert_true(symtab_find(t, addr, &h));
	assert_int_equal(h.name_len, strlen(name));
	assert_memory_equal(h.name, name, h.name_len);
	assert_int_equal(h.object != NULL, object != NULL);
	if (object) {
		assert_int_equal(h.object_len, strlen(object));
		assert_memory_equal(h.object, object, h.object_len);
	}
}

static void assert_typical(const struct parsed *p)
{
	assert_int_equal(p->k.lines, 13);
	assert_int_equal(p->k.nonzero, 12);
	assert_string_equal(p->text.data, typical);
	assert_int_equal(symtab_count(p->table), 9);
	assert_found(p->table, 0xffffffff81000010, "_stext", NULL);
	assert_found(p->table, 0xffffffff81000078, "__pfx_do_one", NULL);
	assert_found(p->table, 0xffffffff81000088, "do_one.isra.0", NULL);
	assert_found(p->table, 0xffffffff81000208, "odd_section", NULL);
	assert_found(p->table, 0xffffffffc0201000, "ftrace_trampoline", "__builtin__ftrace");
	assert_found(p->table, 0xffffffffc0301010, "ext4_init_fs", "ext4");
	assert_found(p->table, 0xffffffffc0300010, "ext4_get_block", "ext4");
	assert_found(p->table, 0xffffffffc0400010, "bpf_prog_6deef7357e7b4530_sd_fw_egress", "bpf");
}

static void test_every_chunk_size(void **state)
{
	(void)state;
	for (size_t chunk = 1; chunk < sizeof(typical); chunk++) {
		struct parsed p;

		assert_int_equal(parse_n(&p, typical, strlen(typical), chunk), 0);
		assert_typical(&p);
		end(&p);
	}
}

static void test_32_bit(void **state)
{
	struct parsed p;

	(void)state;
	assert_int_equal(parse(&p, "c1000000 T _text\nc1000010 t f\n"), 0);
	assert_found(p.table, 0xc1000015, "f", NULL);
	end(&p);
}

/* The blank behind the 16th byte belongs to the next line: found by the fuzzer. */
static void test_short_line_before_a_bad_one(void **state)
{
	struct parsed p;

	(void)state;
	assert_int_equal(parse(&p, "c1000000 T fi\nf0 A fi\nc1000000 T f\n"), -EBADMSG);
	assert_non_null(strstr(p.why.text, "line 2"));
	end(&p);
}

static void test_upper_case_digits(void **state)
{
	struct parsed p;

	(void)state;
	assert_int_equal(parse(&p, "FFFFFFFF8ABCDEF0 T f\n"), 0);
	assert_found(p.table, 0xffffffff8abcdef0, "f", NULL);
	end(&p);
}

static void test_longest_names(void **state)
{
	char name[SYMTAB_NAME_MAX + 2], object[64], text[1000];
	struct parsed p;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(object, 'm', 63);
	object[63] = '\0';
	snprintf(text, sizeof(text), "ffffffff81000000 T %s\t[%s]\n", name + 1, object);
	for (size_t chunk = 1; chunk < strlen(text); chunk += 13) {
		assert_int_equal(parse_n(&p, text, strlen(text), chunk), 0);
		assert_found(p.table, 0xffffffff81000000, name + 1, object);
		end(&p);
	}
	snprintf(text, sizeof(text), "ffffffff81000000 T %s\t[%s]\n", name, object);
	assert_int_equal(parse(&p, text), -EBADMSG);
	end(&p);
	snprintf(text, sizeof(text), "ffffffff81000000 T %s\t[m%s]\n", name + 1, object);
	assert_int_equal(parse(&p, text), -EBADMSG);
	end(&p);
}

static const struct {
	const char *line;
	size_t len; /* 0: strlen() */
	const char *why;
} bad_lines[] = {
	{"\n", 0, "no address"},
	{" ffffffff81000000 T f\n", 0, "no address"},
	{"ffffffff8100000 T f\n", 0, "no address"},
	{"ffffffff810000000 T f\n", 0, "no address"},
	{"0xffffffff81000000 T f\n", 0, "no address"},
	{"ffffffff8100000g T f\n", 0, "no address"},
	{"-fffffff81000000 T f\n", 0, "no address"},
	{"ffffffff81000000\tT f\n", 0, "no address"},
	{"ffffffff81000000\n", 0, "no address"},
	{"\x7f"
	 "ELF\x02\x01\x01\0\0\0",
	 10, "no address"},
	{"\0", 1, "no address"},
	{"ffffffff81000000 \n", 0, "no symbol type"},
	{"ffffffff81000000  T f\n", 0, "no symbol type"},
	{"ffffffff81000000 TT f\n", 0, "no symbol type"},
	{"ffffffff81000000 1 f\n", 0, "no symbol type"},
	{"ffffffff81000000 \xe4 f\n", 0, "no symbol type"},
	{"ffffffff81000000 T\n", 0, "no symbol type"},
	{"ffffffff81000000 T\0f\n", 21, "no symbol type"},
	{"ffffffff81000000 T \n", 0, "no symbol name"},
	{"ffffffff81000000 T \t[m]\n", 0, "no symbol name"},
	{"ffffffff81000000 T f g\n", 0, "no symbol name"},
	{"ffffffff81000000 T f\r\n", 0, "no symbol name"},
	{"ffffffff81000000 T f\0\n", 22, "no symbol name"},
	{"ffffffff81000000 T f\x1b[2J\n", 0, "no symbol name"},
	{"ffffffff81000000 T f\xc3\xa4\n", 0, "no symbol name"},
	{"ffffffff81000000 T f\x7f\n", 0, "no symbol name"},
	{"ffffffff81000000 T f [m]\n", 0, "no symbol name"},
	{"ffffffff81000000 T f\t\n", 0, "no module name"},
	{"ffffffff81000000 T f\tm\n", 0, "no module name"},
	{"ffffffff81000000 T f\t[]\n", 0, "no module name"},
	{"ffffffff81000000 T f\t[m\n", 0, "no module name"},
	{"ffffffff81000000 T f\t[../etc]\n", 0, "no module name"},
	{"ffffffff81000000 T f\t[..]\n", 0, "no module name"},
	{"ffffffff81000000 T f\t[a b]\n", 0, "no module name"},
	{"ffffffff81000000 T f\t[m\0]\n", 26, "no module name"},
	{"ffffffff81000000 T f\t[m] \n", 0, "more than a symbol"},
	{"ffffffff81000000 T f\t[m]]\n", 0, "more than a symbol"},
};

/* Wrong at once and not only at the newline, whatever the chunks; with line and reason. */
static void test_nasty_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_lines); i++) {
		size_t n = bad_lines[i].len ? bad_lines[i].len : strlen(bad_lines[i].line);
		char text[256] = "ffffffff80000000 T good\n";
		size_t good = strlen(text);

		memcpy(text + good, bad_lines[i].line, n);
		for (size_t chunk = 1; chunk <= good + n; chunk++) {
			struct parsed p;

			assert_int_equal(parse_n(&p, text, good + n, chunk), -EBADMSG);
			if (!strstr(p.why.text, "line 2: ") ||
			    !strstr(p.why.text, bad_lines[i].why))
				fail_msg("line %zu, chunk %zu: %s", i, chunk, p.why.text);
			end(&p);
		}
	}
}

/* Each byte at each place of a name that goes on behind it. */
static void test_every_byte_in_a_name(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		for (size_t at = 0; at < 18; at++) {
			char text[] = "ffffffff81000000 T abcdefghijklmnopqrstuvwxyz\n";
			bool good = c >= 0x21 && c <= 0x7e;
			struct parsed p;

			text[19 + at] = (char)c;
			if (parse_n(&p, text, sizeof(text) - 1, 1000) != (good ? 0 : -EBADMSG))
				fail_msg("byte %#x at %zu: %s", (unsigned)c, at, p.why.text);
			if (good)
				assert_int_equal(p.k.lines, 1);
			end(&p);
		}
	}
}

static void test_message_shows_the_line(void **state)
{
	struct parsed p;

	(void)state;
	assert_int_equal(parse(&p, "\x7f"
				   "ELF is not text\nfoo\n"),
			 -EBADMSG);
	assert_string_equal(p.why.text, "/proc/kallsyms line 1: no address of 8 or 16 hexadecimal "
					"digits: \\x7fELF is not text");
	end(&p);
	assert_int_equal(parse(&p, "cat: /proc/kallsyms: Permission denied\n"), -EBADMSG);
	assert_non_null(strstr(p.why.text, "cat: /proc/kallsyms: Permission denied"));
	end(&p);
}

/* Whoever sends no newline is found out after one line's worth of bytes. */
static void test_endless_lines_end_early(void **state)
{
	static const char *const endless[] = {"f", "ffffffff81000000 T ",
					      "ffffffff81000000 T f\t["};
	char bytes[4096];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(endless); i++) {
		struct parsed p;
		size_t n = strlen(endless[i]);

		memcpy(bytes, endless[i], n);
		memset(bytes + n, 'f', sizeof(bytes) - n);
		assert_int_equal(parse_n(&p, bytes, sizeof(bytes), 1), -EBADMSG);
		assert_true(p.fed < 600);
		end(&p);
	}
}

static void test_cut_off(void **state)
{
	struct parsed p;
	const char *second = strchr(typical, '\n') + 1;
	size_t line = (size_t)(strchr(second, '\n') - typical) + 1;

	(void)state;
	for (size_t n = 0; n < line; n++) {
		int r = parse_n(&p, typical, n, 7);

		/* At a line's end it is whole, but shows nothing. */
		assert_int_equal(r, n == (size_t)(second - typical) ? -EACCES : -EBADMSG);
		end(&p);
	}
	assert_int_equal(parse_n(&p, typical, strlen(typical) - 1, 100), -EBADMSG);
	assert_string_equal(p.why.text, "/proc/kallsyms is cut off in line 13");
	end(&p);
}

static void test_empty(void **state)
{
	struct parsed p;

	(void)state;
	assert_int_equal(parse(&p, ""), -EBADMSG);
	assert_string_equal(p.why.text, "/proc/kallsyms is empty");
	end(&p);
}

static void test_hidden_addresses(void **state)
{
	struct parsed p;

	(void)state;
	assert_int_equal(parse(&p, "0000000000000000 T _text\n0000000000000000 t f\t[m]\n"),
			 -EACCES);
	assert_non_null(strstr(p.why.text, "kptr_restrict"));
	assert_int_equal(p.k.lines, 2);
	end(&p);
}

static void test_maximum(void **state)
{
	struct parsed p;

	(void)state;
	begin(&p, 40);
	assert_int_equal(kallsyms_feed(&p.k, "ffffffff81000000 T f\n", 21, &p.why), 0);
	assert_int_equal(kallsyms_feed(&p.k, "ffffffff81000000 T f\n", 21, &p.why), -EFBIG);
	assert_string_equal(p.why.text, "/proc/kallsyms: more than 40 bytes");
	end(&p);
}

static void test_too_many_symbols(void **state)
{
	static const char line[] = "ffffffff81000000 T f\n";
	enum { LINES = 4096 };
	CLEANUP_FREE char *chunk = malloc(LINES * (sizeof(line) - 1));
	struct parsed p;
	size_t i;
	int r = 0;

	(void)state;
	for (i = 0; i < LINES; i++)
		memcpy(chunk + i * (sizeof(line) - 1), line, sizeof(line) - 1);
	begin(&p, 100 << 20);
	for (i = 0; r == 0 && i <= SYMTAB_SYMBOLS_MAX / LINES; i++)
		r = kallsyms_feed(&p.k, chunk, LINES * (sizeof(line) - 1), &p.why);
	assert_int_equal(r, -E2BIG);
	assert_int_equal(p.k.lines, SYMTAB_SYMBOLS_MAX);
	end(&p);
}

/* This machine's own, if it shows its addresses. */
static void test_real_one(void **state)
{
	static char chunk[64 << 10];
	FILE *f = fopen("/proc/kallsyms", "re");
	struct parsed p;
	size_t n;
	int r = 0;

	(void)state;
	if (!f) {
		print_message("skipped: no /proc/kallsyms\n");
		skip();
	}
	begin(&p, 64 << 20);
	while (r == 0 && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		r = kallsyms_feed(&p.k, chunk, n, &p.why);
	fclose(f);
	if (r == 0)
		r = kallsyms_finish(&p.k, &p.why);
	if (r == -EACCES) {
		end(&p);
		print_message("skipped: /proc/kallsyms shows no addresses\n");
		skip();
	}
	if (r < 0)
		fail_msg("%s", p.why.text);
	assert_int_equal(symtab_builder_finish(p.builder, p.text.data, p.text.len, &p.table), 0);
	assert_true(symtab_count(p.table) > p.k.lines / 2);
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_chunk_size),
		cmocka_unit_test(test_32_bit),
		cmocka_unit_test(test_short_line_before_a_bad_one),
		cmocka_unit_test(test_upper_case_digits),
		cmocka_unit_test(test_longest_names),
		cmocka_unit_test(test_nasty_lines),
		cmocka_unit_test(test_every_byte_in_a_name),
		cmocka_unit_test(test_message_shows_the_line),
		cmocka_unit_test(test_endless_lines_end_early),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_hidden_addresses),
		cmocka_unit_test(test_maximum),
		cmocka_unit_test(test_too_many_symbols),
		cmocka_unit_test(test_real_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
