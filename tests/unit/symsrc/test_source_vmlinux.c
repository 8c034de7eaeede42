/* The vmlinux source, on the forged RAM of a guest: where the kernel runs, and whether it is that
 * one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/source.h"
#include "symsrc/vmmram.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/elfmaker.h"
#include "tests/unit/lib/guestroot.h"
#include "tests/unit/lib/kernelmaker.h"
#include "tests/unit/lib/selfvmm.h"

#define RAM_SIZE (512u << 20)
#define LINKED	 0xffffffff81000000ULL
#define NOTES	 36 /* bytes of the forged kernel's, with its build-id behind the first 16 */

static struct source_limits limits;
static struct errmsg why;
static struct collect got;
static struct kernelmaker *km;
static struct selfvmm vmm;
static char dir[32], path[64], uri[128];
static char how[SOURCE_HOW_MAX], note[SOURCE_NOTE_MAX];
static struct source_mark mark;
static bool unproven;

static void run_kernel(void)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);

	km = kernelmaker_create(&o);
	memcpy(vmm.ram + o.text_pa, km->main, KERNELMAKER_END + KERNELMAKER_ROOM);
	memcpy(vmm.ram, km->low, KERNELMAKER_LOW_SIZE);
}

static uint8_t *in_ram(uint32_t offset)
{
	return vmm.ram + km->o.text_pa + offset;
}

static uint64_t slide(void)
{
	return km->o.text_va - LINKED;
}

/* The file of that kernel; of another one when the byte of its build-id is changed. */
static void put_file(int changed)
{
	static const struct elfmaker_symbol symbols[] = {
		{"_text", LINKED, ELFMAKER_TEXT, STB_GLOBAL, STT_NOTYPE},
		{"only_in_the_file", LINKED + 0x100, ELFMAKER_TEXT, STB_LOCAL, STT_FUNC},
	};
	uint8_t notes[NOTES];
	const struct elfmaker_options o = {.notes = notes,
					   .notes_len = NOTES,
					   .notes_va = LINKED + KERNELMAKER_NOTES,
					   .symbols = symbols,
					   .count = 2};
	size_t n;
	void *bytes;
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	memcpy(notes, in_ram(KERNELMAKER_NOTES), NOTES);
	notes[16] = (uint8_t)(notes[16] + changed);
	bytes = elfmaker_create(&o, &n);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
	free(bytes);
}

static int set_up(void **state)
{
	(void)state;
	limits = (struct source_limits){.deadline_ns = clock_now_ns() + 20 * NSEC_PER_SEC,
					.cancel_fd = -1};
	why = (struct errmsg){0};
	collect_init(&got);
	snprintf(dir, sizeof(dir), "/tmp/test_vmlinux.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/vmlinux", dir);
	snprintf(uri, sizeof(uri), "vmlinux:%s", path);
	selfvmm_init(&vmm, RAM_SIZE);
	run_kernel();
	put_file(0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	selfvmm_deinit(&vmm);
	kernelmaker_destroy(km);
	collect_deinit(&got);
	guestroot_remove(dir);
	return 0;
}

static int fetch(const struct source_target *target)
{
	const struct source_sink sink = collect_sink(&got);
	struct source *s = NULL;
	int r = source_create(uri, target, &s, &why);

	assert_int_equal(r, 0);
	r = s->ops->fetch(s, GUEST_FILES_ALL, &limits, &sink, &why);
	memcpy(how, s->how, sizeof(how));
	memcpy(note, s->note, sizeof(note));
	mark = s->mark;
	unproven = s->unproven;
	source_destroy(s);
	return r;
}

static int fetch_from_ram(void)
{
	struct source_target target = {.pid = vmm.guest->pid};
	int r;

	assert_int_equal(vmmram_open("/proc", vmm.guest, &target.ram, &why), 0);
	r = fetch(&target);
	vmmram_put(target.ram);
	return r;
}

static int look(void)
{
	const struct source_target target = {0};
	struct source *s = NULL;
	int r = source_create(uri, &target, &s, &why);

	assert_int_equal(r, 0);
	s->mark = mark;
	r = s->ops->look(s, &limits, &why);
	source_destroy(s);
	return r;
}

static void assert_symbols_at(uint64_t above)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "%016llx T _text\n%016llx t only_in_the_file\n",
			 (unsigned long long)(LINKED + above),
			 (unsigned long long)(LINKED + above + 0x100));

	collect_assert(&got, GUEST_FILE_KALLSYMS, 1, text, (size_t)n);
}

