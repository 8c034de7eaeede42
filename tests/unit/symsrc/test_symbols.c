/* The builder of a guest's symbols: whatever a source delivers, in whatever pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/symbols.h"

static const char version[] = "Linux version 6.1.0-49-amd64 (debian-kernel@lists.debian.org) "
			      "(gcc-12) #1 SMP PREEMPT_DYNAMIC Debian 6.1.174-1\n";
static const char boot_id[] = "1b4e28ba-2fa1-11d2-883f-0016d3cca427\n";
static const char modules[] = "ext4 20480 1 - Live 0xffffffffc0300000\n"
			      "jbd2 8192 1 ext4, Live 0xffffffffc0200000\n"
			      "crc16 16384 1 ext4, Live 0xffffffffc0100000 (E)\n";
static const char modules_used_more[] = "ext4 20480 9 - Live 0xffffffffc0300000\n"
					"jbd2 8192 1 ext4, Live 0xffffffffc0200000\n"
					"crc16 16384 2 ext4,xfs, Live 0xffffffffc0100000 (E)\n";
static const char modules_moved[] = "ext4 20480 1 - Live 0xffffffffc0400000\n"
				    "jbd2 8192 1 ext4, Live 0xffffffffc0200000\n"
				    "crc16 16384 1 ext4, Live 0xffffffffc0100000 (E)\n";
static const char kallsyms[] = "ffffffff81000000 T _text\n"
			       "ffffffff81000100 T do_one\n"
			       "ffffffff82000000 T _end\n"
			       "ffffffffc0300000 t ext4_init\t[ext4]\n"
			       "ffffffffc0300100 t ext4_last\t[ext4]\n"
			       "ffffffffc0200000 t jbd2_init\t[jbd2]\n";

struct note {
	uint32_t name_size, desc_size, type;
	char name[4];
	uint8_t desc[20];
};

static struct note note_of(uint8_t first)
{
	return (struct note){4, 20, 3, "GNU", {first, 2, 3}};
}

static int deliver(const struct source_sink *s, enum guest_file file, const char *module,
		   const void *bytes, size_t n, size_t chunk)
{
	int r = s->begin(s->ctx, file, module);

	for (size_t at = 0; r == 0 && at < n; at += chunk) {
		size_t len = n - at < chunk ? n - at : chunk;
		CLEANUP_FREE void *copy = malloc(len);

		memcpy(copy, (const char *)bytes + at, len);
		r = s->data(s->ctx, copy, len);
	}
	return r;
}

static int deliver_text(const struct source_sink *s, enum guest_file file, const char *text)
{
	return deliver(s, file, NULL, text, strlen(text), 4096);
}

static int deliver_note(const struct source_sink *s, const char *module, uint8_t first)
{
	struct note n = note_of(first);

	return deliver(s, GUEST_FILE_MODULE_NOTE, module, &n, sizeof(n), 4096);
}

static void deliver_all(const struct source_sink *s, size_t chunk)
{
	struct note kernel = note_of(0xaa), m1 = note_of(1), m2 = note_of(2), m3 = note_of(3);

#define SEND(file, module, bytes, n) \
	assert_int_equal(deliver(s, GUEST_FILE_##file, module, bytes, n, chunk), 0)
	SEND(VERSION, NULL, version, strlen(version));
	SEND(BOOT_ID, NULL, boot_id, strlen(boot_id));
	SEND(MODULES, NULL, modules, strlen(modules));
	SEND(KALLSYMS, NULL, kallsyms, strlen(kallsyms));
	SEND(MODULES, NULL, modules_used_more, strlen(modules_used_more));
	SEND(KERNEL_NOTES, NULL, &kernel, sizeof(kernel));
	SEND(MODULE_NOTE, "crc16", &m1, sizeof(m1));
	SEND(MODULE_NOTE, "gone", &m2, sizeof(m2));
	SEND(MODULE_NOTE, "ext4", &m3, sizeof(m3));
#undef SEND
}

static void assert_all(const struct symbols *s)
{
	struct symtab_hit h;

	assert_string_equal(s->kallsyms->data, kallsyms);
	assert_string_equal(s->modules->data, modules_used_more); /* the last one that came */
	assert_string_equal(s->version->data, version);
	assert_int_equal(s->notes->size, sizeof(struct note));
	assert_string_equal(s->boot_id, "1b4e28ba-2fa1-11d2-883f-0016d3cca427");
	assert_string_equal(s->release, "6.1.0-49-amd64");
	assert_int_equal(s->kernel_id.bytes[0], 0xaa);
	/* In the order of modules, without the one that is not there. */
	assert_int_equal(s->module_count, 2);
	assert_string_equal(s->module_list[0].name, "ext4");
	assert_int_equal(s->module_list[0].id.bytes[0], 3);
	assert_int_equal(s->module_list[0].note->size, sizeof(struct note));
	assert_string_equal(s->module_list[1].name, "crc16");
	assert_int_equal(s->module_list[1].id.bytes[0], 1);
	/* The module's last symbol ends where /proc/modules says. */
	assert_true(symtab_find(s->table, 0xffffffffc0304fff, &h));
	assert_memory_equal(h.name, "ext4_last", 9);
	assert_false(symtab_find(s->table, 0xffffffffc0305000, &h));
	assert_true(h.name >= s->kallsyms->data && h.name < s->kallsyms->data + s->kallsyms->size);
}

