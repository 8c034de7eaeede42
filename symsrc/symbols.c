#include "symsrc/symbols.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/log.h"
#include "symsrc/base/text.h"
#include "symsrc/kallsyms.h"

/* ---- the result ------------------------------------------------------------------------------ */

const struct symbols *symbols_get(const struct symbols *s)
{
	if (s)
		atomic_fetch_add_explicit(&((struct symbols *)s)->refs, 1, memory_order_relaxed);
	return s;
}

static void free_modules(struct symbols_module *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		blobpool_unshare(list[i].note);
	free(list);
}

void symbols_put(const struct symbols *s)
{
	struct symbols *last = (struct symbols *)s;

	if (!s || atomic_fetch_sub_explicit(&last->refs, 1, memory_order_acq_rel) != 1)
		return;
	symtab_destroy(last->table);
	retired_put(last->retired);
	blobpool_unshare(last->kallsyms);
	blobpool_unshare(last->modules);
	blobpool_unshare(last->version);
	blobpool_unshare(last->notes);
	blobpool_unshare(last->btf);
	blobpool_unshare(last->orc_ip);
	blobpool_unshare(last->orc);
	free_modules(last->module_list, last->module_count);
	free(last);
}

size_t symbols_size(const struct symbols *s)
{
	size_t size = sizeof(*s) + symtab_memory(s->table) + retired_size(s->retired) +
		      s->module_count * (sizeof(*s->module_list) + sizeof(struct blob));

	for (size_t i = 0; i < s->module_count; i++)
		size += blobpool_part(s->module_list[i].note);
	return size + blobpool_part(s->kallsyms) + blobpool_part(s->modules) +
	       blobpool_part(s->version) + blobpool_part(s->notes) + blobpool_part(s->btf) +
	       blobpool_part(s->orc_ip) + blobpool_part(s->orc);
}

void symbols_share(struct symbols *s, struct blobpool *pool)
{
	s->kallsyms = blobpool_share(pool, s->kallsyms);
	symtab_share(s->table, pool, s->kallsyms->data);
	s->modules = blobpool_share(pool, s->modules);
	s->version = blobpool_share(pool, s->version);
	s->notes = blobpool_share(pool, s->notes);
	s->btf = blobpool_share(pool, s->btf);
	s->orc_ip = blobpool_share(pool, s->orc_ip);
	s->orc = blobpool_share(pool, s->orc);
}

/* ---- collecting ------------------------------------------------------------------------------ */

#define NO_FILE GUEST_FILE_COUNT

struct symbols_builder {
	uint64_t start_ns;
	struct errmsg error;
	char used[256];

	enum guest_file file;		  /* the one that is coming in; NO_FILE: none yet */
	unsigned times[GUEST_FILE_COUNT]; /* how often it has begun */
	struct buf bufs[GUEST_FILE_COUNT];
	struct buf modules_before, boot_id_before; /* the first copies of two */

	struct symtab_builder *table;
	struct kallsyms kallsyms;

	char module[MODULE_NAME_MAX];	    /* whose note is coming in */
	struct symbols_module *module_list; /* in the order of arrival */
	size_t module_count;
};

struct symbols_builder *symbols_builder_create(void)
{
	struct symbols_builder *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->table = symtab_builder_create();
	if (!b->table) {
		free(b);
		return NULL;
	}
	for (unsigned f = 0; f < GUEST_FILE_COUNT; f++)
		buf_init(&b->bufs[f], guest_file_max(f));
	buf_init(&b->modules_before, guest_file_max(GUEST_FILE_MODULES));
	buf_init(&b->boot_id_before, guest_file_max(GUEST_FILE_BOOT_ID));
	kallsyms_init(&b->kallsyms, &b->bufs[GUEST_FILE_KALLSYMS], b->table);
	b->file = NO_FILE;
	b->start_ns = clock_now_ns();
	return b;
}

void symbols_builder_destroy(struct symbols_builder *b)
{
	if (!b)
		return;
	for (unsigned f = 0; f < GUEST_FILE_COUNT; f++)
		buf_deinit(&b->bufs[f]);
	buf_deinit(&b->modules_before);
	buf_deinit(&b->boot_id_before);
	symtab_builder_destroy(b->table);
	free_modules(b->module_list, b->module_count);
	free(b);
}

