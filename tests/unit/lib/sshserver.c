#include "tests/unit/lib/sshserver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <libssh/server.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sched.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"

#define COMMAND_MAX 8192
#define CHUNK	    16384

/* What test and server share. */
struct shared {
	atomic_int fault;
	atomic_uint connections;
};

struct sshserver {
	struct sshserver_config config;
	struct shared *shared;
	pid_t pid;
	int listen_fd;
	uint16_t port;
};

/* One connection, in a process of its own. */
struct connection {
	const struct sshserver *server;
	enum sshserver_fault fault;
	ssh_session session;
	ssh_channel channel;
	ssh_key client_key;
	bool has_command;
	char command[COMMAND_MAX];
	struct ssh_server_callbacks_struct server_cb;
	struct ssh_channel_callbacks_struct channel_cb;
};

/* ---- authentication and the channel -------------------------------------------------------- */

static int on_pubkey(ssh_session session, const char *user, struct ssh_key_struct *key, char state,
		     void *userdata)
{
	struct connection *c = userdata;

	(void)session;
	if (strcmp(user, "root") != 0 || ssh_key_cmp(key, c->client_key, SSH_KEY_CMP_PUBLIC) != 0)
		return SSH_AUTH_DENIED;
	return state == SSH_PUBLICKEY_STATE_NONE || state == SSH_PUBLICKEY_STATE_VALID
		       ? SSH_AUTH_SUCCESS
		       : SSH_AUTH_DENIED;
}

static int on_exec(ssh_session session, ssh_channel channel, const char *command, void *userdata)
{
	struct connection *c = userdata;

	(void)session;
	(void)channel;
	if (c->fault == SSHSERVER_REFUSE_EXEC)
		return 1;
	snprintf(c->command, sizeof(c->command), "%s", command);
	c->has_command = true;
	return 0;
}

static ssh_channel on_session(ssh_session session, void *userdata)
{
	struct connection *c = userdata;

	if (c->fault == SSHSERVER_NO_CHANNEL)
		return NULL;
	c->channel = ssh_channel_new(session);
	c->channel_cb.userdata = c;
	c->channel_cb.channel_exec_request_function = on_exec;
	ssh_callbacks_init(&c->channel_cb);
	ssh_set_channel_callbacks(c->channel, &c->channel_cb);
	return c->channel;
}

/* ---- running the command ------------------------------------------------------------------- */

static void bind_over(const char *from, const char *to)
{
	if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
		_exit(99);
}

static void enter_root(const struct sshserver_config *config)
{
	char path[512];

	if (!config->root)
		return;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		_exit(99);
	if (config->no_gzip)
		bind_over("/dev/null", "/usr/bin/gzip");
	snprintf(path, sizeof(path), "%s/sys", config->root);
	bind_over(path, "/sys");
	snprintf(path, sizeof(path), "%s/proc", config->root);
	bind_over(path, "/proc");
}

static void exec_command(const struct connection *c, int out, int err)
{
	const struct sshserver_config *config = &c->server->config;
	const char *shell = config->shell ? config->shell : "sh";

	enter_root(config);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	if (strcmp(shell, "busybox") == 0)
		execlp("busybox", "busybox", "sh", "-c", c->command, NULL);
	execlp(shell, shell, "-c", c->command, NULL);
	_exit(127);
}

static bool pump(int *fd, ssh_channel channel, bool is_stderr)
{
	char chunk[CHUNK];
	ssize_t n = read(*fd, chunk, sizeof(chunk));

	if (n <= 0) {
		close(*fd);
		*fd = -1;
		return true;
	}
	if (is_stderr)
		return ssh_channel_write_stderr(channel, chunk, (uint32_t)n) == n;
	return ssh_channel_write(channel, chunk, (uint32_t)n) == n;
}

/* Both streams until both have ended. */
static void pump_all(const struct connection *c, int out, int err)
{
	struct pollfd p[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
	bool ok = true;

	while (ok && (p[0].fd >= 0 || p[1].fd >= 0)) {
		poll(p, 2, -1);
		if (p[0].fd >= 0 && p[0].revents)
			ok = pump(&p[0].fd, c->channel, false);
		if (ok && p[1].fd >= 0 && p[1].revents)
			ok = pump(&p[1].fd, c->channel, true);
	}
}

static void say(const struct connection *c, const char *text)
{
	ssh_channel_write(c->channel, text, (uint32_t)strlen(text));
}

static void run_command(struct connection *c)
{
	int out[2], err[2], status;
	pid_t pid;

	if (c->fault == SSHSERVER_NOISE) {
		say(c, "Last login: never\nwelcome to the guest\n");
		ssh_channel_write_stderr(c->channel, "motd\n", 5);
	}
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		_exit(98);
	pid = fork();
	if (pid == 0)
		exec_command(c, out[1], err[1]);
	close(out[1]);
	close(err[1]);
	pump_all(c, out[0], err[0]);
	waitpid(pid, &status, 0);
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
	ssh_channel_send_eof(c->channel);
	ssh_channel_request_send_exit_status(c->channel, c->fault == SSHSERVER_STATUS ? 3 : status);
	ssh_channel_close(c->channel);
}

/* ---- misbehaving --------------------------------------------------------------------------- */

/* The boundary out of "exec sh -c 'B=...; ". */
static void boundary_of(const struct connection *c, char *boundary, size_t size)
{
	const char *at = strstr(c->command, "'B=");

	snprintf(boundary, size, "%.*s", at ? (int)strcspn(at + 3, ";") : 0, at ? at + 3 : "");
}

static void begin_kallsyms(const struct connection *c, const char *boundary)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "%s kvmprofs 1 raw\n%s version\nLinux version 1\n%s kallsyms\n"
		 "ffffffff81000000 T _text\nffffffff810000",
		 boundary, boundary, boundary);
	say(c, text);
}

