#include "tests/unit/lib/collect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "tests/unit/lib/guestroot.h"

void collect_init(struct collect *c)
{
	*c = (struct collect){.current = -1};
	for (int i = 0; i < GUEST_FILE_COUNT; i++)
		buf_init(&c->files[i], COLLECT_MAX);
	buf_init(&c->modules, COLLECT_MAX);
}

void collect_deinit(struct collect *c)
{
	for (int i = 0; i < GUEST_FILE_COUNT; i++)
		buf_deinit(&c->files[i]);
	buf_deinit(&c->modules);
}

static int begin(void *ctx, enum guest_file file, const char *module)
{
	struct collect *c = ctx;

	c->current = (int)file;
	c->times[file]++;
	if ((int)++c->begins == c->fail_at)
		return c->fail_with;
	assert_true((file == GUEST_FILE_MODULE_NOTE) == (module != NULL));
	return module ? buf_printf(&c->modules, "%s ", module) : 0;
}

static int data(void *ctx, const void *bytes, size_t n)
{
	struct collect *c = ctx;

	assert_true(c->current >= 0);
	assert_true(n > 0);
	return buf_append(&c->files[c->current], bytes, n);
}

struct source_sink collect_sink(struct collect *c)
{
	return (struct source_sink){begin, data, c};
}

void collect_assert(const struct collect *c, enum guest_file file, unsigned times,
		    const void *bytes, size_t n)
{
	assert_int_equal(c->times[file], times);
	assert_int_equal(c->files[file].len, n);
	assert_memory_equal(c->files[file].data, bytes, n);
}

/* In the order in which they came. */
static void assert_module_notes(const struct collect *c)
{
	size_t len;
	CLEANUP_FREE char *ext4 = guestroot_note("ext4", &len);
	CLEANUP_FREE char *jbd2 = guestroot_note("jbd2", &len);
	bool swapped = strcmp(c->modules.data, "jbd2 ext4 ") == 0;
	CLEANUP_BUF struct buf both;

	buf_init(&both, 1000);
	buf_append(&both, swapped ? jbd2 : ext4, len);
	buf_append(&both, swapped ? ext4 : jbd2, len);
	collect_assert(c, GUEST_FILE_MODULE_NOTE, 2, both.data, both.len);
	assert_string_equal(c->modules.data, swapped ? "jbd2 ext4 " : "ext4 jbd2 ");
}

void collect_assert_guestroot(const struct collect *c)
{
	static const char boot_ids[] = GUESTROOT_BOOT_ID "\n" GUESTROOT_BOOT_ID "\n";
	unsigned times = c->times[GUEST_FILE_BOOT_ID] == 2 ? 2 : 1;
	size_t n, note_len;
	CLEANUP_FREE char *kallsyms = guestroot_kallsyms(&n);
	CLEANUP_FREE char *kernel = guestroot_note("vmlinux", &note_len);

	collect_assert(c, GUEST_FILE_KALLSYMS, 1, kallsyms, n);
	collect_assert(c, GUEST_FILE_VERSION, 1, GUESTROOT_VERSION, strlen(GUESTROOT_VERSION));
	collect_assert(c, GUEST_FILE_BOOT_ID, times, boot_ids, times * (sizeof(boot_ids) - 1) / 2);
	collect_assert(c, GUEST_FILE_MODULES, 2, GUESTROOT_MODULES GUESTROOT_MODULES,
		       2 * strlen(GUESTROOT_MODULES));
	collect_assert(c, GUEST_FILE_KERNEL_NOTES, 1, kernel, note_len);
	assert_module_notes(c);
}
