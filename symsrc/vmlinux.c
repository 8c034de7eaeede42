#include "symsrc/vmlinux.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"
#include "symsrc/memory/image.h"
#include "symsrc/symtab.h"

#define LINES_CHUNK (64u << 10)
#define LINE_MAX    (16 + 3 + SYMTAB_NAME_MAX + 2)

struct vmlinux_symbol {
	uint64_t addr;
	uint32_t name; /* in strings */
	uint32_t order;
	char type;
	bool slides; /* it lies in the kernel's image, which KASLR moves as a whole */
};

/* What a file is being read from. */
struct reading {
	Elf *elf;
	const char *name;
	struct vmlinux *v;
	size_t section_count;
	size_t section_names; /* index of the section */
	Elf_Scn *symtab;
	Elf64_Shdr symtab_header;
	struct errmsg *why;
};

static int malformed(const struct reading *rd, const char *what)
{
	return errmsg_set(rd->why, -EBADMSG, "%s: %s", rd->name, what);
}

/* ---- sections ------------------------------------------------------------------------------- */

/* A copy: libelf's own may lie at any address. */
static bool header_of(Elf *elf, size_t index, Elf64_Shdr *ret)
{
	Elf_Scn *scn = elf_getscn(elf, index);

	return scn && gelf_getshdr(scn, ret);
}

/* "" for one without. */
static const char *name_of(const struct reading *rd, const Elf64_Shdr *h)
{
	const char *name = elf_strptr(rd->elf, rd->section_names, h->sh_name);

	return name ? name : "";
}

static bool find_section(const struct reading *rd, const char *name, Elf64_Shdr *ret)
{
	for (size_t i = 1; i < rd->section_count; i++) {
		if (header_of(rd->elf, i, ret) && ret->sh_type != SHT_NOBITS &&
		    strcmp(name_of(rd, ret), name) == 0)
			return true;
	}
	return false;
}

/* A part of the file; NULL when it is not all there. Lives as long as the file. */
static const void *raw(Elf *elf, uint64_t offset, uint64_t n)
{
	Elf_Data *d;

	if (n == 0 || offset > INT64_MAX || n > INT64_MAX - offset)
		return NULL;
	d = elf_getdata_rawchunk(elf, (int64_t)offset, n, ELF_T_BYTE);
	return d && d->d_buf && d->d_size == n ? d->d_buf : NULL;
}

static int find_symtab(struct reading *rd)
{
	for (size_t i = 1; i < rd->section_count; i++) {
		if (!header_of(rd->elf, i, &rd->symtab_header) ||
		    rd->symtab_header.sh_type != SHT_SYMTAB)
			continue;
		rd->symtab = elf_getscn(rd->elf, i);
		return 0;
	}
	return errmsg_set(rd->why, -ENODATA,
			  "%s: has no symbol table (stripped): the vmlinux of the distribution's "
			  "debug package, or of the build, has one",
			  rd->name);
}

static int read_notes(struct reading *rd)
{
	struct vmlinux *v = rd->v;
	Elf64_Shdr h;

	if (!find_section(rd, ".notes", &h) || h.sh_size == 0)
		return 0;
	if (h.sh_size > GUEST_NOTES_MAX)
		return errmsg_set(rd->why, -EFBIG, "%s: its notes are above the limit of %u bytes",
				  rd->name, GUEST_NOTES_MAX);
	v->notes = raw(rd->elf, h.sh_offset, h.sh_size);
	if (!v->notes)
		return malformed(rd, "its notes are not all there");
	v->notes_len = h.sh_size;
	v->notes_va = h.sh_addr;
	if (notes_build_id(v->notes, v->notes_len, &v->id) < 0)
		v->id.len = 0;
	return 0;
}

/* ---- symbols -------------------------------------------------------------------------------- */

/* bfd, decode_section_type(). */
static char type_by_flags(const Elf64_Shdr *h)
{
	if (h->sh_flags & SHF_EXECINSTR)
		return 't';
	if (h->sh_type == SHT_NOBITS)
		return 'b';
	if (h->sh_flags & SHF_WRITE)
		return 'd';
	return 'r';
}

/* '\0': of no place in the kernel. */
static char section_type(const struct reading *rd, size_t index)
{
	Elf64_Shdr h;

	if (!header_of(rd->elf, index, &h) || !(h.sh_flags & SHF_ALLOC))
		return '\0';
	return type_by_flags(&h);
}

