#include "tests/unit/lib/guestroot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"

#define SYMBOL_LINE 64

static void make_parents(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
}

void guestroot_set(const char *dir, const char *path, const void *bytes, size_t n)
{
	char full[1024];
	int fd;

	snprintf(full, sizeof(full), "%s/%s", dir, path);
	if (!bytes) {
		assert_int_equal(unlink(full), 0);
		return;
	}
	make_parents(full);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	close(fd);
}

char *guestroot_kallsyms(size_t *ret_len)
{
	char *text = malloc((size_t)GUESTROOT_SYMBOLS * SYMBOL_LINE);
	size_t len = 0;

	assert_non_null(text);
	for (unsigned i = 0; i < GUESTROOT_SYMBOLS; i++)
		len += (size_t)snprintf(text + len, SYMBOL_LINE, "%016llx T %s%u\n",
					0xffffffff81000000ull + 64ull * i, i ? "symbol_" : "_text",
					i);
	*ret_len = len;
	return text;
}

/* include/uapi/linux/elf.h, Elf64_Nhdr; NT_GNU_BUILD_ID is 3. */
void *guestroot_note(const char *module, size_t *ret_len)
{
	struct {
		uint32_t name_len, desc_len, type;
		char name[4];
		unsigned char id[20];
	} *note = calloc(1, sizeof(*note));

	assert_non_null(note);
	note->name_len = 4;
	note->desc_len = 20;
	note->type = 3;
	memcpy(note->name, "GNU", 4);
	for (size_t i = 0; i < sizeof(note->id); i++)
		note->id[i] = (unsigned char)(module[i % strlen(module)] + (int)i);
	*ret_len = sizeof(*note);
	return note;
}

static void set_note(const char *dir, const char *path, const char *module)
{
	size_t n;
	CLEANUP_FREE void *note = guestroot_note(module, &n);

	guestroot_set(dir, path, note, n);
}

static void set_text(const char *dir, const char *path, const char *text)
{
	guestroot_set(dir, path, text, strlen(text));
}

void guestroot_create(const char *dir)
{
	size_t n;
	CLEANUP_FREE char *kallsyms = guestroot_kallsyms(&n);

	assert_int_equal(mkdir(dir, 0755), 0);
	guestroot_set(dir, "proc/kallsyms", kallsyms, n);
	set_text(dir, "proc/version", GUESTROOT_VERSION);
	set_text(dir, "proc/modules", GUESTROOT_MODULES);
	set_text(dir, "proc/sys/kernel/random/boot_id", GUESTROOT_BOOT_ID "\n");
	set_note(dir, "sys/kernel/notes", "vmlinux");
	set_note(dir, "sys/module/ext4/notes/.note.gnu.build-id", "ext4");
	set_note(dir, "sys/module/jbd2/notes/.note.gnu.build-id", "jbd2");
	set_text(dir, "sys/module/kernel/parameters/panic", "0\n"); /* built in: no note */
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void guestroot_remove(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