static void test_every_chunk_size(void **state)
{
	(void)state;
	for (size_t chunk = 1; chunk <= sizeof(kallsyms); chunk++) {
		struct symbols_builder *b = symbols_builder_create();
		struct source_sink sink = symbols_builder_sink(b);
		const struct symbols *s = NULL;
		struct errmsg why = {0};

		deliver_all(&sink, chunk);
		symbols_builder_set_used(b, "ssh://root@10.0.0.1");
		if (symbols_builder_finish(b, &s, &why) < 0)
			fail_msg("%s", why.text);
		symbols_builder_destroy(b);
		assert_all(s);
		assert_string_equal(s->used, "ssh://root@10.0.0.1");
		assert_true(s->fetched_ns <= clock_now_ns() && s->fetched_ns > s->fetch_took_ns);
		symbols_put(s);
	}
}

struct file {
	enum guest_file file;
	const char *text;
};

/* Delivers these and finishes; the first error of either counts. */
static int build(const struct file *files, size_t n, const struct symbols **ret, struct errmsg *why)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	int r = 0;

	*ret = NULL;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = deliver_text(&sink, files[i].file, files[i].text);
	if (r < 0) {
		*why = *symbols_builder_error(b);
		assert_int_equal(why->code, r);
		/* It sticks. */
		assert_int_equal(sink.begin(sink.ctx, GUEST_FILE_VERSION, NULL), r);
		assert_int_equal(sink.data(sink.ctx, "x", 1), r);
		assert_int_equal(symbols_builder_finish(b, ret, why), r);
		assert_null(*ret);
	} else {
		r = symbols_builder_finish(b, ret, why);
	}
	symbols_builder_destroy(b);
	return r;
}

#define BUILD(ret, why, ...)                      \
	build((const struct file[]){__VA_ARGS__}, \
	      ARRAY_SIZE(((const struct file[]){__VA_ARGS__})), ret, why)

static void test_kallsyms_is_enough(void **state)
{
	const struct symbols *s;
	struct errmsg why;

	(void)state;
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_KALLSYMS, kallsyms}), 0);
	assert_null(s->modules);
	assert_null(s->version);
	assert_null(s->notes);
	assert_string_equal(s->boot_id, "");
	assert_string_equal(s->release, "");
	assert_string_equal(s->used, "");
	assert_int_equal(s->kernel_id.len, 0);
	assert_int_equal(s->module_count, 0);
	symbols_put(s);
}