static char global(char type)
{
	static const char local[] = "abdrt";

	return "ABDRT"[strchr(local, type) - local];
}

/* nm(1): the letter of a symbol. */
static char symbol_type(const char *section_types, size_t section_count, const Elf64_Sym *s)
{
	unsigned bind = ELF64_ST_BIND(s->st_info);
	char type;

	if (s->st_shndx >= section_count)
		return '\0';
	type = section_types[s->st_shndx];
	if (!type || bind == STB_LOCAL)
		return type;
	if (bind != STB_WEAK)
		return global(type);
	if (ELF64_ST_TYPE(s->st_info) == STT_OBJECT)
		return 'V';
	return 'W';
}

static bool is_named_kind(const Elf64_Sym *s)
{
	unsigned kind = ELF64_ST_TYPE(s->st_info);

	return s->st_name && s->st_shndx != SHN_UNDEF && s->st_shndx != SHN_ABS &&
	       (kind == STT_NOTYPE || kind == STT_OBJECT || kind == STT_FUNC);
}

/* scripts/kallsyms.c, is_ignored_symbol(), and scripts/mksysmap of the kernel. The tables of
 * kallsyms have no name in it themselves. */
static bool is_ignored(const char *name)
{
	static const char *const begins[] = {
		"$",
		".L",
		"L0",
		"__crc_",
		"__kstrtab_",
		"__kstrtabns_",
		"__kcfi_typeid_",
		"__efistub_",
		"__kvm_nvhe_",
		"kallsyms_offsets",
		"kallsyms_relative_base",
		"kallsyms_num_syms",
		"kallsyms_names",
		"kallsyms_markers",
		"kallsyms_seqs_of_names",
		"kallsyms_token_",
	};

	for (size_t i = 0; i < ARRAY_SIZE(begins); i++) {
		if (strncmp(name, begins[i], strlen(begins[i])) == 0)
			return true;
	}
	return false;
}

/* A name that can stand in a line. strings end with a NUL. */
static bool is_good_name(const char *name)
{
	size_t n = strnlen(name, SYMTAB_NAME_MAX + 1);

	return n > 0 && n <= SYMTAB_NAME_MAX && text_is_word(name, n) && !is_ignored(name);
}

static bool is_in_image(uint64_t addr)
{
	return addr >= IMAGE_VA_START && addr < IMAGE_VA_END;
}

/* One that lies outside of the image is an offset into each CPU's own memory: kallsyms calls
 * those absolute (scripts/kallsyms.c, make_percpus_absolute()). */
static void add_symbol(struct vmlinux *v, const Elf64_Sym *s, char type, uint32_t order)
{
	bool slides = is_in_image(s->st_value);

	if (!slides)
		type = 'A';
	v->symbols[v->count++] = (struct vmlinux_symbol){.addr = s->st_value,
							 .name = s->st_name,
							 .order = order,
							 .type = type,
							 .slides = slides};
}

static int take_symbols(struct reading *rd, const Elf_Data *table, size_t strings_len,
			const char *types)
{
	struct vmlinux *v = rd->v;
	size_t n = table->d_size / sizeof(Elf64_Sym);

	v->symbols = calloc(n < SYMTAB_SYMBOLS_MAX ? n : SYMTAB_SYMBOLS_MAX, sizeof(*v->symbols));
	if (!v->symbols)
		return -ENOMEM;
	for (size_t i = 1; i < n; i++) {
		Elf64_Sym s;
		char type;

		memcpy(&s, (const char *)table->d_buf + i * sizeof(s), sizeof(s));
		type = symbol_type(types, rd->section_count, &s);
		if (!type || !is_named_kind(&s) || s.st_name >= strings_len ||
		    !is_good_name(v->strings + s.st_name))
			continue;
		if (v->count == SYMTAB_SYMBOLS_MAX)
			return errmsg_set(rd->why, -E2BIG, "%s: more than %u symbols", rd->name,
					  SYMTAB_SYMBOLS_MAX);
		add_symbol(v, &s, type, (uint32_t)i);
	}
	return 0;
}

