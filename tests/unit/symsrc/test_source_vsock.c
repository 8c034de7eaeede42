/* Symbols by ssh over AF_VSOCK. Where this machine has the loopback (CID 1, the module
 * vsock_loopback) through a real server; else only what can go wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/vm_sockets.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/source.h"
#include "symsrc/source_ssh.h"
#include "symsrc/ssh_uri.h"
#include "symsrc/vsock_dial.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/sshserver.h"
#include "tests/unit/lib/wait.h"

static char dir[32], host_key[80], client_key[80];
static struct sshserver *server;
static int listener = -1;
static unsigned vsock_port;
static pthread_t forwarder;
static int stop_fd = -1;

/* ---- the loopback, and behind it the server ------------------------------------------------- */

static void forward(int a, int b)
{
	struct pollfd p[3] = {{.fd = a, .events = POLLIN},
			      {.fd = b, .events = POLLIN},
			      {.fd = stop_fd, .events = POLLIN}};
	char bytes[4096];
	ssize_t n = 1;

	while (n > 0) {
		if (poll(p, 3, -1) < 0 || p[2].revents)
			break;
		for (int i = 0; n > 0 && i < 2; i++) {
			if (!p[i].revents)
				continue;
			n = read(p[i].fd, bytes, sizeof(bytes));
			if (n > 0 && write(p[1 - i].fd, bytes, (size_t)n) != n)
				n = -1;
		}
	}
	close(a);
	close(b);
}

static int connect_server(void)
{
	const struct sockaddr_in in = {.sin_family = AF_INET,
				       .sin_port = htons(sshserver_port(server)),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&in, sizeof(in)), 0);
	return fd;
}

/* One client at a time. */
static void *forwarder_main(void *arg)
{
	struct pollfd p[2] = {{.fd = listener, .events = POLLIN},
			      {.fd = stop_fd, .events = POLLIN}};
	int fd;

	while (poll(p, 2, -1) > 0 && !p[1].revents) {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			forward(fd, connect_server());
	}
	return arg;
}

/* A port that fits into a URI. */
static bool listen_on_loopback(void)
{
	struct sockaddr_vm svm = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL};
	int r = -1;

	listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	for (svm.svm_port = 2000; r < 0 && svm.svm_port < 2100; svm.svm_port++)
		r = bind(listener, (struct sockaddr *)&svm, sizeof(svm));
	vsock_port = r < 0 ? 0 : svm.svm_port - 1;
	return r == 0 && listen(listener, 4) == 0;
}

static int group_setup(void **state)
{
	struct sshserver_config config = {.host_key = host_key, .client_key = client_key};

	(void)state;
	unsetenv("SSH_AUTH_SOCK");
	if (source_ssh_init(NULL) < 0)
		return -1;
	snprintf(dir, sizeof(dir), "/tmp/test_vsock.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(host_key, sizeof(host_key), "%s/host_key", dir);
	snprintf(client_key, sizeof(client_key), "%s/client_key", dir);
	sshserver_make_key(host_key, NULL);
	sshserver_make_key(client_key, NULL);
	server = sshserver_start(&config);
	stop_fd = io_wake_create();
	return listen_on_loopback() ? pthread_create(&forwarder, NULL, forwarder_main, NULL) : 0;
}

static int group_teardown(void **state)
{
	char command[64];

	(void)state;
	io_wake(stop_fd);
	if (vsock_port)
		pthread_join(forwarder, NULL);
	close_keep_errno(listener);
	close_keep_errno(stop_fd);
	sshserver_stop(server);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command); // NOLINT(concurrency-mt-unsafe)
}

/* ---- tests ---------------------------------------------------------------------------------- */

struct
try {
	struct collect got;
	struct errmsg why;
	char used[SOURCE_USED_MAX];
	int result;
};

static void run(struct try *t, const char *uri)
{
	const struct source_limits limits = {
		.cancel_fd = -1, .deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC};
	const struct source_target target = {.pid = 1};
	const struct source_sink sink = collect_sink(&t->got);
	struct source *s;

	*t = (struct try){0};
	collect_init(&t->got);
	assert_int_equal(source_create(uri, &target, &s, &t->why), 0);
	t->result = s->ops->fetch(s, GUEST_FILE_BIT(GUEST_FILE_VERSION), &limits, &sink, &t->why);
	snprintf(t->used, sizeof(t->used), "%s", s->used);
	source_destroy(s);
}

