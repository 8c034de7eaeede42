/* Base64 (RFC 4648, section 4), decoded as it arrives. Pure; the input comes from a stranger. */
#ifndef KVMPROFS_AGENT_BASE64_H
#define KVMPROFS_AGENT_BASE64_H

#include <stddef.h>
#include <stdint.h>

struct agent_base64 {
	uint32_t bits;	 /* of the group of four that is open */
	unsigned digits; /* in it, padding included */
	unsigned padding;
};

/* Decodes n digits into at most AGENT_BASE64_BYTES(n) bytes. Returns how many, or -EBADMSG for
 * what is no base64. b begins as all zero. */
#define AGENT_BASE64_BYTES(n) (((n) / 4 + 1) * 3)
ptrdiff_t agent_base64_feed(struct agent_base64 *b, const char *digits, size_t n, uint8_t *ret);

/* 0, or -EBADMSG when the last group is not whole. */
int agent_base64_end(const struct agent_base64 *b);

#endif
