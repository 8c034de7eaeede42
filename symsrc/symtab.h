/* An immutable symbol table: addresses in, names out.
 *
 * The table is one block of memory without pointers into it (offsets only), so that it can be
 * handed from one process to another and be checked there. Names are not copied: they are
 * offsets into one arena, the kallsyms text that the table was made from.
 *
 * Lookup assumes that a symbol reaches to the next higher one of the same object. The last one
 * before another object's (or before 64 MB without any) ends where /proc/modules says that its
 * module does, else, as perf guesses, between one and two pages later; what lies behind it is
 * covered by no symbol. Nothing is covered by _etext, _einittext and _end, by absolute symbols
 * (types A and a: per-CPU offsets and constants), by undefined ones and debug sections (U, N),
 * by mapping symbols and local labels ($x, .L1), nor by whatever lies in the lower half of an
 * address space whose kernel is in the upper one. All other types are kept, also those that
 * perf leaves out (R, V, ...): an address in a table of constants is better named than not.
 *
 * Of several symbols at one address one is kept: a type that perf knows (TtWwDdBb) before
 * others, global before local before weak, fewer leading underscores, not "__ia32_", longer name,
 * first in the text. The others are found by name only. The rules are perf's
 * (tools/perf/util/symbol.c, choose_best_symbol()), but perf 6.1 does not get to them: it gives
 * all aliases but the last of the text a length of 0 before it chooses, and prefers what has a
 * length. So memcpy is "memcpy" here and "__pi_memcpy" in its report.
 *
 * The builder belongs to one thread. A finished table is read by any number of threads without
 * a lock.
 */
#ifndef KVMPROFS_SYMTAB_H
#define KVMPROFS_SYMTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/blobpool.h"

#define SYMTAB_SYMBOLS_MAX (2u << 20) /* a few times the largest distribution kernel */
#define SYMTAB_NAME_MAX	   511	      /* KSYM_NAME_LEN - 1 since Linux 6.1 */
#define SYMTAB_OBJECTS_MAX 8192	      /* modules, and [bpf] and the like; and the kernel */

struct symtab;

/* What covers an address. The strings are not NUL-terminated; they live as long as the arena. */
struct symtab_hit {
	uint64_t start; /* the symbol's address */
	const char *name;
	const char *object; /* module name, or NULL for the kernel itself */
	uint16_t name_len;
	uint16_t object_len;
	char type; /* as in kallsyms */
};

/* Finds the symbol that covers addr. False when none does. No lock, no allocation. */
bool symtab_find(const struct symtab *t, uint64_t addr, struct symtab_hit *ret);

/* The same for many addresses in ascending order: it goes on where the last one was found, which
 * takes a step or two. *cursor: 0 at first. */
bool symtab_find_next(const struct symtab *t, uint64_t addr, size_t *cursor,
		      struct symtab_hit *ret);

/* Goes through what covers addresses and is no part of the kernel itself (modules, [bpf]), in
 * ascending order; *cursor: 0 at first. *ret_end: where it ends. False: there are no more. */
bool symtab_next_of_object(const struct symtab *t, size_t *cursor, struct symtab_hit *ret,
			   uint64_t *ret_end);

/* Finds a symbol of the kernel itself by name ("_text"), also one that covers nothing. Linear:
 * for rare use. */
bool symtab_find_name(const struct symtab *t, const char *name, uint64_t *ret_addr);

size_t symtab_count(const struct symtab *t); /* symbols that lookups can return */
size_t
symtab_memory(const struct symtab *t); /* bytes, without the arena; of a shared one its part */
void symtab_destroy(struct symtab *t); /* accepts NULL */

/* Has a table that nobody else knows yet share its block with equal ones. arena: where the same
 * text is from now on. */
void symtab_share(struct symtab *t, struct blobpool *pool, const char *arena);

/* Building. arena: the whole text; it must outlive the table and never move. */
struct symtab_builder;
struct symtab_builder *symtab_builder_create(void);
void symtab_builder_destroy(struct symtab_builder *b); /* accepts NULL */

/* name_off, object_off: offsets into the arena; object_len 0: the kernel itself. Any order; the
 * order of addresses costs least. 0, -ENOMEM, or -E2BIG past SYMTAB_SYMBOLS_MAX. */
int symtab_builder_add(struct symtab_builder *b, uint64_t addr, char type, uint32_t name_off,
		       uint16_t name_len, uint32_t object_off, uint16_t object_len);

/* A module's memory, from /proc/modules: bounds its last symbol. 0, -ENOMEM, -E2BIG past
 * SYMTAB_OBJECTS_MAX, -EINVAL for a name of more than 255 bytes. */
int symtab_builder_add_module(struct symtab_builder *b, const char *name, uint64_t base,
			      uint64_t size);

/* Sorts and freezes. The builder is empty afterwards, also on failure, and still to be
 * destroyed. 0, -ENOMEM, -E2BIG past SYMTAB_OBJECTS_MAX, -EINVAL for an offset outside the
 * arena, a name of more than SYMTAB_NAME_MAX or a type that is no ASCII. */
int symtab_builder_finish(struct symtab_builder *b, const char *arena, size_t arena_len,
			  struct symtab **ret);

#endif
