#include "tests/unit/lib/serialtry.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/fetch.h"
#include "symsrc/base/io.h"
#include "symsrc/serial_turn.h"
#include "symsrc/source_impl.h"
#include "tests/unit/lib/guestroot.h"
#include "tests/unit/lib/realagent.h"
#include "tests/unit/lib/wait.h"

void try_init(struct attempt *t, const char *path)
{
	*t = (struct attempt){.target = {.pid = 1},
			      .limits = {.cancel_fd = -1, .answer_ms = PATIENCE_S * 1000}};
	t->limits.deadline_ns = clock_now_ns() + PATIENCE_S * NSEC_PER_SEC;
	snprintf(t->uri, sizeof(t->uri), "virtio-serial:%s", path);
	collect_init(&t->got);
	t->sink = collect_sink(&t->got);
}

void try_deinit(struct attempt *t)
{
	collect_deinit(&t->got);
	serial_ear_destroy(take_ptr(t->ear));
}

static void look(struct attempt *t)
{
	struct fetch_request req = {.target = t->target, .limits = t->limits, .mark = t->mark};
	enum source_news news = SOURCE_SAME;

	snprintf(req.uri, sizeof(req.uri), "%s", t->uri);
	t->result = fetch_look(&req, &news, &t->why);
	t->mark = req.mark;
	t->ear = req.ear;
	if (t->result == 0)
		t->result = (int)news;
}

void try_run(struct attempt *t, unsigned want)
{
	uint64_t began = clock_now_ns();
	struct source *s;

	collect_deinit(&t->got);
	collect_init(&t->got);
	serial_ear_destroy(take_ptr(t->ear));
	t->why = (struct errmsg){0};
	if (!want) {
		look(t);
		return;
	}
	assert_int_equal(source_virtio_create(t->uri, &t->target, &s, &t->why), 0);
	s->mark = t->mark;
	s->had = t->had;
	t->result = s->ops->fetch(s, want, &t->limits, &t->sink, &t->why);
	t->seconds = (double)(clock_now_ns() - began) / NSEC_PER_SEC;
	t->mark = s->mark;
	t->ear = take_ptr(s->ear);
	snprintf(t->used, sizeof(t->used), "%s", s->used);
	snprintf(t->how, sizeof(t->how), "%s", s->how);
	source_destroy(s);
}

void assert_why(const struct attempt *t, int code, const char *text)
{
	if (t->result != code || !strstr(t->why.text, text))
		fail_msg("%d \"%s\", but expected %d and \"%s\"", t->result, t->why.text, code,
			 text);
	assert_int_equal(t->why.code, code);
	assert_memory_equal(t->why.text, t->uri, strlen(t->uri));
}

void assert_worked(const struct attempt *t)
{
	if (t->result != 0)
		fail_msg("%d: %s", t->result, t->why.text);
}

void assert_whole_guest(const struct attempt *t)
{
	assert_worked(t);
	assert_string_equal(t->used, t->uri);
	collect_assert_guestroot(&t->got);
}

int other_client(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void hear_more(int fd, struct buf *b, const char *text)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char chunk[512];
	ssize_t n;

	if (poll(&p, 1, PATIENCE_S * 1000) != 1)
		fail_msg("\"%s\" does not come, but \"%s\"", text, b->data);
	n = read(fd, chunk, sizeof(chunk));
	assert_true(n > 0);
	assert_int_equal(buf_append(b, chunk, (size_t)n), 0);
}

static void hear_until(int fd, struct buf *b, const char *text)
{
	buf_init(b, 64 << 20);
	while (!memmem(b->data, b->len, text, strlen(text)))
		hear_more(fd, b, text);
}

size_t hear(int fd, const char *text)
{
	CLEANUP_BUF struct buf b;

	hear_until(fd, &b, text);
	return b.len;
}

void hear_without(int fd, const char *text, const char *other)
{
	CLEANUP_BUF struct buf b;

	hear_until(fd, &b, text);
	assert_null(memmem(b.data, b.len, other, strlen(other)));
}

long hear_number(int fd, const char *text)
{
	CLEANUP_BUF struct buf b;
	char *at = NULL;

	buf_init(&b, 1 << 20);
	while (!at || !memchr(at, '\n', b.len - (size_t)(at - b.data))) {
		hear_more(fd, &b, text);
		at = memmem(b.data, b.len, text, strlen(text));
	}
	return strtol(at + strlen(text), NULL, 10);
}

