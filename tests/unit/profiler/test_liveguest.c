/* What perf is told of a guest: once, what is new, and each boot's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "profiler/liveguest.h"
#include "tests/unit/lib/guestmaker.h"
#include "tests/unit/lib/pipewalk.h"

#define BUILD_ID       67
#define SAMPLE_ID_PID  (-32)
#define SAMPLE_ID_TIME (-24)
#define PID	       4242

static const char modules_one[] = "ext4 40960 1 - Live 0xffffffffc0300000\n"
				  "jbd2 2097152 1 ext4, Live 0xffffffffc0200000\n";
static const char modules_two[] = "xfs 4096 0 - Live 0xffffffffc0400000\n"
				  "ext4 40960 1 - Live 0xffffffffc0300000\n"
				  "jbd2 2097152 1 ext4, Live 0xffffffffc0200000\n";

static void deliver(const struct source_sink *s, enum guest_file file, const char *module,
		    const void *bytes, size_t n)
{
	assert_int_equal(s->begin(s->ctx, file, module), 0);
	assert_int_equal(s->data(s->ctx, bytes, n), 0);
}

static const struct symbols *make_symbols(uint64_t text, const char *modules, bool with_notes)
{
	struct symbols_builder *b = symbols_builder_create();
	struct source_sink sink = symbols_builder_sink(b);
	const struct {
		uint32_t name_size, desc_size, type;
		char name[4];
		uint8_t desc[20];
	} note = {4, 20, 3, "GNU", {9, 8, 7}};
	const struct symbols *s;
	struct errmsg why;
	char kallsyms[400];
	int n = snprintf(kallsyms, sizeof(kallsyms),
			 "%016llx T _text\n%016llx T do_one\n%016llx D _edata\n%016llx B _end\n"
			 "ffffffffc0300000 t ext4_init\t[ext4]\n"
			 "ffffffffc0300230 t ext4_exit\t[ext4]\n",
			 (unsigned long long)text, (unsigned long long)text + 0x100,
			 (unsigned long long)text + 0x8000, (unsigned long long)text + 0x9000);

	deliver(&sink, GUEST_FILE_MODULES, NULL, modules, strlen(modules));
	deliver(&sink, GUEST_FILE_KALLSYMS, NULL, kallsyms, (size_t)n);
	if (with_notes) {
		deliver(&sink, GUEST_FILE_KERNEL_NOTES, NULL, &note, sizeof(note));
		deliver(&sink, GUEST_FILE_MODULE_NOTE, "ext4", &note, sizeof(note));
	}
	assert_int_equal(symbols_builder_finish(b, &s, &why), 0);
	symbols_builder_destroy(b);
	return s;
}

struct world {
	struct guest *guest;
	struct guest_entry entry;
	struct liveguest told;
	struct buf b;
};

static void begin(struct world *w)
{
	*w = (struct world){.guest = guestmaker_create(1, PID, 2)};
	w->entry = (struct guest_entry){.guest = w->guest, .epoch = 1, .epoch_start_ns = 1000};
	w->told.serial = 1;
	buf_init(&w->b, 64 << 10);
}

static void end(struct world *w)
{
	liveguest_deinit(&w->told);
	buf_deinit(&w->b);
	guest_put(w->guest);
}

/* Drops the symbols. */
static struct pipewalk tell(struct world *w, const struct symbols *s, uint64_t flushed_ns)
{
	buf_clear(&w->b);
	assert_int_equal(liveguest_write(&w->told, &w->entry, s, flushed_ns, &w->b), 0);
	symbols_put(s);
	return pipewalk_records(w->b.data, w->b.len);
}

static void next_mmap(struct pipewalk *p, const char *name, uint64_t start, uint64_t size,
		      uint64_t time)
{
	const struct perf_event_header *h = pipewalk_find(p, PERF_RECORD_MMAP);

	assert_non_null(h);
	assert_int_equal(h->misc, PERF_RECORD_MISC_GUEST_KERNEL);
	assert_int_equal(pipewalk_u32(h, 8), PID);
	assert_int_equal(pipewalk_u64(h, 16), start);
	assert_int_equal(pipewalk_u64(h, 24), size);
	assert_string_equal(pipewalk_text(h, 40), name);
	assert_int_equal(pipewalk_u64(h, SAMPLE_ID_TIME), time);
}

