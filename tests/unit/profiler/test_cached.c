/* What of perf's cache of build-ids is believed: a guest's kallsyms there is mostly the host's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "profiler/perfdata/cached.h"
#include "tests/unit/lib/elfmaker.h"
#include "tests/unit/lib/tmptree.h"

#define TEXT   0xffffffff8b000000ULL
#define LINKED 0xffffffff81000000ULL
#define MODULE 0xffffffffc0400000ULL
#define FOLDER ".build-id/ab/ababababababababababababababababababab/"

struct world {
	struct tmptree dir;
	struct recording_map maps[2];
	struct recording_build_id id;
	struct recording_guest guest;
	struct recording recording;
	char uri[1024];
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	tmptree_init(&w->dir);
	w->maps[0] = (struct recording_map){.start = TEXT,
					    .end = TEXT + 0x1000000,
					    .name = "[guest.kernel.kallsyms]",
					    .kernel = true,
					    .symbol = "_text",
					    .symbol_at = TEXT};
	w->maps[1] =
		(struct recording_map){.start = MODULE, .end = MODULE + 0x10000, .name = "[ext4]"};
	w->id.kernel = true;
	w->id.id.len = 20;
	memset(w->id.id.bytes, 0xab, 20);
	w->guest = (struct recording_guest){.pid = 100,
					    .map_count = 2,
					    .maps = w->maps,
					    .build_id_count = 1,
					    .build_ids = &w->id};
	w->recording.host_symbol_at = LINKED;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	tmptree_deinit(&w->dir);
	free(w);
	return 0;
}

static const char *source(struct world *w)
{
	cached_source(&w->recording, &w->guest, w->dir.path, w->uri, sizeof(w->uri));
	return w->uri;
}

static void put_kallsyms(struct world *w, uint64_t text, uint64_t module)
{
	char lines[512];

	snprintf(lines, sizeof(lines),
		 "0000000000000000 A fixed_percpu_data\n%llx T _text\n%llx t f\n"
		 "%llx t ext4_init\t[ext4]\n%llx t ext4_read\t[ext4]\n%llx t other\t[xfs]\n",
		 (long long)text, (long long)text + 64, (long long)module, (long long)module + 64,
		 (long long)module + 0x100000);
	tmptree_put(&w->dir, FOLDER "kallsyms", lines);
}

static void assert_refused(struct world *w, const char *because)
{
	assert_memory_equal(source(w), "none:", 5);
	assert_non_null(strstr(w->uri, because));
	assert_non_null(strstr(w->uri, "-s"));
}

static void test_the_guests_own(void **state)
{
	struct world *w = *state;

	put_kallsyms(w, TEXT, MODULE);
	assert_memory_equal(source(w), "kallsyms:/tmp/", 14);
	assert_non_null(strstr(w->uri, FOLDER "kallsyms"));
}

static void test_another_ones(void **state)
{
	struct world *w = *state;

	assert_refused(w, "there is none");
	put_kallsyms(w, LINKED, MODULE);
	assert_refused(w, "of another kernel");
	put_kallsyms(w, TEXT, MODULE + 0x200000);
	assert_refused(w, "modules lie elsewhere");
	w->guest.map_count = 0;
	assert_refused(w, "does not say where");
	w->guest.build_id_count = 0;
	assert_refused(w, "no build-id");
}

/* nokaslr in both: only modules tell them apart. */
static void test_the_same_addresses_as_the_host(void **state)
{
	struct world *w = *state;

	w->recording.host_symbol_at = TEXT;
	put_kallsyms(w, TEXT, MODULE);
	assert_memory_equal(source(w), "kallsyms:", 9);
	w->guest.map_count = 1;
	assert_refused(w, "may be the host's");
}

static void put_elf(struct world *w, uint8_t id)
{
	static const struct elfmaker_symbol symbols[] = {
		{"_text", LINKED, ELFMAKER_TEXT, 1, 0},
		{"f", LINKED + 64, ELFMAKER_TEXT, 0, 2},
	};
	uint8_t note[36] = {4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U'};
	const struct elfmaker_options o = {
		.notes = note, .notes_len = sizeof(note), .symbols = symbols, .count = 2};
	char path[256];
	size_t n;
	void *elf;
	FILE *f;

	memset(note + 16, id, 20);
	elf = elfmaker_create(&o, &n);
	tmptree_put(&w->dir, FOLDER "elf", "");
	snprintf(path, sizeof(path), "%s/" FOLDER "elf", w->dir.path);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(elf, 1, n, f), n);
	fclose(f);
	free(elf);
}

static void test_an_elf_file(void **state)
{
	struct world *w = *state;

	put_kallsyms(w, LINKED, MODULE);
	put_elf(w, 0xab);
	assert_memory_equal(source(w), "vmlinux:/tmp/", 13);
	assert_non_null(strstr(w->uri, "/elf"));
	put_elf(w, 0xac);
	assert_refused(w, "of another kernel");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_guests_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_same_addresses_as_the_host, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_an_elf_file, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
