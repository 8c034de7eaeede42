/* Symbols over a guest's serial port: from the real qemu-guest-agent, from our own program, and
 * from nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/fetch.h"
#include "symsrc/virsh.h"
#include "tests/unit/lib/fakeport.h"
#include "tests/unit/lib/guestroot.h"
#include "tests/unit/lib/realagent.h"
#include "tests/unit/lib/serialtry.h"
#include "tests/unit/lib/wait.h"

#define FILE_COMMANDS                                                                   \
	"guest-file-open,guest-file-close,guest-file-read,guest-file-write,guest-file-" \
	"seek,guest-file-flush"
#define ALL_COMMANDS FILE_COMMANDS ",guest-exec,guest-exec-status"

static char dir[32];
static char root[64], sock[96]; /* a guest's root, and the socket of the agent that runs in it */
static char here[64];		/* the socket of one that runs in this machine */
static bool furnished;
static pid_t agent;
static struct fakeport *port;

static int group_setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_virtio.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(root, sizeof(root), "%s/root", dir);
	snprintf(sock, sizeof(sock), "%s/run/agent", root);
	snprintf(here, sizeof(here), "%s/port", dir);
	guestroot_create(root);
	furnished = realagent_furnish(root);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	guestroot_remove(dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	realagent_stop(agent);
	agent = 0;
	fakeport_stop(port);
	port = NULL;
	return 0;
}

/* ---- helpers ------------------------------------------------------------------------------- */

static void need_agent(void)
{
	if (realagent_program())
		return;
	print_message("skip: there is no qemu-ga here: tests/install-deps gets it\n");
	skip();
}

static void need_root(void)
{
	need_agent();
	if (furnished)
		return;
	print_message("skip: only root can give an agent another root\n");
	skip();
}

static void start_in_root(const char *block)
{
	const struct realagent_config config = {.root = root, .path = "/run/agent", .block = block};

	agent = realagent_start(&config);
}

static void start_here(void)
{
	const struct realagent_config config = {.dir = dir, .path = here};

	agent = realagent_start(&config);
}

/* An agent drops what has come before it has opened its terminal: ready when it answers. */
static void start_on_terminal(void)
{
	const struct realagent_config config = {
		.dir = dir, .path = fakeport_terminal(port), .terminal = true};
	struct pollfd p = {.fd = other_client(here), .events = POLLIN};

	agent = realagent_start(&config);
	for (int i = 0; i < PATIENCE_S * 5 && !p.revents; i++) {
		say(p.fd, "{\"execute\":\"guest-ping\"}\n");
		poll(&p, 1, 200);
	}
	close(p.fd);
	assert_true(p.revents & POLLIN);
}

/* Far less than what is not waited for would take. */
#define SOON_S (PATIENCE_S / 4)
/* For who answers, and then falls silent: enough for the one on a busy machine, and the other is
 * noticed after a few times as long. */
#define HANG_MS 1500

/* ---- the real agent ------------------------------------------------------------------------ */

static void test_agent_whole_guest(void **state)
{
	struct attempt t;

	(void)state;
	need_root();
	start_in_root(NULL);
	try_init(&t, sock);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	try_deinit(&t);
}

static void test_agent_byte_for_byte(void **state)
{
	(void)state;
	need_agent();
	start_here();
	assert_this_machine(here);
}

static void test_agent_only_what_is_wanted(void **state)
{
	struct attempt t;

	(void)state;
	need_root();
	start_in_root(NULL);
	try_init(&t, sock);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_BOOT_ID) | GUEST_FILE_BIT(GUEST_FILE_MODULES));
	assert_worked(&t);
	collect_assert(&t.got, GUEST_FILE_BOOT_ID, 1, GUESTROOT_BOOT_ID "\n", 37);
	collect_assert(&t.got, GUEST_FILE_MODULES, 1, GUESTROOT_MODULES, strlen(GUESTROOT_MODULES));
	assert_int_equal(t.got.times[GUEST_FILE_KALLSYMS], 0);
	assert_int_equal(t.got.times[GUEST_FILE_VERSION], 0);
	try_deinit(&t);
}

static void test_agent_by_shell(void **state)
{
	struct attempt t;

	(void)state;
	need_root();
	start_in_root(FILE_COMMANDS);
	try_init(&t, sock);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	try_run(&t, 0); /* the first makes the mark */
	assert_int_equal(t.result, SOURCE_CHANGED);
	try_run(&t, 0);
	assert_int_equal(t.result, SOURCE_SAME);
	try_deinit(&t);
}

