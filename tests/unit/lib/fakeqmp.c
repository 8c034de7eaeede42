#include "tests/unit/lib/fakeqmp.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/lock.h"

#define GREETING                                                                           \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, " \
	"\"package\": \"fake\"}, \"capabilities\": [\"oob\"]}}\r\n"

struct fakeqmp {
	char *path;
	enum fakeqmp_fault fault;
	fakeqmp_answer_fn *answer;
	void *ctx;
	int listener;
	int stop_fd;
	int send_fd; /* there is something in to_send */
	atomic_uint clients;
	atomic_uint commands;
	struct mutex lock;
	char *to_send; /* lock */
	pthread_t thread;
};

static bool is_stopped(struct fakeqmp *f)
{
	struct pollfd p = {.fd = f->stop_fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* Sends all of it, slowly if so told; false when the client is gone or the test is over. */
static bool say(struct fakeqmp *f, int fd, const char *text, size_t n)
{
	size_t step = f->fault == FAKEQMP_TORN ? 1 : n;

	for (size_t done = 0; done < n;) {
		struct pollfd p[] = {{.fd = fd, .events = POLLOUT},
				     {.fd = f->stop_fd, .events = POLLIN}};
		size_t rest = n - done;
		ssize_t sent;

		poll(p, 2, -1);
		if (p[1].revents)
			return false;
		sent = send(fd, text + done, rest < step ? rest : step,
			    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN)
			return false;
		done += sent > 0 ? (size_t)sent : 0;
	}
	return true;
}

static bool say_str(struct fakeqmp *f, int fd, const char *text)
{
	return say(f, fd, text, strlen(text));
}

static bool say_for_ever(struct fakeqmp *f, int fd, const char *begin, const char *piece)
{
	char many[16384] = "";
	size_t n = strlen(piece);

	for (size_t at = 0; at + n < sizeof(many); at += n)
		memcpy(many + at, piece, n + 1);
	if (!say_str(f, fd, begin))
		return false;
	while (say_str(f, fd, many))
		continue;
	return false;
}

static bool reply(struct fakeqmp *f, int fd, long long id, const char *what, const char *value)
{
	char *text;
	bool ok;

	if (asprintf(&text, "{\"%s\": %s, \"id\": %lld}\r\n", what, value, id) < 0)
		abort();
	ok = say_str(f, fd, text);
	free(text);
	return ok;
}

static bool reply_truly(struct fakeqmp *f, int fd, long long id, const char *name, const char *line)
{
	char *value = f->answer ? f->answer(f->ctx, name, line) : strdup("{}");
	bool ok;

	if (value)
		ok = reply(f, fd, id, "return", value);
	else
		ok = reply(f, fd, id, "error",
			   "{\"class\": \"CommandNotFound\", \"desc\": \"no such command\"}");
	free(value);
	return ok;
}

static bool on_command(struct fakeqmp *f, int fd, long long id, const char *name, const char *line)
{
	bool negotiation = strcmp(name, "qmp_capabilities") == 0;

	if (f->fault == FAKEQMP_MUTE)
		return true;
	if (f->fault == FAKEQMP_REFUSES)
		return reply(f, fd, id, "error", "{\"class\": \"GenericError\", \"desc\": \"no\"}");
	if (negotiation)
		return reply(f, fd, id, "return", "{}");
	atomic_fetch_add(&f->commands, 1);
	switch (f->fault) {
	case FAKEQMP_NEGOTIATES: return true;
	case FAKEQMP_CLOSES_LATE: say_str(f, fd, "{\"return\": {\"a"); return false;
	case FAKEQMP_HUGE: return say_for_ever(f, fd, "{\"return\": \"", "abcdefgh");
	case FAKEQMP_MANY: return say_for_ever(f, fd, "{\"return\": [1", ",1");
	case FAKEQMP_DEEP: return say_for_ever(f, fd, "{\"return\": [", "[");
	default: return reply_truly(f, fd, id, name, line);
	}
}

static bool on_line(struct fakeqmp *f, int fd, const char *line)
{
	struct json_object *o = json_tokener_parse(line);
	struct json_object *name = NULL;
	struct json_object *id = NULL;
	bool ok = false;

	if (o && json_object_object_get_ex(o, "execute", &name) &&
	    json_object_object_get_ex(o, "id", &id))
		ok = on_command(f, fd, json_object_get_int64(id), json_object_get_string(name),
				line);
	json_object_put(o);
	return ok;
}

static bool send_asked(struct fakeqmp *f, int fd)
{
	char *text;
	bool ok;

	io_wake_clear(f->send_fd);
	mutex_lock(&f->lock);
	text = f->to_send;
	f->to_send = NULL;
	mutex_unlock(&f->lock);
	ok = !text || say_str(f, fd, text);
	free(text);
	return ok;
}

/* Handles the whole lines in text, and leaves the rest; -1 to hang up. */
static ssize_t on_lines(struct fakeqmp *f, int fd, char *text, size_t n)
{
	char *nl;

	while ((nl = memchr(text, '\n', n))) {
		size_t len = (size_t)(nl + 1 - text);

		*nl = '\0';
		if (!on_line(f, fd, text))
			return -1;
		n -= len;
		memmove(text, text + len, n);
	}
	return (ssize_t)n;
}

static void converse(struct fakeqmp *f, int fd)
{
	char text[65536];
	size_t held = 0;

	for (;;) {
		struct pollfd p[] = {{.fd = fd, .events = POLLIN},
				     {.fd = f->stop_fd, .events = POLLIN},
				     {.fd = f->send_fd, .events = POLLIN}};
		ssize_t n;

		poll(p, 3, -1);
		if (p[1].revents || (p[2].revents && !send_asked(f, fd)))
			return;
		if (!p[0].revents)
			continue;
		n = read(fd, text + held, sizeof(text) - held);
		if (n <= 0)
			return;
		n = on_lines(f, fd, text, held + (size_t)n);
		if (n < 0)
			return;
		held = (size_t)n;
	}
}

static void serve(struct fakeqmp *f, int fd)
{
	char zeros[64] = "";

	switch (f->fault) {
	case FAKEQMP_SILENT: break;
	case FAKEQMP_CLOSES: say_str(f, fd, GREETING); return;
	case FAKEQMP_BINARY: say(f, fd, zeros, sizeof(zeros)); break;
	case FAKEQMP_OTHER: say_str(f, fd, "220 mail ESMTP\r\n"); break;
	case FAKEQMP_FLOOD: say_for_ever(f, fd, GREETING, "{\"event\": \"NICE\"}\r\n"); return;
	default:
		if (!say_str(f, fd, GREETING))
			return;
	}
	converse(f, fd);
}

static void *run(void *arg)
{
	struct fakeqmp *f = arg;

	while (!is_stopped(f)) {
		struct pollfd p[] = {{.fd = f->stop_fd, .events = POLLIN},
				     {.fd = f->listener, .events = POLLIN}};
		int fd;

		poll(p, f->fault == FAKEQMP_BUSY ? 1 : 2, -1);
		if (!p[1].revents)
			continue;
		fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
		atomic_fetch_add(&f->clients, 1);
		serve(f, fd);
		close(fd);
	}
	return NULL;
}

/* By its directory's descriptor, so that the path may be of any length. */
static int listen_at(const char *path)
{
	CLEANUP_FREE char *dir = strdup(path);
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char *slash = strrchr(dir, '/');
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_non_null(slash);
	*slash = '\0';
	CLEANUP_FD int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(dirfd >= 0);
	assert_true((size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/%s", dirfd,
				     slash + 1) < sizeof(sa.sun_path));
	unlink(path); /* of a test that failed */
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

struct fakeqmp *fakeqmp_start(const char *path, enum fakeqmp_fault fault, fakeqmp_answer_fn *answer,
			      void *ctx)
{
	struct fakeqmp *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->path = strdup(path);
	f->fault = fault;
	f->answer = answer;
	f->ctx = ctx;
	f->listener = listen_at(path);
	f->stop_fd = io_wake_create();
	f->send_fd = io_wake_create();
	mutex_init(&f->lock);
	assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
	return f;
}

void fakeqmp_send(struct fakeqmp *f, const char *line)
{
	char *all;

	mutex_lock(&f->lock);
	if (asprintf(&all, "%s%s\r\n", f->to_send ? f->to_send : "", line) < 0)
		abort();
	free(f->to_send);
	f->to_send = all;
	mutex_unlock(&f->lock);
	io_wake(f->send_fd);
}

unsigned fakeqmp_clients(struct fakeqmp *f)
{
	return atomic_load(&f->clients);
}

unsigned fakeqmp_commands(struct fakeqmp *f)
{
	return atomic_load(&f->commands);
}

void fakeqmp_stop(struct fakeqmp *f)
{
	if (!f)
		return;
	io_wake(f->stop_fd);
	pthread_join(f->thread, NULL);
	close(f->listener);
	close(f->stop_fd);
	close(f->send_fd);
	unlink(f->path);
	mutex_deinit(&f->lock);
	free(f->to_send);
	free(f->path);
	free(f);
}