static void test_no_kallsyms(void **state)
{
	const struct symbols *s;
	struct errmsg why;

	(void)state;
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_MODULES, modules}), -ENOENT);
	assert_string_equal(why.text, "the guest has no /proc/kallsyms");
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_KALLSYMS, ""}), -EBADMSG);
}

static void test_no_modules_loaded(void **state)
{
	const struct symbols *s;
	struct errmsg why;

	(void)state;
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_KALLSYMS, kallsyms}, {GUEST_FILE_MODULES, ""}),
			 0);
	assert_non_null(s->modules);
	assert_int_equal(s->modules->size, 0);
	symbols_put(s);
}

static void test_modules_changed(void **state)
{
	const struct symbols *s;
	struct errmsg why;

	(void)state;
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_MODULES, modules},
			       {GUEST_FILE_KALLSYMS, kallsyms},
			       {GUEST_FILE_MODULES, modules_moved}),
			 -EAGAIN);
	assert_null(s);
	assert_int_equal(why.code, -EAGAIN);
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_MODULES, modules},
			       {GUEST_FILE_KALLSYMS, kallsyms},
			       {GUEST_FILE_MODULES, modules_used_more}),
			 0);
	symbols_put(s);
}

/* Kallsyms may be of this boot or of that one. */
static void test_boot_meanwhile(void **state)
{
	static const char other[] = "1b4e28ba-2fa1-11d2-883f-0016d3cca428\n";
	const struct symbols *s;
	struct errmsg why;

	(void)state;
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_BOOT_ID, boot_id},
			       {GUEST_FILE_KALLSYMS, kallsyms}, {GUEST_FILE_BOOT_ID, other}),
			 -EAGAIN);
	assert_int_equal(why.code, -EAGAIN);
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_BOOT_ID, other},
			       {GUEST_FILE_KALLSYMS, kallsyms}, {GUEST_FILE_BOOT_ID, other}),
			 0);
	assert_memory_equal(s->boot_id, other, strlen(other) - 1);
	symbols_put(s);
}

static void test_hidden_addresses(void **state)
{
	const struct symbols *s;
	struct errmsg why;

	(void)state;
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_KALLSYMS, "0000000000000000 T _text\n"}),
			 -EACCES);
	assert_non_null(strstr(why.text, "kptr_restrict"));
}

static void test_malformed(void **state)
{
	const struct symbols *s;
	struct errmsg why;

	(void)state;
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_KALLSYMS, "Permission denied\n"}), -EBADMSG);
	assert_non_null(strstr(why.text, "line 1"));
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_KALLSYMS, kallsyms},
			       {GUEST_FILE_MODULES, "ext4 1 0 - Live 0x1000\nevil\x1b[2J\n"}),
			 -EBADMSG);
	assert_non_null(strstr(why.text, "/proc/modules line 2"));
	assert_null(strchr(why.text, '\x1b'));
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_KALLSYMS, "ffffffff81000000 T _te"}),
			 -EBADMSG);
	assert_non_null(strstr(why.text, "cut off"));
}

static void test_twice(void **state)
{
	const struct symbols *s;
	struct errmsg why;

	(void)state;
	assert_int_equal(
		BUILD(&s, &why, {GUEST_FILE_KALLSYMS, kallsyms}, {GUEST_FILE_KALLSYMS, kallsyms}),
		-EBADMSG);
	assert_int_equal(
		BUILD(&s, &why, {GUEST_FILE_VERSION, version}, {GUEST_FILE_VERSION, version}),
		-EBADMSG);
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_MODULES, modules},
			       {GUEST_FILE_MODULES, modules}, {GUEST_FILE_MODULES, modules}),
			 -EBADMSG);
	assert_string_equal(why.text, "/proc/modules came once too often");
}

