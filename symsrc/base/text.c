#include "symsrc/base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT_MAX 255 /* NAME_MAX */

static bool is_print(unsigned char c)
{
	return c >= 0x20 && c <= 0x7e;
}

static bool is_shown(unsigned char c)
{
	return is_print(c) && c != '\\';
}

static bool is_shown_in_component(unsigned char c)
{
	return is_shown(c) && c != '/' && c != ' ';
}

static size_t escape(char *dst, size_t size, const char *bytes, size_t n,
		     bool (*shown)(unsigned char))
{
	static const char hex[] = "0123456789abcdef";
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)bytes[i];
		size_t need = shown(c) ? 1 : 4;

		if (len + need >= size)
			break;
		if (need == 1) {
			dst[len] = (char)c;
		} else {
			dst[len] = '\\';
			dst[len + 1] = 'x';
			dst[len + 2] = hex[c >> 4];
			dst[len + 3] = hex[c & 15];
		}
		len += need;
	}
	dst[len] = '\0';
	return len;
}

size_t text_escape(char *dst, size_t size, const char *bytes, size_t n)
{
	return escape(dst, size, bytes, n, is_shown);
}

size_t text_clean(char *dst, size_t size, const char *bytes, size_t n)
{
	return escape(dst, size, bytes, n, is_print);
}

/* Eight bytes at a time: the highest bit of each byte tells. */
#define EACH(byte) (0x0101010101010101ULL * (byte))

static bool are_of_words(uint64_t bytes)
{
	uint64_t low = bytes & EACH(0x7f);
	uint64_t from_0x21 = low + EACH(0x80 - 0x21), past_0x7e = low + EACH(0x80 - 0x7f);

	return ((~from_0x21 | past_0x7e | bytes) & EACH(0x80)) == 0;
}

bool text_is_word(const char *bytes, size_t n)
{
	uint64_t eight = EACH('x');

	for (size_t i = 0; i + sizeof(eight) < n; i += sizeof(eight)) {
		memcpy(&eight, bytes + i, sizeof(eight));
		if (!are_of_words(eight))
			return false;
	}
	if (n >= sizeof(eight)) /* the last ones, some of them once more */
		memcpy(&eight, bytes + n - sizeof(eight), sizeof(eight));
	else
		memcpy(&eight, bytes, n);
	return are_of_words(eight);
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

bool text_is_component(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > COMPONENT_MAX || is_dots(name))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_print((unsigned char)name[i]) || name[i] == '/')
			return false;
	}
	return true;
}

size_t text_to_component(char *dst, size_t size, const char *name)
{
	size_t len;

	if (size > COMPONENT_MAX + 1)
		size = COMPONENT_MAX + 1;
	if (name[0] == '\0')
		return (size_t)snprintf(dst, size, "\\x");
	if (!is_dots(name))
		return escape(dst, size, name, strlen(name), is_shown_in_component);
	len = (size_t)snprintf(dst, size, "\\x2e");
	return len + escape(dst + len, size - len, name + 1, strlen(name + 1), is_shown);
}

bool text_to_u64(const char *s, int base, uint64_t max, uint64_t *ret)
{
	unsigned long long v;
	char *end;

	/* strtoull() itself would take a sign, blanks and "0x". */
	if (!((*s >= '0' && *s <= '9') || (base == 16 && strchr("abcdefABCDEF", *s) && *s)))
		return false;
	if (base == 16 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		return false;
	errno = 0;
	v = strtoull(s, &end, base);
	if (errno || *end || v > max)
		return false;
	*ret = v;
	return true;
}