/* Does what the message says, and nothing else. */
static void accept_as_told(const char *why)
{
	const char *command = strstr(why, "accept it by: ");

	assert_non_null(command);
	command += strlen("accept it by: ");
	assert_int_equal(system(command), 0); // NOLINT(concurrency-mt-unsafe)
}

static void test_key_is_refused_then_accepted(void **state)
{
	char uri[256], used[64], known_hosts[80];
	struct try t;

	(void)state;
	if (!vsock_port) {
		print_message("skip: no AF_VSOCK loopback here (modprobe vsock_loopback)\n");
		skip();
	}
	snprintf(known_hosts, sizeof(known_hosts), "%s/known_hosts", dir);
	snprintf(uri, sizeof(uri), "vsock:1:%u?identity=%s&known_hosts=%s", vsock_port, client_key,
		 known_hosts);
	run(&t, uri);
	assert_int_equal(t.result, -EKEYREJECTED);
	snprintf(used, sizeof(used), "vsock:root@1:%u", vsock_port);
	assert_non_null(strstr(t.why.text, "echo '[vsock-1]:"));
	accept_as_told(t.why.text);
	collect_deinit(&t.got);
	run(&t, uri);
	if (t.result != 0)
		fail_msg("%s", t.why.text);
	assert_string_equal(t.used, used);
	assert_true(t.got.times[GUEST_FILE_VERSION] == 1);
	collect_deinit(&t.got);
}

static void test_nothing_listens(void **state)
{
	struct try t;

	(void)state;
	if (!vsock_port) {
		print_message("skip: no AF_VSOCK loopback here (modprobe vsock_loopback)\n");
		skip();
	}
	run(&t, "vsock:1:1999");
	assert_int_equal(t.result, -ECONNREFUSED);
	assert_non_null(strstr(t.why.text, "vsock:1:1999: refused: nothing in the guest"));
	collect_deinit(&t.got);
}

/* On a host without guests' vsock nothing is sent to anybody. */
static void test_no_such_guest(void **state)
{
	struct try t;

	(void)state;
	run(&t, "vsock:4294967294");
	assert_int_equal(t.result, -ENODEV);
	if (!strstr(t.why.text, "vsock:4294967294: no guest has this CID") &&
	    !strstr(t.why.text, "vsock:4294967294: this host has no vsock to guests"))
		fail_msg("%s", t.why.text);
	assert_null(strchr(t.why.text, '\n'));
	collect_deinit(&t.got);
}

static void assert_parsed(const char *uri, uint32_t cid, const char *user, unsigned port,
			  const char *host, const char *shown)
{
	char show[SSH_SHOW_MAX];
	struct ssh_uri u;

	assert_int_equal(ssh_uri_parse(uri, &u, NULL), 0);
	assert_int_equal(u.cid, cid);
	assert_string_equal(u.user, user);
	assert_int_equal(u.port, port);
	assert_string_equal(u.host, host);
	ssh_uri_show(&u, show, sizeof(show));
	assert_string_equal(show, shown);
}

static void test_uris(void **state)
{
	(void)state;
	assert_parsed("vsock:3", 3, "", 0, "vsock-3", "vsock:3");
	assert_parsed("vsock:3:22", 3, "", 22, "vsock-3", "vsock:3");
	assert_parsed("vsock:a@3:2222?config=yes", 3, "a", 2222, "vsock-3", "vsock:a@3:2222");
	assert_parsed("vsock:4294967294", 4294967294u, "", 0, "vsock-4294967294",
		      "vsock:4294967294");
	assert_parsed("ssh://vsock-3", 0, "", 0, "vsock-3", "ssh://vsock-3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uris),
		cmocka_unit_test(test_no_such_guest),
		cmocka_unit_test(test_nothing_listens),
		cmocka_unit_test(test_key_is_refused_then_accepted),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
