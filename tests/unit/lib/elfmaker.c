#include "tests/unit/lib/elfmaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"

#define STRINGS_MAX 1024
#define SPACE	    0x600

static const char banner[] = "Linux version 6.1.0-test (a@b) (gcc) #1 SMP\n";

static const struct {
	const char *name;
	unsigned type;
	uint64_t flags, addr;
} sections[ELFMAKER_SECTIONS] = {
	[ELFMAKER_TEXT] = {".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 0xffffffff81000000},
	[ELFMAKER_RODATA] = {".rodata", SHT_PROGBITS, SHF_ALLOC, 0xffffffff82000000},
	[ELFMAKER_NOTES] = {".notes", SHT_NOTE, SHF_ALLOC, 0xffffffff82100000},
	[ELFMAKER_DATA] = {".data", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, 0xffffffff82200000},
	[ELFMAKER_BSS] = {".bss", SHT_NOBITS, SHF_ALLOC | SHF_WRITE, 0xffffffff82300000},
	[ELFMAKER_PERCPU] = {".data..percpu", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, 0},
	[ELFMAKER_COMMENT] = {".comment", SHT_PROGBITS, 0, 0},
};

/* A file that is being made. */
struct making {
	const struct elfmaker_options *o;
	Elf *elf;
	char *strings;
	size_t used;
	Elf64_Sym *symbols;
	char *space;
};

static uint32_t put_string(struct making *m, const char *s)
{
	uint32_t at = (uint32_t)m->used;

	assert_true(m->used + strlen(s) < STRINGS_MAX);
	memcpy(m->strings + at, s, strlen(s) + 1);
	m->used += strlen(s) + 1;
	return at;
}

static Elf64_Shdr *add_section(const struct making *m, const char *name, unsigned type, void *bytes,
			       size_t n)
{
	Elf_Scn *scn = elf_newscn(m->elf);
	Elf_Data *d = scn ? elf_newdata(scn) : NULL;
	Elf64_Shdr *h = scn ? elf64_getshdr(scn) : NULL;

	assert_non_null(d);
	assert_non_null(h);
	d->d_buf = bytes;
	d->d_size = n;
	d->d_type = type == SHT_SYMTAB ? ELF_T_SYM : ELF_T_BYTE;
	d->d_version = EV_CURRENT;
	d->d_align = 8;
	h->sh_type = type;
	h->sh_name = put_string((struct making *)m, name);
	return h;
}

static void add_sections(const struct making *m)
{
	for (unsigned i = 1; i < ELFMAKER_SECTIONS; i++) {
		const void *bytes = m->space;
		size_t n = SPACE;
		Elf64_Shdr *h;

		if (i == ELFMAKER_NOTES) {
			bytes = m->o->notes;
			n = m->o->notes_len;
		}
		h = add_section(m, sections[i].name, sections[i].type, (void *)bytes, n);
		h->sh_flags = sections[i].flags;
		h->sh_addr = sections[i].addr;
		if (i == ELFMAKER_TEXT && m->o->text_va)
			h->sh_addr = m->o->text_va;
		if (i == ELFMAKER_NOTES && m->o->notes_va)
			h->sh_addr = m->o->notes_va;
	}
}

static void add_symbols(const struct making *m)
{
	Elf64_Shdr *h;

	for (size_t i = 0; i < m->o->count; i++) {
		const struct elfmaker_symbol *s = &m->o->symbols[i];

		m->symbols[i + 1] = (Elf64_Sym){
			.st_name = put_string((struct making *)m, s->name),
			.st_value = s->addr,
			.st_shndx = (Elf64_Section)s->section,
			.st_info = (unsigned char)ELF64_ST_INFO(s->bind, s->kind),
		};
	}
	h = add_section(m, ".symtab", SHT_SYMTAB, m->symbols,
			(m->o->count + 1) * sizeof(Elf64_Sym));
	h->sh_entsize = sizeof(Elf64_Sym);
	h->sh_link = ELFMAKER_SECTIONS + 1;
}

static void fill(struct making *m)
{
	Elf64_Ehdr *h = elf64_newehdr(m->elf);

	assert_non_null(h);
	h->e_ident[EI_DATA] = ELFDATA2LSB;
	h->e_machine = (Elf64_Half)(m->o->machine ? m->o->machine : EM_X86_64);
	h->e_type = ET_EXEC;
	h->e_version = EV_CURRENT;
	put_string(m, "");
	add_sections(m);
	if (!m->o->without_symtab)
		add_symbols(m);
	add_section(m, ".strtab", SHT_STRTAB, m->strings, STRINGS_MAX);
	h->e_shstrndx = (Elf64_Half)(ELFMAKER_SECTIONS + !m->o->without_symtab);
	assert_true(elf_update(m->elf, ELF_C_WRITE) > 0);
}

static void *take_file(int fd, size_t *ret_len)
{
	off_t n = lseek(fd, 0, SEEK_END);
	void *bytes = malloc((size_t)n);

	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, (size_t)n, 0), n);
	*ret_len = (size_t)n;
	return bytes;
}

void *elfmaker_create(const struct elfmaker_options *o, size_t *ret_len)
{
	CLEANUP_FD int fd = memfd_create("elfmaker", MFD_CLOEXEC);
	struct making m = {.o = o};
	void *bytes;

	elf_version(EV_CURRENT);
	m.elf = elf_begin(fd, ELF_C_WRITE, NULL);
	m.strings = calloc(1, STRINGS_MAX);
	m.symbols = calloc(o->count + 1, sizeof(*m.symbols));
	m.space = calloc(1, SPACE);
	assert_true(m.elf && m.strings && m.symbols && m.space);
	memcpy(m.space + 0x100, banner, sizeof(banner));
	fill(&m);
	elf_end(m.elf);
	bytes = take_file(fd, ret_len);
	free(m.strings);
	free(m.symbols);
	free(m.space);
	return bytes;
}
