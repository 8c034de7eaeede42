/* Authentication by public key, with nobody there to be asked.
 *
 * libssh's own ssh_userauth_publickey_auto() is not used: it writes missing .pub files beside
 * private keys, and OpenSSL asks for passphrases on the terminal.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/thread.h"
#include "symsrc/ssh_dial.h"
#include "symsrc/ssh_link_impl.h"

#define TRIED_MAX 200

/* What was tried, for the message. */
struct tried {
	char text[TRIED_MAX];
	size_t len;
};

static void note(struct tried *t, const char *what, const char *result)
{
	int n = snprintf(t->text + t->len, sizeof(t->text) - t->len, "%s%s (%s)",
			 t->len ? ", " : "", what, result);

	if (n > 0 && (size_t)n < sizeof(t->text) - t->len)
		t->len += (size_t)n;
	else
		t->text[t->len] = '\0';
}

static int refused(const struct ssh_link *l, const struct tried *t, struct errmsg *why)
{
	return errmsg_set(why, -EACCES,
			  "%s accepts none of our keys: %s; a key is named by "
			  "?identity=FILE, and goes into the guest's authorized_keys",
			  l->uri.user, t->len ? t->text : "there is none");
}

/* 1: in. 0: this key is not accepted. Negative errno: it is over. */
static int judge(struct ssh_link *l, int rc, struct errmsg *why)
{
	switch (rc) {
	case SSH_AUTH_SUCCESS: return 1;
	case SSH_AUTH_DENIED: return 0;
	case SSH_AUTH_PARTIAL:
		return errmsg_set(why, -EACCES,
				  "the guest wants more than a key, and nobody is "
				  "there to be asked");
	default: return ssh_link_fail(l, -EACCES, why);
	}
}

/* ---- key files ---------------------------------------------------------------------------- */

/* Called by libssh for a passphrase: there is none. */
static int no_passphrase(const char *prompt, char *buf, size_t len, int echo, int verify,
			 void *asked)
{
	(void)prompt;
	(void)buf;
	(void)len;
	(void)echo;
	(void)verify;
	*(bool *)asked = true;
	return -1;
}

static int offer(struct ssh_link *l, ssh_key key, struct errmsg *why)
{
	int rc, r;

	do {
		rc = ssh_userauth_publickey(l->session, NULL, key);
		r = rc == SSH_AUTH_AGAIN ? ssh_link_wait(l, why) : 0;
	} while (rc == SSH_AUTH_AGAIN && r == 0);
	return r < 0 ? r : judge(l, rc, why);
}

static int try_file(struct ssh_link *l, const char *path, struct tried *t, struct errmsg *why)
{
	bool asked = false;
	ssh_key key = NULL;
	int r = ssh_pki_import_privkey_file(path, NULL, no_passphrase, &asked, &key);

	if (r != SSH_OK) {
		note(t, path,
		     asked	    ? "has a passphrase"
		     : r == SSH_EOF ? "cannot be read"
				    : "is no private key");
		return 0;
	}
	r = offer(l, key, why);
	ssh_key_free(key);
	if (r == 0)
		note(t, path, "refused");
	return r;
}

static int try_usual_files(struct ssh_link *l, struct tried *t, struct errmsg *why)
{
	static const char *const names[] = {"id_ed25519", "id_ecdsa", "id_rsa"};
	char home[512], path[600];
	int r = 0;

	if (!ssh_home(home, sizeof(home)))
		return 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/.ssh/%s", home, names[i]);
		if (access(path, F_OK) == 0)
			r = try_file(l, path, t, why);
	}
	return r;
}

/* ---- ssh-agent ---------------------------------------------------------------------------- */

/* libssh talks to the agent synchronously, without a deadline. This thread ends such a talk. */
struct guard {
	pthread_t thread;
	int agent_fd; /* a duplicate */
	int done_fd;
	int cancel_fd;
	uint64_t deadline_ns;
};

static void *guard_main(void *arg)
{
	struct guard *g = arg;
	struct pollfd p[2] = {{.fd = g->done_fd, .events = POLLIN},
			      {.fd = g->cancel_fd, .events = POLLIN}};
	int n;

	do
		n = poll(p, 2, clock_left_ms(g->deadline_ns));
	while (n < 0 && errno == EINTR);
	if (!p[0].revents)
		shutdown(g->agent_fd, SHUT_RDWR);
	return NULL;
}

/* The socket of the agent, or negative errno: there is none. */
static int connect_agent(void)
{
	/* Nobody calls setenv() once there are threads. */
	const char *path = getenv("SSH_AUTH_SOCK"); // NOLINT(concurrency-mt-unsafe)
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	CLEANUP_FD int fd = -1;

	if (!path || !*path || strlen(path) >= sizeof(sun.sun_path))
		return -ENOENT;
	strcpy(sun.sun_path, path); // NOLINT(clang-analyzer-security.insecureAPI.strcpy)
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Non-blocking: with its backlog full this fails instead of waiting. */
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return -errno;
	return take_fd(&fd);
}

static int ask_agent(struct ssh_link *l, struct errmsg *why)
{
	int rc, r;

	do {
		rc = ssh_userauth_agent(l->session, NULL);
		r = rc == SSH_AUTH_AGAIN ? ssh_link_wait(l, why) : 0;
	} while (rc == SSH_AUTH_AGAIN && r == 0);
	return r < 0 ? r : judge(l, rc, why);
}

static int ask_guarded(struct ssh_link *l, int agent_fd, struct errmsg *why)
{
	struct guard g = {.agent_fd = agent_fd,
			  .done_fd = io_wake_create(),
			  .cancel_fd = l->limits.cancel_fd,
			  .deadline_ns = l->phase_ns};
	int r = g.done_fd;

	if (r >= 0)
		r = thread_start(&g.thread, "kp-agent", guard_main, &g);
	if (r == 0) {
		r = ask_agent(l, why);
		io_wake(g.done_fd);
		pthread_join(g.thread, NULL);
	}
	close_keep_errno(g.done_fd);
	return r;
}

static int try_agent(struct ssh_link *l, struct tried *t, struct errmsg *why)
{
	CLEANUP_FD int fd = connect_agent();
	CLEANUP_FD int ours = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int r;

	if (ours < 0)
		return 0;
	if (ssh_set_agent_socket(l->session, fd) != SSH_OK)
		return 0;
	take_fd(&fd); /* ssh_free() closes it */
	r = ask_guarded(l, ours, why);
	if (r == 0)
		note(t, "ssh-agent", clock_now_ns() < l->phase_ns ? "refused" : "hangs");
	return r;
}

/* ---- all of it ---------------------------------------------------------------------------- */

static int try_keys(struct ssh_link *l, struct tried *t, struct errmsg *why)
{
	char path[SSH_FILE_MAX] = "";
	int r;

	if (l->uri.query.identity[0])
		return try_file(l, l->uri.query.identity, t, why);
	r = try_agent(l, t, why);
	if (r == 0 && l->config_identity) {
		ssh_link_get(l, SSH_OPTIONS_IDENTITY, path, sizeof(path));
		r = try_file(l, path, t, why);
	}
	return r ? r : try_usual_files(l, t, why);
}

int ssh_link_authenticate(struct ssh_link *l, struct errmsg *why)
{
	struct tried t = {0};
	int r;

	ssh_link_phase(l, "the authentication", SSH_AUTH_SEC);
	r = try_keys(l, &t, why);
	if (r == 0)
		return refused(l, &t, why);
	return r < 0 ? r : 0;
}
