#include "symsrc/source.h"

#include "symsrc/base/cleanup.h"

#define MODULE_NOTE_MAX (4u << 10) /* 36 bytes in truth */
#define BOOT_ID_MAX	64u	   /* 37 in truth */

static const struct {
	const char *path;
	size_t max;
} files[GUEST_FILE_COUNT] = {
	[GUEST_FILE_VERSION] = {"/proc/version", GUEST_VERSION_MAX},
	[GUEST_FILE_BOOT_ID] = {"/proc/sys/kernel/random/boot_id", BOOT_ID_MAX},
	[GUEST_FILE_MODULES] = {"/proc/modules", GUEST_MODULES_MAX},
	[GUEST_FILE_KALLSYMS] = {"/proc/kallsyms", GUEST_KALLSYMS_MAX},
	[GUEST_FILE_KERNEL_NOTES] = {"/sys/kernel/notes", GUEST_NOTES_MAX},
	[GUEST_FILE_MODULE_NOTE] = {"/sys/module/*/notes/.note.gnu.build-id", MODULE_NOTE_MAX},
	[GUEST_FILE_BTF] = {"/sys/kernel/btf/vmlinux", GUEST_BTF_MAX},
	[GUEST_FILE_ORC_IP] = {".orc_unwind_ip", GUEST_ORC_MAX},
	[GUEST_FILE_ORC] = {".orc_unwind", GUEST_ORC_MAX},
	[GUEST_FILE_LISTING] = {"/lib/modules", GUEST_LISTING_MAX},
	[GUEST_FILE_MODULE_KO] = {"/lib/modules/*", GUEST_KO_MAX},
};

const char *guest_file_path(enum guest_file file)
{
	return (size_t)file < ARRAY_SIZE(files) ? files[file].path : "?";
}

size_t guest_file_max(enum guest_file file)
{
	return (size_t)file < ARRAY_SIZE(files) ? files[file].max : 0;
}
