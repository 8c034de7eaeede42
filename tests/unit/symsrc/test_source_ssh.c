/* Symbols over ssh: the whole way through a real server, and everything that can go wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/fetch.h"
#include "symsrc/source_ssh.h"
#include "symsrc/ssh_link.h"
#include "symsrc/ssh_script.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/guestroot.h"
#include "tests/unit/lib/sshserver.h"
#include "tests/unit/lib/wait.h"

static char dir[32];
static char root[80], host_key[80], client_key[80], known_hosts[80];
static bool has_root; /* commands see our guest's files, else this machine's */
static struct sshserver *server;

static void path_in_dir(char *buf, size_t size, const char *name)
{
	snprintf(buf, size, "%s/%s", dir, name);
}

static int group_setup(void **state)
{
	struct sshserver_config config = {0};

	(void)state;
	unsetenv("SSH_AUTH_SOCK");
	if (source_ssh_init(NULL) < 0)
		return -1;
	snprintf(dir, sizeof(dir), "/tmp/test_ssh.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	path_in_dir(root, sizeof(root), "root");
	path_in_dir(host_key, sizeof(host_key), "host_key");
	path_in_dir(client_key, sizeof(client_key), "client_key");
	path_in_dir(known_hosts, sizeof(known_hosts), "known_hosts");
	guestroot_create(root);
	sshserver_make_key(host_key, NULL);
	sshserver_make_key(client_key, NULL);
	has_root = sshserver_can_have_root();
	config.host_key = host_key;
	config.client_key = client_key;
	config.root = has_root ? root : NULL;
	server = sshserver_start(&config);
	sshserver_trust(server, host_key, known_hosts);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	sshserver_stop(server);
	guestroot_remove(dir);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	sshserver_set_fault(server, SSHSERVER_OK);
	return 0;
}

static void need_root(void)
{
	if (has_root)
		return;
	print_message("skip: no mount namespace may be made here\n");
	skip();
}

/* ---- helpers ------------------------------------------------------------------------------- */

struct
try {
	char uri[SOURCE_URI_MAX];
	struct source_limits limits;
	struct collect got;
	struct errmsg why;
	char used[SOURCE_USED_MAX];
	int result;
	double seconds;
};

static void try_init(struct try *t, const char *identity, const char *hosts)
{
	*t = (struct try){.limits = {.cancel_fd = -1}};
	t->limits.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;
	snprintf(t->uri, sizeof(t->uri), "ssh://127.0.0.1:%u?identity=%s&known_hosts=%s",
		 sshserver_port(server), identity, hosts);
	collect_init(&t->got);
}

static void try_run(struct try *t, unsigned want)
{
	const struct source_target target = {.pid = 1};
	const struct source_sink sink = collect_sink(&t->got);
	uint64_t began = clock_now_ns();
	struct source *s;

	assert_int_equal(source_create(t->uri, &target, &s, &t->why), 0);
	t->result = s->ops->fetch(s, want, &t->limits, &sink, &t->why);
	t->seconds = (double)(clock_now_ns() - began) / NSEC_PER_SEC;
	snprintf(t->used, sizeof(t->used), "%s", s->used);
	source_destroy(s);
}

static void assert_why(const struct try *t, int code, const char *text)
{
	if (t->result != code || !strstr(t->why.text, text))
		fail_msg("%d \"%s\", but expected %d and \"%s\"", t->result, t->why.text, code,
			 text);
	assert_int_equal(t->why.code, code);
	assert_null(strchr(t->why.text, '\n'));
}

/* One try with the right keys against this fault, which shows at once. */
static void assert_fault(enum sshserver_fault fault, int code, const char *text)
{
	struct try t;

	sshserver_set_fault(server, fault);
	try_init(&t, client_key, known_hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, code, text);
	collect_deinit(&t.got);
}

/* The same for a fault that shows by nothing but time, of which a slow machine needs more to get
 * that far. */
static void assert_too_slow(enum sshserver_fault fault, const char *text)
{
	struct try t;

	sshserver_set_fault(server, fault);
	for (uint64_t limit_s = 2; limit_s < PATIENCE_S; limit_s *= 2) {
		try_init(&t, client_key, known_hosts);
		t.limits.deadline_ns = clock_now_ns() + limit_s * NSEC_PER_SEC;
		try_run(&t, GUEST_FILES_ALL);
		collect_deinit(&t.got);
		if (strstr(t.why.text, text) && t.seconds < (double)limit_s + 8)
			break;
	}
	assert_why(&t, -ETIMEDOUT, text);
	assert_true(t.seconds < PATIENCE_S);
}

static unsigned open_files(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- what works ---------------------------------------------------------------------------- */

static void assert_whole_guest(const struct try *t)
{
	if (t->result != 0)
		fail_msg("%s", t->why.text);
	collect_assert_guestroot(&t->got);
}

static void test_whole_guest(void **state)
{
	char used[64];
	struct try t;

	(void)state;
	need_root();
	try_init(&t, client_key, known_hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	snprintf(used, sizeof(used), "ssh://root@127.0.0.1:%u", sshserver_port(server));
	assert_string_equal(t.used, used);
	collect_deinit(&t.got);
}

/* Another server, another shell: the script must run in all of them. */
static void assert_shell_works(const char *shell, bool no_gzip)
{
	const struct sshserver_config config = {host_key, client_key, root, shell, no_gzip};
	struct sshserver *normal = server;
	char hosts[80];
	struct try t;

	path_in_dir(hosts, sizeof(hosts), "known_hosts_shell");
	server = sshserver_start(&config);
	sshserver_trust(server, host_key, hosts);
	try_init(&t, client_key, hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	collect_deinit(&t.got);
	sshserver_stop(server);
	server = normal;
}

static void test_shells(void **state)
{
	(void)state;
	need_root();
	assert_shell_works("bash", false);
	if (access("/bin/dash", X_OK) == 0)
		assert_shell_works("dash", false);
	if (access("/bin/busybox", X_OK) == 0)
		assert_shell_works("busybox", false);
}

static void test_no_gzip(void **state)
{
	(void)state;
	need_root();
	assert_shell_works(NULL, true);
}

static void test_only_what_is_wanted(void **state)
{
	struct try t;

	(void)state;
	need_root();
	try_init(&t, client_key, known_hosts);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_BOOT_ID) | GUEST_FILE_BIT(GUEST_FILE_MODULES));
	assert_int_equal(t.result, 0);
	collect_assert(&t.got, GUEST_FILE_BOOT_ID, 1, GUESTROOT_BOOT_ID "\n", 37);
	collect_assert(&t.got, GUEST_FILE_MODULES, 1, GUESTROOT_MODULES, strlen(GUESTROOT_MODULES));
	assert_int_equal(t.got.times[GUEST_FILE_KALLSYMS], 0);
	collect_deinit(&t.got);
}

/* A kernel without modules, a guest without build-ids: less, but no error. */
static void test_poor_guest(void **state)
{
	struct try t;

	(void)state;
	need_root();
	guestroot_set(root, "proc/modules", NULL, 0);
	guestroot_set(root, "sys/kernel/notes", NULL, 0);
	guestroot_set(root, "sys/module/ext4/notes/.note.gnu.build-id", NULL, 0);
	guestroot_set(root, "sys/module/jbd2/notes/.note.gnu.build-id", NULL, 0);
	try_init(&t, client_key, known_hosts);
	try_run(&t, GUEST_FILES_ALL);
	guestroot_remove(root);
	guestroot_create(root);
	assert_int_equal(t.result, 0);
	assert_int_equal(t.got.times[GUEST_FILE_MODULES], 0);
	assert_int_equal(t.got.times[GUEST_FILE_MODULE_NOTE], 0);
	assert_int_equal(t.got.times[GUEST_FILE_KALLSYMS], 1);
	collect_deinit(&t.got);
}

static void test_talkative_shell(void **state)
{
	struct try t;

	(void)state;
	need_root();
	sshserver_set_fault(server, SSHSERVER_NOISE);
	try_init(&t, client_key, known_hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	collect_deinit(&t.got);
	sshserver_set_fault(server, SSHSERVER_STDERR);
	try_init(&t, client_key, known_hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	collect_deinit(&t.got);
}

static void test_symbols(void **state)
{
	struct fetch_request req = {.limits = {.cancel_fd = -1}};
	const struct symbols *s;
	struct errmsg why = {0};
	struct try t;

	(void)state;
	need_root();
	try_init(&t, client_key, known_hosts);
	snprintf(req.uri, sizeof(req.uri), "%s", t.uri);
	req.limits.deadline_ns = t.limits.deadline_ns;
	if (fetch_symbols(&req, &s, &why) < 0)
		fail_msg("%s", why.text);
	assert_string_equal(s->boot_id, GUESTROOT_BOOT_ID);
	assert_string_equal(s->release, "6.1.0-test");
	assert_int_equal(symtab_count(s->table), GUESTROOT_SYMBOLS);
	assert_int_equal(s->module_count, 2);
	assert_int_equal(s->kernel_id.len, 20);
	symbols_put(s);
	collect_deinit(&t.got);
}

/* No single quote, no '!', no newline inside of what a csh has to take. */
static void test_script_is_quotable(void **state)
{
	CLEANUP_BUF struct buf b;

	(void)state;
	buf_init(&b, SSH_SCRIPT_MAX);
	assert_int_equal(ssh_script(&b, GUEST_FILES_ALL, "0123456789abcdef0123456789abcdef"), 0);
	assert_memory_equal(b.data, "exec sh -c '", 12);
	assert_null(strpbrk(b.data, "!\n"));
	assert_int_equal(strcspn(b.data + 12, "'"), b.len - 12 - 1);
}

/* ---- what does not ------------------------------------------------------------------------- */

static void test_wrong_key(void **state)
{
	char path[80];
	struct try t;

	(void)state;
	path_in_dir(path, sizeof(path), "other_key");
	sshserver_make_key(path, NULL);
	try_init(&t, path, known_hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EACCES, "root accepts none of our keys");
	assert_non_null(strstr(t.why.text, path));
	collect_deinit(&t.got);
}

static void test_passphrase(void **state)
{
	char path[80];
	struct try t;

	(void)state;
	path_in_dir(path, sizeof(path), "locked_key");
	sshserver_make_key(path, "secret");
	try_init(&t, path, known_hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EACCES, "has a passphrase");
	collect_deinit(&t.got);
}

static void test_no_such_key(void **state)
{
	struct try t;

	(void)state;
	try_init(&t, "/nonexistent/key", known_hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EACCES, "/nonexistent/key (cannot be read)");
	collect_deinit(&t.got);
}

static void test_unknown_host(void **state)
{
	char expected[300], hosts[80];
	const char *advice;
	struct try t;

	(void)state;
	path_in_dir(hosts, sizeof(hosts), "new_dir/known_hosts");
	try_init(&t, client_key, hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EKEYREJECTED, "unknown host key ssh-ed25519 SHA256:");
	snprintf(expected, sizeof(expected),
		 "mkdir -p %.*s && ssh-keyscan -t ed25519 -p %u 127.0.0.1 >> %s",
		 (int)(strrchr(hosts, '/') - hosts), hosts, sshserver_port(server), hosts);
	advice = strstr(t.why.text, expected);
	assert_non_null(advice);
	collect_deinit(&t.got);
	/* It is to be taken as it stands. */
	snprintf(expected, sizeof(expected), "%s 2>/dev/null", advice);
	if (system("command -v ssh-keyscan >/dev/null") != 0)
		return;
	assert_int_equal(system(expected), 0); /* NOLINT(cert-env33-c) */
	try_init(&t, client_key, hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_int_equal(t.result, 0);
	collect_deinit(&t.got);
}

static void test_changed_host(void **state)
{
	char key[80], hosts[80], expected[200];
	struct try t;

	(void)state;
	path_in_dir(key, sizeof(key), "old_host_key");
	path_in_dir(hosts, sizeof(hosts), "old_known_hosts");
	sshserver_make_key(key, NULL);
	sshserver_trust(server, key, hosts);
	try_init(&t, client_key, hosts);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EKEYREJECTED, "the host key has changed");
	snprintf(expected, sizeof(expected), "ssh-keygen -R '[127.0.0.1]:%u' -f %s",
		 sshserver_port(server), hosts);
	assert_non_null(strstr(t.why.text, expected));
	collect_deinit(&t.got);
}

/* A configuration is read on request, and cannot lower the guard. */
static void test_config(void **state)
{
	char path[80], text[512];
	struct try t;
	int n;

	(void)state;
	path_in_dir(path, sizeof(path), "ssh_config");
	n = snprintf(text, sizeof(text),
		     "StrictHostKeyChecking no\nHost g\n HostName 127.0.0.1\n Port %u\n"
		     " IdentityFile %s\n UserKnownHostsFile %s\n"
		     "Host strange\n HostName 127.0.0.1\n Port %u\n IdentityFile %s\n"
		     " UserKnownHostsFile /nonexistent\n"
		     "Host jump\n ProxyJump elsewhere\n",
		     sshserver_port(server), client_key, known_hosts, sshserver_port(server),
		     client_key);
	guestroot_set(dir, "ssh_config", text, (size_t)n);
	try_init(&t, "", "");
	snprintf(t.uri, sizeof(t.uri), "ssh://g?config=%s", path);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_VERSION));
	assert_int_equal(t.result, 0);
	snprintf(t.uri, sizeof(t.uri), "ssh://strange?config=%s", path);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_VERSION));
	assert_why(&t, -EKEYREJECTED, "unknown host key");
	snprintf(t.uri, sizeof(t.uri), "ssh://jump?config=%s", path);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_VERSION));
	assert_why(&t, -EINVAL, "ProxyCommand and ProxyJump are refused");
	snprintf(t.uri, sizeof(t.uri), "ssh://g?config=%s-not", path);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_VERSION));
	assert_why(&t, -ENOENT, "ssh_config-not: No such file");
	guestroot_set(dir, "ssh_config", "Match exec \"touch /tmp/x\"\n", 26);
	snprintf(t.uri, sizeof(t.uri), "ssh://g?config=%s", path);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_VERSION));
	assert_why(&t, -EINVAL, "\"Match exec\" is refused");
	collect_deinit(&t.got);
}

