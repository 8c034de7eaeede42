/* Saved symbols beside what is known of the guest's kernel: moved as perf moves them, or refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/source.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/tmptree.h"

#define COPIED	"ffffffff81000000"
#define RUNNING 0xffffffff9a000000ULL

static struct tmptree dir;
static struct collect got;
static struct errmsg why;
static struct source_target target;
static char note[SOURCE_NOTE_MAX];
static bool partial;

/* Another symbol of that name, and one that does not lie where kernels do, come before it. */
static const char copy[] = "0000000000001000 A fixed_percpu_data\n"
			   "ffffffff80000000 d _text\n"
			   "ffffffff80000100 t _text\t[ext4]\n" COPIED " T _text\n"
			   "ffffffff81000040 t f\n"
			   "ffffffffc0100000 t ext4_init\t[ext4]\n";
static const char moved[] = "0000000000001000 A fixed_percpu_data\n"
			    "ffffffff99000000 d _text\n"
			    "ffffffff9a000000 T _text\n"
			    "ffffffff9a000040 t f\n";

static void put_notes(uint8_t id)
{
	uint8_t notes[36] = {4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U'};
	char path[256];
	FILE *f;

	memset(notes + 16, id, 20);
	tmptree_put(&dir, "sys/kernel/notes", "");
	snprintf(path, sizeof(path), "%s/sys/kernel/notes", dir.path);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(notes, 1, sizeof(notes), f), sizeof(notes));
	fclose(f);
}

static void know(uint64_t symbol_at, uint8_t id)
{
	struct guest_kernel *k = &target.kernel;

	*k = (struct guest_kernel){.symbol_at = symbol_at, .id.len = id ? 20 : 0};
	if (symbol_at)
		snprintf(k->symbol, sizeof(k->symbol), "_text");
	memset(k->id.bytes, id, k->id.len);
}

static int set_up(void **state)
{
	(void)state;
	tmptree_init(&dir);
	tmptree_put(&dir, "proc/kallsyms", copy);
	put_notes(0xab);
	target = (struct source_target){0};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	collect_deinit(&got);
	tmptree_deinit(&dir);
	return 0;
}

static int fetch_uri(const char *uri)
{
	const struct source_limits limits = {.deadline_ns = clock_now_ns() + 20 * NSEC_PER_SEC,
					     .cancel_fd = -1};
	const struct source_sink sink = collect_sink(&got);
	struct source *s = NULL;
	int r;

	collect_deinit(&got);
	collect_init(&got);
	why = (struct errmsg){0};
	assert_int_equal(source_create(uri, &target, &s, &why), 0);
	r = s->ops->fetch(s, GUEST_FILES_ALL, &limits, &sink, &why);
	memcpy(note, s->note, sizeof(note));
	partial = s->partial;
	source_destroy(s);
	return r;
}

static int fetch_dir(void)
{
	char uri[256];

	snprintf(uri, sizeof(uri), "dir:%s", dir.path);
	return fetch_uri(uri);
}

static int fetch_file(void)
{
	char uri[256];

	snprintf(uri, sizeof(uri), "kallsyms:%s/proc/kallsyms", dir.path);
	return fetch_uri(uri);
}

static void assert_kallsyms(const char *text)
{
	collect_assert(&got, GUEST_FILE_KALLSYMS, 1, text, strlen(text));
}

static void assert_refused(int r, const char *because)
{
	assert_int_equal(r, -EKEYREJECTED);
	if (!strstr(why.text, because))
		fail_msg("\"%s\" does not say \"%s\"", why.text, because);
}

static void test_where_it_was(void **state)
{
	(void)state;
	assert_int_equal(fetch_dir(), 0); /* nothing is known */
	assert_kallsyms(copy);
	know(0xffffffff81000000, 0xab);
	assert_int_equal(fetch_dir(), 0);
	assert_kallsyms(copy);
	assert_string_equal(note, "");
	assert_int_equal(fetch_file(), 0);
	assert_kallsyms(copy);
	assert_string_equal(note, "");
	assert_false(partial);
}

static void test_of_32_bits(void **state)
{
	(void)state;
	tmptree_put(&dir, "proc/kallsyms", "00001000 A offset\nc1000000 T _text\nc1000040 t f\n");
	know(0xd2000000, 0);
	assert_int_equal(fetch_dir(), 0);
	assert_kallsyms("00001000 A offset\nd2000000 T _text\nd2000040 t f\n");
	assert_non_null(strstr(note, "moved by 0x11000000 "));
	know(0xc0400000, 0);
	assert_int_equal(fetch_dir(), 0);
	assert_kallsyms("00001000 A offset\nc0400000 T _text\nc0400040 t f\n");
	know(RUNNING, 0);
	assert_refused(fetch_dir(),
		       "is of another kernel: its _text is at 0xc1000000, the guest's at "
		       "0xffffffff9a000000");
}

static void test_of_another_boot(void **state)
{
	(void)state;
	know(RUNNING, 0xab);
	assert_int_equal(fetch_dir(), 0);
	assert_kallsyms(moved);
	assert_string_equal(note, "of another boot: moved by 0x19000000 to where the guest's "
				  "kernel is, without its modules");
	assert_true(partial);
	assert_int_equal(fetch_file(), 0);
	assert_kallsyms(moved);
	assert_non_null(strstr(note, "of another boot, perhaps another kernel: moved by 0x19"));
	know(0xffffffff80800000, 0xab);
	assert_int_equal(fetch_dir(), 0);
	assert_non_null(strstr(got.files[GUEST_FILE_KALLSYMS].data, "ffffffff80800040 t f\n"));
	assert_non_null(strstr(note, "moved by -0x800000 to"));
}

static void test_of_another_kernel(void **state)
{
	(void)state;
	know(0xffffffff81000000, 0xac);
	assert_refused(fetch_dir(), ": is of another kernel: its build-id is ababab");
	assert_non_null(strstr(why.text, ", the guest's acacac"));
	know(0, 0xac);
	assert_refused(fetch_dir(), "is of another kernel");
	know(RUNNING, 0xab);
	tmptree_put(&dir, "proc/kallsyms", COPIED " T startup_64\n");
	assert_refused(fetch_dir(), "has no _text");
}

/* Their parser has more to say of these. */
static void test_what_is_no_kallsyms(void **state)
{
	static const char *const texts[] = {"0000000000000000 T _text\n", "T _text\n", "\n\n", " "};

	(void)state;
	know(RUNNING, 0);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		tmptree_put(&dir, "proc/kallsyms", texts[i]);
		fetch_dir();
		assert_kallsyms(texts[i]);
	}
	tmptree_put(&dir, "proc/kallsyms", "");
	fetch_dir();
	assert_int_equal(got.times[GUEST_FILE_KALLSYMS], 1);
}

static void test_of_this_machine(void **state)
{
	(void)state;
	if (access("/proc/kallsyms", R_OK) != 0)
		skip();
	assert_refused(fetch_uri("dir:/"), "of this machine itself");
	assert_refused(fetch_uri("kallsyms:/proc/kallsyms"), "of this machine itself");
	know(RUNNING, 0xab);
	assert_refused(fetch_uri("kallsyms:/proc/kallsyms"), "/proc/kallsyms: is of ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_where_it_was, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_of_32_bits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_of_another_boot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_of_another_kernel, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_no_kallsyms, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_of_this_machine, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