const struct errmsg *symbols_builder_error(const struct symbols_builder *b)
{
	return &b->error;
}

void symbols_builder_set_used(struct symbols_builder *b, const char *used)
{
	snprintf(b->used, sizeof(b->used), "%s", used);
}

static int out_of_memory(struct symbols_builder *b)
{
	return errmsg_set(&b->error, -ENOMEM, "out of memory for symbols");
}

static int module_add(struct symbols_builder *b, const char *name, const struct build_id *id,
		      struct buf *note)
{
	struct symbols_module *list = b->module_list, *m;

	/* Powers of two: doubled whenever one is full. */
	if ((b->module_count & (b->module_count - 1)) == 0) {
		list = realloc(list, (b->module_count ? 2 * b->module_count : 1) * sizeof(*list));
		if (!list)
			return -ENOMEM;
		b->module_list = list;
	}
	m = &b->module_list[b->module_count];
	*m = (struct symbols_module){.id = *id, .note = blob_from_bytes(note->data, note->len)};
	if (!m->note)
		return -ENOMEM;
	snprintf(m->name, sizeof(m->name), "%s", name);
	b->module_count++;
	return 0;
}

/* A module's note has come in whole. One that holds no build-id is no reason to give up on the
 * symbols. */
static int take_note(struct symbols_builder *b)
{
	struct buf *note = &b->bufs[GUEST_FILE_MODULE_NOTE];
	struct build_id id;
	int r = notes_build_id(note->data, note->len, &id);

	if (r < 0)
		log_debug("module %s: its note holds no build-id", b->module);
	else
		r = module_add(b, b->module, &id, note);
	buf_clear(note);
	return r == -ENOMEM ? out_of_memory(b) : 0;
}

static int end_file(struct symbols_builder *b)
{
	enum guest_file ended = b->file;

	b->file = NO_FILE;
	return ended == GUEST_FILE_MODULE_NOTE ? take_note(b) : 0;
}

static int begin_note(struct symbols_builder *b, const char *module)
{
	size_t n = module ? strlen(module) : 0;

	if (b->times[GUEST_FILE_MODULE_NOTE] >= GUEST_MODULES_MOST)
		return errmsg_set(&b->error, -E2BIG, "more than %u modules have a build-id",
				  GUEST_MODULES_MOST);
	if (!module || !module_name_is_valid(module, n))
		return errmsg_set(&b->error, -EBADMSG, "a note of a module with a bad name: %s",
				  module ? module : "none");
	memcpy(b->module, module, n + 1);
	return 0;
}

/* Where the first copy of a file is kept that may come twice; NULL: it may not. */
static struct buf *before_of(struct symbols_builder *b, enum guest_file file)
{
	switch (file) {
	case GUEST_FILE_MODULES: return &b->modules_before;
	case GUEST_FILE_BOOT_ID: return &b->boot_id_before;
	default: return NULL;
	}
}

static void begin_again(struct buf *now, struct buf *before)
{
	struct buf swap = *before;

	*before = *now;
	*now = swap;
	buf_clear(now);
}

static int begin(struct symbols_builder *b, enum guest_file file, const char *module)
{
	struct buf *before = before_of(b, file);
	int r = end_file(b);

	if (r < 0)
		return r;
	if ((unsigned)file >= GUEST_FILE_COUNT)
		return errmsg_set(&b->error, -EBADMSG, "a file of no known kind");
	if (file == GUEST_FILE_MODULE_NOTE)
		r = begin_note(b, module);
	else if (b->times[file] >= (before ? 2 : 1))
		r = errmsg_set(&b->error, -EBADMSG, "%s came once too often",
			       guest_file_path(file));
	else if (b->times[file] == 1)
		begin_again(&b->bufs[file], before);
	if (r < 0)
		return r;
	b->times[file]++;
	b->file = file;
	return 0;
}

static int sink_begin(void *ctx, enum guest_file file, const char *module)
{
	struct symbols_builder *b = ctx;

	return b->error.code ? b->error.code : begin(b, file, module);
}

static int append(struct symbols_builder *b, const void *bytes, size_t n)
{
	int r = buf_append(&b->bufs[b->file], bytes, n);

	if (r == -EFBIG)
		return errmsg_set(&b->error, r, "%s: more than %zu bytes", guest_file_path(b->file),
				  guest_file_max(b->file));
	if (r < 0)
		return errmsg_set(&b->error, r, "%s: out of memory", guest_file_path(b->file));
	return 0;
}