static void test_agent_all_blocked(void **state)
{
	struct attempt t;

	(void)state;
	need_agent();
	need_root();
	start_in_root(ALL_COMMANDS);
	try_init(&t, sock);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EPERM,
		   "blocks guest-file-open, guest-file-read, guest-file-close, guest-exec, "
		   "guest-exec-status: ");
	assert_non_null(strstr(t.why.text, "guest helper"));
	assert_int_equal(t.got.begins, 0);
	try_deinit(&t);
}

/* Its program is no longer than its own output, which is packed; without gzip it is not. */
static void test_agent_by_shell_without_gzip(void **state)
{
	char gzip[96], away[96];
	struct attempt t;

	(void)state;
	need_root();
	snprintf(gzip, sizeof(gzip), "%s/bin/gzip", root);
	snprintf(away, sizeof(away), "%s/tmp/gzip", root);
	assert_int_equal(rename(gzip, away), 0);
	start_in_root(FILE_COMMANDS);
	try_init(&t, sock);
	try_run(&t, GUEST_FILES_ALL);
	assert_int_equal(rename(away, gzip), 0);
	assert_whole_guest(&t);
	try_deinit(&t);
}

static void restore_kallsyms(void)
{
	size_t n;
	CLEANUP_FREE char *text = guestroot_kallsyms(&n);

	guestroot_set(root, "proc/kallsyms", text, n);
}

static void test_agent_without_kallsyms(void **state)
{
	struct attempt t;

	(void)state;
	need_root();
	guestroot_set(root, "proc/kallsyms", NULL, 0);
	start_in_root(NULL);
	try_init(&t, sock);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ENOENT, "failed to open file '/proc/kallsyms'");
	try_deinit(&t);
	restore_kallsyms();
}

/* Half a request, as one who was killed leaves it. */
static void test_agent_after_a_torn_request(void **state)
{
	struct attempt t;
	int fd;

	(void)state;
	need_agent();
	port = fakeport_start(here);
	start_on_terminal();
	fd = other_client(here);
	say(fd, "{\"execute\":\"guest-in");
	wait_until(fakeport_clients(port) == 2);
	close(fd);
	try_init(&t, here);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_KALLSYMS));
	assert_worked(&t);
	try_deinit(&t);
}

/* The answer to somebody who did not wait for it: a large one, and one to the same command. */
static void test_agent_after_stale_answers(void **state)
{
	char line[256];
	struct attempt t;
	int fd;

	(void)state;
	need_agent();
	port = fakeport_start(here);
	start_on_terminal();
	fd = other_client(here);
	say(fd, "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":7}}\n");
	hear_number(fd, "{\"return\": 7");
	say(fd, "{\"execute\":\"guest-file-open\",\"arguments\":{\"path\":\"/proc/kallsyms\"}}\n");
	snprintf(line, sizeof(line),
		 "{\"execute\":\"guest-file-read\",\"arguments\":{\"handle\":%ld,\"count\":3000000}"
		 "}\n"
		 "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":8}}\n",
		 hear_number(fd, "{\"return\": "));
	say(fd, line);
	close(fd);
	try_init(&t, here);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_KALLSYMS));
	assert_worked(&t);
	assert_true(t.got.files[GUEST_FILE_KALLSYMS].len > 100000);
	try_deinit(&t);
}

/* What libvirt does all day. */
static void test_agent_in_use(void **state)
{
	struct attempt t;
	int fd;

	(void)state;
	need_agent();
	start_here();
	fd = other_client(here);
	say(fd, "{\"execute\":\"guest-ping\"}\n");
	hear(fd, "{\"return\": {}}");
	try_init(&t, here);
	t.limits.answer_ms = 300;
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EBUSY, "is in use by somebody else");
	assert_true(t.seconds < SOON_S);
	close(fd);
	t.limits.answer_ms = PATIENCE_S * 1000;
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_BOOT_ID));
	assert_worked(&t);
	try_deinit(&t);
}

/* ---- by virsh, where libvirt holds the port ------------------------------------------------- */

#define UUID "2f3c9d1e-0b7a-4c55-9f6e-7d1a2b3c4d5e"

