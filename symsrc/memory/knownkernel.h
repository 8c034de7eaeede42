/* Where does a kernel run that is known from its file? For one whose own symbols cannot be read
 * out of memory (CONFIG_KALLSYMS=n): the places where kernels are found (findkernel.h) are looked
 * at for its notes, whose build-id no other kernel has. */
#ifndef KVMPROFS_MEMORY_KNOWNKERNEL_H
#define KVMPROFS_MEMORY_KNOWNKERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/memory/ram.h"
#include "symsrc/notes.h"

/* By its file; addresses are those it was linked at. */
struct known_kernel {
	uint64_t text; /* of _text */
	uint64_t notes_va;
	const void *notes;
	size_t notes_len;
};

/* How far above where it was linked it runs. quick: as kernel_read(). 0; -ENOENT: it is not there,
 * and *other is the build-id of another one that VMCOREINFO tells of (len 0: of none); -ENOTUNIQ:
 * it lies there more than once, at different places; or as find_by_scan(). */
int knownkernel_find(struct ram *ram, const struct known_kernel *known, bool quick,
		     uint64_t *ret_slide, struct build_id *other);

#endif