static void test_no_such_port(void **state)
{
	struct try t;

	(void)state;
	try_init(&t, client_key, known_hosts);
	snprintf(t.uri, sizeof(t.uri), "ssh://127.0.0.1:1");
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ECONNREFUSED, "ssh://127.0.0.1:1: Connection refused");
	collect_deinit(&t.got);
}

static void test_no_such_name(void **state)
{
	struct try t;

	(void)state;
	try_init(&t, client_key, known_hosts);
	snprintf(t.uri, sizeof(t.uri), "ssh://no-such-host.invalid");
	try_run(&t, GUEST_FILES_ALL);
	if (t.result != -ETIMEDOUT) /* a resolver that does not answer */
		assert_why(&t, -EHOSTUNREACH, "the name does not resolve");
	collect_deinit(&t.got);
}

static void test_guest_misbehaves(void **state)
{
	(void)state;
	assert_too_slow(SSHSERVER_OTHER, "no ssh server answers");
	assert_fault(SSHSERVER_DROP, -ECONNRESET,
		     "closed the connection during the authentication");
	assert_fault(SSHSERVER_NO_CHANNEL, -EPERM, "the opening of a channel failed");
	assert_fault(SSHSERVER_REFUSE_EXEC, -EPERM, "the start of the command failed");
	assert_fault(SSHSERVER_NO_SHELL, -EBADMSG, "(status 127): sh: not found");
	assert_fault(SSHSERVER_CLOSE, -ECONNRESET, "closed the connection during its answer");
	assert_fault(SSHSERVER_EOF, -EBADMSG, "broke off");
	assert_fault(SSHSERVER_BINARY, -EBADMSG, "says something else");
	assert_fault(SSHSERVER_STATUS, -EIO, "status 3");
}