/* As libvirt's, of one guest, whose agent is the real one in root. */
static const char virsh_program[] =
	"#!/usr/bin/env python3\n"
	"import json, socket, sys\n"
	"a = sys.argv[1:]\n"
	"assert a[:5] == ['-q', '-c', 'qemu:///system', 'qemu-agent-command', '--timeout'], a\n"
	"assert int(a[5]) > 0 and a[6] == '" UUID "' and len(a) == 8, a\n"
	"s = socket.socket(socket.AF_UNIX)\n"
	"s.connect(open(sys.argv[0] + '.sock').read())\n"
	"s.sendall(a[7].encode() + b'\\n')\n"
	"answer = json.loads(s.makefile().readline())\n"
	"if 'error' in answer:\n"
	"    what = json.loads(a[7])['execute']\n"
	"    print('error: internal error: unable to execute QEMU agent command', end=' ',\n"
	"          file=sys.stderr)\n"
	"    sys.exit(\"'%s': %s\" % (what, answer['error']['desc']))\n"
	"print(json.dumps(answer).replace('/', '\\\\/'))\n";

static char old_path[4096];

static void write_program(const char *text)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/bin/virsh", dir);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	chmod(path, 0755);
}

static int virsh_setup(void **state)
{
	static char run[64];
	char path[4200];

	(void)state;
	snprintf(old_path, sizeof(old_path), "%s", getenv("PATH"));
	snprintf(run, sizeof(run), "%s/bin", dir);
	mkdir(run, 0755);
	snprintf(path, sizeof(path), "%s:%s", run, old_path);
	setenv("PATH", path, 1);
	snprintf(run, sizeof(run), "%s/libvirt", dir);
	mkdir(run, 0755);
	guestroot_set(dir, "bin/virsh.sock", sock, strlen(sock));
	guestroot_set(run, "other.pid", "2\n", 2);
	guestroot_set(run, "vm.pid", "1\n", 2);
	virsh_run_dir = run;
	return 0;
}

static int virsh_teardown(void **state)
{
	setenv("PATH", old_path, 1);
	return teardown(state);
}

/* A port that serves somebody else: a listener whose one place is taken. */
static void busy_port(int fds[static 2])
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/busy", dir);
	unlink(sa.sun_path);
	fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fds[0], (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fds[0], 4), 0);
	fds[1] = other_client(sa.sun_path);
}

static void try_init_busy(struct attempt *t, int fds[static 2])
{
	char path[96];

	busy_port(fds);
	snprintf(path, sizeof(path), "%s/busy", dir);
	try_init(t, path);
	snprintf(t->target.uuid, sizeof(t->target.uuid), "%s", UUID);
}

static void try_deinit_busy(struct attempt *t, const int fds[static 2])
{
	try_deinit(t);
	close(fds[0]);
	close(fds[1]);
}

static void test_virsh_whole_guest(void **state)
{
	struct attempt t;
	unsigned files;
	int fds[2];

	(void)state;
	need_root();
	write_program(virsh_program);
	start_in_root(NULL);
	files = realagent_open_files(agent);
	try_init_busy(&t, fds);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	assert_string_equal(t.how, "qemu-guest-agent by virsh, since libvirt holds the port");
	try_run(&t, 0); /* makes the mark */
	try_run(&t, 0);
	assert_int_equal(t.result, SOURCE_SAME);
	wait_until(realagent_open_files(agent) == files);
	try_deinit_busy(&t, fds);
}

static void test_virsh_agent_refuses(void **state)
{
	struct attempt t;
	int fds[2];

	(void)state;
	need_root();
	write_program(virsh_program);
	start_in_root(ALL_COMMANDS);
	try_init_busy(&t, fds);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EPERM, "blocks guest-file-open");
	realagent_stop(agent);
	agent = 0;
	guestroot_set(root, "proc/kallsyms", NULL, 0);
	start_in_root(NULL);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ENOENT, "failed to open file '/proc/kallsyms'");
	restore_kallsyms();
	try_deinit_busy(&t, fds);
}

/* Nobody is asked who is not known to be the guest. */
static void test_virsh_not_asked(void **state)
{
	struct attempt t;
	int fds[2];

	(void)state;
	write_program("#!/bin/sh\necho asked >&2; exit 1\n");
	try_init_busy(&t, fds);
	t.target.pid = 3;
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EBUSY, "serves one client at a time");
	assert_why(&t, -EBUSY, "none of libvirt's");
	t.target.pid = 1;
	snprintf(t.target.uuid, sizeof(t.target.uuid), "--help");
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EBUSY, "UUID is not known");
	snprintf(t.target.uuid, sizeof(t.target.uuid), "%s", UUID);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EIO, "virsh failed (status 1): asked");
	setenv("PATH", dir, 1);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -EBUSY, "there is no virsh here");
	try_deinit_busy(&t, fds);
}