static void assert_nothing(void)
{
	assert_int_equal(got.times[GUEST_FILE_KALLSYMS], 0);
}

static void hex_of(const uint8_t *notes, char hex[41])
{
	for (int i = 0; i < 20; i++)
		sprintf(hex + 2 * i, "%02x", notes[16 + i]);
}

static void test_by_kallsyms(void **state)
{
	(void)state;
	assert_true(slide() != 0);
	if (fetch_from_ram() != 0)
		fail_msg("%s", why.text);
	assert_symbols_at(slide());
	assert_non_null(strstr(how, "kallsyms"));
	assert_true(mark.len > 0); /* a reboot will be seen */
	collect_assert(&got, GUEST_FILE_KERNEL_NOTES, 1, in_ram(KERNELMAKER_NOTES), NOTES);
}

/* CONFIG_KALLSYMS=n */
static void test_by_notes(void **state)
{
	(void)state;
	memset(in_ram(KERNELMAKER_TABLES), 0, KERNELMAKER_BTF - KERNELMAKER_TABLES);
	if (fetch_from_ram() != 0)
		fail_msg("%s", why.text);
	assert_symbols_at(slide());
	assert_non_null(strstr(how, "build-id"));
	assert_non_null(strstr(note, "core symbols only"));
	assert_int_equal(look(), SOURCE_SAME); /* there is nothing to look at */
}

static void assert_says_both(void)
{
	char running[41], ours[41];
	uint8_t notes[NOTES];

	memcpy(notes, in_ram(KERNELMAKER_NOTES), NOTES);
	hex_of(notes, running);
	notes[16]++;
	hex_of(notes, ours);
	assert_non_null(strstr(why.text, running));
	assert_non_null(strstr(why.text, ours));
	assert_nothing();
}

static void test_another_kernel(void **state)
{
	(void)state;
	put_file(1);
	assert_int_equal(fetch_from_ram(), -EKEYREJECTED);
	assert_says_both();
}

static void test_another_kernel_without_kallsyms(void **state)
{
	(void)state;
	put_file(1);
	memset(in_ram(KERNELMAKER_TABLES), 0, KERNELMAKER_BTF - KERNELMAKER_TABLES);
	assert_true(fetch_from_ram() < 0);
	assert_nothing();
}

/* Two of the same build lie there, as after a reset: which one runs? */
static void test_twice_without_kallsyms(void **state)
{
	struct kernelmaker_options o = kernelmaker_like(6, 12);
	struct kernelmaker *other;

	(void)state;
	o.text_va += 0x4000000;
	o.text_pa += 0x4000000;
	o.trampoline += RAM_PAGE;
	other = kernelmaker_create(&o);
	memcpy(vmm.ram + o.text_pa, other->main, KERNELMAKER_END + KERNELMAKER_ROOM);
	memcpy(vmm.ram + o.trampoline, other->low + o.trampoline, RAM_PAGE);
	memset(in_ram(KERNELMAKER_TABLES), 0, KERNELMAKER_BTF - KERNELMAKER_TABLES);
	memset(vmm.ram + o.text_pa + KERNELMAKER_TABLES, 0, KERNELMAKER_BTF - KERNELMAKER_TABLES);
	assert_int_equal(fetch_from_ram(), -ENOTUNIQ);
	assert_non_null(strstr(why.text, "more than once"));
	assert_nothing();
	kernelmaker_destroy(other);
}

