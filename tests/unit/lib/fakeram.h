/* A guest's RAM made of nothing: bytes from guest-physical 0 on, page tables, places that cannot
 * be read. */
#ifndef KVMPROFS_TESTS_FAKERAM_H
#define KVMPROFS_TESTS_FAKERAM_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/memory/ram.h"

struct fakeram {
	uint8_t *bytes;
	size_t size;
	uint64_t next_table; /* where the next page table goes */
	/* Reads that touch [bad_from, bad_to) fail with bad_error; 0: none. */
	uint64_t bad_from, bad_to;
	int bad_error;
	uint64_t hole_from, hole_to; /* ops->next leaves it out */
	unsigned reads;		     /* so far */
	uint64_t last_end;	     /* of the last read */
	struct ram ram;
};

/* size: whole pages. Tables of fakeram_map() are put below it, downwards. */
void fakeram_init(struct fakeram *f, size_t size);
void fakeram_deinit(struct fakeram *f);

void fakeram_put(struct fakeram *f, uint64_t gpa, const void *bytes, size_t n);
void fakeram_put_u64(struct fakeram *f, uint64_t gpa, uint64_t v);
uint64_t fakeram_get_u64(const struct fakeram *f, uint64_t gpa);

/* An empty page table; its address. */
uint64_t fakeram_table(struct fakeram *f);

/* Maps the page of 1 << shift bytes (shift 12, 21 or 30) at va, with tables as needed. root:
 * fakeram_table() or any page. */
void fakeram_map(struct fakeram *f, uint64_t root, unsigned levels, uint64_t va, uint64_t pa,
		 unsigned shift);

#endif
