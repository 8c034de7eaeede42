#include "symsrc/kallsyms.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "symsrc/modules.h"

#define DIGITS_MAX 16
#define SHOWN_MAX  48 /* bytes of a bad line in a message */

#define HEX 0x10

/* A hexadecimal digit's value, and HEX to say that it is one. */
static const uint8_t hex_digit[256] = {
	['0'] = HEX | 0,  ['1'] = HEX | 1,  ['2'] = HEX | 2,  ['3'] = HEX | 3,	['4'] = HEX | 4,
	['5'] = HEX | 5,  ['6'] = HEX | 6,  ['7'] = HEX | 7,  ['8'] = HEX | 8,	['9'] = HEX | 9,
	['a'] = HEX | 10, ['b'] = HEX | 11, ['c'] = HEX | 12, ['d'] = HEX | 13, ['e'] = HEX | 14,
	['f'] = HEX | 15, ['A'] = HEX | 10, ['B'] = HEX | 11, ['C'] = HEX | 12, ['D'] = HEX | 13,
	['E'] = HEX | 14, ['F'] = HEX | 15};

struct line {
	uint64_t addr;
	const char *name, *object;
	size_t name_len, object_len;
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

/* The first byte from p on that is not of a word. Eight at a time: of 8 bytes read as a little
 * endian number, x - 0x2121... borrows into the top bit of each byte below 0x21, x + 0x0101...
 * carries into that of 0x7f, and those above have it anyway. What is carried on spoils only
 * bytes behind the first that is found. */
static const char *word_end(const char *p, const char *end)
{
	const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
	uint64_t x, stops;

	for (; end - p >= 8; p += 8) {
		memcpy(&x, p, 8);
		x = le64toh(x);
		stops = (((x - 0x21 * ones) & ~x) | (x + ones) | x) & tops;
		if (stops)
			return p + __builtin_ctzll(stops) / 8;
	}
	while (is_word(*p))
		p++;
	return p;
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
	p = word_end(p, end);
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

/* Eight digits at p. What is not one clears HEX in *all. */
static uint32_t parse_8_digits(const char *p, unsigned *all)
{
	uint32_t v = 0;

	for (int i = 0; i < 8; i++) {
		unsigned digit = hex_digit[(uint8_t)p[i]];

		*all &= digit;
		v = v << 4 | (digit & 15);
	}
	return v;
}

/* The address, and the blank behind it: *at is moved behind that. */
static enum verdict parse_address(const char **at, const char *end, uint64_t *ret)
{
	const char *p = *at;
	unsigned all = HEX;

	if (end - p > DIGITS_MAX && p[DIGITS_MAX] == ' ') {
		*ret = (uint64_t)parse_8_digits(p, &all) << 32 | parse_8_digits(p + 8, &all);
		*at = p + DIGITS_MAX + 1;
		if (all)
			return LINE_WHOLE;
		*at = p;
	}
	*ret = 0;
	for (; hex_digit[(uint8_t)*p] && p - *at < DIGITS_MAX; p++)
		*ret = *ret << 4 | (hex_digit[(uint8_t)*p] & 15);
	if (*p != ' ' || p - *at != DIGITS_MAX / 2)
		return stopped(p, end, LINE_NO_ADDRESS);
	*at = p + 1;
	return LINE_WHOLE;
}

/* One line at p. A NUL stands at end, so that each loop ends there by itself. */
static enum verdict parse_line(const char *p, const char *end, struct line *l)
{
	enum verdict v = parse_address(&p, end, &l->addr);

	if (v != LINE_WHOLE)
		return v;
	if (!is_type(p[0]))
		return stopped(p, end, LINE_NO_TYPE);
	l->type = p[0];
	if (p[1] != ' ')
		return stopped(p + 1, end, LINE_NO_TYPE);
	l->object = NULL;
	l->object_len = 0;
	return parse_rest(p + 2, end, l);
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
