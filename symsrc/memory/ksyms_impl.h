/* What the files of ksyms share. Nobody else includes this.
 *
 *	ksyms.c			the door: one token table after the other, until one fits
 *	ksyms_window.c		copies of guest memory, with holes where there is none
 *	ksyms_tokens.c		the token table and its index, found by the digits in it
 *	ksyms_names.c		from there to markers, names and their number
 *	ksyms_text.c		what compressed names say; text for the sink
 *	ksyms_addresses.c	where the addresses may be, and what they may mean
 *	ksyms_check.c		whether what came out is true: the anchors
 *
 * All of it works on guest-physical addresses and on copies: the image is in one piece there.
 * Alignment is the same as in the kernel's address space, since the image is moved by multiples
 * of 2 MiB only (CONFIG_PHYSICAL_ALIGN), in both.
 */
#ifndef KVMPROFS_MEMORY_KSYMS_IMPL_H
#define KVMPROFS_MEMORY_KSYMS_IMPL_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "symsrc/memory/ksyms.h"

#define KSYMS_TOKENS	 256
#define KSYMS_INDEX_SIZE (KSYMS_TOKENS * sizeof(uint16_t))
#define KSYMS_SLOP	 16		      /* bytes that may be copied too many */
#define KSYMS_BLOCK	 256		      /* names from one marker to the next */
#define KSYMS_TEXT_MAX	 (KSYMS_NAME_MAX + 1) /* a name with its type in front */

#define KSYMS_ALIGN(x, a) (((x) + ((a)-1)) & ~(uint64_t)((a)-1))

/* ---- copies ------------------------------------------------------------------------------- */

struct ksyms_window {
	uint64_t gpa; /* of bytes[0] */
	size_t len;
	uint8_t *bytes; /* owned */
	int err;	/* why some of it reads as zeros (-ENXIO, -EBUSY); 0: all there */
};

/* Copies len bytes. What is no RAM or is swapped out reads as zeros. 0, -ENOMEM, or as
 * ram_read() with an error that ends everything. */
int ksyms_window_read(struct ram *ram, uint64_t gpa, size_t len, struct ksyms_window *ret);
void ksyms_window_deinit(struct ksyms_window *w);

/* The same into the caller's memory; *err is set when something was left out. */
int ksyms_copy(struct ram *ram, uint64_t gpa, void *buf, size_t len, int *err);

/* True for errors of a read that say something about what the guest has there, not about the
 * reading as such. */
bool ksyms_is_about_content(int r);

static inline unsigned ksyms_u16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t ksyms_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t ksyms_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* ---- tokens --------------------------------------------------------------------------------- */

struct ksyms_tokens {
	uint64_t table, index; /* guest-physical */
	struct {
		uint16_t at, len;
	} token[KSYMS_TOKENS];
	char text[KSYMS_TOKENS_MAX + KSYMS_SLOP];
};

/* Calls found for each place in [from, to) where the ten digits stand in a row as in a token
 * table, in ascending order, until it returns something else than 0, which is then returned;
 * 0 when it never did. *err as ksyms_copy(). */
int ksyms_scan_digits(struct ram *ram, uint64_t from, uint64_t to, int *err,
		      int (*found)(void *ctx, uint64_t digits), void *ctx);

/* The table around these digits. 0; -ENOENT: it is none; or as ksyms_copy(). */
int ksyms_load_tokens(struct ram *ram, uint64_t digits, struct ksyms_tokens *ret);

/* ---- names ---------------------------------------------------------------------------------- */

struct ksyms_names {
	uint64_t markers, names, num_syms; /* guest-physical */
	uint32_t count;			   /* of names */
	uint32_t len;			   /* of bytes */
	bool wide;	/* a length with its top bit set goes on in a second byte */
	uint8_t *bytes; /* owned */
};

