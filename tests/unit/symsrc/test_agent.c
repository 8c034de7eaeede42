/* A guest agent that lies, hangs or talks without end: each time one line, in time, and nothing
 * stays open in it. The real one: test_virtio_agent.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/source_impl.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/fakeagent.h"
#include "tests/unit/lib/tmptree.h"
#include "tests/unit/lib/wait.h"

static struct tmptree dir;
static char path[96];

static int setup(void **state)
{
	(void)state;
	tmptree_init(&dir);
	snprintf(path, sizeof(path), "%s/agent", dir.path);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tmptree_deinit(&dir);
	return 0;
}

struct attempt {
	struct source_limits limits;
	struct collect got;
	struct errmsg why;
	int result;
};

static void try_init(struct attempt *t)
{
	*t = (struct attempt){.limits = {.cancel_fd = -1, .answer_ms = PATIENCE_S * 1000}};
	t->limits.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;
	collect_init(&t->got);
}

static void try_run(struct attempt *t, unsigned want)
{
	const struct source_sink sink = collect_sink(&t->got);
	const struct source_target nobody = {0};
	char uri[128];
	struct source *s;

	snprintf(uri, sizeof(uri), "virtio-serial:%s", path);
	assert_int_equal(source_virtio_create(uri, &nobody, &s, &t->why), 0);
	t->result = s->ops->fetch(s, want, &t->limits, &sink, &t->why);
	source_destroy(s);
}

static bool is_about_time(enum fakeagent_fault fault)
{
	return fault == FAKEAGENT_ECHO || fault == FAKEAGENT_OTHER_ID || fault == FAKEAGENT_HANGS;
}

static void assert_fault(enum fakeagent_fault fault, int code, const char *text)
{
	struct fakeagent *f = fakeagent_start(path, fault);
	struct attempt t;

	try_init(&t);
	if (is_about_time(fault))
		t.limits.answer_ms = 1500;
	try_run(&t, GUEST_FILES_ALL);
	if (t.result != code || t.why.code != code || !strstr(t.why.text, text))
		fail_msg("fault %d: %d \"%s\", but expected %d and \"%s\"", (int)fault, t.result,
			 t.why.text, code, text);
	assert_null(strpbrk(t.why.text, "\n\x1b"));
	collect_deinit(&t.got);
	if (fault != FAKEAGENT_ODD_HANDLE && fault != FAKEAGENT_HANGS &&
	    fault != FAKEAGENT_CLOSES && fault != FAKEAGENT_BINARY)
		wait_until(fakeagent_handles(f) == 0);
	fakeagent_stop(f);
}

static void assert_good(enum fakeagent_fault fault)
{
	struct fakeagent *f = fakeagent_start(path, fault);
	struct attempt t;

	try_init(&t);
	try_run(&t, GUEST_FILE_BIT(GUEST_FILE_KALLSYMS) | GUEST_FILE_BIT(GUEST_FILE_BOOT_ID));
	if (t.result != 0)
		fail_msg("%d %s", t.result, t.why.text);
	collect_assert(&t.got, GUEST_FILE_KALLSYMS, 1, "hello\n", 6);
	/* Once more at the end: it may be another boot's by then. */
	collect_assert(&t.got, GUEST_FILE_BOOT_ID, 2, "hello\nhello\n", 12);
	assert_int_equal(fakeagent_handles(f), 0);
	collect_deinit(&t.got);
	fakeagent_stop(f);
}

static void test_good(void **state)
{
	(void)state;
	assert_good(FAKEAGENT_OK);
	assert_good(FAKEAGENT_TORN);
}

static void test_no_agent(void **state)
{
	(void)state;
	assert_fault(FAKEAGENT_ECHO, -ETIMEDOUT, "nobody answers");
	assert_fault(FAKEAGENT_OTHER_ID, -ETIMEDOUT, "nobody answers");
	assert_fault(FAKEAGENT_NOISE, -EBADMSG, "neither qemu-guest-agent nor");
}