/* Each file has its own maximum, which one byte more exceeds. */
static void test_maximum_of_each(void **state)
{
	static const enum guest_file files[] = {GUEST_FILE_VERSION, GUEST_FILE_BOOT_ID,
						GUEST_FILE_MODULES, GUEST_FILE_KERNEL_NOTES,
						GUEST_FILE_MODULE_NOTE};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		struct symbols_builder *b = symbols_builder_create();
		struct source_sink sink = symbols_builder_sink(b);
		size_t max = guest_file_max(files[i]);
		CLEANUP_FREE char *bytes = calloc(1, max);
		const char *module = files[i] == GUEST_FILE_MODULE_NOTE ? "m" : NULL;

		assert_int_equal(deliver(&sink, files[i], module, bytes, max, 5000), 0);
		assert_int_equal(sink.data(sink.ctx, "", 0), 0);
		assert_int_equal(sink.data(sink.ctx, "x", 1), -EFBIG);
		assert_non_null(strstr(symbols_builder_error(b)->text, guest_file_path(files[i])));
		symbols_builder_destroy(b);
	}
}

/* A guest that sends lines for ever ends with the maximum. */
static void test_endless_kallsyms(void **state)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	CLEANUP_FREE char *bytes = malloc(1 << 20);
	size_t n = 0;
	int r = 0;

	(void)state;
	while (n + 512 < 1 << 20)
		n += (size_t)snprintf(bytes + n, 512, "ffffffff81000000 T %0480d\n", 0);
	assert_int_equal(sink.begin(sink.ctx, GUEST_FILE_KALLSYMS, NULL), 0);
	for (int i = 0; r == 0 && i < 100; i++)
		r = sink.data(sink.ctx, bytes, n);
	assert_int_equal(r, -EFBIG);
	symbols_builder_destroy(b);
}

static void test_out_of_order(void **state)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);

	(void)state;
	assert_int_equal(sink.data(sink.ctx, "x", 1), -EBADMSG);
	symbols_builder_destroy(b);
	b = symbols_builder_create();
	sink = symbols_builder_sink(b);
	assert_int_equal(sink.begin(sink.ctx, GUEST_FILE_COUNT, NULL), -EBADMSG);
	symbols_builder_destroy(b);
	symbols_builder_destroy(NULL);
}

static void test_boot_ids(void **state)
{
	static const char *const bad[] = {"",
					  "\n",
					  "1b4e28ba-2fa1-11d2-883f-0016d3cca42\n",
					  "1b4e28ba-2fa1-11d2-883f-0016d3cca4277\n",
					  "1b4e28ba-2fa1-11d2-883f-0016d3cca42g\n",
					  "1b4e28ba02fa1-11d2-883f-0016d3cca427\n",
					  "-----------------------------------\n",
					  "../../../../../../../../etc/passwd..\n"};
	const struct symbols *s;
	struct errmsg why;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(BUILD(&s, &why, {GUEST_FILE_KALLSYMS, kallsyms},
				       {GUEST_FILE_BOOT_ID, bad[i]}),
				 0);
		assert_string_equal(s->boot_id, "");
		symbols_put(s);
	}
}

static void test_releases(void **state)
{
	static const struct {
		const char *text, *release;
	} cases[] = {
		{"Linux version 5.10.0 x\n", "5.10.0"},
		{"Linux version 5.10.0\n", "5.10.0"},
		{"Linux version 5.10.0", "5.10.0"},
		{"Linux version ", ""},
		{"Linux version  x\n", ""},
		{"Linux version evil\x1b[2J x\n", ""},
		{"FreeBSD 14\n", ""},
		{"", ""},
	};
	const struct symbols *s;
	struct errmsg why;
	char text[400];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(BUILD(&s, &why, {GUEST_FILE_KALLSYMS, kallsyms},
				       {GUEST_FILE_VERSION, cases[i].text}),
				 0);
		assert_string_equal(s->release, cases[i].release);
		assert_string_equal(s->version->data, cases[i].text);
		symbols_put(s);
	}
	snprintf(text, sizeof(text), "Linux version %0300d\n", 0);
	assert_int_equal(
		BUILD(&s, &why, {GUEST_FILE_KALLSYMS, kallsyms}, {GUEST_FILE_VERSION, text}), 0);
	assert_string_equal(s->release, "");
	symbols_put(s);
}

