/* By what a guest's boot and its modules are recognised where a source has nothing but the guest's
 * files: the boot_id, and a sum of what /proc/modules lists. What comes and goes in kallsyms
 * besides (BPF programs, tracers' trampolines) is in neither. Pure; the texts come from a stranger.
 */
#ifndef KVMPROFS_FILEMARK_H
#define KVMPROFS_FILEMARK_H

#include <stddef.h>

#include "symsrc/source.h"

/* What a mark needs, as GUEST_FILE_BIT()s. */
#define FILEMARK_FILES (GUEST_FILE_BIT(GUEST_FILE_BOOT_ID) | GUEST_FILE_BIT(GUEST_FILE_MODULES))

#define FILEMARK_BOOT_ID_MAX 37 /* with the NUL */

/* The first line of the file where it is one word, else "". */
void filemark_boot_id(const char *text, size_t n, char ret[static FILEMARK_BOOT_ID_MAX]);

/* boot_id: "" when it is not to be had; modules: NULL likewise. Use counts do not matter. 0, or
 * -EBADMSG and why for a list that is none. */
int filemark_make(const char *boot_id, const char *modules, size_t n, struct source_mark *ret,
		  struct errmsg *why);

/* What has changed between the two; had may be some other source's mark: SOURCE_CHANGED. */
enum source_news filemark_compare(const struct source_mark *had, const struct source_mark *now);

#endif
