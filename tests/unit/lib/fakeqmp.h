/* A QMP server on a unix socket, in a thread of the test: what QEMU says, or what it had better
 * not say. Serves one client at a time, as QEMU does. */
#ifndef KVMPROFS_TESTS_FAKEQMP_H
#define KVMPROFS_TESTS_FAKEQMP_H

#include <stddef.h>

enum fakeqmp_fault {
	FAKEQMP_OK,
	FAKEQMP_TORN,	     /* every byte in a write of its own */
	FAKEQMP_BUSY,	     /* listens, never accepts */
	FAKEQMP_SILENT,	     /* accepts, says nothing */
	FAKEQMP_MUTE,	     /* greets, answers nothing */
	FAKEQMP_NEGOTIATES,  /* answers qmp_capabilities, then nothing more */
	FAKEQMP_REFUSES,     /* an error to qmp_capabilities */
	FAKEQMP_CLOSES,	     /* greets and closes */
	FAKEQMP_CLOSES_LATE, /* closes in the middle of the first reply */
	FAKEQMP_HUGE,	     /* the first reply is one string that never ends */
	FAKEQMP_MANY,	     /* the first reply is a list that never ends */
	FAKEQMP_DEEP,	     /* the first reply is [[[[... */
	FAKEQMP_BINARY,	     /* zeros instead of a greeting */
	FAKEQMP_OTHER,	     /* speaks something else ("220 smtp") */
	FAKEQMP_FLOOD	     /* events without end after the greeting */
};

/* The JSON value that "return" is to hold, to be freed by the server, or NULL for an error
 * reply. line: the whole command as it came. Called in the server's thread. */
typedef char *fakeqmp_answer_fn(void *ctx, const char *command, const char *line);

struct fakeqmp;

/* Listens at path (any length) and serves. answer NULL: every command returns {}. Fails the
 * test when it cannot. */
struct fakeqmp *fakeqmp_start(const char *path, enum fakeqmp_fault fault, fakeqmp_answer_fn *answer,
			      void *ctx);

/* Sends this line to the client that is connected, or to the next one after its greeting. */
void fakeqmp_send(struct fakeqmp *f, const char *line);

/* How many clients it has accepted, how many commands it has read. */
unsigned fakeqmp_clients(struct fakeqmp *f);
unsigned fakeqmp_commands(struct fakeqmp *f);

/* Ends the thread, closes all, removes the socket. Accepts NULL. */
void fakeqmp_stop(struct fakeqmp *f);

#endif