static void test_guest_sends_too_much(void **state)
{
	(void)state;
	sshserver_set_fault(server, SSHSERVER_ENDLESS);
	for (int i = 0; i < 2; i++) {
		struct try t;

		try_init(&t, client_key, known_hosts);
		try_run(&t, GUEST_FILES_ALL);
		assert_why(&t, -EFBIG, "/proc/kallsyms is above the limit");
		collect_deinit(&t.got);
		sshserver_set_fault(server, SSHSERVER_BOMB);
	}
}

static void test_guest_hangs(void **state)
{
	(void)state;
	assert_too_slow(SSHSERVER_HANG, "too slow: its answer was not over in time");
	assert_too_slow(SSHSERVER_NO_BANNER, "no ssh server answers");
	assert_too_slow(SSHSERVER_ASKING, "too slow: its answer was not over in time");
}

/* Far less than what is waited for would take, the shortest of which is SSH_HELLO_SEC. */
#define SOON_S (SSH_HELLO_SEC - 5)

static void test_patience_for_the_first_byte(void **state)
{
	struct try t;

	(void)state;
	sshserver_set_fault(server, SSHSERVER_NO_BANNER);
	try_init(&t, client_key, known_hosts);
	t.limits.answer_ms = 300;
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ETIMEDOUT, "no ssh server answers");
	assert_true(t.seconds < SOON_S);
	collect_deinit(&t.got);
}