/* Where memory cannot be read, nothing is resolved wrongly. */
static void test_an_unknown_slide(void **state)
{
	struct source_target target = {0};

	(void)state;
	errmsg_set(&target.ram_why, -EPERM, "memory of VMM 1: not permitted");
	assert_int_equal(fetch(&target), -EPERM);
	assert_non_null(strstr(why.text, "is not known"));
	assert_non_null(strstr(why.text, "memory of VMM 1: not permitted"));
	assert_nothing();
}

/* The code in the file is all instructions of two bytes. */
static int fetch_by_samples(size_t count, uint64_t above)
{
	struct source_target target = {.sampled_count = count};
	uint64_t ips[64];

	for (size_t i = 0; i < count; i++)
		ips[i] = LINKED + 0x3e00000 + above + 2 * i;
	target.sampled = ips;
	errmsg_set(&target.ram_why, -EPERM, "memory of VMM 1: not permitted");
	return fetch(&target);
}

static void test_by_samples(void **state)
{
	(void)state;
	if (fetch_by_samples(30, 0) != 0)
		fail_msg("%s", why.text);
	assert_symbols_at(0x3e00000);
	assert_non_null(strstr(how, "0x3e00000 fits 30 of 30"));
	assert_non_null(strstr(note, "build-id was not seen"));
	assert_int_equal(look(), SOURCE_SAME);
}

static void test_too_few_samples(void **state)
{
	(void)state;
	assert_int_equal(fetch_by_samples(8, 0), -EPERM);
	assert_non_null(strstr(why.text, "8 sampled addresses leave 1 places"));
	assert_non_null(strstr(why.text, "memory of VMM 1: not permitted"));
	assert_nothing();
}

static void test_samples_of_another_kernel(void **state)
{
	(void)state;
	assert_int_equal(fetch_by_samples(30, 1), -EKEYREJECTED);
	assert_non_null(strstr(why.text, "at most 0 of 30"));
	assert_nothing();
}

static void test_a_slide_that_is_given(void **state)
{
	const struct source_target target = {0};

	(void)state;
	snprintf(uri, sizeof(uri), "vmlinux:%s,slide:0x1e000000", path);
	if (fetch(&target) != 0)
		fail_msg("%s", why.text);
	assert_symbols_at(0x1e000000);
	assert_non_null(strstr(how, "as it was given: 0x1e000000"));
	assert_null(strstr(how, "fits"));
	assert_non_null(strstr(note, "core symbols only"));
	assert_non_null(strstr(note, "was not seen"));
	assert_true(unproven);
	assert_int_equal(got.times[GUEST_FILE_KERNEL_NOTES], 1);
}

/* What a recording has seen counts, whatever was given. */
static void test_what_a_recording_knows(void **state)
{
	struct source_target target = {
		.kernel = {.symbol = "_text", .symbol_at = LINKED + 0x3e00000, .id.len = 20}};

	(void)state;
	memcpy(target.kernel.id.bytes, in_ram(KERNELMAKER_NOTES) + 16, 20);
	assert_int_equal(fetch(&target), 0);
	assert_symbols_at(0x3e00000);
	assert_string_equal(how, "slide by the recording: 0x3e00000");
	assert_string_equal(note, "core symbols only: a vmlinux has no modules");
	assert_false(unproven);
	collect_deinit(&got);
	collect_init(&got);
	snprintf(uri, sizeof(uri), "vmlinux:%s,slide:0", path);
	assert_int_equal(fetch(&target), 0);
	assert_symbols_at(0x3e00000);
	assert_non_null(strstr(note, "the slide that was given, 0x0, is wrong"));
	target.kernel.id.len = 0;
	assert_int_equal(fetch(&target), 0);
	assert_non_null(strstr(note, "the guest's build-id was not seen"));
	target.kernel.id.len = 20;
	target.kernel.id.bytes[0]++;
	assert_int_equal(fetch(&target), -EKEYREJECTED);
	assert_non_null(strstr(why.text, ": is of another kernel: its build-id is "));
}

static void give_slide(uint64_t value)
{
	snprintf(uri, sizeof(uri), "vmlinux:%s,slide:0x%llx", path, (unsigned long long)value);
}

