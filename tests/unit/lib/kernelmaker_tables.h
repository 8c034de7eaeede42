/* The part of kernelmaker that makes the tables of kallsyms; see kernelmaker.h. */
#ifndef KVMPROFS_TESTS_KERNELMAKER_TABLES_H
#define KVMPROFS_TESTS_KERNELMAKER_TABLES_H

#include "tests/unit/lib/kernelmaker.h"

struct kernelmaker_table;

struct kernelmaker_table *kernelmaker_table_create(void);
void kernelmaker_table_destroy(struct kernelmaker_table *t);

void kernelmaker_table_add(struct kernelmaker_table *t, uint64_t address, char type,
			   const char *name);

/* So many functions between two addresses, with names like a kernel's; a few of them have up to
 * longest letters at random. */
void kernelmaker_table_add_fillers(struct kernelmaker_table *t, uint64_t from, uint64_t to,
				   unsigned count, unsigned longest);

/* Sorts and compresses them, puts the tables into km's image, and fills what km says of them. */
void kernelmaker_table_write(struct kernelmaker_table *t, struct kernelmaker *km);

#endif