static void *wake_later(void *arg)
{
	usleep(300000);
	io_wake(*(int *)arg);
	return NULL;
}

static void test_cancel(void **state)
{
	static const enum sshserver_fault faults[] = {SSHSERVER_NO_BANNER, SSHSERVER_HANG};
	pthread_t thread;
	struct try t;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		sshserver_set_fault(server, faults[i]);
		try_init(&t, client_key, known_hosts);
		t.limits.cancel_fd = io_wake_create();
		assert_int_equal(pthread_create(&thread, NULL, wake_later, &t.limits.cancel_fd), 0);
		try_run(&t, GUEST_FILES_ALL);
		pthread_join(thread, NULL);
		assert_int_equal(t.result, -ECANCELED);
		assert_true(t.seconds < SOON_S);
		close(t.limits.cancel_fd);
		collect_deinit(&t.got);
	}
}

/* A blackhole is cancellable, too: 198.51.100.0/24 is reserved for documentation. */
static void test_cancel_while_connecting(void **state)
{
	pthread_t thread;
	struct try t;

	(void)state;
	try_init(&t, client_key, known_hosts);
	snprintf(t.uri, sizeof(t.uri), "ssh://198.51.100.1");
	t.limits.cancel_fd = io_wake_create();
	assert_int_equal(pthread_create(&thread, NULL, wake_later, &t.limits.cancel_fd), 0);
	try_run(&t, GUEST_FILES_ALL);
	pthread_join(thread, NULL);
	assert_true(t.result < 0);
	assert_true(t.seconds < SOON_S);
	close(t.limits.cancel_fd);
	collect_deinit(&t.got);
}

