/* Names of what has gone from a guest's kernel while it ran on: modules that were unloaded, or
 * moved, and what else is named by an object ([bpf]). Their addresses are given to others, so that
 * a sample of before would get the name of whoever lies there now.
 *
 * Whenever a boot's table is replaced, the symbols that the new one does not have at the same place
 * become a set with a number: 1 is the first of that boot. What was counted at their addresses
 * until then is to be *marked*: in place of the address stands one that no processor has (it is not
 * canonical), which says the set and the address within it. So marked samples and those of the new
 * owner are different ones wherever addresses are compared.
 *
 * Immutable once made, and reference-counted; read from any thread without a lock.
 */
#ifndef KVMPROFS_RETIRED_H
#define KVMPROFS_RETIRED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/symtab.h"

/* Of a boot; beyond, the oldest lose their names. A module has some hundred symbols of 60 bytes. */
#define RETIRED_SETS_MAX   256
#define RETIRED_MEMORY_MAX (4u << 20)
#define RETIRED_NUMBER_MAX 0x3fff /* later sets have no names at all */

/* Bits 63 and 62 are 01, then come 14 of the set's number, and 48 of the address. */
static inline bool retired_is_marked(uint64_t ip)
{
	return ip >> 62 == 1;
}

/* The address that was marked: kernels and their modules are in what 48 bits can say. */
static inline uint64_t retired_address(uint64_t marked)
{
	return (uint64_t)((int64_t)(marked << 16) >> 16);
}

struct retired;

const struct retired *retired_get(const struct retired *r); /* accepts NULL */
void retired_put(const struct retired *r);		    /* accepts NULL */
size_t retired_size(const struct retired *r);		    /* bytes; NULL: 0 */

/* Of the newest set; NULL: 0. */
uint32_t retired_number(const struct retired *r);

/* What is retired when `now` comes after `old`; before: what was until then, or NULL. *ret has a
 * reference for the caller; it is `before` when nothing has gone, NULL when nothing ever had.
 * 0 or -ENOMEM. */
int retired_make(const struct retired *before, const struct symtab *old, const struct symtab *now,
		 const struct retired **ret);

/* An address that was sampled before the sets later than number `since` were made: marked where one
 * of them had it, else itself; also itself where it is marked already. r may be NULL. */
uint64_t retired_move(const struct retired *r, uint32_t since, uint64_t ip);

/* What had a marked address. False when that is forgotten. r may be NULL; the names live as long as
 * it does. */
bool retired_find(const struct retired *r, uint64_t marked, struct symtab_hit *ret);

#endif