static int sink_data(void *ctx, const void *bytes, size_t n)
{
	struct symbols_builder *b = ctx;

	if (b->error.code)
		return b->error.code;
	if (b->file == NO_FILE)
		return errmsg_set(&b->error, -EBADMSG, "bytes that belong to no file");
	if (b->file == GUEST_FILE_KALLSYMS)
		return kallsyms_feed(&b->kallsyms, bytes, n, &b->error);
	return append(b, bytes, n);
}

struct source_sink symbols_builder_sink(struct symbols_builder *b)
{
	return (struct source_sink){.begin = sink_begin, .data = sink_data, .ctx = b};
}

/* ---- finishing ------------------------------------------------------------------------------- */

static bool has(const struct symbols_builder *b, enum guest_file file)
{
	return b->times[file] > 0;
}

/* What came in between the first copies and the second ones is of the same boot and its modules. */
static int check_same(struct symbols_builder *b)
{
	const struct buf *modules = &b->bufs[GUEST_FILE_MODULES], *m = &b->modules_before;
	const struct buf *boot_id = &b->bufs[GUEST_FILE_BOOT_ID], *i = &b->boot_id_before;

	if (b->times[GUEST_FILE_BOOT_ID] > 1 &&
	    (i->len != boot_id->len || memcmp(i->data, boot_id->data, i->len) != 0))
		return errmsg_set(&b->error, -EAGAIN,
				  "the guest has booted while the symbols were read");
	if (b->times[GUEST_FILE_MODULES] > 1 &&
	    !modules_same(m->data, m->len, modules->data, modules->len))
		return errmsg_set(&b->error, -EAGAIN,
				  "modules came or went while the symbols were read");
	return 0;
}

static int check_whole(struct symbols_builder *b)
{
	int r = end_file(b);

	if (r < 0)
		return r;
	if (!has(b, GUEST_FILE_KALLSYMS))
		return errmsg_set(&b->error, -ENOENT, "the guest has no /proc/kallsyms");
	r = kallsyms_finish(&b->kallsyms, &b->error);
	return r < 0 ? r : check_same(b);
}

static int add_module(void *ctx, const struct module_line *m)
{
	return symtab_builder_add_module(ctx, m->name, m->base, m->size);
}

static int parse_modules(struct symbols_builder *b)
{
	const struct buf *text = &b->bufs[GUEST_FILE_MODULES];
	int r = modules_parse(text->data, text->len, add_module, b->table, &b->error);

	if (r == -E2BIG)
		return errmsg_set(&b->error, r, "/proc/modules lists more than %u modules",
				  SYMTAB_OBJECTS_MAX);
	if (r < 0 && !b->error.code)
		return out_of_memory(b);
	return r;
}

/* NULL stays where the file did not come. */
static int move_blob(struct symbols_builder *b, enum guest_file file, struct blob **ret)
{
	if (!has(b, file))
		return 0;
	*ret = blob_from_buf(&b->bufs[file]);
	return *ret ? 0 : out_of_memory(b);
}

static int make_table(struct symbols_builder *b, struct symbols *s)
{
	int r = parse_modules(b);

	if (r < 0)
		return r;
	r = move_blob(b, GUEST_FILE_KALLSYMS, &s->kallsyms);
	if (r < 0)
		return r;
	r = symtab_builder_finish(b->table, s->kallsyms->data, s->kallsyms->size, &s->table);
	if (r == -E2BIG)
		return errmsg_set(&b->error, r, "/proc/kallsyms names more than %u modules",
				  SYMTAB_OBJECTS_MAX);
	return r < 0 ? out_of_memory(b) : 0;
}

/* 8-4-4-4-12 hexadecimal digits (drivers/char/random.c, proc_do_uuid()). */
static bool is_boot_id(const char *text, size_t n)
{
	if (n != 36)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return true;
}

static void read_boot_id(const struct symbols_builder *b, struct symbols *s)
{
	const char *text = b->bufs[GUEST_FILE_BOOT_ID].data;
	size_t n = strcspn(text, "\n");

	if (!is_boot_id(text, n))
		return;
	memcpy(s->boot_id, text, n);
	s->boot_id[n] = '\0';
}

