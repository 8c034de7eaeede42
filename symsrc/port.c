#include "symsrc/port.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/modules.h"

#define RECEIVE_CHUNK (64u << 10)
#define LINES_MAX     (128u << 10)
#define STATE_LINE    "state\n"

/* In the order in which they are asked for: what is asked twice (modules) encloses what takes
 * long. */
static const struct {
	enum port_file code;
	enum guest_file file;
} files[] = {
	{PORT_VERSION_FILE, GUEST_FILE_VERSION},    {PORT_BOOT_ID, GUEST_FILE_BOOT_ID},
	{PORT_NOTES, GUEST_FILE_KERNEL_NOTES},	    {PORT_MODULES, GUEST_FILE_MODULES},
	{PORT_MODULE_NOTE, GUEST_FILE_MODULE_NOTE}, {PORT_KALLSYMS, GUEST_FILE_KALLSYMS},
	{PORT_LISTING, GUEST_FILE_LISTING},	    {PORT_MODULE_FILE, GUEST_FILE_MODULE_KO},
};
static const char *const names[] = PORT_FILE_NAMES;

/* ---- what comes ---------------------------------------------------------------------------- */

static int unexpected(struct errmsg *why, const char *what)
{
	return errmsg_set(why, -EBADMSG, "kvmprofs in the guest sends what it should not: %s",
			  what);
}

static int take_hello(struct port *p, const uint8_t *payload, size_t n, struct errmsg *why)
{
	if (p->greeted || n < 1)
		return unexpected(why, "a greeting");
	if (payload[0] < PORT_OLDEST || payload[0] > PORT_VERSION)
		return errmsg_set(
			why, -EPROTONOSUPPORT,
			"kvmprofs in the guest speaks version %u, this one %u: install one "
			"that fits",
			payload[0], PORT_VERSION);
	p->version = payload[0];
	p->greeted = true;
	return 0;
}

static bool find_file(uint8_t code, enum guest_file *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if ((uint8_t)files[i].code == code) {
			*ret = files[i].file;
			return true;
		}
	}
	return false;
}

/* How often a file may come. */
static unsigned times_max(enum guest_file file)
{
	if (file == GUEST_FILE_MODULE_NOTE)
		return GUEST_MODULES_MOST;
	return file == GUEST_FILE_MODULES ? 2 : 1;
}

static int take_file(struct port *p, const uint8_t *payload, size_t n, struct errmsg *why)
{
	char module[MODULE_NAME_MAX];
	bool is_note;

	if (p->owes_sum)
		return unexpected(why, "no sum");
	if (!p->sink || n < 1 || !find_file(payload[0], &p->file))
		return unexpected(why, "a file that was not asked for");
	if (++p->times[p->file] > times_max(p->file))
		return unexpected(why, "a file too often");
	is_note = p->file == GUEST_FILE_MODULE_NOTE;
	if (is_note ? !module_name_is_valid((const char *)payload + 1, n - 1) || n > sizeof(module)
		    : n != 1)
		return unexpected(why, "a strange name");
	memcpy(module, payload + 1, n - 1);
	module[n - 1] = '\0';
	p->in_file = true;
	p->sum = 0;
	p->left = guest_file_max(p->file);
	return p->sink->begin(p->sink->ctx, p->file, is_note ? module : NULL);
}

/* Of the file that is open. */
static int deliver(struct port *p, const void *bytes, size_t n, struct errmsg *why)
{
	if (n > p->left || (p->file == GUEST_FILE_MODULE_NOTE && n > p->notes_left))
		return errmsg_set(why, -EFBIG, "the guest's %s is above the limit of %zu bytes",
				  guest_file_path(p->file), guest_file_max(p->file));
	p->left -= n;
	if (p->file == GUEST_FILE_MODULE_NOTE)
		p->notes_left -= n;
	if (p->known && p->file == GUEST_FILE_KALLSYMS)
		p->sum = (uint32_t)crc32(p->sum, bytes, (uInt)n);
	p->delivered += n;
	return p->sink->data(p->sink->ctx, bytes, n);
}

