/* A bounded table of how often each (address, vCPU) was hit. Open addressing; grows by
 * doubling up to a number of entries, and within a budget that all tables share. What
 * finds no room is refused, never evicted: the caller counts it. No lock of its own.
 *
 * Where samples stand for different numbers of events (a recording's), the table has a weight for
 * each entry beside its count.
 */
#ifndef KVMPROFS_COUNTS_H
#define KVMPROFS_COUNTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/retired.h"

#define COUNTS_ENTRIES_MAX 131072

/* 16 bytes. count 0: the slot is free. */
struct counts_entry {
	uint64_t ip;
	uint64_t count : 48;
	uint64_t vcpu : 16;
};

/* Bytes that all tables together may still take. Shared by threads. */
struct counts_budget {
	atomic_size_t left;
};
bool counts_budget_take(struct counts_budget *b, size_t bytes); /* false: there are not so many */
void counts_budget_return(struct counts_budget *b, size_t bytes);

struct counts {
	struct counts_entry *slots;
	size_t slot_count; /* 0 or a power of 2 */
	uint64_t *weights; /* a slot's; NULL: of a table without */
	size_t used;
	size_t most; /* entries */
	bool weighted;
	uint64_t seed; /* a guest chooses its addresses, but not where they go */
	struct counts_budget *budget;
};

/* Allocates nothing. The budget must outlive the table. */
void counts_init(struct counts *c, struct counts_budget *budget, uint64_t seed);
/* The same with weights, up to so many entries. */
void counts_init_weighted(struct counts *c, struct counts_budget *budget, uint64_t seed,
			  size_t most);
void counts_deinit(struct counts *c);

/* False when there is no room for a new entry. */
bool counts_add(struct counts *c, uint64_t ip, unsigned vcpu);

/* The same for n samples of that weight in all, of a table with weights. */
bool counts_add_weighted(struct counts *c, uint64_t ip, unsigned vcpu, uint64_t n, uint64_t weight);

/* Marks what retired_move(r, since, ip) does. Of a table without weights. False when out of memory:
 * nothing has changed. */
bool counts_retire(struct counts *c, const struct retired *r, uint32_t since);

/* Gives the vCPUs other numbers: numbers[v] is the new one of each v in the table, another one for
 * each. In place: entries are not where they are looked for any more, so that from now on the table
 * is only good for counts_copy(). */
void counts_renumber(struct counts *c, const uint16_t *numbers);

/* Has the processor fetch what counts_add() of the same would wait for. */
void counts_prefetch(const struct counts *c, uint64_t ip, unsigned vcpu);

/* Copies the entries, in no order, to where c->used of them fit; and their weights where weights is
 * not NULL. Returns their number. */
size_t counts_copy(const struct counts *c, struct counts_entry *to, uint64_t *weights);

#endif