static void send_endless(const struct connection *c, const char *boundary)
{
	char chunk[CHUNK], text[128];
	int n = snprintf(text, sizeof(text), "ffffffff81000000 T _text\n");

	for (size_t i = 0; i < sizeof(chunk); i++)
		chunk[i] = text[i % (size_t)n];
	snprintf(text, sizeof(text), "%s kvmprofs 1 raw\n", boundary);
	say(c, text);
	snprintf(text, sizeof(text), "%s kallsyms\n", boundary);
	say(c, text);
	while (ssh_channel_write(c->channel, chunk, (uint32_t)(CHUNK - CHUNK % n)) > 0)
		;
}

static void send_bomb(const struct connection *c, const char *boundary)
{
	static unsigned char zeros[CHUNK], packed[CHUNK];
	char text[128];
	z_stream z = {0};

	snprintf(text, sizeof(text), "%s kvmprofs 1 gzip\n", boundary);
	say(c, text);
	deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
	z.avail_in = (uInt)snprintf(text, sizeof(text), "%s kallsyms\n", boundary);
	z.next_in = (Bytef *)text;
	do {
		z.next_out = packed;
		z.avail_out = sizeof(packed);
		deflate(&z, Z_NO_FLUSH);
		if (z.avail_in == 0) {
			z.next_in = zeros;
			z.avail_in = sizeof(zeros);
		}
	} while (sizeof(packed) == z.avail_out ||
		 ssh_channel_write(c->channel, packed, (uint32_t)(sizeof(packed) - z.avail_out)) >
			 0);
}

static void send_binary(const struct connection *c)
{
	char chunk[CHUNK];
	unsigned x = 1;

	do {
		for (size_t i = 0; i < sizeof(chunk); i++) {
			x = x * 1103515245u + 12345u;
			chunk[i] = (char)(x >> 16);
		}
	} while (ssh_channel_write(c->channel, chunk, sizeof(chunk)) > 0);
}

/* Requests that want a reply, and channels that the client should open. */
static void send_requests(const struct connection *c)
{
	do {
		ssh_channel channel = ssh_channel_new(c->session);

		ssh_set_blocking(c->session, 0);
		ssh_channel_open_reverse_forward(channel, "127.0.0.1", 1, "127.0.0.1", 2);
	} while (ssh_send_keepalive(c->session) == SSH_OK && ssh_is_connected(c->session));
}

static void send_stderr(const struct connection *c)
{
	static char chunk[CHUNK];

	memset(chunk, 'e', sizeof(chunk));
	for (int i = 0; i < 512; i++)
		ssh_channel_write_stderr(c->channel, chunk, sizeof(chunk));
}

static void answer(struct connection *c)
{
	char boundary[64];

	boundary_of(c, boundary, sizeof(boundary));
	switch (c->fault) {
	case SSHSERVER_HANG:
		begin_kallsyms(c, boundary);
		for (;;)
			pause();
	case SSHSERVER_CLOSE: begin_kallsyms(c, boundary); _exit(0);
	case SSHSERVER_EOF:
		begin_kallsyms(c, boundary);
		ssh_channel_send_eof(c->channel);
		ssh_channel_close(c->channel);
		break;
	case SSHSERVER_ENDLESS: send_endless(c, boundary); break;
	case SSHSERVER_BOMB: send_bomb(c, boundary); break;
	case SSHSERVER_BINARY: send_binary(c); break;
	case SSHSERVER_NO_SHELL:
		ssh_channel_write_stderr(c->channel, "sh: not found\n", 14);
		ssh_channel_send_eof(c->channel);
		ssh_channel_request_send_exit_status(c->channel, 127);
		ssh_channel_close(c->channel);
		break;
	case SSHSERVER_ASKING: send_requests(c); break;
	case SSHSERVER_STDERR:
		send_stderr(c);
		run_command(c);
		break;
	default: run_command(c);
	}
}

/* ---- processes ----------------------------------------------------------------------------- */

static void talk_without_ssh(const struct connection *c, int fd)
{
	static const char smtp[] = "220 smtp.example ESMTP ready\r\n";

	if (c->fault == SSHSERVER_OTHER) {
		for (int i = 0; i < 1000; i++) {
			if (send(fd, smtp, sizeof(smtp) - 1, MSG_NOSIGNAL) < 0)
				break;
		}
	}
	for (;;)
		pause();
}

