#include "symsrc/source_fit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/source_impl.h"

#define UPPER_HALF (UINT64_C(1) << 63)
/* Of a 32-bit kernel: CONFIG_PAGE_OFFSET is 0x40000000 or more. */
#define LOWEST_32 (UINT64_C(1) << 30)

/* ---- build-ids ----------------------------------------------------------------------------- */

static int check_id(const struct source_fit *f, const struct build_id *ours)
{
	const struct build_id *theirs = &f->known->id;
	char our_hex[BUILD_ID_HEX_SIZE], their_hex[BUILD_ID_HEX_SIZE];

	if (build_id_equals(ours, theirs))
		return 0;
	build_id_to_hex(ours, our_hex);
	build_id_to_hex(theirs, their_hex);
	return errmsg_set(f->why, -EKEYREJECTED,
			  "%s: is of another kernel: its build-id is %s, the guest's %s", f->name,
			  our_hex, their_hex);
}

static int check_notes(struct source_fit *f)
{
	struct build_id id;
	int r;

	if (f->known->id.len == 0 || notes_build_id(f->notes.data, f->notes.len, &id) < 0)
		return 0;
	r = check_id(f, &id);
	f->id_fits = r == 0;
	return r;
}

/* Of the kernel that we run on. */
static bool read_own_id(struct build_id *ret)
{
	CLEANUP_FD int fd = open("/sys/kernel/notes", O_RDONLY | O_CLOEXEC);
	char notes[4096];
	ssize_t n = fd < 0 ? -1 : read(fd, notes, sizeof(notes));

	return n > 0 && notes_build_id(notes, (size_t)n, ret) == 0;
}

