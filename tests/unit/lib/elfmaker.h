/* Makes a kernel's ELF file in memory, by libelf: sections, notes and symbols as a test wants them.
 * Fails the test when it cannot. */
#ifndef KVMPROFS_TESTS_ELFMAKER_H
#define KVMPROFS_TESTS_ELFMAKER_H

#include <stddef.h>
#include <stdint.h>

enum elfmaker_section {
	ELFMAKER_UNDEF,
	ELFMAKER_TEXT,	  /* .text, at 0xffffffff81000000 */
	ELFMAKER_RODATA,  /* .rodata at 0xffffffff82000000 */
	ELFMAKER_NOTES,	  /* .notes at 0xffffffff82100000 */
	ELFMAKER_DATA,	  /* .data at 0xffffffff82200000 */
	ELFMAKER_BSS,	  /* .bss at 0xffffffff82300000 */
	ELFMAKER_PERCPU,  /* .data..percpu at 0 */
	ELFMAKER_COMMENT, /* of no place in the kernel */
	ELFMAKER_SECTIONS,
	ELFMAKER_ABS = 0xfff1,
};

#define ELFMAKER_BANNER 0xffffffff82000100 /* "Linux version 6.1.0-test ..." stands there */

struct elfmaker_symbol {
	const char *name;
	uint64_t addr;
	unsigned section; /* enum elfmaker_section */
	unsigned bind;	  /* STB_ of elf.h; 0: local */
	unsigned kind;	  /* STT_; 0: none */
};

struct elfmaker_options {
	const void *notes; /* NULL: an empty section */
	size_t notes_len;
	unsigned machine; /* 0: EM_X86_64 */
	int without_symtab;
	uint64_t text_va;  /* where .text is; 0: as above */
	uint64_t notes_va; /* likewise */
	const struct elfmaker_symbol *symbols;
	size_t count;
};

/* The file's bytes, to be freed. */
void *elfmaker_create(const struct elfmaker_options *o, size_t *ret_len);

#endif
