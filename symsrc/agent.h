/* A client of qemu-guest-agent over a connection that it has just been synchronised on
 * (symsrc/serial_probe.h): one command after the other (QEMU, qga/qapi-schema.json).
 *
 * What is open in the agent stays open there when we go: whoever opens closes, also after a
 * cancel or an error, as far as the connection allows.
 */
#ifndef KVMPROFS_AGENT_H
#define KVMPROFS_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/agent_answer.h"
#include "symsrc/serial_link.h"
#include "symsrc/source_impl.h"
#include "symsrc/virsh.h"

/* What guest-file-read is asked for at once. The agent's own default is 4 KiB; more than 1 MiB is
 * more than libvirt carries. 64 KiB is the fastest in a local agent, of which one answer fits into
 * a socket's buffer. */
#define AGENT_READ_BYTES (64u << 10)

/* The same where a chunk is a process of its own: as much as the agent's maximum here. */
#define AGENT_VIRSH_BYTES (1u << 20)

/* Commands, as bits of struct agent.allowed. */
enum agent_command {
	AGENT_FILE_OPEN = 1,
	AGENT_FILE_READ = 2,
	AGENT_FILE_CLOSE = 4,
	AGENT_EXEC = 8,
	AGENT_EXEC_STATUS = 16,
	AGENT_OSINFO = 32
};
#define AGENT_FILES    (AGENT_FILE_OPEN | AGENT_FILE_READ | AGENT_FILE_CLOSE)
#define AGENT_PROGRAMS (AGENT_EXEC | AGENT_EXEC_STATUS)

#define AGENT_CHUNK (64u << 10) /* received at once */

struct agent {
	struct serial_link *link;  /* not owned; without virsh it is open */
	const struct virsh *virsh; /* not owned; NULL: the link is ours */
	unsigned allowed;
	struct agent_answer answer; /* the one that is coming in */
	size_t at, len;		    /* of chunk: what is not read yet */
	char chunk[AGENT_CHUNK];
};

/* Asks what is allowed (guest-info). virsh NULL: over the link; else through it, and of the link
 * only its limits count. 0 or negative errno and why; to be destroyed. */
int agent_create(struct serial_link *link, const struct virsh *virsh, struct agent **ret,
		 struct errmsg *why);
void agent_destroy(struct agent *a); /* accepts NULL */

/* Sends a command (a whole line) and reads its answer. data as in agent_answer_init(). Returns what
 * agent_answer_result() says, with *ret to be put by the caller, or another negative errno,
 * after which the connection is of no use. */
int agent_call(struct agent *a, const char *line, agent_data_fn *data, void *ctx,
	       struct json_object **ret, struct errmsg *why);

/* Says in why whose words they are, when r is -EREMOTEIO. Returns r. */
int agent_blame(int r, struct errmsg *why);

/* Goes on with the answer that an error of agent_call() had left, for SERIAL_GRACE_MS. 0 and
 * *ret, or negative errno. */
int agent_finish_call(struct agent *a, struct json_object **ret);

/* Delivers a file. 0, also when the agent cannot open it, which refused then tells (its code is 0
 * otherwise); or negative errno and why. */
int agent_deliver_file(struct agent *a, const char *path, enum guest_file file, const char *module,
		       const struct source_sink *sink, struct errmsg *refused, struct errmsg *why);

/* Delivers what is asked for by a shell that the agent runs in the guest, packed where it can. */
int agent_deliver_by_shell(struct agent *a, const struct source_order *order,
			   const struct source_sink *sink, struct errmsg *why);

/* Delivers what is asked for by either way. -EPERM when the agent blocks what it takes. */
int agent_fetch(struct agent *a, const struct source_order *order, const struct source_sink *sink,
		struct errmsg *why);

/* After an error, before the connection is closed: sends this command, and waits SERIAL_GRACE_MS at
 * most until it has been answered, whatever else comes. Closing at once would lose the command:
 * to the VMM a connection that is closed with something unread in it is broken (unix(7):
 * ECONNRESET), and it reads no more. */
void agent_last_words(struct agent *a, const char *line);

/* A whole number that the object holds under this key; false when there is none. */
bool agent_number(struct json_object *o, const char *key, int64_t *ret);

/* The names of those of these commands that are not allowed, joined by ", ". */
void agent_blocked(const struct agent *a, unsigned wanted, char *text, size_t size);

#endif