int source_fit_check_fd(const struct source_fit *f, int fd)
{
	struct statfs fs;
	struct build_id own;

	if (fstatfs(fd, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
		return 0;
	/* Somebody may look at a recording where it was made: in the guest. */
	if (f->known->id.len && read_own_id(&own))
		return check_id(f, &own);
	return errmsg_set(f->why, -EKEYREJECTED,
			  "%s: is of the kernel of this machine itself, not of a guest's", f->name);
}

/* ---- kallsyms ------------------------------------------------------------------------------ */

/* "address type name" or "address type name\t[module]", with the newline; what is not of that form
 * has no name. */
struct line {
	char *text;
	size_t n;
	uint64_t address;
	char type;
	const char *name;
	size_t name_len;
	bool of_module;
};

static void read_line(struct line *l)
{
	char *blank = memchr(l->text, ' ', l->n);
	const char *end = l->text + l->n - (l->text[l->n - 1] == '\n');
	const char *tab;

	l->name = NULL;
	l->name_len = 0;
	l->of_module = false;
	if (!blank || end - blank < 4 || blank[2] != ' ')
		return;
	l->address = strtoull(l->text, NULL, 16);
	l->type = blank[1];
	l->name = blank + 3;
	tab = memchr(l->name, '\t', (size_t)(end - l->name));
	l->of_module = tab != NULL;
	l->name_len = (size_t)((tab ? tab : end) - l->name);
}

/* The next one from *at on; false: there is none. */
static bool next_line(const struct buf *text, size_t *at, struct line *ret)
{
	char *newline;

	if (*at == text->len)
		return false;
	ret->text = text->data + *at;
	newline = memchr(ret->text, '\n', text->len - *at);
	ret->n = newline ? (size_t)(newline + 1 - ret->text) : text->len - *at;
	*at += ret->n;
	read_line(ret);
	return true;
}

/* As perf looks for it (find_func_symbol_cb()): the first function of this name. */
static bool find_symbol(const struct buf *text, const char *name, uint64_t *ret)
{
	size_t at = 0, n = strlen(name);
	struct line l;

	while (next_line(text, &at, &l)) {
		if (l.of_module || l.name_len != n || memcmp(l.name, name, n) != 0)
			continue;
		if (!strchr("TtWwA", l.type))
			continue;
		*ret = l.address;
		return true;
	}
	return false;
}

/* In place: the address has as many digits as before, 16 or those of a 32-bit kernel. What does not
 * lie where kernels do (offsets of per-CPU variables, say) stays. */
static void move_line(const struct line *l, uint64_t by)
{
	size_t digits = strcspn(l->text, " ");
	uint64_t lowest = digits == 8 ? LOWEST_32 : UPPER_HALF;
	uint64_t to = l->address + by;
	char text[17];

	if (!l->name || l->address < lowest || (digits != 8 && digits != 16))
		return;
	if (digits == 8)
		to &= UINT32_MAX;
	snprintf(text, sizeof(text), "%0*" PRIx64, (int)digits, to);
	memcpy(l->text, text, digits);
}

static void move_kernel(struct source_fit *f)
{
	size_t at = 0, kept = 0;
	struct line l;

	while (next_line(&f->kallsyms, &at, &l)) {
		f->modules_left_out |= l.of_module;
		if (l.of_module)
			continue;
		move_line(&l, f->moved_by);
		memmove(f->kallsyms.data + kept, l.text, l.n);
		kept += l.n;
	}
	f->kallsyms.len = kept;
}

static int pass_on_kallsyms(struct source_fit *f)
{
	int r = f->to->begin(f->to->ctx, GUEST_FILE_KALLSYMS, NULL);

	return r < 0 || f->kallsyms.len == 0
		       ? r
		       : f->to->data(f->to->ctx, f->kallsyms.data, f->kallsyms.len);
}

static bool is_32_bit(uint64_t kernel_address)
{
	return kernel_address <= UINT32_MAX;
}

static int refuse_place(const struct source_fit *f, uint64_t at)
{
	return errmsg_set(f->why, -EKEYREJECTED,
			  "%s: is of another kernel: its %s is at 0x%" PRIx64
			  ", the guest's at 0x%" PRIx64,
			  f->name, f->known->symbol, at, f->known->symbol_at);
}

/* Whatever else is wrong with it, its parser says. All addresses may be 0, which are hidden. */
static int fit_kallsyms(struct source_fit *f)
{
	uint64_t at = 0;
	bool found = find_symbol(&f->kallsyms, f->known->symbol, &at);
	bool other;
	int r;

	other = at && is_32_bit(at) != is_32_bit(f->known->symbol_at);
	if (at && !other)
		f->moved_by = f->known->symbol_at - at;
	if (f->moved_by)
		move_kernel(f);
	r = pass_on_kallsyms(f);
	if (r == 0 && other)
		return refuse_place(f, at);
	return r < 0 || found
		       ? r
		       : errmsg_set(f->why, -EKEYREJECTED,
				    "%s: has no %s, by which is known where the guest's kernel is",
				    f->name, f->known->symbol);
}

/* ---- the sink ------------------------------------------------------------------------------ */

/* The file that came is whole. */
static int end_file(struct source_fit *f)
{
	const struct buf *whole = f->into;

	f->into = NULL;
	if (whole == &f->notes)
		return check_notes(f);
	return whole == &f->kallsyms ? fit_kallsyms(f) : 0;
}

static int fit_begin(void *ctx, enum guest_file file, const char *module)
{
	struct source_fit *f = ctx;
	int r = end_file(f);

	if (r < 0)
		return r;
	if (file == GUEST_FILE_KALLSYMS && f->known->symbol[0]) {
		f->into = &f->kallsyms;
		return 0;
	}
	if (file == GUEST_FILE_KERNEL_NOTES)
		f->into = &f->notes;
	return f->to->begin(f->to->ctx, file, module);
}

static int fit_data(void *ctx, const void *bytes, size_t n)
{
	struct source_fit *f = ctx;
	int r = f->into ? buf_append(f->into, bytes, n) : 0;

	return r < 0 || f->into == &f->kallsyms ? r : f->to->data(f->to->ctx, bytes, n);
}

struct source_sink source_fit_sink(struct source_fit *f)
{
	return (struct source_sink){fit_begin, fit_data, f};
}

/* ---- all of it ----------------------------------------------------------------------------- */

void source_fit_init(struct source_fit *f, const struct guest_kernel *known, const char *name,
		     const struct source_sink *to, struct errmsg *why)
{
	*f = (struct source_fit){.known = known, .name = name, .to = to, .why = why};
	buf_init(&f->notes, guest_file_max(GUEST_FILE_KERNEL_NOTES));
	buf_init(&f->kallsyms, guest_file_max(GUEST_FILE_KALLSYMS));
}

void source_fit_deinit(struct source_fit *f)
{
	buf_deinit(&f->notes);
	buf_deinit(&f->kallsyms);
}

static void describe(const struct source_fit *f, struct source *s)
{
	bool up = f->moved_by < UPPER_HALF;

	s->partial = f->modules_left_out;
	s->note[0] = '\0';
	if (f->moved_by)
		snprintf(s->note, sizeof(s->note),
			 "of another boot%s: moved by %s0x%" PRIx64 " to where the guest's kernel "
			 "is%s",
			 f->id_fits ? "" : ", perhaps another kernel", up ? "" : "-",
			 up ? f->moved_by : -f->moved_by,
			 f->modules_left_out ? ", without its modules" : "");
}

int source_fit_end(struct source_fit *f, struct source *s)
{
	int r = end_file(f);

	if (r == 0)
		describe(f, s);
	return r;
}
