/* Modules as a kernel has them in its memory, and the BTF that says how: for tests.
 *
 * All of it lies in one stretch of memory that the caller has and maps at some address. Each
 * layout is made up, and looks like no real kernel's: offsets must come from the BTF.
 */
#ifndef KVMPROFS_TESTS_MODULEMAKER_H
#define KVMPROFS_TESTS_MODULEMAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/memory/kmodules.h"
#include "symsrc/memory/kstructs.h"

/* As kernels since 5.10, 6.14 and 7.0 have them; and one that cannot unload modules, has no
 * BPF, and pointers in its exports. */
enum { MODULEMAKER_OLD, MODULEMAKER_NEW, MODULEMAKER_PLAIN, MODULEMAKER_LAYOUTS };
extern const struct kstructs modulemaker_layouts[MODULEMAKER_LAYOUTS]; /* modulelayouts.h */

/* The BTF of a layout, to be freed with free(). */
void *modulemaker_btf(const struct kstructs *s, size_t *ret_len);

struct modulemaker {
	const struct kstructs *s;
	uint8_t *mem; /* not owned */
	uint64_t va;  /* at which mem is mapped */
	size_t size, used;
	struct kmodules_roots roots;
};

/* mem must be zero. Makes the roots: an empty list of modules and one of BPF programs, which
 * are shown. */
void modulemaker_init(struct modulemaker *mm, const struct kstructs *s, void *mem, size_t size,
		      uint64_t va);

/* n zero bytes, 16-aligned; ends the process when there is no room. Returns their address. */
uint64_t modulemaker_alloc(struct modulemaker *mm, size_t n);
void *modulemaker_at(const struct modulemaker *mm, uint64_t va); /* the bytes at an address */
uint64_t modulemaker_u64(const struct modulemaker *mm, uint64_t va);
void modulemaker_put_u64(const struct modulemaker *mm, uint64_t va, uint64_t value);
void modulemaker_put_u32(const struct modulemaker *mm, uint64_t va, uint32_t value);
uint64_t modulemaker_string(struct modulemaker *mm, const char *s);

struct modulemaker_symbol {
	const char *name;
	uint64_t value;
	char type;
	bool exported;
};

struct modulemaker_module {
	const char *name;
	const struct modulemaker_symbol *symbols; /* that of index 0, without a name, is added */
	size_t count;
	uint64_t base;
	uint32_t size; /* of its core */
	uint32_t state;
	uint32_t use_count; /* as it is shown */
	uint64_t taints;
	bool permanent;
	const void *note;
	size_t note_len; /* 0: it has other notes alone */
};

/* Puts it at the end of the list. Returns its struct module's address. */
uint64_t modulemaker_add(struct modulemaker *mm, const struct modulemaker_module *m);
void modulemaker_remove(struct modulemaker *mm, uint64_t module);

/* user uses module; returns the struct module_use. */
uint64_t modulemaker_use(struct modulemaker *mm, uint64_t module, uint64_t user);

uint64_t modulemaker_add_bpf(struct modulemaker *mm, const char *name, uint64_t start);

/* An ftrace_ops; 0: one without a trampoline. */
uint64_t modulemaker_add_trampoline(struct modulemaker *mm, uint64_t start);

/* A page of kprobes, of one of their two caches. */
uint64_t modulemaker_add_kprobes(struct modulemaker *mm, enum kmodules_root cache, uint64_t start);

/* The links of a list head or entry. */
void modulemaker_list_init(const struct modulemaker *mm, uint64_t head);
void modulemaker_list_add_tail(const struct modulemaker *mm, uint64_t head, uint64_t entry);

#endif