/* Finds and copies the names that belong to this token table, and checks each of them: what
 * follows needs no bounds. 0; -ENOENT: there are none; -EBADMSG: there are, but they do not
 * decode; -ENOMEM; or as ram_read(). reason says which, and is a literal. */
int ksyms_load_names(struct ram *ram, const struct ksyms_tokens *t, struct ksyms_names *ret,
		     const char **reason);
void ksyms_names_deinit(struct ksyms_names *n);

/* The compressed name at *at; *at goes on to the next one. */
static inline const uint8_t *ksyms_next_name(const struct ksyms_names *n, const uint8_t **at,
					     size_t *ret_len)
{
	const uint8_t *p = *at;
	size_t len = *p++;

	if (n->wide && (len & 0x80))
		len = (len & 0x7f) | (size_t)*p++ << 7;
	*at = p + len;
	*ret_len = len;
	return p;
}

/* ---- text ----------------------------------------------------------------------------------- */

/* True when each of these names has a type, is not too long and is all of printable tokens. */
bool ksyms_names_are_sane(const struct ksyms_tokens *t, const struct ksyms_names *n);

/* Which symbol has this name: the first of each; -1 where there is none. At most
 * KSYMS_FIND_MAX. */
void ksyms_index_of(const struct ksyms_tokens *t, const struct ksyms_names *n,
		    const char *const *names, size_t count, int32_t *ret);

int ksyms_write_text(const struct ksyms_tokens *t, const struct ksyms_names *n,
		     const uint64_t *addresses, const struct source_sink *sink);

/* ---- addresses ------------------------------------------------------------------------------ */

enum ksyms_meaning {
	KSYMS_ABSOLUTE, /* u64: the address */
	KSYMS_PERCPU,	/* s32: below 0 relative_base - 1 - v, else v itself */
	KSYMS_RELATIVE, /* u32: relative_base + v */
	KSYMS_PLACE,	/* s32: the entry's own address + v */
};

struct ksyms_guess {
	const char *layout; /* for people; a literal */
	enum ksyms_meaning meaning;
	uint64_t offsets; /* guest-physical */
	uint64_t base;	  /* of relative_base; 0: there is none */
};

#define KSYMS_GUESSES_MAX 40

/* All that is worth trying, likeliest first. */
size_t ksyms_list_guesses(const struct ksyms_tokens *t, const struct ksyms_names *n,
			  struct ksyms_guess *list);

/* Decodes n addresses under this guess. slide: what to add to a guest-physical address of the
 * image to get a virtual one; only for KSYMS_PLACE. *ret_base: relative_base; 0: there is none.
 * 0; -EBADMSG: they do not ascend; -ENOMEM; or as ram_read(). */
int ksyms_load_addresses(struct ram *ram, const struct ksyms_guess *g, uint64_t slide, size_t n,
			 uint64_t *ret_base, uint64_t *ret);

/* ---- check ---------------------------------------------------------------------------------- */

/* One guess with all that it rests on. */
struct ksyms_case {
	struct ram *ram;
	const struct kernel_candidate *candidate;
	const struct ksyms_tokens *tokens;
	const struct ksyms_names *names;
	const struct ksyms_guess *guess;
	uint64_t base;	      /* relative_base; 0: there is none */
	const int32_t *index; /* of the names that ksyms_anchor_names() gave */
	uint64_t *addresses;  /* places of KSYMS_PLACE are physical where the image is not known */
};

/* The names that ksyms_check() wants to know the places of. */
const char *const *ksyms_anchor_names(size_t *ret_count);

/* How far it came: of several, the best. Begin with zeros. */
struct ksyms_verdict {
	unsigned anchors;   /* that agreed before the first that did not */
	const char *reason; /* why it is none; a literal */
};

/* 0: all anchors agree; *ret_image is complete, also the addresses. -EBADMSG: not so. Or as
 * ram_read(). */
int ksyms_check(const struct ksyms_case *c, struct kernel_image *ret_image,
		struct ksyms_verdict *verdict);

#endif
