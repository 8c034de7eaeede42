/* An immutable symbol table: addresses in, names out.
 *
 * The table is one block of memory without pointers into it (offsets only), so that it can be
 * handed from one process to another and be checked there. Names are not copied: they are
 * offsets into one arena, the kallsyms text that the table was made from.
 *
 * Lookup assumes that a symbol reaches to the next higher one of the same object, or to the
 * object's end; gaps between objects are covered by no symbol. Of several symbols at one
 * address the one that perf would show is kept (global before weak before local, fewer leading
 * underscores, longer name: tools/perf/util/symbol.c, choose_best_symbol()).
 *
 * The builder belongs to one thread. A finished table is read by any number of threads without
 * a lock.
 */
#ifndef KVMPROFS_SYMTAB_H
#define KVMPROFS_SYMTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYMTAB_SYMBOLS_MAX (2u << 20) /* a few times the largest distribution kernel */
#define SYMTAB_NAME_MAX	   511	      /* KSYM_NAME_LEN - 1 since Linux 6.1 */

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

/* Finds a symbol of the kernel itself by name ("_text"). Linear: for rare use. */
bool symtab_find_name(const struct symtab *t, const char *name, uint64_t *ret_addr);

size_t symtab_count(const struct symtab *t);  /* symbols that lookups can return */
size_t symtab_memory(const struct symtab *t); /* bytes, without the arena */
void symtab_destroy(struct symtab *t);	      /* accepts NULL */

/* Building. arena: the whole text; it must outlive the table and never move. */
struct symtab_builder;
struct symtab_builder *symtab_builder_create(void);
void symtab_builder_destroy(struct symtab_builder *b); /* accepts NULL */

/* name_off, object_off: offsets into the arena; object_len 0: the kernel itself. 0, -ENOMEM,
 * or -E2BIG past SYMTAB_SYMBOLS_MAX. */
int symtab_builder_add(struct symtab_builder *b, uint64_t addr, char type, uint32_t name_off,
		       uint16_t name_len, uint32_t object_off, uint16_t object_len);

/* A module's memory, from /proc/modules: bounds its last symbol. */
int symtab_builder_add_module(struct symtab_builder *b, const char *name, uint64_t base,
			      uint64_t size);

/* Sorts and freezes. The builder is empty afterwards and still to be destroyed. arena_len
 * bounds all offsets; one outside is -EINVAL. */
int symtab_builder_finish(struct symtab_builder *b, const char *arena, size_t arena_len,
			  struct symtab **ret);

#endif