/* Too few of them say nothing, others that it is right, or wrong, or another kernel. */
static void test_a_slide_that_samples_judge(void **state)
{
	(void)state;
	give_slide(0x3e00000);
	assert_int_equal(fetch_by_samples(8, 0), 0);
	assert_true(unproven);
	collect_deinit(&got);
	collect_init(&got);
	assert_int_equal(fetch_by_samples(30, 0), 0);
	assert_symbols_at(0x3e00000);
	assert_false(unproven);
	assert_non_null(strstr(how, "as it was given: 0x3e00000 fits 30 of 30"));
	collect_deinit(&got);
	collect_init(&got);
	give_slide(0x1e000000);
	assert_int_equal(fetch_by_samples(30, 0), 0);
	assert_symbols_at(0x3e00000);
	assert_false(unproven);
	assert_non_null(strstr(how, "by sampled addresses: 0x3e00000"));
	assert_non_null(strstr(note, "given, 0x1e000000, is wrong"));
	collect_deinit(&got);
	collect_init(&got);
	assert_int_equal(fetch_by_samples(30, 1), -EKEYREJECTED);
	assert_nothing();
}

/* Memory knows: where it runs, and that it is another kernel. */
static void test_a_slide_that_memory_judges(void **state)
{
	(void)state;
	give_slide(0x1e000000);
	if (fetch_from_ram() != 0)
		fail_msg("%s", why.text);
	assert_symbols_at(slide());
	assert_non_null(strstr(how, "kallsyms in memory"));
	assert_non_null(strstr(note, "given, 0x1e000000, is wrong"));
	assert_false(unproven);
	collect_deinit(&got);
	collect_init(&got);
	put_file(1);
	assert_int_equal(fetch_from_ram(), -EKEYREJECTED);
	assert_says_both();
}

/* Nothing is there that could be read: the user knows better. */
static void test_a_slide_for_empty_memory(void **state)
{
	(void)state;
	give_slide(0x1e000000);
	memset(vmm.ram, 0, vmm.size);
	limits.booting = true;
	assert_int_equal(fetch_from_ram(), -EAGAIN);
	limits.booting = false;
	assert_int_equal(fetch_from_ram(), 0);
	assert_symbols_at(0x1e000000);
	assert_true(unproven);
}

static void test_a_guest_that_boots(void **state)
{
	(void)state;
	memset(vmm.ram, 0, vmm.size);
	assert_int_equal(fetch_from_ram(), -EAGAIN);
	assert_nothing();
}

static void test_options(void **state)
{
	(void)state;
	assert_int_equal(source_check_uri("vmlinux:/a", &why), 0);
	assert_int_equal(source_check_uri("vmlinux:/a,slide:0", &why), 0);
	assert_int_equal(source_check_uri("vmlinux:/a,slide:0x1f000000", &why), 0);
	assert_int_equal(source_check_uri("vmlinux:/a,slide:", &why), -EINVAL);
	assert_int_equal(source_check_uri("vmlinux:/a,slide:x", &why), -EINVAL);
	assert_int_equal(source_check_uri("vmlinux:a", &why), -EINVAL);
	assert_int_equal(source_check_uri("vmlinux:", &why), -EINVAL);
	assert_true(source_wants_ram("vmlinux:/a"));
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_by_kallsyms),
		TEST(test_by_notes),
		TEST(test_another_kernel),
		TEST(test_another_kernel_without_kallsyms),
		TEST(test_twice_without_kallsyms),
		TEST(test_an_unknown_slide),
		TEST(test_by_samples),
		TEST(test_too_few_samples),
		TEST(test_samples_of_another_kernel),
		TEST(test_what_a_recording_knows),
		TEST(test_a_slide_that_is_given),
		TEST(test_a_slide_that_samples_judge),
		TEST(test_a_slide_that_memory_judges),
		TEST(test_a_slide_for_empty_memory),
		TEST(test_a_guest_that_boots),
		TEST(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
