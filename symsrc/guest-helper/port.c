#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "symsrc/guest-helper/guest.h"

#define PORTS_DIR     "/sys/class/virtio-ports"
#define DELIMITER     0xff
#define RECEIVE_CHUNK 512

#define COMING_MS      1000 /* until a host that has spoken is believed to have gone again */
#define COMING_STEP_MS 5

static const char sync_begin[] = "{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":";
static const char have_begin[] = "have ";

/* ---- opening ------------------------------------------------------------------------------- */

/* Whether the port /sys/class/virtio-ports/NAME is ours. */
static bool is_ours(const char *name)
{
	char path[sizeof(PORTS_DIR) + 256 + 8], text[sizeof(PORT_NAME) + 1];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), PORTS_DIR "/%s/name", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text));
	close(fd);
	return n >= (ssize_t)strlen(PORT_NAME) && memcmp(text, PORT_NAME, strlen(PORT_NAME)) == 0 &&
	       (n == (ssize_t)strlen(PORT_NAME) || text[strlen(PORT_NAME)] == '\n');
}

/* Without udev there is no /dev/virtio-ports. */
static bool find_port(char *path, size_t size)
{
	DIR *dir = opendir(PORTS_DIR);
	struct dirent *e;
	bool found = false;

	if (!dir)
		return false;
	while (!found && (e = readdir(dir))) { // NOLINT(concurrency-mt-unsafe): one thread
		found = e->d_name[0] != '.' && is_ours(e->d_name);
		if (found)
			snprintf(path, size, "/dev/%s", e->d_name);
	}
	closedir(dir);
	return found;
}

/* A terminal would change bytes, and answer with what it was sent. */
static void make_raw(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return;
	cfmakeraw(&t);
	tcsetattr(fd, TCSANOW, &t);
}

int port_open(const char *path)
{
	const int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	char found[300];
	int fd = open(path ? path : "/dev/virtio-ports/" PORT_NAME, flags);

	if (fd < 0 && !path && find_port(found, sizeof(found)))
		fd = open(found, flags);
	if (fd < 0)
		return -errno;
	make_raw(fd);
	/* SIGIO when a host comes or goes, which poll(2) cannot wait for (drivers/char/
	 * virtio_console.c: POLLHUP as long as there is none). */
	fcntl(fd, F_SETOWN, getpid());
	fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC);
	return fd;
}

void port_init(struct port *p, int fd)
{
	memset(p, 0, sizeof(*p));
	p->fd = fd;
}

/* ---- lines in ------------------------------------------------------------------------------ */

static uint32_t session_of(const char *line)
{
	char *end;
	unsigned long id;

	if (strncmp(line, sync_begin, strlen(sync_begin)) != 0)
		return 0;
	line += strlen(sync_begin);
	errno = 0;
	id = isdigit((unsigned char)*line) ? strtoul(line, &end, 10) : 0;
	if (id == 0 || errno || id > 0x7f7f7f7f || strcmp(end, "}}") != 0)
		return 0;
	return (uint32_t)id;
}

static void end_line(struct port *p)
{
	uint32_t id;

	p->line[p->line_len] = '\0';
	id = session_of(p->line);
	if (id) {
		p->wanted = id;
		p->has_request = false;
		p->have_count = 0;
		return;
	}
	if (strncmp(p->line, have_begin, strlen(have_begin)) == 0) {
		changes_have(p, p->line + strlen(have_begin));
		return;
	}
	memcpy(p->request, p->line, p->line_len + 1);
	p->has_request = true;
}

static void take(struct port *p, unsigned char c)
{
	if (c == DELIMITER || c == '\n') {
		if (c == '\n' && !p->line_is_lost)
			end_line(p);
		p->line_len = 0;
		p->line_is_lost = false;
	} else if (p->line_len == sizeof(p->line) - 1 || c == '\0') {
		p->line_is_lost = true;
	} else {
		p->line[p->line_len++] = (char)c;
	}
}

