/* The QMP client against a server that behaves, and servers that do not. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <json-c/json.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/qmp.h"
#include "tests/unit/lib/fakeqmp.h"
#include "tests/unit/lib/wait.h"

#define SOON (clock_now_ns() + PATIENCE_S * NSEC_PER_SEC)

struct seen {
	int replies;
	int code;	 /* of the last */
	char text[4096]; /* its value or error */
	int events;
	char event[64];
	char data[256];
	struct qmp *again; /* ask once more from within the callback */
	char order[64];
};

static char dir[64];
static char path[128];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/kp-test-qmp-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/qmp.sock", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

static const char *show(struct json_object *value)
{
	if (json_object_is_type(value, json_type_string))
		return json_object_get_string(value);
	return json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN);
}

static void on_reply(void *ctx, const struct qmp_reply *reply)
{
	struct seen *seen = ctx;

	seen->replies++;
	seen->code = reply->code;
	snprintf(seen->text, sizeof(seen->text), "%s",
		 reply->value ? show(reply->value) : reply->text);
	if (seen->again)
		qmp_execute(seen->again, "again", NULL, on_reply, seen);
	seen->again = NULL;
}

static void on_event(void *ctx, const char *event, struct json_object *data)
{
	struct seen *seen = ctx;

	seen->events++;
	snprintf(seen->event, sizeof(seen->event), "%s", event);
	snprintf(seen->data, sizeof(seen->data), "%s", data ? show(data) : "none");
}

static char *answer(void *ctx, const char *command, const char *line)
{
	char *value = NULL;

	(void)ctx;
	if (strcmp(command, "query-name") == 0)
		return strdup("{\"name\": \"web-1\"}");
	if (strcmp(command, "again") == 0)
		return strdup("\"and again\"");
	if (strcmp(command, "echo") == 0 && asprintf(&value, "%s", line) < 0)
		abort();
	if (strcmp(command, "human-monitor-command") == 0)
		return strdup(strstr(line, "info registers -a") ? "\"\\r\\nCPU#0\\r\\n\""
								: "\"?\"");
	return value;
}

static struct qmp *connect_to(struct seen *seen)
{
	struct qmp *q = NULL;
	struct errmsg why = {0};

	assert_int_equal(qmp_connect(path, on_event, seen, &q, &why), 0);
	assert_non_null(q);
	return q;
}

static void ask(struct qmp *q, const char *command, struct seen *seen)
{
	assert_int_equal(qmp_execute(q, command, NULL, on_reply, seen), 0);
}

static void talk(enum fakeqmp_fault fault)
{
	struct fakeqmp *server = fakeqmp_start(path, fault, answer, NULL);
	struct seen seen = {0};
	struct qmp *q = connect_to(&seen);

	assert_false(qmp_is_ready(q));
	ask(q, "query-name", &seen);
	assert_int_equal(qmp_pending(q), 1);
	assert_int_equal(qmp_wait_idle(q, SOON), 0);
	assert_true(qmp_is_ready(q));
	assert_int_equal(seen.code, 0);
	assert_string_equal(seen.text, "{\"name\":\"web-1\"}");
	ask(q, "nonsense", &seen);
	assert_int_equal(qmp_wait_idle(q, SOON), 0);
	assert_int_equal(seen.code, -EREMOTEIO);
	assert_string_equal(seen.text, "no such command");
	assert_int_equal(qmp_execute_hmp(q, "info registers -a", on_reply, &seen), 0);
	assert_int_equal(qmp_wait_idle(q, SOON), 0);
	assert_string_equal(seen.text, "\r\nCPU#0\r\n");
	assert_int_equal(seen.replies, 3);
	qmp_destroy(q);
	fakeqmp_stop(server);
}

static void test_talks(void **state)
{
	(void)state;
	talk(FAKEQMP_OK);
}

static void test_talks_byte_by_byte(void **state)
{
	(void)state;
	talk(FAKEQMP_TORN);
}

static void test_asks_from_a_callback(void **state)
{
	struct fakeqmp *server = fakeqmp_start(path, FAKEQMP_OK, answer, NULL);
	struct seen seen = {0};
	struct qmp *q = connect_to(&seen);

	(void)state;
	seen.again = q;
	ask(q, "query-name", &seen);
	assert_int_equal(qmp_wait_idle(q, SOON), 0);
	assert_int_equal(seen.replies, 2);
	assert_string_equal(seen.text, "and again");
	qmp_destroy(q);
	fakeqmp_stop(server);
}

