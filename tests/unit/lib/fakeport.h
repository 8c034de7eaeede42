/* A guest's serial port as a VMM has it: a unix socket on the host's side that serves one client
 * after the other, and a terminal on the guest's. In a thread of the test. What the guest says
 * while no client is there waits in the terminal, as far as it takes it. */
#ifndef KVMPROFS_TESTS_FAKEPORT_H
#define KVMPROFS_TESTS_FAKEPORT_H

struct fakeport;

/* Listens at path. Fails the test when it cannot. */
struct fakeport *fakeport_start(const char *path);
void fakeport_stop(struct fakeport *f); /* accepts NULL */

/* The guest's end. */
const char *fakeport_terminal(const struct fakeport *f);

/* The clients that were accepted. */
unsigned fakeport_clients(struct fakeport *f);

/* Loses this many bytes of what the guest says, after the next so many. */
void fakeport_lose(struct fakeport *f, unsigned after, unsigned count);

#endif
