#include "symsrc/kallsyms.h"

#include <errno.h>
#include <string.h>

#include "symsrc/modules.h"

#define DIGITS_MAX 16
#define SHOWN_MAX  48 /* bytes of a bad line in a message */

/* Value of a hexadecimal digit plus 1, so that 0 says that it is none. */
static const uint8_t hex_plus_1[256] = {
	['0'] = 1,  ['1'] = 2,	['2'] = 3,  ['3'] = 4,	['4'] = 5,  ['5'] = 6,
	['6'] = 7,  ['7'] = 8,	['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12,
	['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11, ['B'] = 12,
	['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

struct line {
	uint64_t addr;
	const char *name, *object;
	size_t digits, name_len, object_len;
	const char *end; /* behind the newline */
	char type;
};

/* Where a line stopped being one. */
enum verdict {
	LINE_WHOLE,
	LINE_CUT, /* right so far: more bytes are needed */
	LINE_NO_ADDRESS,
	LINE_NO_TYPE,
	LINE_NO_NAME,
	LINE_NO_MODULE,
	LINE_NO_END,
};

static const char *const verdict_text[] = {
	[LINE_NO_ADDRESS] = "no address of 8 or 16 hexadecimal digits",
	[LINE_NO_TYPE] = "no symbol type after the address",
	[LINE_NO_NAME] = "no symbol name of 1 to 511 printable characters",
	[LINE_NO_MODULE] = "no module name in brackets after the symbol",
	[LINE_NO_END] = "more than a symbol",
};

void kallsyms_init(struct kallsyms *k, struct buf *text, struct symtab_builder *to)
{
	*k = (struct kallsyms){.text = text, .to = to};
}

static bool is_word(char c)
{
	return c >= 0x21 && c <= 0x7e;
}

static bool is_type(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '?';
}

/* The verdict on a byte that does not belong there: cut where it is the end of the text. */
static enum verdict stopped(const char *at, const char *end, enum verdict otherwise)
{
	return at == end ? LINE_CUT : otherwise;
}

/* "\t[module]": *at is at the tabulator. */
static enum verdict parse_object(const char **at, const char *end, struct line *l)
{
	const char *p = *at + 1;

	if (*p != '[')
		return stopped(p, end, LINE_NO_MODULE);
	l->object = ++p;
	while (is_word(*p) && *p != ']' && p - l->object < MODULE_NAME_MAX)
		p++;
	l->object_len = (size_t)(p - l->object);
	if (*p != ']')
		return stopped(p, end, LINE_NO_MODULE);
	if (!module_name_is_valid(l->object, l->object_len))
		return LINE_NO_MODULE;
	*at = p + 1;
	return LINE_WHOLE;
}

static enum verdict parse_rest(const char *p, const char *end, struct line *l)
{
	enum verdict v;

	l->name = p;
	while (is_word(*p))
		p++;
	l->name_len = (size_t)(p - l->name);
	if (l->name_len > SYMTAB_NAME_MAX)
		return LINE_NO_NAME;
	if (p == end)
		return LINE_CUT;
	if (l->name_len == 0 || (*p != '\n' && *p != '\t'))
		return LINE_NO_NAME;
	if (*p == '\t') {
		v = parse_object(&p, end, l);
		if (v != LINE_WHOLE)
			return v;
	}
	if (*p != '\n')
		return stopped(p, end, LINE_NO_END);
	l->end = p + 1;
	return LINE_WHOLE;
}

/* One line at p. A NUL stands at end, so that each loop ends there by itself. */
static enum verdict parse_line(const char *p, const char *end, struct line *l)
{
	const char *digits = p;
	unsigned v;

	l->addr = 0;
	while ((v = hex_plus_1[(uint8_t)*p]) && p - digits < DIGITS_MAX) {
		l->addr = l->addr << 4 | (v - 1);
		p++;
	}
	if (p == end)
		return LINE_CUT;
	if (*p != ' ' || (p - digits != 16 && p - digits != 8))
		return LINE_NO_ADDRESS;
	if (!is_type(p[1]))
		return stopped(p + 1, end, LINE_NO_TYPE);
	l->type = p[1];
	if (p[2] != ' ')
		return stopped(p + 2, end, LINE_NO_TYPE);
	l->object = NULL;
	l->object_len = 0;
	return parse_rest(p + 3, end, l);
}

static int refuse(const struct kallsyms *k, enum verdict v, struct errmsg *why)
{
	const char *line = k->text->data + k->parsed;
	size_t left = k->text->len - k->parsed, shown = left < SHOWN_MAX ? left : SHOWN_MAX;
	const char *newline = memchr(line, '\n', shown);

	if (newline)
		shown = (size_t)(newline - line);
	return errmsg_set(why, -EBADMSG, "/proc/kallsyms line %zu: %s: %.*s", k->lines + 1,
			  verdict_text[v], (int)shown, line);
}

static int take(struct kallsyms *k, const struct line *l, struct errmsg *why)
{
	const char *text = k->text->data;
	uint32_t object_off = l->object ? (uint32_t)(l->object - text) : 0;
	int r = symtab_builder_add(k->to, l->addr, l->type, (uint32_t)(l->name - text),
				   (uint16_t)l->name_len, object_off, (uint16_t)l->object_len);

	if (r == -E2BIG)
		return errmsg_set(why, r, "/proc/kallsyms: more than %u symbols",
				  SYMTAB_SYMBOLS_MAX);
	if (r < 0)
		return errmsg_set(why, r, "/proc/kallsyms: out of memory");
	k->parsed = (size_t)(l->end - text);
	k->lines++;
	k->nonzero += l->addr != 0;
	return 0;
}

static int append(struct kallsyms *k, const void *bytes, size_t n, struct errmsg *why)
{
	int r = buf_append(k->text, bytes, n);

	if (r == -EFBIG)
		return errmsg_set(why, r, "/proc/kallsyms: more than %zu bytes", k->text->max);
	if (r < 0)
		return errmsg_set(why, r, "/proc/kallsyms: out of memory");
	return 0;
}

int kallsyms_feed(struct kallsyms *k, const void *bytes, size_t n, struct errmsg *why)
{
	int r = append(k, bytes, n, why);
	enum verdict v;
	struct line l;

	if (r < 0)
		return r;
	const char *end = k->text->data + k->text->len;
	while (k->parsed < k->text->len) {
		v = parse_line(k->text->data + k->parsed, end, &l);
		if (v == LINE_CUT)
			return 0;
		if (v != LINE_WHOLE)
			return refuse(k, v, why);
		r = take(k, &l, why);
		if (r < 0)
			return r;
	}
	return 0;
}

int kallsyms_finish(struct kallsyms *k, struct errmsg *why)
{
	if (k->parsed < k->text->len)
		return errmsg_set(why, -EBADMSG, "/proc/kallsyms is cut off in line %zu",
				  k->lines + 1);
	if (k->lines == 0)
		return errmsg_set(why, -EBADMSG, "/proc/kallsyms is empty");
	if (k->nonzero == 0)
		return errmsg_set(
			why, -EACCES,
			"the guest hides its addresses: all of /proc/kallsyms are 0; read it "
			"as root with kernel.kptr_restrict below 2");
	return 0;
}
