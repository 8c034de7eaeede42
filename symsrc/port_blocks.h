/* An earlier kallsyms by blocks (symsrc/guest-helper/blocks.h), for a guest that sends only those
 * that are others now. Pure. */
#ifndef KVMPROFS_PORT_BLOCKS_H
#define KVMPROFS_PORT_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/buf.h"
#include "symsrc/guest-helper/protocol.h"

struct port_blocks {
	const char *text; /* not owned */
	size_t count;	  /* at most PORT_HAVE_MAX; what is behind them is not known */
	size_t start[PORT_HAVE_MAX + 1];
	uint64_t digest[PORT_HAVE_MAX];
};

/* Cuts it. The text must outlive b. */
void port_blocks_make(struct port_blocks *b, const char *text, size_t n);

/* The lines of protocol.h that tell the guest of them. */
void port_blocks_lines(const struct port_blocks *b, struct buf *to);

/* The bytes of count blocks from the one numbered first on. NULL: there are no such. */
const char *port_blocks_find(const struct port_blocks *b, uint32_t first, uint32_t count,
			     size_t *ret_n);

#endif
