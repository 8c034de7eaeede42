#include "symsrc/x86length.h"

#include <stdbool.h>

/* What follows an opcode. */
enum {
	MODRM = 1,
	IMM8 = 2,
	IMM16 = 4,
	IMMZ = 8,    /* 4 bytes; 2 with an operand size of 16 bits */
	REL32 = 16,  /* 4 bytes */
	IMM64 = 32,  /* as IMMZ; 8 with REX.W */
	MOFFS = 64,  /* an address */
	UNARY = 128, /* IMM8 or IMMZ only where ModRM says "test" */
	INVALID = 256,
};

struct range {
	uint8_t first, last;
	uint16_t follows;
};

/* One-byte opcodes. What is not here is followed by nothing. */
static const struct range one_byte[] = {
	{0x06, 0x07, INVALID},
	{0x0e, 0x0e, INVALID},
	{0x16, 0x17, INVALID},
	{0x1e, 0x1f, INVALID},
	{0x27, 0x27, INVALID},
	{0x2f, 0x2f, INVALID},
	{0x37, 0x37, INVALID},
	{0x3f, 0x3f, INVALID},
	{0x60, 0x62, INVALID},
	{0x63, 0x63, MODRM},
	{0x68, 0x68, IMMZ},
	{0x69, 0x69, MODRM | IMMZ},
	{0x6a, 0x6a, IMM8},
	{0x6b, 0x6b, MODRM | IMM8},
	{0x70, 0x7f, IMM8},
	{0x80, 0x80, MODRM | IMM8},
	{0x81, 0x81, MODRM | IMMZ},
	{0x82, 0x82, INVALID},
	{0x83, 0x83, MODRM | IMM8},
	{0x84, 0x8f, MODRM},
	{0x9a, 0x9a, INVALID},
	{0xa0, 0xa3, MOFFS},
	{0xa8, 0xa8, IMM8},
	{0xa9, 0xa9, IMMZ},
	{0xb0, 0xb7, IMM8},
	{0xb8, 0xbf, IMM64},
	{0xc0, 0xc1, MODRM | IMM8},
	{0xc2, 0xc2, IMM16},
	{0xc4, 0xc5, INVALID},
	{0xc6, 0xc6, MODRM | IMM8},
	{0xc7, 0xc7, MODRM | IMMZ},
	{0xc8, 0xc8, IMM16 | IMM8},
	{0xca, 0xca, IMM16},
	{0xcd, 0xcd, IMM8},
	{0xce, 0xce, INVALID},
	{0xd0, 0xd3, MODRM},
	{0xd4, 0xd5, INVALID},
	{0xd8, 0xdf, MODRM},
	{0xe0, 0xe7, IMM8},
	{0xe8, 0xe9, REL32},
	{0xea, 0xea, INVALID},
	{0xeb, 0xeb, IMM8},
	{0xf6, 0xf6, MODRM | UNARY | IMM8},
	{0xf7, 0xf7, MODRM | UNARY | IMMZ},
	{0xfe, 0xff, MODRM},
};

/* Those behind 0f. What is not here is followed by a ModRM byte. */
static const struct range two_byte[] = {
	{0x04, 0x04, INVALID},
	{0x05, 0x09, 0},
	{0x0a, 0x0a, INVALID},
	{0x0b, 0x0b, 0},
	{0x0c, 0x0c, INVALID},
	{0x0e, 0x0e, 0},
	{0x0f, 0x0f, MODRM | IMM8},
	{0x24, 0x27, INVALID},
	{0x30, 0x37, 0},
	{0x39, 0x39, INVALID},
	{0x3b, 0x3f, INVALID},
	{0x70, 0x73, MODRM | IMM8},
	{0x77, 0x77, 0},
	{0x80, 0x8f, REL32},
	{0xa0, 0xa2, 0},
	{0xa4, 0xa4, MODRM | IMM8},
	{0xa8, 0xaa, 0},
	{0xac, 0xac, MODRM | IMM8},
	{0xba, 0xba, MODRM | IMM8},
	{0xc2, 0xc2, MODRM | IMM8},
	{0xc4, 0xc6, MODRM | IMM8},
	{0xc8, 0xcf, 0},
};

struct insn {
	const uint8_t *at, *end;
	bool narrow;	  /* operands of 16 bits */
	bool low;	  /* addresses of 32 bits */
	bool wide;	  /* REX.W */
	unsigned follows; /* the opcode */
};

static unsigned look_up(const struct range *ranges, size_t n, uint8_t opcode, unsigned other)
{
	for (size_t i = 0; i < n; i++) {
		if (opcode >= ranges[i].first && opcode <= ranges[i].last)
			return ranges[i].follows;
	}
	return other;
}

