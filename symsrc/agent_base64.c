#include "symsrc/agent_base64.h"

#include <errno.h>

/* A digit's value plus 1; 0: no digit. */
static const uint8_t values[256] = {
	['A'] = 1,  ['B'] = 2,	['C'] = 3,  ['D'] = 4,	['E'] = 5,  ['F'] = 6,	['G'] = 7,
	['H'] = 8,  ['I'] = 9,	['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14,
	['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21,
	['V'] = 22, ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28,
	['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35,
	['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42,
	['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49,
	['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
	['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63,
	['/'] = 64,
};

/* Padding stands for the last one or two digits of the last group only. */
static int take(struct agent_base64 *b, unsigned char c)
{
	uint8_t value = values[c];

	if (c == '=' && b->digits >= 2)
		b->padding++;
	else if (value == 0 || b->padding > 0)
		return -EBADMSG;
	b->bits = b->bits << 6 | (value ? value - 1u : 0u);
	b->digits++;
	return 0;
}

ptrdiff_t agent_base64_feed(struct agent_base64 *b, const char *digits, size_t n, uint8_t *ret)
{
	uint8_t *to = ret;

	for (size_t i = 0; i < n; i++) {
		if (take(b, (unsigned char)digits[i]) < 0)
			return -EBADMSG;
		if (b->digits < 4)
			continue;
		to[0] = (uint8_t)(b->bits >> 16);
		to[1] = (uint8_t)(b->bits >> 8);
		to[2] = (uint8_t)b->bits;
		to += 3 - b->padding;
		b->digits = 0; /* what follows padding is refused by take() */
	}
	return to - ret;
}

int agent_base64_end(const struct agent_base64 *b)
{
	return b->digits == 0 ? 0 : -EBADMSG;
}