static int take_data(struct port *p, const uint8_t *payload, size_t n, struct errmsg *why)
{
	if (!p->in_file || n == 0)
		return unexpected(why, "bytes of no file");
	return deliver(p, payload, n, why);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int take_same(struct port *p, const uint8_t *payload, size_t n, struct errmsg *why)
{
	const char *bytes = NULL;
	size_t len = 0;

	if (p->known && p->in_file && p->file == GUEST_FILE_KALLSYMS && n == PORT_SAME_LEN)
		bytes = port_blocks_find(p->known, get32(payload), get32(payload + 4), &len);
	if (!bytes)
		return unexpected(why, "blocks that are not here");
	p->owes_sum = true;
	return deliver(p, bytes, len, why);
}

static int take_sum(struct port *p, const uint8_t *payload, size_t n, struct errmsg *why)
{
	if (!p->known || !p->in_file || p->file != GUEST_FILE_KALLSYMS || n != PORT_SUM_LEN)
		return unexpected(why, "a sum");
	if (get32(payload) != p->sum)
		return unexpected(why, "changes that do not fit what is here");
	p->owes_sum = false;
	p->in_file = false;
	return 0;
}

static int take_state(struct port *p, const uint8_t *payload, size_t n, struct errmsg *why)
{
	if (n != PORT_STATE_LEN)
		return unexpected(why, "a state of another length");
	if (!p->has_state)
		memcpy(p->state, payload, PORT_STATE_LEN);
	p->changed |= p->has_state;
	p->has_state = true;
	return 0;
}

static int take_end(struct port *p, struct errmsg *why)
{
	p->ended = true;
	return p->owes_sum ? unexpected(why, "no sum") : 0;
}

static int take_packet(void *ctx, enum port_packet type, const uint8_t *payload, size_t n,
		       struct errmsg *why)
{
	struct port *p = ctx;

	if (!p->greeted && type != PORT_HELLO)
		return unexpected(why, "no greeting");
	if (p->ended && type != PORT_STATE)
		return unexpected(why, "more after the end");
	switch (type) {
	case PORT_HELLO: return take_hello(p, payload, n, why);
	case PORT_FILE: return take_file(p, payload, n, why);
	case PORT_DATA: return take_data(p, payload, n, why);
	case PORT_STATE: return take_state(p, payload, n, why);
	case PORT_FAILED:
		return errmsg_set(why, -EIO, "kvmprofs in the guest: %.*s", (int)n,
				  (const char *)payload);
	case PORT_SAME: return take_same(p, payload, n, why);
	case PORT_SUM: return take_sum(p, payload, n, why);
	case PORT_END: return take_end(p, why);
	default: return unexpected(why, "a packet of an unknown kind");
	}
}

void port_init(struct port *p, uint32_t session, const struct source_sink *sink,
	       const struct port_blocks *known)
{
	memset(p, 0, offsetof(struct port, packets)); /* which is large, and begins itself */
	p->sink = sink;
	p->known = known;
	p->notes_left = PORT_NOTES_TOTAL_MAX;
	port_packets_init(&p->packets, session, take_packet, p);
}

int port_feed(struct port *p, const void *bytes, size_t n, struct errmsg *why)
{
	p->received += n;
	return port_packets_feed(&p->packets, bytes, n, why);
}

/* ---- asking -------------------------------------------------------------------------------- */

static int receive(struct port *p, struct serial_link *link, char *chunk, struct errmsg *why)
{
	ssize_t n = serial_link_recv(link, chunk, RECEIVE_CHUNK, serial_link_silence_ns(link), why);

	if (n == -ETIME)
		return errmsg_set(why, -ETIMEDOUT, "kvmprofs in the guest fell silent");
	return n < 0 ? (int)n : port_feed(p, chunk, (size_t)n, why);
}

static int receive_until(struct port *p, struct serial_link *link, const bool *done,
			 struct errmsg *why)
{
	CLEANUP_FREE char *chunk = malloc(RECEIVE_CHUNK);
	int r = chunk ? 0 : -ENOMEM;

	while (r == 0 && !*done)
		r = receive(p, link, chunk, why);
	return r;
}

static int ask(struct port *p, struct serial_link *link, const char *line, const bool *done,
	       struct errmsg *why)
{
	int r = serial_link_send(link, line, strlen(line), why);

	return r == 0 ? receive_until(p, link, done, why) : r;
}

static void get_line(struct buf *b, unsigned want)
{
	const unsigned twice =
		GUEST_FILE_BIT(GUEST_FILE_MODULES) | GUEST_FILE_BIT(GUEST_FILE_KALLSYMS);

	buf_append_str(b, "get");
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (names[files[i].code] && want & GUEST_FILE_BIT(files[i].file))
			buf_printf(b, " %s", names[files[i].code]);
	}
	if ((want & twice) == twice)
		buf_printf(b, " %s", names[PORT_MODULES]);
	buf_append_str(b, "\n");
}