/* A virsh that hangs is killed with all that it started, one that floods us too. */
static void test_virsh_hangs(void **state)
{
	struct attempt t;
	char path[96];
	FILE *f;
	int fds[2], pid = 0;

	(void)state;
	snprintf(path, sizeof(path), "%s/bin/pid", dir);
	write_program("#!/bin/sh\nsleep 1000 & echo $! >\"${0%/*}/pid\"; wait\n");
	try_init_busy(&t, fds);
	t.limits.deadline_ns = clock_now_ns() + 3 * NSEC_PER_SEC;
	try_run(&t, GUEST_FILES_ALL);
	assert_int_equal(t.result, -ETIMEDOUT);
	assert_true(t.seconds < SOON_S);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &pid), 1); // NOLINT
	fclose(f);
	wait_until(kill(pid, 0) < 0); /* somebody reaps it */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	write_program("#!/bin/sh\nexec yes '{'\n");
	t.limits.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;
	try_run(&t, GUEST_FILES_ALL);
	assert_int_equal(t.result, -EFBIG);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	try_deinit_busy(&t, fds);
}

static void test_nobody_answers(void **state)
{
	struct attempt t;

	(void)state;
	port = fakeport_start(here);
	try_init(&t, here);
	t.limits.answer_ms = 300;
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ETIMEDOUT, "nobody answers in the guest");
	assert_true(t.seconds < SOON_S);
	/* One that need not first notice that its client has left. */
	fakeport_stop(port);
	port = fakeport_start(here);
	t.limits.answer_ms = 0;
	t.limits.deadline_ns = clock_now_ns() + NSEC_PER_SEC / 5;
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ETIMEDOUT, "nobody answers in the guest");
	try_deinit(&t);
}

static void test_no_socket(void **state)
{
	char path[80];
	struct attempt t;

	(void)state;
	snprintf(path, sizeof(path), "%s/nothing", dir);
	try_init(&t, path);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ENOENT, "cannot connect: No such file");
	guestroot_set(dir, "file", "x", 1);
	snprintf(t.uri, sizeof(t.uri), "virtio-serial:%s/file", dir);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ECONNREFUSED, "cannot connect: Connection refused");
	try_deinit(&t);
}

/* ---- broken off ----------------------------------------------------------------------------- */

static void assert_no_handle_stays(struct attempt *t, unsigned before)
{
	wait_until(realagent_open_files(agent) == before);
	t->limits.cancel_fd = -1;
	t->sink = collect_sink(&t->got);
	t->limits.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;
	try_run(t, GUEST_FILE_BIT(GUEST_FILE_KALLSYMS));
	assert_worked(t);
}

static void test_agent_cancelled(void **state)
{
	struct stopper s = {.wake = io_wake_create(), .after = 1 << 20};
	unsigned before;
	struct attempt t;

	(void)state;
	need_agent();
	start_here();
	before = realagent_open_files(agent);
	try_init(&t, here);
	t.limits.cancel_fd = s.wake;
	t.sink = stopper_sink(&s);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ECANCELED, "cancelled");
	assert_true(t.seconds < SOON_S);
	assert_no_handle_stays(&t, before);
	try_deinit(&t);
	close(s.wake);
}

static void test_agent_refused_by_the_sink(void **state)
{
	struct stopper s = {.fail = -E2BIG, .after = 1 << 20};
	unsigned before;
	struct attempt t;

	(void)state;
	need_agent();
	start_here();
	before = realagent_open_files(agent);
	try_init(&t, here);
	t.sink = stopper_sink(&s);
	try_run(&t, GUEST_FILES_ALL);
	assert_int_equal(t.result, -E2BIG);
	assert_int_equal(t.why.code, 0); /* the sink knows */
	assert_no_handle_stays(&t, before);
	try_deinit(&t);
}