static void read_whole(const char *path, struct buf *b)
{
	buf_init(b, 64 << 20);
	assert_int_equal(io_read_file(AT_FDCWD, path, b), 0);
}

/* It may be changing. */
void assert_this_machine(const char *path)
{
	struct buf before, after;
	struct attempt t;
	bool settled = false;

	for (int i = 0; i < 5 && !settled; i++) {
		try_init(&t, path);
		read_whole("/proc/kallsyms", &before);
		try_run(&t, GUEST_FILES_ALL);
		read_whole("/proc/kallsyms", &after);
		assert_worked(&t);
		settled =
			before.len == after.len && memcmp(before.data, after.data, after.len) == 0;
		if (settled)
			collect_assert(&t.got, GUEST_FILE_KALLSYMS, 1, after.data, after.len);
		print_message("kallsyms: %zu bytes in %.3f s\n", after.len, t.seconds);
		try_deinit(&t);
		buf_deinit(&before);
		buf_deinit(&after);
	}
	assert_true(settled);
}

static int stopper_begin(void *ctx, enum guest_file file, const char *module)
{
	struct stopper *s = ctx;

	(void)module;
	s->counts = file == GUEST_FILE_KALLSYMS;
	return 0;
}

static int stopper_data(void *ctx, const void *bytes, size_t n)
{
	struct stopper *s = ctx;

	(void)bytes;
	if (!s->counts)
		return 0;
	s->after -= n < s->after ? n : s->after;
	if (s->after > 0)
		return 0;
	if (s->wake > 0)
		io_wake(s->wake);
	if (s->victim) {
		realagent_stop(*s->victim);
		*s->victim = 0;
		s->victim = NULL;
	}
	return s->fail;
}

struct source_sink stopper_sink(struct stopper *s)
{
	return (struct source_sink){stopper_begin, stopper_data, s};
}

static void set_text(const char *root, const char *path, const char *text)
{
	guestroot_set(root, path, text, strlen(text));
}

static void assert_look(struct attempt *t, enum source_news news)
{
	try_run(t, 0);
	if (t->result != (int)news)
		fail_msg("%d \"%s\", but expected %d", t->result, t->why.text, (int)news);
}

void assert_looks(struct attempt *t, const char *root)
{
	size_t n;
	CLEANUP_FREE char *kallsyms = guestroot_kallsyms(&n);

	try_run(t, 0); /* where a fetch alone leaves no mark, this does */
	assert_look(t, SOURCE_SAME);
	guestroot_set(root, "proc/kallsyms", "of BPF and ftrace\n", 18); /* nobody looks there */
	assert_look(t, SOURCE_SAME);
	guestroot_set(root, "proc/kallsyms", kallsyms, n);
	set_text(root, "proc/modules",
		 "ext4 8192 7 - Live 0xffffffffc0100000\n"
		 "jbd2 4096 1 ext4, Live 0xffffffffc0000000\n");
	assert_look(t, SOURCE_SAME); /* use counts are no change */
	set_text(root, "proc/modules", "ext4 8192 1 - Live 0xffffffffc0100000\n");
	assert_look(t, SOURCE_CHANGED);
	assert_look(t, SOURCE_SAME); /* that is known now */
	set_text(root, "proc/modules", GUESTROOT_MODULES);
	set_text(root, "proc/sys/kernel/random/boot_id", "22222222-2222-3333-4444-555555555555\n");
	assert_look(t, SOURCE_REBOOTED);
	assert_look(t, SOURCE_SAME);
	set_text(root, "proc/sys/kernel/random/boot_id", GUESTROOT_BOOT_ID "\n");
	assert_look(t, SOURCE_REBOOTED);
	guestroot_set(root, "proc/sys/kernel/random/boot_id", NULL, 0);
	assert_look(t, SOURCE_CHANGED); /* nothing to recognise a boot by, but modules */
	assert_look(t, SOURCE_SAME);
	set_text(root, "proc/modules", "ext4 8192 1 - Live 0xffffffffc0100000\n");
	assert_look(t, SOURCE_CHANGED);
	set_text(root, "proc/modules", GUESTROOT_MODULES);
	set_text(root, "proc/sys/kernel/random/boot_id", GUESTROOT_BOOT_ID "\n");
}