/* What a host has asked for counts no more once it has gone. The beginning of a line does: it may
 * be the next host's, who is heard before it is seen (see wait_for_host()). */
static void host_has_gone(struct port *p)
{
	p->closed = true;
	p->session = p->wanted = p->have_count = 0;
	p->has_request = p->pushes = false;
}

void port_receive(struct port *p)
{
	unsigned char chunk[RECEIVE_CHUNK];
	ssize_t n = read(p->fd, chunk, sizeof(chunk));

	if (n > 0) {
		p->closed = false;
		for (ssize_t i = 0; i < n; i++)
			take(p, chunk[i]);
	} else if (n == 0) {
		host_has_gone(p);
	} else if (errno == EAGAIN) {
		p->closed = false;
	} else if (errno != EINTR) {
		host_has_gone(p);
		p->broken = true;
	}
}

/* ---- packets out --------------------------------------------------------------------------- */

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* CRC-32 of IEEE 802.3, a nibble at a time: small, and faster than what feeds it. */
uint32_t port_crc32(uint32_t crc, const uint8_t *p, size_t n)
{
	static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
					   0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
					   0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
					   0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};

	crc = ~crc;
	for (size_t i = 0; i < n; i++) {
		crc = table[(crc ^ p[i]) & 15] ^ crc >> 4;
		crc = table[(crc ^ p[i] >> 4) & 15] ^ crc >> 4;
	}
	return ~crc;
}

static bool is_over(const struct port *p)
{
	return p->broken || p->closed || p->wanted;
}

/* What a host says may be here before the news that there is one (virtio_console.c: in_intr() takes
 * data at once, control_work_handler() later), and POLLHUP until then. False: there is none. */
static bool wait_for_host(const struct port *p)
{
	struct pollfd f = {.fd = p->fd};

	for (int ms = 0; ms < COMING_MS; ms += COMING_STEP_MS) {
		poll(NULL, 0, COMING_STEP_MS);
		if (poll(&f, 1, 0) == 0)
			return true;
	}
	return false;
}

/* One wait, and what it brings. */
static void send_some(struct port *p, const uint8_t **at, size_t *left)
{
	struct pollfd f = {.fd = p->fd, .events = POLLIN | POLLOUT};
	ssize_t n;

	if (poll(&f, 1, -1) < 0)
		return;
	if (f.revents & POLLHUP) {
		if (!wait_for_host(p))
			host_has_gone(p);
		return;
	}
	if (f.revents & (POLLIN | POLLERR | POLLNVAL))
		port_receive(p);
	if (!(f.revents & POLLOUT) || is_over(p))
		return;
	n = write(p->fd, *at, *left);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		p->broken = true;
	*at += n > 0 ? n : 0;
	*left -= n > 0 ? (size_t)n : 0;
}

uint8_t *port_payload(struct port *p)
{
	return p->packet + PORT_HEAD;
}

bool port_send(struct port *p, enum port_packet type, size_t n)
{
	const uint8_t *at = p->packet;
	size_t left = PORT_HEAD + n;
	uint32_t crc;

	memcpy(p->packet, PORT_MAGIC, PORT_MAGIC_LEN);
	put32(p->packet + 4, p->session);
	put32(p->packet + 8, p->count++);
	p->packet[12] = (uint8_t)type;
	p->packet[13] = 0;
	p->packet[14] = (uint8_t)(n >> 8);
	p->packet[15] = (uint8_t)n;
	crc = port_crc32(0, p->packet, 16);
	put32(p->packet + 16, port_crc32(crc, p->packet + PORT_HEAD, n));
	while (left > 0 && !is_over(p))
		send_some(p, &at, &left);
	return left == 0;
}

bool port_send_text(struct port *p, enum port_packet type, const char *text)
{
	size_t n = strlen(text);

	n = n < PORT_DATA_MAX ? n : PORT_DATA_MAX;
	memcpy(port_payload(p), text, n);
	return port_send(p, type, n);
}
