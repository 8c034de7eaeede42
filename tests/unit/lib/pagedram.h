/* A guest's RAM with page tables in it, for tests of what reads through them. */
#ifndef KVMPROFS_TESTS_PAGEDRAM_H
#define KVMPROFS_TESTS_PAGEDRAM_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/memory/paging.h"
#include "symsrc/memory/ram.h"

struct pagedram {
	uint8_t *bytes; /* from guest-physical 0 */
	size_t size;
	uint64_t root;	 /* of four levels */
	uint64_t window; /* where the memory begins that is mapped */
	unsigned long reads;
	/* Called before each read, for a guest that changes meanwhile; its error is that of
	 * the read. */
	int (*before)(void *ctx, unsigned long read);
	void *ctx;
	struct ram ram;
	struct paging paging;
};

/* size bytes of zeros, mapped at va (both of whole pages; va within 1 GiB). */
void pagedram_init(struct pagedram *r, uint64_t va, size_t size);
void pagedram_deinit(struct pagedram *r);

/* What is mapped at va. */
uint8_t *pagedram_window(const struct pagedram *r);

/* As freshly opened: nothing cached, a full budget. */
void pagedram_reopen(struct pagedram *r);

#endif
