#include "tests/unit/lib/fakeagent.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"

#define FULL_CHUNK 87384 /* digits of 64 KiB */

struct fakeagent {
	char *path;
	enum fakeagent_fault fault;
	int listener, stop_fd;
	atomic_int handles;
	bool at_end;	  /* the file that is open has been read */
	bool is_kallsyms; /* the others have limits of their own */
	pthread_t thread;
};

static bool say(struct fakeagent *f, int fd, const char *text, size_t n)
{
	size_t step = f->fault == FAKEAGENT_TORN ? 1 : n;

	while (n > 0) {
		struct pollfd p[] = {{.fd = fd, .events = POLLOUT},
				     {.fd = f->stop_fd, .events = POLLIN}};
		ssize_t sent;

		poll(p, 2, -1);
		if (p[1].revents)
			return false;
		sent = send(fd, text, n < step ? n : step, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN)
			return false;
		text += sent > 0 ? sent : 0;
		n -= sent > 0 ? (size_t)sent : 0;
	}
	return true;
}

static bool say_str(struct fakeagent *f, int fd, const char *text)
{
	return say(f, fd, text, strlen(text));
}

static bool say_for_ever(struct fakeagent *f, int fd, const char *begin, char c)
{
	char many[16384];

	memset(many, c, sizeof(many));
	if (!say_str(f, fd, begin))
		return false;
	while (say(f, fd, many, sizeof(many)))
		continue;
	return false;
}

/* ---- the commands --------------------------------------------------------------------------- */

static bool sync_with(struct fakeagent *f, int fd, const char *line)
{
	const char *id = strstr(line, "\"id\":");
	char text[64];

	if (f->fault == FAKEAGENT_NOISE)
		return say_for_ever(f, fd, "\xff", 'x');
	snprintf(text, sizeof(text), "\xff{\"return\": %ld}\n",
		 (id ? strtol(id + 5, NULL, 10) : 0) + (f->fault == FAKEAGENT_OTHER_ID));
	return say_str(f, fd, text);
}

static bool info(struct fakeagent *f, int fd)
{
	static const char files[] = "{\"return\": {\"supported_commands\": [{\"enabled\": true, "
				    "\"name\": \"guest-file-open\"}, "
				    "{\"enabled\": true, \"name\": \"guest-file-read\"}, "
				    "{\"enabled\": true, \"name\": \"guest-file-close\"}]}}\n";
	static const char programs[] = "{\"return\": {\"supported_commands\": [{\"enabled\": true, "
				       "\"name\": \"guest-exec\"}, "
				       "{\"name\": \"guest-exec-status\", \"enabled\": true}]}}\n";

	switch (f->fault) {
	case FAKEAGENT_NO_INFO: return say_str(f, fd, "{\"error\": {\"desc\": \"go away\"}}\n");
	case FAKEAGENT_ODD_INFO:
		return say_str(f, fd,
			       "{\"return\": {\"supported_commands\": [7, [], {}, null, {\"name\": "
			       "7, \"enabled\": true}, {\"name\": \"guest-exec\", \"enabled\": "
			       "false}]}}\n");
	case FAKEAGENT_HUGE_INFO: return say_for_ever(f, fd, "{\"return\": \"", 'x');
	case FAKEAGENT_DEEP_INFO: return say_for_ever(f, fd, "{\"return\": ", '[');
	default: return say_str(f, fd, f->fault >= FAKEAGENT_EXEC ? programs : files);
	}
}

static bool open_file(struct fakeagent *f, int fd, const char *line)
{
	f->is_kallsyms = strstr(line, "kallsyms");
	f->at_end = f->fault == FAKEAGENT_READ_TOO_MUCH && !f->is_kallsyms;
	atomic_fetch_add(&f->handles, 1);
	return say_str(f, fd,
		       f->fault == FAKEAGENT_ODD_HANDLE ? "{\"return\": \"7\"}\n"
							: "{\"return\": 7}\n");
}

static bool full_chunk(struct fakeagent *f, int fd, const char *more)
{
	CLEANUP_FREE char *digits = malloc(FULL_CHUNK + 1);

	memset(digits, 'A', FULL_CHUNK);
	memcpy(digits + FULL_CHUNK - 2, "==", 3); /* 65536 is no multiple of 3 */
	return say_str(f, fd, "{\"return\": {\"count\": 65536, \"buf-b64\": \"") &&
	       say_str(f, fd, more) && say_str(f, fd, digits) &&
	       say_str(f, fd, "\", \"eof\": false}}\n");
}

