/* The real qemu-guest-agent and our real program for guests, as processes of the test; they die
 * with it. Where the test is root, they can have another root than this machine's: then that folder
 * is the guest. */
#ifndef KVMPROFS_TESTS_REALAGENT_H
#define KVMPROFS_TESTS_REALAGENT_H

#include <stdbool.h>
#include <sys/types.h>

/* Where qemu-ga is: installed, or unpacked by tests/install-deps; NULL: nowhere. */
const char *realagent_program(void);

/* Copies what it takes to run there into a folder: qemu-ga, sh, cat and gzip with their libraries.
 * False when this user cannot change the root. */
bool realagent_furnish(const char *root);

struct realagent_config {
	const char *root;  /* furnished; NULL: / */
	const char *dir;   /* where it may write; NULL: /tmp */
	const char *path;  /* of a terminal, or of the socket to listen at (below root) */
	bool terminal;	   /* which of the two */
	const char *block; /* commands, joined by commas; or NULL */
};

/* Starts it and waits until it listens. Fails the test when it cannot. */
pid_t realagent_start(const struct realagent_config *config);

/* Starts our own program: path as its -p, root as its -r (NULL: /). */
pid_t realagent_start_own(const char *path, const char *root);

/* Kills it and waits for its end. 0: does nothing. */
void realagent_stop(pid_t pid);

/* How many descriptors that process has. */
unsigned realagent_open_files(pid_t pid);

#endif
