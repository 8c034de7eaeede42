/* A kernel's ELF file with its symbols, as the linker left it (`vmlinux`): what /proc/kallsyms of
 * a guest that runs this kernel would say of it. Read through libelf, which reads headers, symbol
 * table, its strings and the few sections named below; no debug information, which is most of
 * such a file. The file comes from a stranger: all counts and sizes are bounded.
 *
 * Which symbols, and of what type: as nm(1) and scripts/kallsyms.c of the kernel choose, so that
 * only what these leave out (and lists of the kernel's build that differ from version to version)
 * may be more or less than the guest's own list has. The order is that of addresses; at one
 * address that of the file.
 *
 * Belongs to one thread.
 */
#ifndef KVMPROFS_VMLINUX_H
#define KVMPROFS_VMLINUX_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/notes.h"
#include "symsrc/slide.h"
#include "symsrc/source.h"

#define VMLINUX_SYMTAB_MAX  (96u << 20)	 /* bytes: four million symbols, of which half are kept */
#define VMLINUX_STRTAB_MAX  (128u << 20) /* bytes */
#define VMLINUX_SECTION_MAX 4096	 /* sections */
#define VMLINUX_CODE_MAX    (128u << 20) /* bytes of all code together */

struct vmlinux {
	uint64_t text;	    /* link address of _text */
	struct build_id id; /* len 0: none */
	/* The section .notes, and its link address; notes_len 0: none. */
	uint64_t notes_va;
	const void *notes;
	size_t notes_len;
	/* For vmlinux.c alone: */
	void *elf;
	int fd;
	struct vmlinux_symbol *symbols;
	size_t count;
	const char *strings;
	uint64_t *starts; /* of vmlinux_code() */
};

/* Opens a file and reads its symbols; of a regular file only. 0, or negative errno and why in one
 * line that names the file: what open(2) and read(2) say, -EINVAL: no regular file; -ENOEXEC: no
 * ELF file of an x86-64 kernel; -ENODATA: stripped; -EBADMSG: malformed; -EFBIG; -ENOMEM. Close
 * it with vmlinux_close(). */
int vmlinux_open(const char *path, struct vmlinux *ret, struct errmsg *why);

/* The same of a file's bytes, which must stay as long. name: for messages. */
int vmlinux_from_bytes(const void *bytes, size_t n, const char *name, struct vmlinux *ret,
		       struct errmsg *why);

void vmlinux_close(struct vmlinux *v); /* also of one that is all zero but for fd -1 */

/* Where the first symbol of this name was linked. False: it has none. */
bool vmlinux_find(const struct vmlinux *v, const char *name, uint64_t *ret);

/* Lines of kallsyms at the addresses where the kernel runs, slide above those it was linked at:
 * into the file that the sink has begun. 0, -EINVAL (why) for a slide that moves the kernel out of
 * where kernels can be, or what the sink returned. */
int vmlinux_put_kallsyms(const struct vmlinux *v, uint64_t slide, const struct source_sink *sink,
			 struct errmsg *why);

/* The code, for slide_find(): what it points to lives as long as the file is open. 0; -ENODATA
 * (why) where the file has none, which is what strip --only-keep-debug leaves; -EFBIG; -ENOMEM. */
int vmlinux_code(struct vmlinux *v, struct slide_code *ret, struct errmsg *why);

/* Delivers the files among GUEST_FILE_VERSION, GUEST_FILE_KERNEL_NOTES and GUEST_FILE_BTF that are
 * in want and in it. 0, what the sink returned, or as vmlinux_open(). */
int vmlinux_deliver(const struct vmlinux *v, unsigned want, const struct source_sink *sink,
		    struct errmsg *why);

#endif
