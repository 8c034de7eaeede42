#include "symsrc/frames.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/modules.h"
#include "symsrc/notes.h"

enum frame_use { FRAME_FILE, FRAME_NAMES, FRAME_NOTES, FRAME_FAILED, FRAME_LAST };

struct frame_kind {
	const char *name;
	enum frame_use use;
	enum guest_file file; /* FRAME_FILE */
};

static const struct frame_kind kinds[] = {
	{"version", FRAME_FILE, GUEST_FILE_VERSION},
	{"boot_id", FRAME_FILE, GUEST_FILE_BOOT_ID},
	{"notes", FRAME_FILE, GUEST_FILE_KERNEL_NOTES},
	{"modules", FRAME_FILE, GUEST_FILE_MODULES},
	{"names", FRAME_NAMES, GUEST_FILE_COUNT},
	{"module_notes", FRAME_NOTES, GUEST_FILE_COUNT},
	{"kallsyms", FRAME_FILE, GUEST_FILE_KALLSYMS},
	{"modules_again", FRAME_FILE, GUEST_FILE_MODULES},
	{"listing", FRAME_FILE, GUEST_FILE_LISTING},
	{"file", FRAME_FILE, GUEST_FILE_MODULE_KO},
	{"failed", FRAME_FAILED, GUEST_FILE_COUNT},
	{"end", FRAME_LAST, GUEST_FILE_COUNT},
};