static int compare_symbols(const void *a, const void *b)
{
	const struct vmlinux_symbol *x = a, *y = b;

	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static int check_sizes(const struct reading *rd, const Elf64_Shdr *strings)
{
	const Elf64_Shdr *h = &rd->symtab_header;

	if (strings->sh_type != SHT_STRTAB || h->sh_entsize != sizeof(Elf64_Sym) ||
	    h->sh_size < sizeof(Elf64_Sym) || ((h->sh_flags | strings->sh_flags) & SHF_COMPRESSED))
		return malformed(rd, "its symbol table is none");
	if (h->sh_size > VMLINUX_SYMTAB_MAX || strings->sh_size > VMLINUX_STRTAB_MAX)
		return errmsg_set(rd->why, -EFBIG,
				  "%s: its symbol table is above the limit of %u bytes, or the "
				  "names above %u",
				  rd->name, VMLINUX_SYMTAB_MAX, VMLINUX_STRTAB_MAX);
	return 0;
}

static int read_symbols(struct reading *rd)
{
	Elf64_Shdr strings = {0};
	CLEANUP_FREE char *types = NULL;
	Elf_Data *table;
	int r;

	header_of(rd->elf, rd->symtab_header.sh_link, &strings);
	r = check_sizes(rd, &strings);
	if (r < 0)
		return r;
	rd->v->strings = raw(rd->elf, strings.sh_offset, strings.sh_size);
	table = elf_getdata(rd->symtab, NULL);
	if (!rd->v->strings || rd->v->strings[strings.sh_size - 1] || !table || !table->d_buf ||
	    table->d_size < sizeof(Elf64_Sym))
		return malformed(rd, "its symbol table is not all there");
	types = malloc(rd->section_count);
	if (!types)
		return -ENOMEM;
	for (size_t i = 0; i < rd->section_count; i++)
		types[i] = section_type(rd, i);
	r = take_symbols(rd, table, strings.sh_size, types);
	if (r == 0)
		qsort(rd->v->symbols, rd->v->count, sizeof(*rd->v->symbols), compare_symbols);
	return r;
}

static const struct vmlinux_symbol *find_name(const struct vmlinux *v, const char *name)
{
	for (size_t i = 0; i < v->count; i++) {
		if (strcmp(v->strings + v->symbols[i].name, name) == 0)
			return &v->symbols[i];
	}
	return NULL;
}

bool vmlinux_find(const struct vmlinux *v, const char *name, uint64_t *ret)
{
	const struct vmlinux_symbol *s = find_name(v, name);

	if (s)
		*ret = s->addr;
	return s != NULL;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int check_kind(struct reading *rd)
{
	Elf64_Ehdr h;

	if (elf_kind(rd->elf) != ELF_K_ELF)
		return errmsg_set(rd->why, -ENOEXEC,
				  "%s: not an ELF file: a bzImage or a compressed file is to be "
				  "unpacked first",
				  rd->name);
	if (gelf_getclass(rd->elf) != ELFCLASS64 || !gelf_getehdr(rd->elf, &h) ||
	    h.e_machine != EM_X86_64 || h.e_ident[EI_DATA] != ELFDATA2LSB ||
	    (h.e_type != ET_EXEC && h.e_type != ET_DYN))
		return errmsg_set(rd->why, -ENOEXEC, "%s: not a kernel for x86-64", rd->name);
	if (elf_getshdrnum(rd->elf, &rd->section_count) < 0 ||
	    elf_getshdrstrndx(rd->elf, &rd->section_names) < 0)
		return malformed(rd, "its section headers are not all there");
	if (rd->section_count > VMLINUX_SECTION_MAX)
		return malformed(rd, "more sections than a kernel has");
	return 0;
}

static int read_all(struct reading *rd)
{
	const struct vmlinux_symbol *text;
	int r = check_kind(rd);

	if (r == 0)
		r = find_symtab(rd);
	if (r == 0)
		r = read_notes(rd);
	if (r == 0)
		r = read_symbols(rd);
	if (r < 0)
		return r;
	text = find_name(rd->v, "_text");
	if (!text || !is_in_image(text->addr))
		return malformed(rd, "not a kernel: there is no _text where kernels are linked");
	rd->v->text = text->addr;
	return 0;
}

static int take_elf(Elf *elf, const char *name, struct vmlinux *v, struct errmsg *why)
{
	struct reading rd = {.elf = elf, .name = name, .v = v, .why = why};
	int r;

	if (!elf) {
		vmlinux_close(v);
		return errmsg_set(why, -ENOEXEC, "%s: %s", name, elf_errmsg(-1));
	}
	v->elf = elf;
	r = read_all(&rd);
	if (r == -ENOMEM)
		errmsg_set(why, r, "%s: out of memory", name);
	if (r < 0)
		vmlinux_close(v);
	return r;
}

int vmlinux_from_bytes(const void *bytes, size_t n, const char *name, struct vmlinux *ret,
		       struct errmsg *why)
{
	*ret = (struct vmlinux){.fd = -1};
	elf_version(EV_CURRENT);
	return take_elf(elf_memory((char *)bytes, n), name, ret, why);
}

int vmlinux_open(const char *path, struct vmlinux *ret, struct errmsg *why)
{
	struct stat st;

	*ret = (struct vmlinux){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
	if (ret->fd < 0)
		return errmsg_set(why, -errno, "%s: cannot be opened: %m", path);
	if (fstat(ret->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		vmlinux_close(ret);
		return errmsg_set(why, -EINVAL, "%s: not a regular file", path);
	}
	elf_version(EV_CURRENT);
	/* Not mapped: a file that is cut meanwhile would end us. */
	return take_elf(elf_begin(ret->fd, ELF_C_READ, NULL), path, ret, why);
}

void vmlinux_close(struct vmlinux *v)
{
	free(v->starts);
	free(v->symbols);
	elf_end(v->elf);
	close_keep_errno(v->fd);
	*v = (struct vmlinux){.fd = -1};
}

/* ---- code ----------------------------------------------------------------------------------- */

static bool is_code(const Elf64_Shdr *h)
{
	return h->sh_type == SHT_PROGBITS && (h->sh_flags & SHF_ALLOC) &&
	       (h->sh_flags & SHF_EXECINSTR) && h->sh_size && is_in_image(h->sh_addr) &&
	       h->sh_size < IMAGE_VA_END - h->sh_addr;
}

static int take_code(const struct reading *rd, struct slide_code *code)
{
	size_t total = 0;
	Elf64_Shdr h;

	for (size_t i = 1; i < rd->section_count && code->section_count < SLIDE_SECTIONS_MAX; i++) {
		if (!header_of(rd->elf, i, &h) || !is_code(&h))
			continue;
		if (h.sh_size > VMLINUX_CODE_MAX - total)
			return errmsg_set(rd->why, -EFBIG, "its code is above %u bytes",
					  VMLINUX_CODE_MAX);
		total += h.sh_size;
		code->sections[code->section_count++] = (struct slide_section){
			h.sh_addr, raw(rd->elf, h.sh_offset, h.sh_size), h.sh_size};
		if (!code->sections[code->section_count - 1].bytes)
			return errmsg_set(rd->why, -EBADMSG, "its code is not all there");
	}
	if (code->section_count == 0)
		return errmsg_set(rd->why, -ENODATA, "the file has no code, only symbols");
	return 0;
}

/* Where functions begin; and how far the image reaches. */
static void take_starts(struct vmlinux *v, struct slide_code *code)
{
	code->from = v->text;
	code->to = v->text + 1;
	for (size_t i = 0; i < v->count; i++) {
		const struct vmlinux_symbol *s = &v->symbols[i];

		if (!s->slides)
			continue;
		if (s->addr >= code->to)
			code->to = s->addr + 1;
		if (strchr("tTwW", s->type))
			v->starts[code->start_count++] = s->addr;
	}
	code->starts = v->starts;
}

int vmlinux_code(struct vmlinux *v, struct slide_code *ret, struct errmsg *why)
{
	struct reading rd = {.elf = v->elf, .v = v, .why = why};
	int r;

	*ret = (struct slide_code){0};
	if (elf_getshdrnum(v->elf, &rd.section_count) < 0)
		return errmsg_set(why, -EBADMSG, "its section headers are not all there");
	r = take_code(&rd, ret);
	if (r < 0)
		return r;
	if (!v->starts)
		v->starts = calloc(v->count + 1, sizeof(*v->starts));
	if (!v->starts)
		return errmsg_set(why, -ENOMEM, "out of memory");
	take_starts(v, ret);
	return 0;
}

/* ---- delivering ----------------------------------------------------------------------------- */

static size_t put_line(const struct vmlinux *v, const struct vmlinux_symbol *s, uint64_t slide,
		       char *to)
{
	uint64_t addr = s->slides ? s->addr + slide : s->addr;

	return (size_t)snprintf(to, LINE_MAX, "%016llx %c %s\n", (unsigned long long)addr, s->type,
				v->strings + s->name);
}

/* Everything that slides must stay where kernels are. */
static bool is_possible(const struct vmlinux *v, uint64_t slide)
{
	for (size_t i = 0; i < v->count; i++) {
		if (v->symbols[i].slides && !is_in_image(v->symbols[i].addr + slide))
			return false;
	}
	return true;
}

int vmlinux_put_kallsyms(const struct vmlinux *v, uint64_t slide, const struct source_sink *sink,
			 struct errmsg *why)
{
	CLEANUP_FREE char *chunk = NULL;
	size_t used = 0;
	int r = 0;

	if (!is_possible(v, slide))
		return errmsg_set(why, -EINVAL,
				  "a slide of 0x%llx moves the kernel to where none can be",
				  (unsigned long long)slide);
	chunk = malloc(LINES_CHUNK);
	if (!chunk)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < v->count; i++) {
		used += put_line(v, &v->symbols[i], slide, chunk + used);
		if (used <= LINES_CHUNK - LINE_MAX && i + 1 < v->count)
			continue;
		r = sink->data(sink->ctx, chunk, used);
		used = 0;
	}
	return r;
}

static int put(const struct source_sink *sink, enum guest_file file, const void *bytes, size_t n)
{
	int r = sink->begin(sink->ctx, file, NULL);

	return r < 0 ? r : sink->data(sink->ctx, bytes, n);
}

/* Where in the file is what lies there when the kernel runs? 0: nowhere. */
static uint64_t offset_of(const struct vmlinux *v, uint64_t va, size_t n)
{
	Elf64_Shdr h;
	size_t count;

	if (elf_getshdrnum(v->elf, &count) < 0)
		return 0;
	for (size_t i = 1; i < count; i++) {
		if (header_of(v->elf, i, &h) && h.sh_type != SHT_NOBITS &&
		    (h.sh_flags & SHF_ALLOC) && va >= h.sh_addr && n <= h.sh_size &&
		    va - h.sh_addr <= h.sh_size - n)
			return h.sh_offset + (va - h.sh_addr);
	}
	return 0;
}

/* linux_banner is what /proc/version prints of (init/version.c). */
static int put_version(const struct vmlinux *v, const struct source_sink *sink)
{
	const struct vmlinux_symbol *s = find_name(v, "linux_banner");
	uint64_t at = s ? offset_of(v, s->addr, 1024) : 0;
	const char *text = at ? raw(v->elf, at, 1024) : NULL;
	size_t n = text ? strnlen(text, 1024) : 1024;

	return n < 1024 ? put(sink, GUEST_FILE_VERSION, text, n) : 0;
}

static int put_btf(const struct vmlinux *v, const struct source_sink *sink, struct errmsg *why)
{
	struct reading rd = {.elf = v->elf, .name = "vmlinux", .why = why};
	const void *bytes;
	Elf64_Shdr h;

	if (elf_getshdrnum(v->elf, &rd.section_count) < 0 ||
	    elf_getshdrstrndx(v->elf, &rd.section_names) < 0 || !find_section(&rd, ".BTF", &h) ||
	    h.sh_size > GUEST_BTF_MAX)
		return 0;
	bytes = raw(v->elf, h.sh_offset, h.sh_size);
	return bytes ? put(sink, GUEST_FILE_BTF, bytes, h.sh_size) : 0;
}

int vmlinux_deliver(const struct vmlinux *v, unsigned want, const struct source_sink *sink,
		    struct errmsg *why)
{
	int r = 0;

	if (want & GUEST_FILE_BIT(GUEST_FILE_VERSION))
		r = put_version(v, sink);
	if (r == 0 && (want & GUEST_FILE_BIT(GUEST_FILE_KERNEL_NOTES)) && v->notes_len)
		r = put(sink, GUEST_FILE_KERNEL_NOTES, v->notes, v->notes_len);
	if (r == 0 && (want & GUEST_FILE_BIT(GUEST_FILE_BTF)))
		r = put_btf(v, sink, why);
	return r;
}