static void test_arguments_are_quoted(void **state)
{
	struct fakeqmp *server = fakeqmp_start(path, FAKEQMP_OK, answer, NULL);
	struct seen seen = {0};
	struct qmp *q = connect_to(&seen);
	struct json_object *args = json_object_new_object();

	(void)state;
	json_object_object_add(args, "x", json_object_new_string("\"}\n{"));
	assert_int_equal(qmp_execute(q, "echo", args, on_reply, &seen), 0);
	assert_int_equal(qmp_wait_idle(q, SOON), 0);
	assert_int_equal(seen.code, 0);
	assert_non_null(strstr(seen.text, "\\\"}\\n{"));
	qmp_destroy(q);
	fakeqmp_stop(server);
}

static void test_events_between_replies(void **state)
{
	struct fakeqmp *server = fakeqmp_start(path, FAKEQMP_OK, answer, NULL);
	struct seen seen = {0};
	struct qmp *q = connect_to(&seen);

	(void)state;
	fakeqmp_send(server, "{\"timestamp\": {\"seconds\": 1}, \"event\": \"RESET\", "
			     "\"data\": {\"guest\": true}}");
	/* Nothing is asked: events alone must get through. */
	wait_until(qmp_process(q) < 0 || seen.events > 0);
	assert_int_equal(seen.events, 1);
	assert_string_equal(seen.event, "RESET");
	assert_string_equal(seen.data, "{\"guest\":true}");
	qmp_destroy(q);
	fakeqmp_stop(server);
}

/* A pair of sockets, and what the peer says into its end. */
static struct qmp *attach(int *peer, struct seen *seen)
{
	struct qmp *q = NULL;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(qmp_attach(fds[0], on_event, seen, &q, NULL), 0);
	*peer = fds[1];
	return q;
}

