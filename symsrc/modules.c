#include "symsrc/modules.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "symsrc/base/text.h"

#define SHOWN_MAX      48	   /* bytes of a bad line in a message */
#define LINE_MAX_BYTES (64u << 10) /* a module may be used by hundreds, which all are listed */

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-' || c == '.';
}

int module_name_is_valid(const char *name, size_t n)
{
	if (n == 0 || n >= MODULE_NAME_MAX || name[0] == '.')
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (!is_name_char(name[i]))
			return 0;
	}
	return 1;
}

struct word {
	const char *at;
	size_t len;
};

/* The next word of a line whose words are separated by one blank each. False at its end, and
 * for an empty word. */
static bool next_word(const char **at, const char *end, struct word *ret)
{
	const char *blank;

	if (*at == end)
		return false;
	blank = memchr(*at, ' ', (size_t)(end - *at));
	if (!blank)
		blank = end;
	*ret = (struct word){*at, (size_t)(blank - *at)};
	*at = blank == end ? end : blank + 1;
	return ret->len > 0 && text_is_word(ret->at, ret->len);
}

static bool word_to_u64(struct word w, int base, uint64_t *ret)
{
	char digits[24];

	if (w.len >= sizeof(digits))
		return false;
	memcpy(digits, w.at, w.len);
	digits[w.len] = '\0';
	return text_to_u64(digits, base, UINT64_MAX, ret);
}

static bool word_is(struct word w, const char *what)
{
	return w.len == strlen(what) && memcmp(w.at, what, w.len) == 0;
}

/* "-1" while the module goes away; "-" in a kernel that cannot unload modules. */
static bool is_use_count(struct word w)
{
	uint64_t n;

	if (word_is(w, "-"))
		return true;
	if (w.at[0] == '-')
		w = (struct word){w.at + 1, w.len - 1};
	return word_to_u64(w, 10, &n);
}

static bool is_state(struct word w)
{
	return word_is(w, "Live") || word_is(w, "Loading") || word_is(w, "Unloading");
}

static bool to_address(struct word w, uint64_t *ret)
{
	if (w.len < 3 || w.at[0] != '0' || w.at[1] != 'x')
		return false;
	return word_to_u64((struct word){w.at + 2, w.len - 2}, 16, ret);
}

static bool is_taints(struct word w)
{
	return w.len >= 2 && w.at[0] == '(' && w.at[w.len - 1] == ')';
}

/* What is wrong with the line, or NULL. */
static const char *parse_line(const char *at, const char *end, struct module_line *ret)
{
	struct word w;

	if (!next_word(&at, end, &w) || !module_name_is_valid(w.at, w.len))
		return "no module name";
	memcpy(ret->name, w.at, w.len);
	ret->name[w.len] = '\0';
	if (!next_word(&at, end, &w) || !word_to_u64(w, 10, &ret->size))
		return "no size";
	if (!next_word(&at, end, &w) || !is_use_count(w))
		return "no use count";
	if (!next_word(&at, end, &w))
		return "no list of users";
	if (!next_word(&at, end, &w) || !is_state(w))
		return "no state";
	if (!next_word(&at, end, &w) || !to_address(w, &ret->base))
		return "no address";
	if (at == end)
		return NULL;
	if (!next_word(&at, end, &w) || !is_taints(w) || at != end)
		return "more than a module";
	return NULL;
}

static int refuse(const char *line, size_t n, size_t number, const char *what, struct errmsg *why)
{
	return errmsg_set(why, -EBADMSG, "/proc/modules line %zu: %s: %.*s", number, what,
			  (int)(n < SHOWN_MAX ? n : SHOWN_MAX), line);
}

/* Takes the line at *at and moves *at behind it. */
static int take_line(const char **at, const char *end, size_t number, struct module_line *ret,
		     struct errmsg *why)
{
	const char *line = *at, *what;
	size_t left = (size_t)(end - line);
	const char *newline = memchr(line, '\n', left < LINE_MAX_BYTES ? left : LINE_MAX_BYTES);

	if (!newline)
		return refuse(line, left, number,
			      left < LINE_MAX_BYTES ? "cut off" : "longer than any line can be",
			      why);
	what = parse_line(line, newline, ret);
	if (what)
		return refuse(line, (size_t)(newline - line), number, what, why);
	*at = newline + 1;
	return 0;
}

int modules_parse(const char *text, size_t n, int (*fn)(void *ctx, const struct module_line *m),
		  void *ctx, struct errmsg *why)
{
	const char *at = text, *end = text + n;
	struct module_line m;

	for (size_t number = 1; at < end; number++) {
		int r = take_line(&at, end, number, &m, why);

		if (r == 0)
			r = fn(ctx, &m);
		if (r < 0)
			return r;
	}
	return 0;
}

static int is_same_line(const struct module_line *a, const struct module_line *b)
{
	return strcmp(a->name, b->name) == 0 && a->base == b->base && a->size == b->size;
}

int modules_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
	const char *a_end = a + a_len, *b_end = b + b_len;
	struct module_line ma = {0}, mb = {0};

	while (a < a_end && b < b_end) {
		if (take_line(&a, a_end, 0, &ma, NULL) < 0 ||
		    take_line(&b, b_end, 0, &mb, NULL) < 0)
			return 0;
		if (!is_same_line(&ma, &mb))
			return 0;
	}
	return a == a_end && b == b_end;
}