int frames_draw_boundary(char text[static FRAMES_BOUNDARY_LEN + 1])
{
	unsigned char bytes[FRAMES_BOUNDARY_LEN / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

void frames_init(struct frames *f, const char *boundary, const struct source_sink *sink)
{
	*f = (struct frames){.sink = sink};
	memcpy(f->boundary, boundary, FRAMES_BOUNDARY_LEN);
	f->boundary[FRAMES_BOUNDARY_LEN] = ' ';
	buf_init(&f->names, FRAMES_NAMES_MAX);
	buf_init(&f->notes, FRAMES_NOTES_MAX);
	buf_init(&f->failed, FRAMES_NAME_MAX);
}

void frames_deinit(struct frames *f)
{
	buf_deinit(&f->names);
	buf_deinit(&f->notes);
	buf_deinit(&f->failed);
}

bool frames_complete(const struct frames *f)
{
	return f->state == FRAMES_END;
}

static const struct frame_kind *find_kind(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	}
	return NULL;
}

static int deliver_note(struct frames *f, const char *module, const char *note, size_t n)
{
	int r = f->sink->begin(f->sink->ctx, GUEST_FILE_MODULE_NOTE, module);

	return r < 0 ? r : f->sink->data(f->sink->ctx, note, n);
}

/* "/sys/module/NAME/notes/..." -> NAME. False for a path that is not of this form. */
static bool module_of_path(const char *path, size_t n, char name[static MODULE_NAME_MAX])
{
	static const char before[] = "/sys/module/";
	const char *start = path + sizeof(before) - 1;
	const char *slash;
	size_t len;

	if (n < sizeof(before) || memcmp(path, before, sizeof(before) - 1) != 0)
		return false;
	slash = memchr(start, '/', n - (sizeof(before) - 1));
	len = slash ? (size_t)(slash - start) : 0;
	if (len == 0 || len >= MODULE_NAME_MAX || !module_name_is_valid(start, len))
		return false;
	memcpy(name, start, len);
	name[len] = '\0';
	return true;
}

static size_t count_words(const char *s)
{
	size_t words = 0;

	for (s += strspn(s, " \n"); *s; s += strspn(s, " \n")) {
		s += strcspn(s, " \n");
		words++;
	}
	return words;
}

static size_t count_notes(const char *notes, size_t n)
{
	size_t count = 0, len;

	while (n > 0) {
		len = notes_first_len(notes, n);
		if (len == 0 || len > n)
			return 0;
		notes += len;
		n -= len;
		count++;
	}
	return count;
}

/* Both lists are whole: hands the notes out. */
static int join_notes(struct frames *f, struct errmsg *why)
{
	const char *path = f->names.data, *note = f->notes.data;
	size_t left = f->notes.len, words = count_words(path);
	char module[MODULE_NAME_MAX];

	if (words > GUEST_MODULES_MOST)
		return errmsg_set(why, -EFBIG, "the guest names more than %d module notes",
				  GUEST_MODULES_MOST);
	if (words != count_notes(note, left))
		return 0;
	for (path += strspn(path, " \n"); *path; path += strspn(path, " \n")) {
		size_t path_len = strcspn(path, " \n");
		size_t len = notes_first_len(note, left);
		int r = 0;

		if (module_of_path(path, path_len, module))
			r = deliver_note(f, module, note, len);
		if (r < 0)
			return r;
		path += path_len;
		note += len;
		left -= len;
	}
	return 0;
}

static int report_failed(struct frames *f, struct errmsg *why)
{
	f->failed.data[strcspn(f->failed.data, "\n")] = '\0';
	return errmsg_set(why, -EIO, "the guest could not read its file \"%s\"", f->failed.data);
}

/* The open frame is whole. */
static int close_frame(struct frames *f, struct errmsg *why)
{
	const struct frame_kind *kind = f->kind;

	f->kind = NULL;
	if (kind && kind->use == FRAME_NOTES)
		return join_notes(f, why);
	if (kind && kind->use == FRAME_FAILED)
		return report_failed(f, why);
	return 0;
}

static int open_frame(struct frames *f, struct errmsg *why)
{
	const struct frame_kind *kind;
	unsigned bit;

	f->head[f->head_len] = '\0';
	kind = find_kind(f->head);
	if (!kind)
		return errmsg_set(why, -EBADMSG, "the guest's answer holds a frame \"%s\"",
				  f->head);
	bit = 1u << (unsigned)(kind - kinds);
	if (f->seen & bit)
		return errmsg_set(why, -EBADMSG, "the guest's answer holds \"%s\" twice", f->head);
	f->seen |= bit;
	f->kind = kind;
	f->body_len = 0;
	f->state = kind->use == FRAME_LAST ? FRAMES_END : FRAMES_BODY;
	return kind->use == FRAME_FILE ? f->sink->begin(f->sink->ctx, kind->file, NULL) : 0;
}

static int keep(struct frames *f, struct buf *b, const void *bytes, size_t n, struct errmsg *why)
{
	int r = buf_append(b, bytes, n);

	if (r < 0)
		return errmsg_set(why, r, "the guest's frame \"%s\" is above %zu bytes",
				  f->kind->name, b->max);
	return 0;
}

static int body_to_sink(struct frames *f, const void *bytes, size_t n, struct errmsg *why)
{
	size_t max = guest_file_max(f->kind->file);

	if (n > max - f->body_len)
		return errmsg_set(why, -EFBIG, "the guest's %s is above the limit of %zu bytes",
				  guest_file_path(f->kind->file), max);
	f->body_len += n;
	return f->sink->data(f->sink->ctx, bytes, n);
}

static int body(struct frames *f, const void *bytes, size_t n, struct errmsg *why)
{
	if (n == 0)
		return 0;
	if (f->state == FRAMES_BEFORE)
		return errmsg_set(why, -EBADMSG, "the guest's answer does not begin with a frame");
	switch (f->kind->use) {
	case FRAME_NAMES: return keep(f, &f->names, bytes, n, why);
	case FRAME_NOTES: return keep(f, &f->notes, bytes, n, why);
	case FRAME_FAILED: return keep(f, &f->failed, bytes, n, why);
	default: return body_to_sink(f, bytes, n, why);
	}
}

/* How many bytes at the end of p are the beginning of a boundary. */
static size_t tail_match(const struct frames *f, const char *p, size_t n)
{
	size_t len = n < FRAMES_BOUNDARY_LEN ? n : FRAMES_BOUNDARY_LEN;

	while (len > 0 && memcmp(p + n - len, f->boundary, len) != 0)
		len--;
	return len;
}

/* The stream so far ends with the beginning of a boundary: looks at one byte more. */
static ssize_t take_after_match(struct frames *f, char c, struct errmsg *why)
{
	size_t skip = 1;
	int r;

	if (c == f->boundary[f->matched]) {
		f->matched++;
		return 1;
	}
	/* It was content, at least up to where the next possible boundary begins. */
	while (skip < f->matched && memcmp(f->boundary + skip, f->boundary, f->matched - skip) != 0)
		skip++;
	f->matched -= skip;
	r = body(f, f->boundary, skip, why);
	return r < 0 ? r : 0;
}

/* Takes bytes up to and with a boundary, or all but those that may begin one. Returns how many
 * were taken. */
static ssize_t take_body(struct frames *f, const char *p, size_t n, struct errmsg *why)
{
	const char *hit;
	size_t plain;
	int r;

	if (f->matched > 0)
		return take_after_match(f, *p, why);
	hit = memmem(p, n, f->boundary, FRAMES_BOUNDARY_LEN + 1);
	f->matched = hit ? FRAMES_BOUNDARY_LEN + 1 : tail_match(f, p, n);
	plain = hit ? (size_t)(hit - p) : n - f->matched;
	r = body(f, p, plain, why);
	return r < 0 ? r : (ssize_t)(plain + f->matched);
}

static int head_byte(struct frames *f, char c, struct errmsg *why)
{
	if (c == '\n')
		return open_frame(f, why);
	if (f->head_len == sizeof(f->head) - 1)
		return errmsg_set(why, -EBADMSG, "the guest's answer holds a frame without a name");
	f->head[f->head_len++] = c;
	return 0;
}

static int boundary_seen(struct frames *f, struct errmsg *why)
{
	f->matched = 0;
	f->head_len = 0;
	f->state = FRAMES_HEAD;
	return close_frame(f, why);
}

static ssize_t step(struct frames *f, const char *p, size_t n, struct errmsg *why)
{
	ssize_t took;
	int r;

	if (f->state == FRAMES_END)
		return errmsg_set(why, -EBADMSG, "the guest's answer goes on after its end");
	if (f->state == FRAMES_HEAD) {
		r = head_byte(f, *p, why);
		return r < 0 ? r : 1;
	}
	took = take_body(f, p, n, why);
	if (took >= 0 && f->matched == FRAMES_BOUNDARY_LEN + 1) {
		r = boundary_seen(f, why);
		return r < 0 ? r : took;
	}
	return took;
}

int frames_feed(struct frames *f, const void *bytes, size_t n, struct errmsg *why)
{
	const char *p = bytes;

	while (n > 0) {
		ssize_t took = step(f, p, n, why);

		if (took < 0)
			return (int)took;
		p += took;
		n -= (size_t)took;
	}
	return 0;
}