/* add, or, adc, ... cmp stand eight times in the same way before 0x40. */
static unsigned follows_one_byte(uint8_t opcode)
{
	unsigned low = opcode & 7;

	if (opcode < 0x40 && low < 6)
		return low < 4 ? MODRM : low == 4 ? IMM8 : IMMZ;
	return look_up(one_byte, sizeof(one_byte) / sizeof(one_byte[0]), opcode, 0);
}

static unsigned follows_two_byte(uint8_t opcode)
{
	return look_up(two_byte, sizeof(two_byte) / sizeof(two_byte[0]), opcode, MODRM);
}

/* Maps of opcodes as VEX and EVEX number them. */
static unsigned follows_in_map(unsigned map, uint8_t opcode)
{
	switch (map) {
	case 1: return follows_two_byte(opcode);
	case 2:
	case 5:
	case 6: return MODRM;
	case 3: return MODRM | IMM8;
	default: return INVALID;
	}
}

static bool take(struct insn *i, uint8_t *ret)
{
	if (i->at == i->end)
		return false;
	*ret = *i->at++;
	return true;
}

static bool skip(struct insn *i, size_t n)
{
	if ((size_t)(i->end - i->at) < n)
		return false;
	i->at += n;
	return true;
}

/* Returns the first byte behind them. */
static bool take_prefixes(struct insn *i, uint8_t *ret)
{
	while (take(i, ret)) {
		switch (*ret) {
		case 0x66: i->narrow = true; break;
		case 0x67: i->low = true; break;
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x64:
		case 0x65:
		case 0xf0:
		case 0xf2:
		case 0xf3: break;
		default: return true;
		}
	}
	return false;
}

/* c5, c4 or 62 has been taken. */
static bool take_vex(struct insn *i, uint8_t first)
{
	uint8_t byte, opcode;
	unsigned map = 1;

	if (!take(i, &byte))
		return false;
	if (first == 0xc4)
		map = byte & 0x1f;
	else if (first == 0x62)
		map = byte & 7;
	if (first != 0xc5 && !skip(i, first == 0xc4 ? 1 : 2))
		return false;
	i->follows = take(i, &opcode) ? follows_in_map(map, opcode) : INVALID;
	return true;
}

static bool take_0f(struct insn *i)
{
	uint8_t opcode, second;

	if (!take(i, &opcode))
		return false;
	i->follows = follows_two_byte(opcode);
	if (opcode != 0x38 && opcode != 0x3a)
		return true;
	i->follows = opcode == 0x38 ? MODRM : MODRM | IMM8;
	return take(i, &second);
}

static bool take_opcode(struct insn *i)
{
	uint8_t byte;

	if (!take_prefixes(i, &byte))
		return false;
	if (byte == 0xc4 || byte == 0xc5 || byte == 0x62)
		return take_vex(i, byte);
	if ((byte & 0xf0) == 0x40) {
		i->wide = byte & 8;
		if (!take(i, &byte))
			return false;
	}
	if (byte == 0x0f)
		return take_0f(i);
	i->follows = follows_one_byte(byte);
	return true;
}

static bool take_modrm(struct insn *i)
{
	uint8_t modrm, sib = 0;
	unsigned mod, rm;

	if (!take(i, &modrm))
		return false;
	mod = modrm >> 6;
	rm = modrm & 7;
	if ((i->follows & UNARY) && (modrm >> 3 & 7) > 1)
		i->follows = 0;
	if (mod == 3)
		return true;
	if (rm == 4 && !take(i, &sib))
		return false;
	if (mod == 0)
		return rm == 5 || (rm == 4 && (sib & 7) == 5) ? skip(i, 4) : true;
	return skip(i, mod == 1 ? 1 : 4);
}

static size_t immediate_size(const struct insn *i)
{
	size_t n = 0;

	if (i->follows & IMM8)
		n += 1;
	if (i->follows & IMM16)
		n += 2;
	if (i->follows & IMMZ)
		n += i->narrow && !i->wide ? 2 : 4;
	if (i->follows & REL32)
		n += 4;
	if (i->follows & IMM64)
		n += i->wide ? 8 : i->narrow ? 2 : 4;
	if (i->follows & MOFFS)
		n += i->low ? 4 : 8;
	return n;
}

size_t x86_length(const uint8_t *code, size_t n)
{
	struct insn i = {.at = code, .end = code + (n < X86_LENGTH_MAX ? n : X86_LENGTH_MAX)};

	if (!take_opcode(&i) || (i.follows & INVALID))
		return 0;
	if ((i.follows & MODRM) && !take_modrm(&i))
		return 0;
	return skip(&i, immediate_size(&i)) ? (size_t)(i.at - code) : 0;
}
