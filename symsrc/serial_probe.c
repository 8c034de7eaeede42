#include "symsrc/serial_probe.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "symsrc/guest-helper/protocol.h"

#define DELIMITER 0xff

_Static_assert(SERIAL_PROBE_LINE_MAX > PORT_FIND_LEN, "both dialects' beginnings fit");

void serial_probe_init(struct serial_probe *p, uint32_t id)
{
	/* 0xFF must not be in it: it begins what is looked for, and nothing else does. */
	*p = (struct serial_probe){.id = (id & 0x7f7f7f7f) | 1};
}

size_t serial_probe_request(const struct serial_probe *p, char text[static SERIAL_PROBE_REQUEST])
{
	return (size_t)snprintf(
		text, SERIAL_PROBE_REQUEST,
		"\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%u}}\n", p->id);
}

static bool is_port(const struct serial_probe *p)
{
	const unsigned char id[] = {(unsigned char)(p->id >> 24), (unsigned char)(p->id >> 16),
				    (unsigned char)(p->id >> 8), (unsigned char)p->id};

	return p->len == PORT_FIND_LEN && memcmp(p->line, PORT_MAGIC, PORT_MAGIC_LEN) == 0 &&
	       memcmp(p->line + PORT_MAGIC_LEN, id, sizeof(id)) == 0;
}

/* The line is 0xFF, what this looks at, and a newline. */
static bool is_agent(struct serial_probe *p)
{
	struct json_object *answer, *id;
	bool ours;

	p->line[p->len - 1] = '\0';
	answer = json_tokener_parse(p->line + 1);
	ours = json_object_is_type(answer, json_type_object) &&
	       json_object_object_get_ex(answer, "return", &id) &&
	       json_object_is_type(id, json_type_int) &&
	       json_object_get_int64(id) == (int64_t)p->id;
	json_object_put(answer);
	return ours;
}

static void take(struct serial_probe *p, unsigned char c)
{
	if (c == DELIMITER)
		p->len = 0;
	else if (p->len == 0 || p->len == sizeof(p->line))
		return;
	p->line[p->len++] = (char)c;
	if (is_port(p))
		p->who = SERIAL_PORT;
	/* In a packet any byte may stand. */
	if (c != '\n' || p->line[1] == PORT_MAGIC[1])
		return;
	if (is_agent(p))
		p->who = SERIAL_AGENT;
	p->len = 0;
}

ptrdiff_t serial_probe_feed(struct serial_probe *p, const void *bytes, size_t n, struct errmsg *why)
{
	const unsigned char *b = bytes;
	size_t i = 0;

	while (i < n && p->who == SERIAL_NOBODY)
		take(p, b[i++]);
	p->dropped += i;
	if (p->who == SERIAL_NOBODY && p->dropped > SERIAL_PROBE_DROP_MAX)
		return errmsg_set(
			why, -EBADMSG,
			"what answers is neither qemu-guest-agent nor kvmprofs in the guest");
	return (ptrdiff_t)i;
}