static void test_bad_info(void **state)
{
	(void)state;
	assert_fault(FAKEAGENT_NO_INFO, -EREMOTEIO, "the guest agent says: go away");
	assert_fault(FAKEAGENT_ODD_INFO, -EPERM, "blocks guest-file-open, ");
	assert_fault(FAKEAGENT_HUGE_INFO, -EFBIG, "above 262144 bytes");
	assert_fault(FAKEAGENT_DEEP_INFO, -EFBIG, "above 262144 bytes");
}

static void test_bad_files(void **state)
{
	(void)state;
	assert_fault(FAKEAGENT_ODD_HANDLE, -EBADMSG, "without a handle");
	assert_fault(FAKEAGENT_READ_FAILS, -EREMOTEIO, "the guest agent says: no more");
	assert_fault(FAKEAGENT_READ_TOO_MUCH, -EBADMSG, "more than was asked for");
	assert_fault(FAKEAGENT_READ_NOTHING, -EBADMSG, "other than it says");
	assert_fault(FAKEAGENT_READ_COUNT, -EBADMSG, "other than it says");
	assert_fault(FAKEAGENT_READ_ENDLESS, -EFBIG, "/proc/version is above the limit");
	assert_fault(FAKEAGENT_NOT_BASE64, -EBADMSG, "should be base64");
	assert_fault(FAKEAGENT_BINARY, -EBADMSG, "binary data");
}

static void test_silence(void **state)
{
	(void)state;
	assert_fault(FAKEAGENT_HANGS, -ETIMEDOUT, "fell silent");
	assert_fault(FAKEAGENT_CLOSES, -ECONNRESET, "closed the connection");
}

/* Both end a wait for an agent that has fallen silent, long before it counts as such. */
static void test_limits_in_a_silence(void **state)
{
	struct fakeagent *f = fakeagent_start(path, FAKEAGENT_HANGS);
	const struct itimerspec soon = {.it_value.tv_nsec = 300 * (long)NSEC_PER_MSEC};
	struct attempt t;

	(void)state;
	try_init(&t);
	t.limits.cancel_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	assert_int_equal(timerfd_settime(t.limits.cancel_fd, 0, &soon, NULL), 0);
	try_run(&t, GUEST_FILES_ALL);
	assert_int_equal(t.result, -ECANCELED);
	close(t.limits.cancel_fd);
	t.limits.cancel_fd = -1;
	t.limits.deadline_ns = clock_now_ns() + 300 * NSEC_PER_MSEC;
	try_run(&t, GUEST_FILES_ALL);
	assert_int_equal(t.result, -ETIMEDOUT);
	assert_non_null(strstr(t.why.text, "not done within the time allowed"));
	collect_deinit(&t.got);
	fakeagent_stop(f);
}

static void test_bad_programs(void **state)
{
	(void)state;
	assert_fault(FAKEAGENT_EXEC_NO_PID, -EBADMSG, "without a pid");
	assert_fault(FAKEAGENT_EXEC_TRUNCATED, -EFBIG, "install gzip");
	assert_fault(FAKEAGENT_EXEC_FAILS, -EBADMSG, "(status 127): hello");
	assert_fault(FAKEAGENT_EXEC_BINARY, -EBADMSG, "(status 0)");
}

/* A program that never ends: the deadline and a cancel do. */
static void test_endless_program(void **state)
{
	struct fakeagent *f = fakeagent_start(path, FAKEAGENT_EXEC);
	struct attempt t;

	(void)state;
	try_init(&t);
	t.limits.deadline_ns = clock_now_ns() + NSEC_PER_SEC / 2;
	try_run(&t, GUEST_FILES_ALL);
	assert_int_equal(t.result, -ETIMEDOUT);
	t.limits.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;
	t.limits.cancel_fd = io_wake_create();
	io_wake(t.limits.cancel_fd);
	try_run(&t, GUEST_FILES_ALL);
	assert_int_equal(t.result, -ECANCELED);
	close(t.limits.cancel_fd);
	collect_deinit(&t.got);
	fakeagent_stop(f);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_good),	 TEST(test_no_agent),	     TEST(test_bad_info),
		TEST(test_bad_files),	 TEST(test_silence),	     TEST(test_limits_in_a_silence),
		TEST(test_bad_programs), TEST(test_endless_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
