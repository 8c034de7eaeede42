#include "symsrc/lslist.h"

#include <stdio.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"

/* "mode links uid gid size", three words of a date (toybox: two), the name. */
#define WORDS_MAX  9
#define WORD_SIZE  4
#define WORDS_LEAD 5

void lslist_init(struct lslist *l, struct modtree_builder *to)
{
	*l = (struct lslist){.to = to};
}

/* Splits at blanks, in place. One more than WORDS_MAX when there are more. */
static size_t split(char *line, char *words[static WORDS_MAX])
{
	size_t n = 0;
	char *save = NULL;

	for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (n == WORDS_MAX)
			return n + 1;
		words[n++] = w;
	}
	return n;
}

/* "kernel/fs:" without its colon. */
static void begin_dir(struct lslist *l, const char *path, size_t n)
{
	/* Not cut: that would be another one. */
	l->skip_dir = n >= sizeof(l->dir);
	if (!l->skip_dir)
		snprintf(l->dir, sizeof(l->dir), "%.*s", (int)n, path);
}

static int take_file(struct lslist *l, char *words[static WORDS_MAX], size_t count)
{
	uint64_t size, stamp = 0;

	if (!text_to_u64(words[WORD_SIZE], 10, INT64_MAX, &size))
		return 0;
	for (size_t i = WORD_SIZE; i < count - 1; i++)
		stamp = modtree_stamp(stamp, words[i], strlen(words[i]) + 1);
	return modtree_add_file(l->to, l->dir, words[count - 1], size, stamp);
}

/* An operand that is a directory has no line, only its own listing. */
static int take_operand(struct lslist *l)
{
	if (l->dir[0] && !strchr(l->dir, '/'))
		return modtree_add_dir(l->to, "", l->dir);
	return 0;
}

static int take_line(struct lslist *l)
{
	char *words[WORDS_MAX];
	size_t n = strlen(l->line), count;

	if (n > 1 && l->line[n - 1] == ':' && !strchr(l->line, ' ')) {
		begin_dir(l, l->line, n - 1);
		return l->skip_dir ? 0 : take_operand(l);
	}
	count = split(l->line, words);
	if (l->skip_dir || count < WORDS_LEAD + 3 || count > WORDS_MAX)
		return 0;
	switch (words[0][0]) {
	case '-': return take_file(l, words, count);
	case 'd': return modtree_add_dir(l->to, l->dir, words[count - 1]);
	default: return 0;
	}
}

static int end_line(struct lslist *l)
{
	bool fits = l->len < sizeof(l->line);

	/* A name must not end early. */
	if (fits && memchr(l->line, '\0', l->len))
		fits = false;
	if (fits)
		l->line[l->len] = '\0';
	l->len = 0;
	return fits ? take_line(l) : 0;
}

int lslist_feed(struct lslist *l, const void *bytes, size_t n)
{
	const char *at = bytes;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (at[i] == '\n')
			r = end_line(l);
		else if (l->len < sizeof(l->line))
			l->line[l->len++] = at[i];
	}
	return r;
}
