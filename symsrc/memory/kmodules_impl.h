/* What kmodules*.c share. */
#ifndef KVMPROFS_MEMORY_KMODULES_IMPL_H
#define KVMPROFS_MEMORY_KMODULES_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "symsrc/base/buf.h"
#include "symsrc/memory/kmodules.h"
#include "symsrc/modules.h"
#include "symsrc/symtab.h"

/* enum module_state, since 3.8 */
enum { STATE_LIVE, STATE_COMING, STATE_GOING, STATE_UNFORMED };

/* struct mod_kallsyms */
struct ktables {
	uint64_t symtab, strtab, typetab; /* typetab 0: there is none */
	uint32_t count;
};

struct kmodule {
	/* Of struct module itself. */
	uint64_t va;
	char name[MODULE_NAME_MAX];
	uint32_t state;
	uint32_t size;
	uint64_t base;
	uint64_t taints;
	int32_t use_count;
	bool permanent;	    /* has an init and no exit */
	uint64_t first_use; /* source_list.next */
	uint64_t kallsyms, syms, notes_attrs;
	uint32_t num_syms;
	bool has_tables; /* kallsyms lies in struct module, as it does when it is loaded: */
	struct ktables tables;

	/* Of what hangs on it: first and number of entries in kmodules.uses and .exports;
	 * offsets in kmodules.bytes. */
	uint32_t uses, uses_count;
	uint32_t exports, exports_count;
	uint32_t symtab, symbols_count; /* Elf64_Sym */
	uint32_t types;			/* a byte per symbol */
	uint32_t strings, strings_len;	/* a NUL is the last */
	uint32_t note, note_len;	/* note_len 0: none */
};

/* A symbol that the module exports. Those of one module ascend by value, then by name. */
struct kexport {
	uint64_t value;
	uint32_t name; /* offset in kmodules.bytes */
};

/* A symbol of no module: a BPF program and its like. */
struct kextra {
	uint64_t value;
	const char *module; /* what it is listed as */
	const char *shared; /* its name; NULL: it has one of its own */
	uint32_t name;	    /* offset in kmodules.bytes */
};

struct kmodules {
	struct kmodule *list; /* as the kernel has it */
	size_t count;
	uint32_t *uses; /* indexes in list */
	size_t uses_count;
	struct kexport *exports;
	size_t exports_count;
	size_t symbols_count;
	struct kextra *extra;
	size_t extra_count;
	struct buf bytes;
	uint32_t name_max; /* of a symbol: KSYM_NAME_LEN - 1 */
	bool can_unload;   /* CONFIG_MODULE_UNLOAD */
	struct kmodules_mark mark;
};

/* What reading needs. */
struct kmodules_reader {
	struct paging *p;
	const struct kstructs *s;
	const struct kmodules_roots *roots;
	struct kmodules *m; /* being made */
	const char *what;   /* is being read, for messages */
	const char *of;	    /* which module's, or "" */
	uint8_t raw[KSTRUCT_SIZE_MAX];
};

/* An entry of raw, which holds one structure. */
static inline uint64_t raw_u64(const struct kmodules_reader *r, uint32_t offset)
{
	uint64_t v;

	memcpy(&v, r->raw + offset, sizeof(v));
	return v;
}

static inline uint32_t raw_u32(const struct kmodules_reader *r, uint32_t offset)
{
	uint32_t v;

	memcpy(&v, r->raw + offset, sizeof(v));
	return v;
}

static inline const char *kmodules_name(const struct kmodules *m, uint32_t at)
{
	return m->bytes.data + at;
}

/* An error that the guest's data has caused and not the reading of it: a module that vanished
 * meanwhile, or a forged one. */
bool kmodules_is_bad_data(int err);

/* Reads n bytes at va behind what m->bytes holds already. -EBADMSG: more than its maximum. */
int kmodules_take(struct kmodules_reader *r, uint64_t va, uint64_t n, uint32_t *ret_at);

/* The same for strings that begin between lo and hi: up to the end of the one at hi, of which
 * at most name_max + 1 bytes are taken. A NUL follows. */
int kmodules_take_strings(struct kmodules_reader *r, uint64_t lo, uint64_t hi, uint32_t *ret_at);

/* The struct mod_kallsyms that is in raw at this offset. */
void kmodules_take_tables(const struct kmodules_reader *r, uint32_t offset, struct ktables *ret);

/* Fill in what hangs on a module. */
int kmodules_read_symbols(struct kmodules_reader *r, struct kmodule *mod);
int kmodules_read_exports(struct kmodules_reader *r, struct kmodule *mod);
int kmodules_read_note(struct kmodules_reader *r, struct kmodule *mod);

/* What is listed behind the modules. A list that makes no sense is left out; an error only of
 * the reading itself. */
int kmodules_read_extra(struct kmodules_reader *r);

#endif