/* A file that is too large for us: the handle is closed as well. */
static void test_agent_sends_too_much(void **state)
{
	CLEANUP_FREE char *much = calloc(1, GUEST_NOTES_MAX + 1);
	unsigned before;
	struct attempt t;
	size_t n;
	CLEANUP_FREE void *note = guestroot_note("vmlinux", &n);

	(void)state;
	need_root();
	start_in_root(NULL);
	before = realagent_open_files(agent);
	try_init(&t, sock);
	guestroot_set(root, "sys/kernel/notes", much, GUEST_NOTES_MAX + 1);
	try_run(&t, GUEST_FILES_ALL);
	guestroot_set(root, "sys/kernel/notes", note, n);
	assert_why(&t, -EFBIG, "/sys/kernel/notes is above the limit");
	assert_no_handle_stays(&t, before);
	try_deinit(&t);
}

/* The VMM keeps the connection; the agent's successor knows nothing of what was asked. */
static void test_agent_killed_and_restarted(void **state)
{
	struct stopper s = {.after = 1 << 20};
	struct attempt t;

	(void)state;
	need_agent();
	port = fakeport_start(here);
	start_on_terminal();
	try_init(&t, here);
	t.limits.answer_ms = HANG_MS;
	s.victim = &agent;
	t.sink = stopper_sink(&s);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ETIMEDOUT, "the guest agent fell silent");
	assert_true(t.seconds < SOON_S);
	start_on_terminal();
	t.limits.answer_ms = PATIENCE_S * 1000;
	t.sink = collect_sink(&t.got);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_KALLSYMS));
	assert_worked(&t);
	try_deinit(&t);
}

static void test_agent_dies_with_its_socket(void **state)
{
	struct stopper s = {.after = 1 << 20};
	struct attempt t;

	(void)state;
	need_agent();
	start_here();
	try_init(&t, here);
	s.victim = &agent;
	t.sink = stopper_sink(&s);
	try_run(&t, GUEST_FILES_ALL);
	assert_why(&t, -ECONNRESET, "closed the connection");
	try_deinit(&t);
}

/* ---- looking -------------------------------------------------------------------------------- */

static void test_agent_look(void **state)
{
	struct attempt t;

	(void)state;
	need_root();
	start_in_root(NULL);
	try_init(&t, sock);
	try_run(&t, GUEST_FILES_ALL);
	assert_whole_guest(&t);
	assert_string_equal(t.how, "qemu-guest-agent");
	assert_looks(&t, root);
	try_deinit(&t);
}

/* The whole way, up to a table of symbols. */
static void test_agent_symbols(void **state)
{
	struct fetch_request req = {.limits = {.cancel_fd = -1}};
	enum source_news news = SOURCE_REBOOTED;
	const struct symbols *s;
	struct errmsg why = {0};

	(void)state;
	need_root();
	start_in_root(NULL);
	snprintf(req.uri, sizeof(req.uri), "virtio-serial:%s", sock);
	req.limits.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;
	if (fetch_symbols(&req, &s, &why) < 0)
		fail_msg("%s", why.text);
	assert_string_equal(s->boot_id, GUESTROOT_BOOT_ID);
	assert_string_equal(s->used, req.uri);
	assert_int_equal(symtab_count(s->table), GUESTROOT_SYMBOLS);
	assert_int_equal(s->module_count, 2);
	assert_int_equal(s->kernel_id.len, 20);
	req.mark = s->mark;
	assert_int_equal(fetch_look(&req, &news, &why), 0);
	assert_int_equal(news, SOURCE_SAME);
	symbols_put(s);
}

#define TEST(fn)  cmocka_unit_test_teardown(fn, teardown)
#define VIRSH(fn) cmocka_unit_test_setup_teardown(fn, virsh_setup, virsh_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_agent_whole_guest),
		TEST(test_agent_byte_for_byte),
		TEST(test_agent_only_what_is_wanted),
		TEST(test_agent_by_shell),
		TEST(test_agent_by_shell_without_gzip),
		TEST(test_agent_all_blocked),
		TEST(test_agent_without_kallsyms),
		TEST(test_agent_after_a_torn_request),
		TEST(test_agent_after_stale_answers),
		TEST(test_agent_in_use),
		VIRSH(test_virsh_whole_guest),
		VIRSH(test_virsh_agent_refuses),
		VIRSH(test_virsh_not_asked),
		VIRSH(test_virsh_hangs),
		TEST(test_nobody_answers),
		TEST(test_no_socket),
		TEST(test_agent_cancelled),
		TEST(test_agent_refused_by_the_sink),
		TEST(test_agent_sends_too_much),
		TEST(test_agent_killed_and_restarted),
		TEST(test_agent_dies_with_its_socket),
		TEST(test_agent_look),
		TEST(test_agent_symbols),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