static void test_notes_of_strangers(void **state)
{
	static const char *const bad[] = {NULL,	 "",	".",	"..",	  "../x",
					  "a/b", "a b", "a\nb", "\x1b[2J"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct symbols_builder *b = symbols_builder_create();
		struct source_sink sink = symbols_builder_sink(b);

		assert_int_equal(sink.begin(sink.ctx, GUEST_FILE_MODULE_NOTE, bad[i]), -EBADMSG);
		symbols_builder_destroy(b);
	}
}

/* A note without a build-id is left out, and so is the second one of a module. */
static void test_useless_notes(void **state)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	const struct symbols *s;

	(void)state;
	deliver_text(&sink, GUEST_FILE_KALLSYMS, kallsyms);
	deliver_text(&sink, GUEST_FILE_MODULES, modules);
	assert_int_equal(deliver(&sink, GUEST_FILE_MODULE_NOTE, "ext4", "junk", 4, 1), 0);
	assert_int_equal(deliver(&sink, GUEST_FILE_MODULE_NOTE, "crc16", "", 0, 1), 0);
	assert_int_equal(deliver_note(&sink, "jbd2", 5), 0);
	assert_int_equal(deliver_note(&sink, "jbd2", 5), 0);
	assert_int_equal(symbols_builder_finish(b, &s, NULL), 0);
	assert_int_equal(s->module_count, 1);
	assert_string_equal(s->module_list[0].name, "jbd2");
	symbols_put(s);
	symbols_builder_destroy(b);
}

/* A guest that lists a module twice does not get its note twice. */
static void test_module_listed_twice(void **state)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	const struct symbols *s;

	(void)state;
	deliver_text(&sink, GUEST_FILE_KALLSYMS, kallsyms);
	deliver_text(&sink, GUEST_FILE_MODULES,
		     "jbd2 8192 1 - Live 0xffffffffc0200000\n"
		     "jbd2 8192 1 - Live 0xffffffffc0200000\n");
	deliver_note(&sink, "jbd2", 5);
	assert_int_equal(symbols_builder_finish(b, &s, NULL), 0);
	assert_int_equal(s->module_count, 1);
	symbols_put(s);
	symbols_builder_destroy(b);
}

static void test_notes_without_modules(void **state)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	const struct symbols *s;

	(void)state;
	deliver_note(&sink, "zfs", 1);
	deliver_note(&sink, "ext4", 2);
	deliver_text(&sink, GUEST_FILE_KALLSYMS, kallsyms);
	assert_int_equal(symbols_builder_finish(b, &s, NULL), 0);
	assert_int_equal(s->module_count, 2);
	assert_string_equal(s->module_list[0].name, "zfs");
	assert_string_equal(s->module_list[1].name, "ext4");
	symbols_put(s);
	symbols_builder_destroy(b);
}

static void test_too_many_notes(void **state)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	char name[16];

	(void)state;
	for (unsigned i = 0; i < GUEST_MODULES_MOST; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		assert_int_equal(deliver_note(&sink, name, 1), 0);
	}
	assert_int_equal(deliver_note(&sink, "one_more", 1), -E2BIG);
	symbols_builder_destroy(b);
}

static void *read_and_put(void *arg)
{
	const struct symbols *s = arg;
	struct symtab_hit h;

	for (int i = 0; i < 1000; i++) {
		const struct symbols *again = symbols_get(s);

		if (!symtab_find(again->table, 0xffffffff81000101, &h) || h.name_len != 6)
			abort();
		symbols_put(again);
	}
	symbols_put(s);
	return NULL;
}

static void test_shared_by_threads(void **state)
{
	const struct symbols *s;
	pthread_t threads[4];
	struct errmsg why;

	(void)state;
	assert_int_equal(BUILD(&s, &why, {GUEST_FILE_KALLSYMS, kallsyms}), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, read_and_put, (void *)symbols_get(s)), 0);
	symbols_put(s);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_null(symbols_get(NULL));
	symbols_put(NULL);
}

