/* An ssh server for tests, on libssh's server side: it really runs the command, and misbehaves on
 * request. A process of its own, with one more for each connection, so that nothing of it shares
 * a thread, a lock or libssh's state with what is tested; it dies with the test.
 */
#ifndef KVMPROFS_TESTS_SSHSERVER_H
#define KVMPROFS_TESTS_SSHSERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sshserver_fault {
	SSHSERVER_OK,
	SSHSERVER_NO_BANNER,   /* accepts the TCP connection, says nothing */
	SSHSERVER_OTHER,       /* speaks something else ("220 smtp") */
	SSHSERVER_DROP,	       /* closes after the key exchange */
	SSHSERVER_REFUSE_EXEC, /* no command is run */
	SSHSERVER_NO_CHANNEL,  /* no channel is opened */
	SSHSERVER_HANG,	       /* falls silent in the middle of kallsyms */
	SSHSERVER_CLOSE,       /* closes the connection in the middle of kallsyms */
	SSHSERVER_EOF,	       /* ends the answer in the middle of kallsyms, politely */
	SSHSERVER_ENDLESS,     /* a kallsyms without an end */
	SSHSERVER_BOMB,	       /* the same, packed */
	SSHSERVER_BINARY,      /* random bytes as an answer */
	SSHSERVER_STATUS,      /* everything is right but the exit status (3) */
	SSHSERVER_NOISE,       /* the login shell greets, on both streams */
	SSHSERVER_NO_SHELL,    /* "sh: not found" and status 127 */
	SSHSERVER_ASKING,      /* asks the client things, without an end or an answer */
	SSHSERVER_STDERR       /* 8 MB on standard error before the answer */
};

struct sshserver_config {
	const char *host_key;	/* private key file */
	const char *client_key; /* private key file: the only key that gets in */
	const char *root;  /* where the command finds its /proc and /sys; NULL: the real ones */
	const char *shell; /* what runs the command; NULL: "sh" */
	bool no_gzip;	   /* hides gzip (with root) */
};

struct sshserver;

/* Fails the test when it cannot. Start it before there are threads. */
struct sshserver *sshserver_start(const struct sshserver_config *config);
void sshserver_stop(struct sshserver *s);
uint16_t sshserver_port(const struct sshserver *s);

/* Both count for the next connections; from any thread. */
void sshserver_set_fault(struct sshserver *s, enum sshserver_fault fault);
unsigned sshserver_connections(const struct sshserver *s);

/* New ed25519 key in this file, with this passphrase or NULL. Fails the test when it cannot. */
void sshserver_make_key(const char *path, const char *passphrase);

/* Appends "[127.0.0.1]:PORT KEY" of this private key file to a known_hosts file. */
void sshserver_trust(const struct sshserver *s, const char *key_path, const char *known_hosts);

/* Whether this user and machine can give a command other files (mount namespaces). */
bool sshserver_can_have_root(void);

#endif
