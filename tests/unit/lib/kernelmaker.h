/* Forges the RAM of a guest in which a small Linux kernel runs: an image with symbols and the
 * tables of kallsyms, compressed as scripts/kallsyms.c does it, in each layout and encoding that
 * there has been; page tables; what else a kernel is found and recognised by.
 *
 * The image, by offsets from _text (KERNELMAKER_...): text, read-only data with the banner, the
 * notes, kallsyms and BTF, data with init_top_pgt, init_uts_ns and the variables that kernel.c and
 * kmodules.c look at (the list of modules is empty). Behind it is room for page tables and
 * whatever a test puts there. Text and read-only data are mapped by pages of 2 MiB, data by 4 KiB.
 *
 * Knows no cmocka, since a fuzzer uses it, too. Ends the process when memory is out or an option
 * makes no sense.
 */
#ifndef KVMPROFS_TESTS_KERNELMAKER_H
#define KVMPROFS_TESTS_KERNELMAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/memory/findkernel.h"
#include "symsrc/memory/image.h"
#include "symsrc/memory/kmodules.h"
#include "symsrc/memory/ram.h"

#define KERNELMAKER_LOW_SIZE (1u << 20) /* RAM below 1 MiB; the rest begins with the image */

#define KERNELMAKER_RODATA 0x200000u
#define KERNELMAKER_BANNER 0x200200u
#define KERNELMAKER_NOTES  0x200400u
#define KERNELMAKER_TABLES 0x210000u /* of kallsyms */
#define KERNELMAKER_BTF	   0x300000u
#define KERNELMAKER_DATA   0x400000u
#define KERNELMAKER_PGT	   0x402000u /* init_top_pgt */
#define KERNELMAKER_UTS	   0x410040u /* init_uts_ns */
#define KERNELMAKER_VARS   0x420000u /* one every 64 bytes */
#define KERNELMAKER_FREE   0x480000u /* the test's own, up to the end */
#define KERNELMAKER_END	   0x600000u
#define KERNELMAKER_ROOM   0x300000u /* behind the image, for kernelmaker_alloc() */

enum kernelmaker_order {
	KERNELMAKER_BEFORE, /* to 6.3: addresses, num_syms, names, ... */
	KERNELMAKER_BEHIND, /* 6.4 and newer: ..., token_index, addresses */
};

enum kernelmaker_meaning {
	KERNELMAKER_ABSOLUTE, /* to 4.5 */
	KERNELMAKER_PERCPU,   /* 4.6 to 6.14 */
	KERNELMAKER_RELATIVE, /* 6.15 to 6.19, and without SMP since 4.6 */
	KERNELMAKER_PLACE,    /* 7.0 and newer */
};

enum kernelmaker_seqs {
	KERNELMAKER_SEQS_NONE,
	KERNELMAKER_SEQS_MIDDLE, /* between markers and token_table: 6.2, 6.3 and ported back */
	KERNELMAKER_SEQS_FIRST,	 /* between token_index and the offsets: nobody has that yet */
	KERNELMAKER_SEQS_LAST,	 /* 6.4 and newer */
};

struct kernelmaker_symbol {
	const char *name;
	char type;
	uint32_t offset; /* from _text */
};

struct kernelmaker_options {
	char release[64];
	/* How the tables are laid out. */
	enum kernelmaker_order order;
	enum kernelmaker_meaning meaning;
	enum kernelmaker_seqs seqs;
	unsigned align;	       /* of each table: 8, or since 7.0 4 */
	unsigned marker_bytes; /* 8 to 4.19, then 4 */
	bool wide;	       /* lengths from 128 on take two bytes (6.1 and newer) */
	unsigned junk;	       /* bytes of zeros before the addresses, where they do not belong */
	/* Which symbols. */
	unsigned fillers;  /* made up functions */
	unsigned longest;  /* letters of the longest of them, which do not compress; 0: usual */
	unsigned tokens;   /* that stand for several letters; 0: as many as there can be */
	bool data_symbols; /* CONFIG_KALLSYMS_ALL */
	bool own_symbols;  /* those of kallsyms' own tables (6.4 and newer, with the above) */
	const struct kernelmaker_symbol *extra;
	size_t extras;
	/* Where it runs. */
	uint64_t text_va, text_pa;
	unsigned levels;
	/* How it is found. */
	uint64_t trampoline;  /* guest-physical, a page below 1 MiB; 0: none */
	bool vmcoreinfo;      /* at the beginning of a page, and as a note */
	bool info_has_tables; /* it says where kallsyms is (6.0 and newer) */
	unsigned uts_offset;  /* of the names in struct uts_namespace: 4 to 5.10, then 0 */
	/* BTF, which is copied; and where a test has put lists of modules instead (modulemaker.h).
	 */
	const void *btf;
	size_t btf_len;
	const struct kmodules_roots *roots;
};

struct kernelmaker {
	struct kernelmaker_options o;
	uint8_t *low, *main; /* RAM at 0, and at o.text_pa */
	size_t used;	     /* of main */
	uint64_t root;	     /* guest-physical */
	/* Guest-physical addresses of the tables; 0: this layout has none. */
	uint64_t num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs;
	uint64_t tables_end;
	uint32_t count; /* symbols */
	char *kallsyms; /* what /proc/kallsyms says, and its length */
	size_t kallsyms_len;
	char banner[256];
	uint64_t vmcoreinfo; /* guest-physical, of the page */
	/* Called after each read that succeeded, with what was read: may change it, or make the
	 * read fail. NULL: nothing happens. */
	int (*on_read)(void *ctx, uint64_t gpa, void *buf, size_t n);
	void *on_read_ctx;
};

/* What a kernel of this version, from 4.4 to 7.x, looks like: with KASLR, 4 levels, a trampoline
 * and VMCOREINFO. */
struct kernelmaker_options kernelmaker_like(unsigned major, unsigned minor);

struct kernelmaker *kernelmaker_create(const struct kernelmaker_options *o);
void kernelmaker_destroy(struct kernelmaker *km); /* accepts NULL */

extern const struct ram_ops kernelmaker_ops; /* ctx: the kernelmaker */

/* The candidate that each of the ways finds. */
struct kernel_candidate kernelmaker_candidate(const struct kernelmaker *km, enum kernel_way way);

/* Zeroed pages behind the image; and mapping of whole pages of 4 KiB for the kernel. */
uint64_t kernelmaker_alloc(struct kernelmaker *km, size_t bytes);
void kernelmaker_map(struct kernelmaker *km, uint64_t va, uint64_t gpa, size_t bytes);

/* RAM at a guest-physical address; and the kernel's bytes at an offset from _text. */
void *kernelmaker_ram(struct kernelmaker *km, uint64_t gpa);
void *kernelmaker_at(struct kernelmaker *km, uint32_t offset);

#endif
