/* The ways into a guest, one after the other, and what is told of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/fetch.h"
#include "symsrc/source_ssh.h"
#include "tests/unit/lib/fakeagent.h"
#include "tests/unit/lib/guestroot.h"
#include "tests/unit/lib/realagent.h"
#include "tests/unit/lib/wait.h"

static char dir[32];
static char root[64], right[96]; /* a guest's root, and the socket of the agent that runs in it */
static char wrong[64];		 /* the socket of one that lies */
static pid_t agent;
static struct fakeagent *liar;
static struct fetch_request req;
static const struct symbols *symbols;
static struct errmsg why;

static int group_setup(void **state)
{
	const struct realagent_config config = {.root = root, .path = "/run/auto-agent"};

	(void)state;
	if (source_ssh_init(NULL) < 0)
		return -1;
	snprintf(dir, sizeof(dir), "/tmp/test_auto.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(root, sizeof(root), "%s/root", dir);
	snprintf(right, sizeof(right), "%s/run/auto-agent", root);
	snprintf(wrong, sizeof(wrong), "%s/liar", dir);
	guestroot_create(root);
	if (realagent_program() && realagent_furnish(root))
		agent = realagent_start(&config);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	realagent_stop(agent);
	guestroot_remove(dir);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	memset(&req, 0, sizeof(req));
	snprintf(req.uri, sizeof(req.uri), "auto");
	req.limits.cancel_fd = -1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	symbols_put(symbols);
	symbols = NULL;
	fakeagent_stop(liar);
	liar = NULL;
	return 0;
}

static void need_agent(void)
{
	if (agent)
		return;
	print_message("skip: root is needed, and qemu-ga (tests/install-deps gets it)\n");
	skip();
}

static int run(void)
{
	symbols_put(symbols);
	symbols = NULL;
	why = (struct errmsg){0};
	req.limits.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;
	return fetch_symbols(&req, &symbols, &why);
}

/* text NULL: it worked. */
static void assert_tried(size_t i, const char *way, const char *text)
{
	const struct source_attempt *a = &req.tried.list[i];

	assert_true(i < req.tried.count);
	assert_string_equal(a->way, way);
	if (text ? !strstr(a->why.text, text) || a->why.code == 0 : a->why.code != 0)
		fail_msg("%s: %d \"%s\", but expected \"%s\"", a->way, a->why.code, a->why.text,
			 text ? text : "");
	assert_true(a->took_ns < PATIENCE_S * NSEC_PER_SEC);
}

static void way_of(const char *path, char ret[static 128])
{
	snprintf(ret, 128, "virtio-serial:%s", path);
}

static void test_ways_in_their_order(void **state)
{
	char first[128], second[128];

	(void)state;
	need_agent();
	way_of("/nonexistent/agent", first);
	way_of(right, second);
	errmsg_set(&req.target.ram_why, -EPERM, "memory of VMM 1: not permitted");
	snprintf(req.target.links.agent_path, GUEST_PATH_MAX, "/nonexistent/agent");
	snprintf(req.target.links.port_path, GUEST_PATH_MAX, "%s", right);
	req.target.links.vsock_cid = 4294967294u;
	if (run() != 0)
		fail_msg("%s", why.text);
	assert_string_equal(symbols->used, second);
	assert_int_equal(req.tried.count, 3);
	assert_tried(0, "memory", "memory of VMM 1: not permitted");
	assert_tried(1, first, "No such file");
	assert_null(strstr(req.tried.list[1].why.text, first)); /* said already */
	assert_tried(2, second, NULL);
	/* What worked is where it begins the next time. */
	snprintf(req.used, sizeof(req.used), "%s", symbols->used);
	assert_int_equal(run(), 0);
	assert_int_equal(req.tried.count, 1);
	assert_tried(0, second, NULL);
}

/* A socket that is gone is not the guest's word that it has no files: the other ways have theirs,
 * and all of them are told. */
static void test_files_by_the_ways_that_are_left(void **state)
{
	const struct modtree *tree = NULL;
	struct fetch_files *f = NULL;

	(void)state;
	snprintf(req.target.links.agent_path, GUEST_PATH_MAX, "/nonexistent/agent");
	snprintf(req.target.links.port_path, GUEST_PATH_MAX, "/nonexistent/port");
	req.limits.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;
	assert_int_equal(fetch_files_open("auto", &req.target, &f, &why), 0);
	assert_true(fetch_files_list(f, "6.1.0", &req.limits, &tree, &why) < 0);
	assert_non_null(strstr(why.text, "/nonexistent/agent"));
	assert_non_null(strstr(why.text, "/nonexistent/port"));
	fetch_files_close(f);
}

static void test_all_ways_fail(void **state)
{
	(void)state;
	errmsg_set(&req.target.ram_why, -EPERM, "memory of VMM 1: not permitted");
	snprintf(req.target.links.agent_path, GUEST_PATH_MAX, "/nonexistent/agent");
	snprintf(req.target.links.port_path, GUEST_PATH_MAX, "/nonexistent/own\n");
	req.target.links.ssh_port = 1;
	req.target.links.vsock_cid = 4294967294u;
	snprintf(req.target.name, sizeof(req.target.name), "no-such-host.invalid");
	assert_true(run() < 0);
	assert_int_equal(req.tried.count, 6);
	assert_tried(0, "memory", "not permitted");
	assert_tried(1, "virtio-serial:/nonexistent/agent", "No such file");
	assert_tried(2, "virtio-serial:/nonexistent/own\\x0a", "No such file");
	assert_tried(3, "ssh://root@127.0.0.1:1", "Connection refused");
	assert_tried(4, "vsock:root@4294967294", "vsock");
	assert_tried(5, "ssh://root@no-such-host.invalid", "name");
	assert_null(strchr(why.text, '\n'));
}

/* It answers, and what it says is no kallsyms: that is no reason to do without the other ways. */
static void test_a_way_that_spoils_what_it_began(void **state)
{
	char first[128], second[128];

	(void)state;
	need_agent();
	way_of(wrong, first);
	way_of(right, second);
	liar = fakeagent_start(wrong, FAKEAGENT_OK);
	snprintf(req.target.links.agent_path, GUEST_PATH_MAX, "%s", wrong);
	snprintf(req.target.links.port_path, GUEST_PATH_MAX, "%s", right);
	if (run() != 0)
		fail_msg("%s", why.text);
	assert_int_equal(req.tried.count, 2);
	assert_tried(0, first, "");
	assert_true(req.tried.list[0].why.code < 0);
	assert_tried(1, second, NULL);
	assert_string_equal(symbols->used, second);
	/* When the others do not work either, it has most to say. */
	snprintf(req.target.links.port_path, GUEST_PATH_MAX, "/nonexistent");
	assert_true(run() < 0);
	assert_memory_equal(why.text, first, strlen(first));
	assert_int_equal(req.tried.count, 2);
	assert_tried(1, "virtio-serial:/nonexistent", "No such file");
}

static void test_a_way_that_breaks_off(void **state)
{
	(void)state;
	need_agent();
	liar = fakeagent_start(wrong, FAKEAGENT_CLOSES);
	snprintf(req.target.links.agent_path, GUEST_PATH_MAX, "%s", wrong);
	snprintf(req.target.links.port_path, GUEST_PATH_MAX, "%s", right);
	if (run() != 0)
		fail_msg("%s", why.text);
	assert_int_equal(req.tried.count, 2);
	assert_true(req.tried.list[0].why.code < 0);
}

/* Nobody answers there, and nobody has to wait long for that. */
static void test_a_silent_way_costs_seconds(void **state)
{
	(void)state;
	need_agent();
	liar = fakeagent_start(wrong, FAKEAGENT_OTHER_ID);
	snprintf(req.target.links.agent_path, GUEST_PATH_MAX, "%s", wrong);
	snprintf(req.target.links.port_path, GUEST_PATH_MAX, "%s", right);
	req.limits.answer_ms = 2000;
	if (run() != 0)
		fail_msg("%s", why.text);
	assert_int_equal(req.tried.list[0].why.code, -ETIMEDOUT);
	assert_true(req.tried.list[0].took_ns >= 2000 * NSEC_PER_MSEC);
	assert_int_equal(req.tried.count, 2);
}

static void test_a_single_source_has_one_line(void **state)
{
	char uri[128];

	(void)state;
	snprintf(uri, sizeof(uri), "dir:%s", root);
	snprintf(req.uri, sizeof(req.uri), "%s", uri);
	if (run() != 0)
		fail_msg("%s", why.text);
	assert_int_equal(req.tried.count, 1);
	assert_tried(0, uri, NULL);
	snprintf(req.uri, sizeof(req.uri), "ssh://127.0.0.1:1?identity=/key");
	assert_int_equal(run(), -ECONNREFUSED);
	assert_int_equal(req.tried.count, 1);
	assert_tried(0, req.uri, "Connection refused");
}

static void test_looks_by_what_worked(void **state)
{
	enum source_news news;

	(void)state;
	need_agent();
	snprintf(req.target.links.port_path, GUEST_PATH_MAX, "%s", right);
	assert_int_equal(run(), 0);
	snprintf(req.used, sizeof(req.used), "%s", symbols->used);
	req.mark = symbols->mark;
	assert_int_equal(fetch_look(&req, &news, &why), 0);
	assert_int_equal(news, SOURCE_SAME);
	guestroot_set(root, "proc/sys/kernel/random/boot_id",
		      "22222222-2222-3333-4444-555555555555\n", 37);
	assert_int_equal(fetch_look(&req, &news, &why), 0);
	assert_int_equal(news, SOURCE_REBOOTED);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ways_in_their_order),
		TEST(test_all_ways_fail),
		TEST(test_files_by_the_ways_that_are_left),
		TEST(test_a_way_that_spoils_what_it_began),
		TEST(test_a_way_that_breaks_off),
		TEST(test_a_silent_way_costs_seconds),
		TEST(test_a_single_source_has_one_line),
		TEST(test_looks_by_what_worked),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