static void order_line(struct buf *b, const struct source_order *o)
{
	if (!o->release)
		get_line(b, o->want);
	else if (!o->path)
		buf_printf(b, "list %s\n", o->release);
	else
		buf_printf(b, "read %s %s\n", o->release, o->path);
}

/* What is needed while a fetch runs. */
struct fetching {
	struct port port;
	struct port_blocks known;
};

/* Tells the guest what is here already, if it understands that. Whether it understands the order
 * is told by its version, too. */
static int add_known(struct fetching *f, struct serial_link *link, const struct port_order *o,
		     struct buf *lines, struct errmsg *why)
{
	bool has = o->had && o->what.want & GUEST_FILE_BIT(GUEST_FILE_KALLSYMS);
	int r;

	if (!has && !o->what.release)
		return 0;
	r = receive_until(&f->port, link, &f->port.greeted, why);
	if (r == 0 && o->what.release && f->port.version < 2)
		return errmsg_set(why, -EOPNOTSUPP,
				  "kvmprofs in the guest is too old to bring its lib/modules");
	if (r < 0 || !has || f->port.version < 2)
		return r;
	port_blocks_make(&f->known, o->had->data, o->had->size);
	port_blocks_lines(&f->known, lines);
	f->port.known = &f->known;
	return 0;
}

static int request(struct fetching *f, struct serial_link *link, const struct port_order *o,
		   struct errmsg *why)
{
	CLEANUP_BUF struct buf lines;
	int r;

	buf_init(&lines, LINES_MAX);
	r = add_known(f, link, o, &lines, why);
	order_line(&lines, &o->what);
	if (r == 0)
		r = lines.err;
	return r == 0 ? ask(&f->port, link, lines.data, &f->port.ended, why) : r;
}

/* News that has come already is asked for again: whoever listens next is to hear of it. */
static int hand_back(const struct port *p, struct serial_link *link, struct errmsg *why)
{
	return p->changed ? serial_link_send(link, STATE_LINE, strlen(STATE_LINE), why) : 0;
}

int port_fetch(struct serial_link *link, uint32_t session, const void *first, size_t n,
	       const struct port_order *order, struct port_result *ret, struct errmsg *why)
{
	CLEANUP_FREE struct fetching *f = malloc(sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	port_init(&f->port, session, order->sink, NULL);
	r = port_feed(&f->port, first, n, why);
	if (r == 0)
		r = request(f, link, order, why);
	if (r == 0 && !f->port.has_state)
		r = unexpected(why, "no state");
	if (r == 0)
		r = hand_back(&f->port, link, why);
	if (r < 0)
		return r;
	memcpy(ret->state, f->port.state, PORT_STATE_LEN);
	ret->received = f->port.received;
	ret->delivered = f->port.delivered;
	return 0;
}

int port_state(struct serial_link *link, uint32_t session, const void *first, size_t n,
	       uint8_t state[static PORT_STATE_LEN], struct errmsg *why)
{
	CLEANUP_FREE struct port *p = malloc(sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	port_init(p, session, NULL, NULL);
	r = port_feed(p, first, n, why);
	if (r == 0)
		r = ask(p, link, STATE_LINE, &p->has_state, why);
	if (r == 0)
		r = hand_back(p, link, why);
	if (r == 0)
		memcpy(state, p->state, PORT_STATE_LEN);
	return r;
}