static void shake_hands(struct connection *c, int fd)
{
	ssh_bind bind = ssh_bind_new();
	bool no = false;

	ssh_bind_options_set(bind, SSH_BIND_OPTIONS_PROCESS_CONFIG, &no);
	ssh_bind_options_set(bind, SSH_BIND_OPTIONS_HOSTKEY, c->server->config.host_key);
	c->session = ssh_new();
	c->server_cb.userdata = c;
	c->server_cb.auth_pubkey_function = on_pubkey;
	c->server_cb.channel_open_request_session_function = on_session;
	ssh_callbacks_init(&c->server_cb);
	if (ssh_bind_accept_fd(bind, c->session, fd) != SSH_OK)
		_exit(97);
	ssh_set_server_callbacks(c->session, &c->server_cb);
	ssh_set_auth_methods(c->session, SSH_AUTH_METHOD_PUBLICKEY);
	if (ssh_handle_key_exchange(c->session) != SSH_OK)
		_exit(0);
}

/* As real servers do, the client is left to go first: to close a socket with unread bytes in it
 * (a window adjustment, say) resets the connection, and takes back what is still on its way. */
static void await_client(struct connection *c)
{
	struct pollfd p = {.fd = ssh_get_fd(c->session), .events = POLLIN};
	char unread[4096];

	while (poll(&p, 1, 3000) > 0) {
		if (recv(p.fd, unread, sizeof(unread), MSG_DONTWAIT) <= 0)
			return;
	}
}

static void serve(struct connection *c, int fd)
{
	ssh_event event = ssh_event_new();

	if (c->fault == SSHSERVER_NO_BANNER || c->fault == SSHSERVER_OTHER)
		talk_without_ssh(c, fd);
	if (ssh_pki_import_privkey_file(c->server->config.client_key, NULL, NULL, NULL,
					&c->client_key) != SSH_OK)
		_exit(96);
	shake_hands(c, fd);
	if (c->fault == SSHSERVER_DROP)
		_exit(0);
	ssh_event_add_session(event, c->session);
	while (!c->has_command) {
		if (ssh_event_dopoll(event, -1) == SSH_ERROR)
			_exit(0);
	}
	ssh_event_remove_session(event, c->session);
	answer(c);
	ssh_blocking_flush(c->session, 1000);
	await_client(c);
	_exit(0);
}

static void die_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == 1)
		_exit(0);
}

static void accept_loop(const struct sshserver *s)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		atomic_fetch_add(&s->shared->connections, 1);
		if (fork() == 0) {
			static struct connection c;

			die_with_parent();
			signal(SIGCHLD, SIG_DFL);
			c.server = s;
			c.fault = (enum sshserver_fault)atomic_load(&s->shared->fault);
			serve(&c, fd);
		}
		close(fd);
	}
}

static int listen_anywhere(uint16_t *ret_port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, 128), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*ret_port = ntohs(sin.sin_port);
	return fd;
}

struct sshserver *sshserver_start(const struct sshserver_config *config)
{
	struct sshserver *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->config = *config;
	s->shared = mmap(NULL, sizeof(*s->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(s->shared != MAP_FAILED);
	s->listen_fd = listen_anywhere(&s->port);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid == 0) {
		die_with_parent();
		accept_loop(s);
	}
	return s;
}

void sshserver_stop(struct sshserver *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	close(s->listen_fd);
	munmap(s->shared, sizeof(*s->shared));
	free(s);
}

uint16_t sshserver_port(const struct sshserver *s)
{
	return s->port;
}

void sshserver_set_fault(struct sshserver *s, enum sshserver_fault fault)
{
	atomic_store(&s->shared->fault, (int)fault);
}

unsigned sshserver_connections(const struct sshserver *s)
{
	return atomic_load(&s->shared->connections);
}

void sshserver_make_key(const char *path, const char *passphrase)
{
	ssh_key key = NULL;

	assert_int_equal(ssh_pki_generate(SSH_KEYTYPE_ED25519, 0, &key), SSH_OK);
	assert_int_equal(ssh_pki_export_privkey_file(key, passphrase, NULL, NULL, path), SSH_OK);
	ssh_key_free(key);
}

void sshserver_trust(const struct sshserver *s, const char *key_path, const char *known_hosts)
{
	ssh_key key = NULL;
	char *text = NULL;
	FILE *f = fopen(known_hosts, "ae");

	assert_non_null(f);
	assert_int_equal(ssh_pki_import_privkey_file(key_path, NULL, NULL, NULL, &key), SSH_OK);
	assert_int_equal(ssh_pki_export_pubkey_base64(key, &text), SSH_OK);
	fprintf(f, "[127.0.0.1]:%u ssh-ed25519 %s\n", s->port, text);
	fclose(f);
	ssh_string_free_char(text);
	ssh_key_free(key);
}

bool sshserver_can_have_root(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(unshare(CLONE_NEWNS) == 0 &&
				      mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) == 0
			      ? 0
			      : 1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}
