/* A folder that looks like a small guest: proc/kallsyms and so on, two modules, build-ids. */
#ifndef KVMPROFS_TESTS_GUESTROOT_H
#define KVMPROFS_TESTS_GUESTROOT_H

#include <stddef.h>

#define GUESTROOT_BOOT_ID "11111111-2222-3333-4444-555555555555"
#define GUESTROOT_VERSION "Linux version 6.1.0-test (someone@somewhere)\n"
#define GUESTROOT_MODULES                         \
	"ext4 8192 1 - Live 0xffffffffc0100000\n" \
	"jbd2 4096 1 ext4, Live 0xffffffffc0000000\n"
#define GUESTROOT_SYMBOLS 3000 /* lines of its kallsyms */

/* Makes it in a new folder dir (which must not exist). Fails the test when it cannot. */
void guestroot_create(const char *dir);
/* Writes one of its files anew ("proc/modules"); bytes NULL: removes it. */
void guestroot_set(const char *dir, const char *path, const void *bytes, size_t n);
/* Its kallsyms, to be freed. */
char *guestroot_kallsyms(size_t *ret_len);
/* The whole build-id note of a module, or of the kernel ("vmlinux"), to be freed. */
void *guestroot_note(const char *module, size_t *ret_len);
/* Removes a folder and all below it (also others than such). */
void guestroot_remove(const char *dir);

#endif