static void test_all_of_a_guest(void **state)
{
	const struct perf_event_header *h;
	struct pipewalk p;
	struct world w;

	(void)state;
	begin(&w);
	p = tell(&w, make_symbols(0xffffffff81000000, modules_one, true), 0);
	/* perf makes nothing of a map whose guest has no build-id before it. */
	h = pipewalk_next(&p);
	assert_int_equal(h->type, BUILD_ID);
	assert_int_equal(pipewalk_u32(h, 8), PID);
	assert_int_equal(((const uint8_t *)h)[12], 9);
	assert_string_equal(pipewalk_text(h, 36), "[guest.kernel.kallsyms.4242]");
	next_mmap(&p, "[guest.kernel.kallsyms.4242]_text", 0xffffffff81000000, 0x9000, 0);
	/* Its size says 2 MB, of which the next module has the second. */
	next_mmap(&p, "[jbd2]", 0xffffffffc0200000, 0x100000, 0);
	h = pipewalk_next(&p);
	assert_int_equal(h->type, BUILD_ID);
	assert_string_equal(pipewalk_text(h, 36), "[ext4]");
	next_mmap(&p, "[ext4]", 0xffffffffc0300000, 40960, 0);
	/* The first symbol, which perf may forget: to where the next one begins. */
	h = pipewalk_next(&p);
	assert_int_equal(h->type, PERF_RECORD_KSYMBOL);
	assert_int_equal(h->misc, PERF_RECORD_MISC_GUEST_KERNEL);
	assert_int_equal(pipewalk_u64(h, 8), 0xffffffffc0300000);
	assert_int_equal(pipewalk_u32(h, 16), 0x230);
	assert_string_equal(pipewalk_text(h, 24), "ext4_init");
	assert_int_equal(pipewalk_u32(h, SAMPLE_ID_PID), PID);
	assert_int_equal(pipewalk_count(p, PERF_RECORD_COMM), 4);
	assert_int_equal(pipewalk_count(p, PERF_RECORD_MMAP), 0);
	end(&w);
}

static void test_nothing_twice(void **state)
{
	const struct symbols *s = make_symbols(0xffffffff81000000, modules_one, true);
	struct pipewalk p;
	struct world w;

	(void)state;
	begin(&w);
	tell(&w, symbols_get(s), 0);
	p = tell(&w, s, 0);
	assert_null(pipewalk_next(&p));
	/* A module came. */
	p = tell(&w, make_symbols(0xffffffff81000000, modules_two, true), 0);
	next_mmap(&p, "[xfs]", 0xffffffffc0400000, 4096, 0);
	assert_null(pipewalk_next(&p));
	end(&w);
}

static void test_names_that_come_late(void **state)
{
	struct pipewalk p;
	struct world w;

	(void)state;
	begin(&w);
	p = tell(&w, NULL, 0);
	assert_int_equal(pipewalk_count(p, PERF_RECORD_COMM), 4);
	assert_int_equal(pipewalk_count(p, BUILD_ID), 0);
	/* perf looks for the guest's threads in another place once it knows the guest. */
	p = tell(&w, make_symbols(0xffffffff81000000, modules_one, true), 5000);
	assert_int_equal(pipewalk_count(p, PERF_RECORD_MMAP), 3);
	assert_int_equal(pipewalk_count(p, PERF_RECORD_COMM), 4);
	end(&w);
}

/* Its maps are for the samples since then, unless perf is past them already. */
static void test_another_boot(void **state)
{
	struct pipewalk p;
	struct world w;

	(void)state;
	for (int late = 0; late < 2; late++) {
		uint64_t time = late ? 0 : 7000;

		begin(&w);
		tell(&w, make_symbols(0xffffffff81000000, modules_one, true), 0);
		w.entry.epoch = 2;
		w.entry.epoch_start_ns = 7000;
		p = tell(&w, NULL, 0);
		assert_null(pipewalk_next(&p));
		p = tell(&w, make_symbols(0xffffffff95000000, modules_one, true),
			 late ? 9000 : 6000);
		next_mmap(&p, "[guest.kernel.kallsyms.4242]_text", 0xffffffff95000000, 0x9000,
			  time);
		next_mmap(&p, "[jbd2]", 0xffffffffc0200000, 0x100000, time);
		next_mmap(&p, "[ext4]", 0xffffffffc0300000, 40960, time);
		end(&w);
	}
}

static void test_a_guest_without_build_ids(void **state)
{
	const struct perf_event_header *h;
	struct pipewalk p;
	struct world w;

	(void)state;
	begin(&w);
	p = tell(&w, make_symbols(0xffffffff81000000, modules_one, false), 0);
	h = pipewalk_next(&p);
	assert_int_equal(h->type, BUILD_ID);
	assert_int_equal(((const uint8_t *)h)[32], 0);
	assert_int_equal(pipewalk_count(p, BUILD_ID), 0);
	assert_int_equal(pipewalk_count(p, PERF_RECORD_MMAP), 3);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_of_a_guest),
		cmocka_unit_test(test_nothing_twice),
		cmocka_unit_test(test_names_that_come_late),
		cmocka_unit_test(test_another_boot),
		cmocka_unit_test(test_a_guest_without_build_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