/* Two guests with the same kernel: what they have in common is held once, and counts once. */
static void test_what_equal_kernels_share(void **state)
{
	struct blobpool *pool = blobpool_create();
	const struct symbols *s[2];
	size_t alone;
	struct errmsg why;
	char big[10001];

	(void)state;
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (int i = 0; i < 2; i++)
		assert_int_equal(BUILD(&s[i], &why, {GUEST_FILE_KALLSYMS, kallsyms},
				       {GUEST_FILE_BTF, big}, {GUEST_FILE_ORC_IP, "ip"},
				       {GUEST_FILE_ORC, i ? "one" : "two"}),
				 0);
	alone = symbols_size(s[0]);
	for (int i = 0; i < 2; i++)
		symbols_share((struct symbols *)s[i], pool);
	assert_ptr_equal(s[0]->btf, s[1]->btf);
	assert_ptr_equal(s[0]->orc_ip, s[1]->orc_ip);
	assert_ptr_not_equal(s[0]->orc, s[1]->orc);
	assert_string_equal(s[1]->btf->data, big);
	assert_true(symbols_size(s[0]) <= alone - 5000);
	symbols_put(s[0]);
	assert_int_equal(symbols_size(s[1]), alone);
	symbols_put(s[1]);
	assert_int_equal(blobpool_count(pool), 0);
	blobpool_destroy(pool);
}

/* At the same addresses: the text and the table, too. Who is left names symbols as before. */
static void test_what_equal_guests_share(void **state)
{
	struct blobpool *pool = blobpool_create();
	const struct symbols *s[3];
	struct symtab_hit hit, again;
	size_t alone;
	struct errmsg why;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(BUILD(&s[i], &why, {GUEST_FILE_KALLSYMS, kallsyms},
				       {GUEST_FILE_MODULES, i < 2 ? modules : ""}),
				 0);
	alone = symbols_size(s[0]);
	assert_true(symtab_find(s[0]->table, 0xffffffff81000000, &hit));
	for (int i = 0; i < 3; i++)
		symbols_share((struct symbols *)s[i], pool);
	assert_ptr_equal(s[0]->kallsyms, s[1]->kallsyms);
	assert_ptr_equal(s[0]->kallsyms, s[2]->kallsyms);
	/* Where its modules end is part of a table. */
	assert_ptr_not_equal(s[0]->modules, s[2]->modules);
	assert_true(symtab_memory(s[0]->table) < symtab_memory(s[2]->table));
	symbols_put(s[0]);
	symbols_put(s[2]);
	assert_int_equal(symbols_size(s[1]), alone);
	assert_true(symtab_find(s[1]->table, 0xffffffff81000000, &again));
	assert_int_equal(again.start, hit.start);
	assert_memory_equal(again.name, "_text", 5);
	symbols_put(s[1]);
	assert_int_equal(blobpool_count(pool), 0);
	blobpool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_chunk_size),
		cmocka_unit_test(test_kallsyms_is_enough),
		cmocka_unit_test(test_no_kallsyms),
		cmocka_unit_test(test_no_modules_loaded),
		cmocka_unit_test(test_modules_changed),
		cmocka_unit_test(test_boot_meanwhile),
		cmocka_unit_test(test_hidden_addresses),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_maximum_of_each),
		cmocka_unit_test(test_endless_kallsyms),
		cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_boot_ids),
		cmocka_unit_test(test_releases),
		cmocka_unit_test(test_notes_of_strangers),
		cmocka_unit_test(test_useless_notes),
		cmocka_unit_test(test_module_listed_twice),
		cmocka_unit_test(test_notes_without_modules),
		cmocka_unit_test(test_too_many_notes),
		cmocka_unit_test(test_shared_by_threads),
		cmocka_unit_test(test_what_equal_kernels_share),
		cmocka_unit_test(test_what_equal_guests_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
