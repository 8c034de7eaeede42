/* kvmprofs-guest: the small program in a guest that hands its symbols to kvmprofs on the host
 * (protocol.h). For guests without qemu-guest-agent, or where that is locked down. Needs libc
 * alone; one thread; allocates nothing. */
#ifndef KVMPROFS_GUEST_HELPER_GUEST_H
#define KVMPROFS_GUEST_HELPER_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/guest-helper/protocol.h"

/* The port, and the session that a host has on it. */
struct port {
	int fd;
	bool broken; /* it is gone, or not to be used any more: open it again */
	bool closed; /* no host is connected */

	char line[PORT_LINE_MAX]; /* what came of a line */
	size_t line_len;
	bool line_is_lost; /* up to the next newline */
	bool has_request;
	char request[PORT_LINE_MAX]; /* the last whole line, without its newline */
	uint32_t wanted;	     /* the session that the host asked for; 0: no new one */

	uint32_t session;    /* 0: none */
	uint32_t count;	     /* packets sent in it */
	bool pushes;	     /* a change of state is to be sent */
	uint32_t have_count; /* blocks that the host has, by their digests */
	uint64_t have[PORT_HAVE_MAX];
	uint8_t state[PORT_STATE_LEN]; /* the last that was sent */

	uint8_t packet[PORT_PACKET_MAX];
};

/* ---- port.c: lines in, packets out ---- */

/* Opens the port, without waiting for it. path NULL: by its name, wherever the system has it. A
 * descriptor, or negative errno. */
int port_open(const char *path);

/* Begins anew on this descriptor. */
void port_init(struct port *p, int fd);

/* Takes what the host has sent. Ends the session when the host has gone. */
void port_receive(struct port *p);

/* Where the payload of the next packet goes: PORT_DATA_MAX bytes. */
uint8_t *port_payload(struct port *p);

/* Sends the payload as a packet, however long the host takes for it. False when the session is
 * over: the host has gone, or has begun another one. */
bool port_send(struct port *p, enum port_packet type, size_t n);

/* The same with text. */
bool port_send_text(struct port *p, enum port_packet type, const char *text);

/* As zlib's. */
uint32_t port_crc32(uint32_t crc, const uint8_t *p, size_t n);

/* ---- changes.c: kallsyms for a host that has an earlier one ---- */

/* Takes the digests of a "have" line. */
void changes_have(struct port *p, char *digests);

/* Sends what the host has not. False when the session is over. *ret: negative errno when it could
 * not be read, which the caller tells. */
bool changes_send(struct port *p, int fd, ssize_t *ret);

/* ---- files.c: what may be read ---- */

/* The root of what is read; "/" unless a test has another one. 0 or negative errno. */
int files_open_root(const char *root);

/* Opens a file of the list. A descriptor or negative errno. */
int files_open(enum port_file file);

/* As much as there is, until size: procfs gives a page at a time. Negative errno. */
ssize_t files_read(int fd, uint8_t *to, size_t size);

/* What is at this path below the root; flags as in open(2). A descriptor or negative errno. */
int files_open_path(const char *path, int flags);

/* Sends all that can be read. False and *ret as files_send(); path: for messages. */
bool files_send_content(struct port *p, int fd, const char *path, bool *ret);

/* The file of that name, or 0. */
int files_find(const char *name);

/* Sends the file, or all modules' notes; nothing when the guest has none. False when the session is
 * over. *ret is false when it could not be read, which the host has been told. */
bool files_send(struct port *p, enum port_file file, bool *ret);

/* ---- modfiles.c: what lies below /lib/modules ---- */

/* Each sends a FILE and its bytes, or nothing when there is none. False and *ret as files_send().
 */
bool modfiles_list(struct port *p, const char *release, bool *ret);
/* words: RELEASE and the path, with a blank between them; is written over. */
bool modfiles_read(struct port *p, char *words, bool *ret);

/* ---- state.c: whether something has changed ---- */

/* A socket that becomes readable when modules come and go; -1: there is none, look now and then. */
int state_watch(void);
/* Takes what has come. True when it was about modules. */
bool state_watched(int fd);

void state_read(uint8_t ret[static PORT_STATE_LEN]);

/* ---- request.c ---- */

/* Does what the host has asked for, if anything. */
void request_serve(struct port *p);
/* Sends the state if it is another one than the host knows. */
void request_push(struct port *p);

#endif