/* "Linux version 6.1.0-49-amd64 (debian-kernel@...) ...": linux_proc_banner of the kernel. */
static void read_release(struct symbols *s)
{
	static const char prefix[] = "Linux version ";
	const char *word;
	size_t n;

	if (!s->version || strncmp(s->version->data, prefix, strlen(prefix)) != 0)
		return;
	word = s->version->data + strlen(prefix);
	n = strcspn(word, " \n");
	if (n >= sizeof(s->release) || !text_is_word(word, n))
		return;
	memcpy(s->release, word, n);
	s->release[n] = '\0';
}

static int move_texts(struct symbols_builder *b, struct symbols *s)
{
	int r = move_blob(b, GUEST_FILE_MODULES, &s->modules);

	if (r == 0)
		r = move_blob(b, GUEST_FILE_VERSION, &s->version);
	if (r == 0)
		r = move_blob(b, GUEST_FILE_KERNEL_NOTES, &s->notes);
	if (r == 0)
		r = move_blob(b, GUEST_FILE_BTF, &s->btf);
	if (r == 0)
		r = move_blob(b, GUEST_FILE_ORC_IP, &s->orc_ip);
	if (r == 0)
		r = move_blob(b, GUEST_FILE_ORC, &s->orc);
	if (r < 0)
		return r;
	read_boot_id(b, s);
	read_release(s);
	if (s->notes && notes_build_id(s->notes->data, s->notes->size, &s->kernel_id) < 0)
		log_debug("/sys/kernel/notes hold no build-id");
	return 0;
}

static int compare_modules(const void *a, const void *b)
{
	return strcmp(((const struct symbols_module *)a)->name,
		      ((const struct symbols_module *)b)->name);
}

struct ordering {
	struct symbols_module *sorted, *out;
	size_t count, out_count;
};

/* Moves the note of one line of modules; each note is moved once. */
static int move_module(void *ctx, const struct module_line *line)
{
	struct ordering *o = ctx;
	struct symbols_module key = {0}, *found;

	memcpy(key.name, line->name, sizeof(key.name));
	found = bsearch(&key, o->sorted, o->count, sizeof(key), compare_modules);
	if (found && found->note) {
		o->out[o->out_count++] = *found;
		found->note = NULL;
	}
	return 0;
}

/* In the order of modules. A note without a line there belongs to a module that has gone or
 * is only coming, or to none at all. Without modules they stay as they came. */
static int order_modules(struct symbols_builder *b, struct symbols *s)
{
	struct ordering o = {.sorted = b->module_list, .count = b->module_count};

	if (s->modules && b->module_count) {
		o.out = calloc(b->module_count, sizeof(*o.out));
		if (!o.out)
			return out_of_memory(b);
		qsort(o.sorted, o.count, sizeof(*o.sorted), compare_modules);
		modules_parse(s->modules->data, s->modules->size, move_module, &o, NULL);
		free_modules(b->module_list, b->module_count);
		b->module_list = o.out;
		b->module_count = o.out_count;
	}
	s->module_list = b->module_list;
	s->module_count = b->module_count;
	b->module_list = NULL;
	b->module_count = 0;
	return 0;
}

static int fill(struct symbols_builder *b, struct symbols *s)
{
	int r = make_table(b, s);

	if (r == 0)
		r = move_texts(b, s);
	if (r == 0)
		r = order_modules(b, s);
	if (r < 0)
		return r;
	memcpy(s->used, b->used, sizeof(s->used));
	s->fetched_ns = clock_now_ns();
	s->fetch_took_ns = s->fetched_ns - b->start_ns;
	return 0;
}

static int finish(struct symbols_builder *b, const struct symbols **ret)
{
	struct symbols *s;
	int r = b->error.code ? b->error.code : check_whole(b);

	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return out_of_memory(b);
	atomic_init(&s->refs, 1);
	r = fill(b, s);
	if (r < 0)
		symbols_put(s);
	else
		*ret = s;
	return r;
}

int symbols_builder_finish(struct symbols_builder *b, const struct symbols **ret,
			   struct errmsg *why)
{
	int r = finish(b, ret);

	if (r < 0 && why)
		*why = b->error;
	return r;
}