static bool read_file(struct fakeagent *f, int fd)
{
	const char *text =
		f->at_end ? "{\"return\": {\"count\": 0, \"buf-b64\": \"\", \"eof\": true}}\n"
			  : "{\"return\": {\"count\": 6, \"buf-b64\": \"aGVsbG8K\", \"eof\": "
			    "false}}\n";

	f->at_end = true;
	switch (f->fault) {
	case FAKEAGENT_READ_FAILS: text = "{\"error\": {\"desc\": \"no more\"}}\n"; break;
	case FAKEAGENT_READ_TOO_MUCH:
		if (f->is_kallsyms)
			return full_chunk(f, fd, "AAAA");
		break;
	case FAKEAGENT_READ_ENDLESS: return full_chunk(f, fd, "");
	case FAKEAGENT_READ_NOTHING:
		text = "{\"return\": {\"count\": 0, \"buf-b64\": \"\", \"eof\": false}}\n";
		break;
	case FAKEAGENT_READ_COUNT:
		text = "{\"return\": {\"count\": 5, \"buf-b64\": \"aGVsbG8K\", \"eof\": true}}\n";
		break;
	case FAKEAGENT_NOT_BASE64: text = "{\"return\": {\"buf-b64\": \"hello!\"}}\n"; break;
	case FAKEAGENT_BINARY: return say(f, fd, "\0\0\0\0\n", 5);
	case FAKEAGENT_HANGS: return say_str(f, fd, "{\"return\": {\"buf-b64\": \"aGVs");
	case FAKEAGENT_CLOSES: say_str(f, fd, "{\"return\": {\"buf-b64\": \"aGVs"); return false;
	default: break;
	}
	return say_str(f, fd, text);
}

static bool exec_status(struct fakeagent *f, int fd)
{
	switch (f->fault) {
	case FAKEAGENT_EXEC_TRUNCATED:
		return say_str(f, fd,
			       "{\"return\": {\"exited\": true, \"exitcode\": 0, \"out-data\": "
			       "\"aGVsbG8K\", \"out-truncated\": true}}\n");
	case FAKEAGENT_EXEC_FAILS:
		return say_str(f, fd,
			       "{\"return\": {\"exited\": true, \"exitcode\": 127, \"err-data\": "
			       "\"aGVsbG8K\"}}\n");
	case FAKEAGENT_EXEC_BINARY:
		return say_str(f, fd,
			       "{\"return\": {\"exited\": true, \"exitcode\": 0, \"out-data\": "
			       "\"AAAAAAAA\"}}\n");
	default: return say_str(f, fd, "{\"return\": {\"exited\": false}}\n");
	}
}

static bool close_file(struct fakeagent *f, int fd)
{
	atomic_fetch_sub(&f->handles, 1);
	return say_str(f, fd, "{\"return\": {}}\n");
}

static bool on_line(struct fakeagent *f, int fd, const char *line)
{
	if (f->fault == FAKEAGENT_ECHO)
		return say_str(f, fd, line) && say_str(f, fd, "\n");
	if (strstr(line, "\"guest-sync-delimited\""))
		return sync_with(f, fd, line);
	if (strstr(line, "\"guest-info\""))
		return info(f, fd);
	if (strstr(line, "\"guest-file-open\""))
		return open_file(f, fd, line);
	if (strstr(line, "\"guest-file-read\""))
		return read_file(f, fd);
	if (strstr(line, "\"guest-file-close\""))
		return close_file(f, fd);
	if (strstr(line, "\"guest-exec\""))
		return say_str(f, fd,
			       f->fault == FAKEAGENT_EXEC_NO_PID ? "{\"return\": {}}\n"
								 : "{\"return\": {\"pid\": 7}}\n");
	if (strstr(line, "\"guest-exec-status\""))
		return exec_status(f, fd);
	return say_str(f, fd, "{\"error\": {\"desc\": \"what?\"}}\n");
}

/* ---- the server ----------------------------------------------------------------------------- */

static void serve(struct fakeagent *f, int fd)
{
	struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = f->stop_fd, .events = POLLIN}};
	char line[8192];
	size_t len = 0;

	while (poll(p, 2, -1) > 0 && !p[1].revents) {
		if (recv(fd, line + len, 1, MSG_DONTWAIT) != 1)
			return;
		if (line[len] != '\n') {
			len += len < sizeof(line) - 1;
			continue;
		}
		line[len] = '\0';
		len = 0;
		if (!on_line(f, fd, line))
			return;
	}
}

static void *run(void *arg)
{
	struct fakeagent *f = arg;

	for (;;) {
		struct pollfd p[] = {{.fd = f->listener, .events = POLLIN},
				     {.fd = f->stop_fd, .events = POLLIN}};
		int fd;

		poll(p, 2, -1);
		if (p[1].revents)
			return NULL;
		fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		serve(f, fd);
		close(fd);
	}
}

struct fakeagent *fakeagent_start(const char *path, enum fakeagent_fault fault)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct fakeagent *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->path = strdup(path);
	f->fault = fault;
	f->stop_fd = io_wake_create();
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(strlen(path) < sizeof(sa.sun_path));
	memcpy(sa.sun_path, path, strlen(path) + 1);
	unlink(path);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(f->listener, 1), 0);
	assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
	return f;
}

void fakeagent_stop(struct fakeagent *f)
{
	if (!f)
		return;
	io_wake(f->stop_fd);
	pthread_join(f->thread, NULL);
	close(f->listener);
	close(f->stop_fd);
	unlink(f->path);
	free(f->path);
	free(f);
}

int fakeagent_handles(struct fakeagent *f)
{
	return atomic_load(&f->handles);
}