/* An agent that takes the connection and never answers. */
static void test_agent_hangs(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pthread_t thread;
	struct try t;

	(void)state;
	path_in_dir(sun.sun_path, sizeof(sun.sun_path), "agent");
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 8), 0);
	setenv("SSH_AUTH_SOCK", sun.sun_path, 1);
	try_init(&t, "", "");
	snprintf(t.uri, sizeof(t.uri), "ssh://127.0.0.1:%u?known_hosts=%s", sshserver_port(server),
		 known_hosts);
	t.limits.cancel_fd = io_wake_create();
	assert_int_equal(pthread_create(&thread, NULL, wake_later, &t.limits.cancel_fd), 0);
	try_run(&t, GUEST_FILES_ALL);
	pthread_join(thread, NULL);
	unsetenv("SSH_AUTH_SOCK");
	assert_true(t.result < 0);
	assert_true(t.seconds < SOON_S);
	close(t.limits.cancel_fd);
	collect_deinit(&t.got);
}

/* Neither success nor any failure may cost a descriptor. */
static void test_no_leak(void **state)
{
	static const enum sshserver_fault faults[] = {
		SSHSERVER_OK,	 SSHSERVER_DROP,   SSHSERVER_REFUSE_EXEC,
		SSHSERVER_CLOSE, SSHSERVER_BINARY,
	};
	unsigned before = open_files();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		struct try t;

		sshserver_set_fault(server, faults[i]);
		try_init(&t, client_key, known_hosts);
		try_run(&t, GUEST_FILES_ALL);
		assert_int_equal(t.result == 0, faults[i] == SSHSERVER_OK);
		collect_deinit(&t.got);
	}
	assert_int_equal(open_files(), before);
}

/* ---- auto ---------------------------------------------------------------------------------- */

static int run_auto_uri(struct try *t, const struct source_target *target)
{
	const struct source_sink sink = collect_sink(&t->got);
	struct source *s;

	assert_int_equal(source_create(t->uri, target, &s, &t->why), 0);
	snprintf(s->used, sizeof(s->used), "%s", t->used);
	t->result = s->ops->fetch(s, GUEST_FILES_ALL, &t->limits, &sink, &t->why);
	snprintf(t->used, sizeof(t->used), "%s", s->used);
	source_destroy(s);
	return t->result;
}

static int run_auto(struct try *t, const struct source_target *target)
{
	snprintf(t->uri, sizeof(t->uri), "auto?identity=%s&known_hosts=%s", client_key,
		 known_hosts);
	return run_auto_uri(t, target);
}

