/* What QEMU tells over QMP of where its guest sees RAM: parsers of its answers. Pure.
 *
 * The text is that of `info mtree -f` (mtree_print_flatview() in QEMU's softmmu/memory.c), which
 * is for people and may change: what is not understood is left out, and no blocks at all means
 * that the rules of vmmmaps.h have to do.
 */
#ifndef KVMPROFS_VMMBLOCKS_H
#define KVMPROFS_VMMBLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/guest.h"

/* A stretch of the guest's address space. */
struct vmm_range {
	uint64_t gpa;
	uint64_t len;
};

/* The blocks of RAM in the view that is called "memory", ascending, hva 0: base_bytes of base
 * memory, and what lies in the given memory devices. A block may include the hole below 1 MiB
 * for VGA and firmware. Returns how many there are; 0 when there is more base memory than is
 * listed, or it is not understood. text ends with a NUL. */
size_t vmmblocks_parse(const char *text, uint64_t base_bytes, const struct vmm_range *devices,
		       size_t device_count,
		       struct guest_ram_block ret[static GUEST_RAM_BLOCKS_MAX]);

/* "Host virtual address for 0x100000 (pc.ram) is 0x7f0fb3f00000", as gpa2hva answers. */
bool vmmblocks_parse_hva(const char *text, uint64_t *ret);

#endif
