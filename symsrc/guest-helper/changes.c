/* kallsyms for a host that has an earlier one: only what has changed. */
#include <string.h>

#include "symsrc/guest-helper/blocks.h"
#include "symsrc/guest-helper/guest.h"

/* ---- what the host has --------------------------------------------------------------------- */

/* Negative: no hexadecimal digit. */
static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse(const char *word, uint64_t *ret)
{
	*ret = 0;
	for (int i = 0; i < PORT_DIGEST_LEN; i++) {
		int d = digit(word[i]);

		if (d < 0)
			return false;
		*ret = *ret << 4 | (unsigned)d;
	}
	return word[PORT_DIGEST_LEN] == '\0';
}

void changes_have(struct port *p, char *digests)
{
	char *word;

	while ((word = strsep(&digests, " "))) {
		if (p->have_count < PORT_HAVE_MAX && parse(word, &p->have[p->have_count]))
			p->have_count++;
	}
}

/* ---- what it has not ------------------------------------------------------------------------ */

struct changes {
	struct port *p;
	uint32_t first, count; /* blocks of the host's list that are not sent yet */
	uint32_t sum;
};

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static bool send_same(struct changes *c)
{
	if (c->count == 0)
		return true;
	put32(port_payload(c->p), c->first);
	put32(port_payload(c->p) + 4, c->count);
	c->first += c->count;
	c->count = 0;
	return port_send(c->p, PORT_SAME, PORT_SAME_LEN);
}

/* Mostly it is the one behind the last. PORT_HAVE_MAX: there is none. */
static uint32_t find(const struct changes *c, uint64_t digest)
{
	uint32_t next = c->first + c->count, i = 0;

	if (next < c->p->have_count && c->p->have[next] == digest)
		return next;
	while (i < c->p->have_count && c->p->have[i] != digest)
		i++;
	return i < c->p->have_count ? i : PORT_HAVE_MAX;
}

static bool send_block(struct changes *c, const char *text, size_t n)
{
	uint32_t i = find(c, block_digest(text, n));

	c->sum = port_crc32(c->sum, (const uint8_t *)text, n);
	if (i < PORT_HAVE_MAX && c->count && i == c->first + c->count) {
		c->count++;
		return true;
	}
	if (!send_same(c))
		return false;
	if (i < PORT_HAVE_MAX) {
		c->first = i;
		c->count = 1;
		return true;
	}
	memcpy(port_payload(c->p), text, n);
	return port_send(c->p, PORT_DATA, n);
}

static bool send_sum(struct changes *c)
{
	if (!send_same(c))
		return false;
	put32(port_payload(c->p), c->sum);
	return port_send(c->p, PORT_SUM, PORT_SUM_LEN);
}

bool changes_send(struct port *p, int fd, ssize_t *ret)
{
	static char text[PORT_DATA_MAX];
	struct changes c = {.p = p};
	size_t len = 0, n;

	do {
		*ret = files_read(fd, (uint8_t *)text + len, sizeof(text) - len);
		if (*ret < 0)
			return true;
		len += (size_t)*ret;
		n = len ? block_len(text, len) : 0;
		if (n && !send_block(&c, text, n))
			return false;
		len -= n;
		memmove(text, text + n, len);
	} while (n);
	return send_sum(&c);
}