static void say(int peer, const char *text)
{
	assert_int_equal(send(peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void hear(int peer, const char *part)
{
	char text[4096];
	ssize_t n = recv(peer, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[n > 0 ? n : 0] = '\0';
	assert_non_null(strstr(text, part));
}

static void test_says_nothing_before_the_greeting(void **state)
{
	struct seen seen = {0};
	int peer;
	struct qmp *q = attach(&peer, &seen);
	char c;

	(void)state;
	ask(q, "quit", &seen);
	assert_int_equal(qmp_process(q), 0);
	assert_int_equal(qmp_events(q), POLLIN);
	assert_int_equal(recv(peer, &c, 1, MSG_DONTWAIT), -1);
	say(peer, "{\"QMP\": {}}\n");
	assert_int_equal(qmp_process(q), 0);
	hear(peer, "qmp_capabilities");
	qmp_destroy(q);
	close(peer);
}

static void test_replies_go_to_their_commands(void **state)
{
	struct seen a = {0};
	struct seen b = {0};
	int peer;
	struct qmp *q = attach(&peer, &a);

	(void)state;
	ask(q, "a", &a);
	ask(q, "b", &b);
	say(peer, "{\"QMP\": {}}{\"id\": 0, \"return\": {}}");
	assert_int_equal(qmp_process(q), 0);
	/* Out of order, one that nobody asked for, and one that comes twice. */
	say(peer, "{\"id\": 2, \"return\": \"for b\"} {\"id\": 77, \"return\": 1}\r\n"
		  "{\"id\": \"1\", \"return\": 1}{\"return\": 1}"
		  "{\"id\": 1, \"return\": \"for a\"}{\"id\": 1, \"return\": \"again\"}");
	assert_int_equal(qmp_process(q), 0);
	assert_string_equal(a.text, "for a");
	assert_string_equal(b.text, "for b");
	assert_int_equal(a.replies + b.replies, 2);
	assert_int_equal(qmp_pending(q), 0);
	qmp_destroy(q);
	close(peer);
}

static void test_no_reply_before_the_negotiation(void **state)
{
	struct seen a = {0};
	int peer;
	struct qmp *q = attach(&peer, &a);

	(void)state;
	ask(q, "a", &a);
	say(peer, "{\"QMP\": {}}{\"id\": 1, \"return\": \"too early\"}");
	assert_int_equal(qmp_process(q), 0);
	assert_int_equal(a.replies, 0);
	qmp_destroy(q);
	close(peer);
}

static void test_nul_is_no_end_of_input(void **state)
{
	static const char text[] = "{\"id\": 1, \"return\": \"a\0b\"}";
	struct seen a = {0};
	int peer;
	struct qmp *q = attach(&peer, &a);

	(void)state;
	ask(q, "a", &a);
	say(peer, "{\"QMP\": {}}{\"id\": 0, \"return\": {}}");
	assert_int_equal(qmp_process(q), 0);
	assert_int_equal(send(peer, text, sizeof(text) - 1, 0), sizeof(text) - 1);
	assert_int_equal(qmp_process(q), -EBADMSG);
	assert_int_equal(a.code, -EBADMSG);
	assert_non_null(strstr(a.text, "binary"));
	qmp_destroy(q);
	close(peer);
}

static void test_queue_is_bounded(void **state)
{
	struct seen seen = {0};
	int peer;
	struct qmp *q = attach(&peer, &seen);
	char *big = calloc(1, 1 << 20);

	(void)state;
	memset(big, 'x', (1 << 20) - 1);
	assert_int_equal(qmp_execute_hmp(q, big, on_reply, &seen), -ENOBUFS);
	for (int i = 0; i < QMP_PENDING_MAX; i++)
		ask(q, "a", &seen);
	assert_int_equal(qmp_execute(q, "a", json_object_new_object(), on_reply, &seen), -ENOBUFS);
	assert_int_equal(qmp_process(q), 0);
	close(peer);
	/* All that wait hear of the end, once. */
	assert_int_equal(qmp_process(q), -ECONNRESET);
	assert_int_equal(seen.replies, QMP_PENDING_MAX);
	assert_int_equal(seen.code, -ECONNRESET);
	assert_int_equal(qmp_process(q), -ECONNRESET);
	assert_int_equal(seen.replies, QMP_PENDING_MAX);
	assert_int_equal(qmp_execute(q, "a", NULL, on_reply, &seen), -ECONNRESET);
	assert_int_equal(qmp_error(q)->code, -ECONNRESET);
	assert_false(qmp_is_ready(q));
	qmp_destroy(q);
	free(big);
}

static const struct {
	enum fakeqmp_fault fault;
	int code;
	const char *text;
} faults[] = {
	{FAKEQMP_REFUSES, -EPROTO, "refused"},
	{FAKEQMP_CLOSES, -ECONNRESET, "closed"},
	{FAKEQMP_CLOSES_LATE, -ECONNRESET, "closed"},
	{FAKEQMP_HUGE, -EMSGSIZE, "too long"},
	{FAKEQMP_MANY, -EMSGSIZE, "too many values"},
	{FAKEQMP_DEEP, -EBADMSG, "no JSON"},
	{FAKEQMP_BINARY, -EBADMSG, "binary"},
	{FAKEQMP_OTHER, -EBADMSG, "not speak"},
	{FAKEQMP_FLOOD, -EOVERFLOW, "too many messages"},
};

static void test_faults_end_the_connection(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct fakeqmp *server = fakeqmp_start(path, faults[i].fault, answer, NULL);
		struct seen seen = {0};
		struct qmp *q = connect_to(&seen);

		ask(q, "query-name", &seen);
		assert_int_equal(qmp_wait_idle(q, SOON), faults[i].code);
		assert_int_equal(seen.replies, 1);
		assert_int_equal(seen.code, faults[i].code);
		assert_non_null(strstr(seen.text, faults[i].text));
		qmp_destroy(q);
		fakeqmp_stop(server);
	}
}

static void test_silence_is_the_owners_deadline(void **state)
{
	static const enum fakeqmp_fault quiet[] = {FAKEQMP_BUSY, FAKEQMP_SILENT, FAKEQMP_MUTE,
						   FAKEQMP_NEGOTIATES};

	(void)state;
	for (size_t i = 0; i < sizeof(quiet) / sizeof(quiet[0]); i++) {
		struct fakeqmp *server = fakeqmp_start(path, quiet[i], answer, NULL);
		struct seen seen = {0};
		struct qmp *q = connect_to(&seen);

		ask(q, "query-name", &seen);
		if (quiet[i] == FAKEQMP_NEGOTIATES)
			wait_until(qmp_process(q) < 0 || qmp_is_ready(q));
		assert_int_equal(qmp_wait_idle(q, clock_now_ns() + NSEC_PER_SEC / 10), -ETIMEDOUT);
		assert_int_equal(seen.replies, 0);
		assert_int_equal(qmp_is_ready(q), quiet[i] == FAKEQMP_NEGOTIATES);
		qmp_destroy(q);
		fakeqmp_stop(server);
	}
}

static void test_full_queue_is_busy_at_once(void **state)
{
	struct fakeqmp *server = fakeqmp_start(path, FAKEQMP_BUSY, NULL, NULL);
	struct qmp *q[16] = {NULL};
	struct errmsg why = {0};
	int r = 0;
	int n = 0;

	(void)state;
	while (r == 0 && n < 16)
		r = qmp_connect(path, NULL, NULL, &q[n++], &why);
	assert_int_equal(r, -EAGAIN);
	assert_non_null(strstr(why.text, "busy"));
	while (n > 0)
		qmp_destroy(q[--n]);
	fakeqmp_stop(server);
}

static void test_nobody_there(void **state)
{
	struct qmp *q = NULL;
	struct errmsg why = {0};

	(void)state;
	assert_int_equal(qmp_connect(path, NULL, NULL, &q, &why), -ENOENT);
	assert_int_equal(qmp_connect("", NULL, NULL, &q, &why), -ENOENT);
	assert_int_equal(qmp_connect("/dev/null", NULL, NULL, &q, &why), -ECONNREFUSED);
	assert_null(q);
}

static void test_long_path(void **state)
{
	char deep[400];
	struct fakeqmp *server;
	struct seen seen = {0};
	struct qmp *q = NULL;

	(void)state;
	snprintf(deep, sizeof(deep), "%s/%0200d", dir, 7);
	assert_int_equal(mkdir(deep, 0700), 0);
	strcat(deep, "/qmp.sock");
	server = fakeqmp_start(deep, FAKEQMP_OK, answer, NULL);
	assert_int_equal(qmp_connect(deep, NULL, NULL, &q, NULL), 0);
	ask(q, "query-name", &seen);
	assert_int_equal(qmp_wait_idle(q, SOON), 0);
	assert_string_equal(seen.text, "{\"name\":\"web-1\"}");
	qmp_destroy(q);
	fakeqmp_stop(server);
	*strrchr(deep, '/') = '\0';
	assert_int_equal(rmdir(deep), 0);
}

static void test_descriptor_is_not_inherited(void **state)
{
	struct seen seen = {0};
	int peer;
	struct qmp *q = attach(&peer, &seen);
	struct fakeqmp *server = fakeqmp_start(path, FAKEQMP_OK, NULL, NULL);
	struct qmp *c = connect_to(&seen);

	(void)state;
	assert_true(fcntl(qmp_fd(c), F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(qmp_fd(q), F_GETFL) & O_NONBLOCK);
	qmp_destroy(c);
	qmp_destroy(q);
	qmp_destroy(NULL);
	fakeqmp_stop(server);
	close(peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_talks),
		cmocka_unit_test(test_talks_byte_by_byte),
		cmocka_unit_test(test_asks_from_a_callback),
		cmocka_unit_test(test_arguments_are_quoted),
		cmocka_unit_test(test_events_between_replies),
		cmocka_unit_test(test_says_nothing_before_the_greeting),
		cmocka_unit_test(test_replies_go_to_their_commands),
		cmocka_unit_test(test_no_reply_before_the_negotiation),
		cmocka_unit_test(test_nul_is_no_end_of_input),
		cmocka_unit_test(test_queue_is_bounded),
		cmocka_unit_test(test_faults_end_the_connection),
		cmocka_unit_test(test_silence_is_the_owners_deadline),
		cmocka_unit_test(test_full_queue_is_busy_at_once),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_long_path),
		cmocka_unit_test(test_descriptor_is_not_inherited),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