static void test_auto(void **state)
{
	struct source_target target = {.name = "-oProxyCommand=x"};
	char used[64];
	struct try t;

	(void)state;
	try_init(&t, "", "");
	assert_int_equal(run_auto(&t, &target), -EHOSTUNREACH);
	assert_non_null(strstr(t.why.text, "no way into the guest is known"));
	target.links.ssh_port = sshserver_port(server);
	if (run_auto(&t, &target) != 0)
		fail_msg("%s", t.why.text);
	snprintf(used, sizeof(used), "ssh://root@127.0.0.1:%u", sshserver_port(server));
	assert_string_equal(t.used, used);
	collect_deinit(&t.got);
	/* Both ways fail: both are told. */
	try_init(&t, "", "");
	target.links.ssh_port = 1;
	snprintf(target.name, sizeof(target.name), "no-such-host.invalid");
	assert_int_equal(run_auto(&t, &target), -ECONNREFUSED);
	assert_non_null(strstr(t.why.text, "ssh://root@127.0.0.1:1: Connection refused; "));
	assert_non_null(strstr(t.why.text, "; ssh://root@no-such-host.invalid: "));
	/* What worked last time comes first. */
	snprintf(t.used, sizeof(t.used), "ssh://root@no-such-host.invalid");
	assert_true(run_auto(&t, &target) < 0);
	assert_memory_equal(t.why.text, t.used, strlen(t.used));
	assert_non_null(strstr(t.why.text, "; ssh://root@127.0.0.1:1: "));
	collect_deinit(&t.got);
}

/* Of several failures the one that somebody can do something about is told first. */
static void test_auto_tells_first_what_helps(void **state)
{
	struct source_target target = {.links = {.ssh_port = 1}};
	char text[80];
	struct try t;

	(void)state;
	try_init(&t, "", "");
	snprintf(target.links.agent_path, sizeof(target.links.agent_path), "/nonexistent/agent");
	target.links.ssh_port = sshserver_port(server);
	snprintf(text, sizeof(text), "ssh://root@127.0.0.1:%u: unknown host key",
		 sshserver_port(server));
	snprintf(target.name, sizeof(target.name), "no-such-host.invalid");
	snprintf(t.uri, sizeof(t.uri), "auto?known_hosts=/nonexistent");
	t.result = run_auto_uri(&t, &target);
	assert_why(&t, -EKEYREJECTED, text);
	assert_ptr_equal(strstr(t.why.text, text), t.why.text);
	collect_deinit(&t.got);
}

/* A VM that is called like this host would give us the host's own symbols. */
static void test_auto_never_takes_the_host_for_the_guest(void **state)
{
	static const char *const names[] = {"localhost", "LocalHost", "127.0.0.1", "127.1", "0"};
	struct source_target target = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct try t;

		try_init(&t, "", "");
		snprintf(target.name, sizeof(target.name), "%s", names[i]);
		assert_true(run_auto(&t, &target) < 0);
		if (!strstr(t.why.text, "no other host's name") &&
		    !strstr(t.why.text, "the name means this host itself"))
			fail_msg("%s: %s", names[i], t.why.text);
		collect_deinit(&t.got);
	}
}

#define TEST(fn) cmocka_unit_test_setup(fn, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_whole_guest),
		TEST(test_shells),
		TEST(test_no_gzip),
		TEST(test_only_what_is_wanted),
		TEST(test_poor_guest),
		TEST(test_talkative_shell),
		TEST(test_symbols),
		TEST(test_script_is_quotable),
		TEST(test_wrong_key),
		TEST(test_passphrase),
		TEST(test_no_such_key),
		TEST(test_unknown_host),
		TEST(test_changed_host),
		TEST(test_config),
		TEST(test_no_such_port),
		TEST(test_no_such_name),
		TEST(test_guest_misbehaves),
		TEST(test_guest_sends_too_much),
		TEST(test_guest_hangs),
		TEST(test_patience_for_the_first_byte),
		TEST(test_cancel),
		TEST(test_cancel_while_connecting),
		TEST(test_agent_hangs),
		TEST(test_no_leak),
		TEST(test_auto),
		TEST(test_auto_tells_first_what_helps),
		TEST(test_auto_never_takes_the_host_for_the_guest),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
