#include "symsrc/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/sockpath.h"

#define READ_CHUNK   65536UL
#define READ_AT_ONCE (4 * READ_CHUNK) /* by one qmp_process(): others want their turn */
#define OUT_MAX	     65536
#define ID_NEGOTIATE 0 /* of qmp_capabilities; others count from 1 */

enum stage { STAGE_GREETING, STAGE_NEGOTIATION, STAGE_READY };

struct pending {
	uint64_t id;
	qmp_reply_fn *fn;
	void *ctx;
};

struct qmp {
	int fd;
	enum stage stage;
	struct errmsg error;
	qmp_event_fn *on_event;
	void *event_ctx;

	/* In order of their ids; [0, sent) are in out or on their way. */
	struct pending pending[QMP_PENDING_MAX];
	size_t pending_count;
	uint64_t next_id;
	struct buf queued; /* commands that wait for the end of the negotiation */
	struct buf out;	   /* bytes to send, from out_done on */
	size_t out_done;

	struct json_tokener *tokener;
	bool in_message;      /* the tokener holds the beginning of one */
	size_t message_bytes; /* of the current one */
	size_t message_values;

	uint64_t second_start_ns; /* the window in which messages are counted */
	unsigned second_messages;
};

/* Breaks the connection for good; the first reason stays. */
static int fail(struct qmp *q, int code, const char *text)
{
	if (q->error.code == 0)
		errmsg_set(&q->error, code, "QMP: %s", text);
	return q->error.code;
}

/* -- connecting --------------------------------------------------------------------------- */

int qmp_connect(const char *path, qmp_event_fn *on_event, void *ctx, struct qmp **ret,
		struct errmsg *why)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return errmsg_set(why, -errno, "QMP: cannot make a socket: %s",
				  strerrordesc_np(errno));
	r = path[0] ? sockpath_connect(fd, path) : -ENOENT;
	if (r == -EAGAIN)
		return errmsg_set(why, r, "QMP: %s is busy: it serves one client at a time", path);
	if (r < 0)
		return errmsg_set(why, r, "QMP: cannot connect to %s: %s", path,
				  strerrordesc_np(-r));
	return qmp_attach(take_fd(&fd), on_event, ctx, ret, why);
}

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

static int init(struct qmp *q, int fd)
{
	q->fd = fd;
	q->next_id = ID_NEGOTIATE + 1;
	buf_init(&q->queued, OUT_MAX);
	buf_init(&q->out, OUT_MAX);
	q->tokener = json_tokener_new_ex(QMP_DEPTH_MAX);
	if (!q->tokener)
		return -ENOMEM;
	json_tokener_set_flags(q->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	return set_nonblocking(fd);
}

int qmp_attach(int fd, qmp_event_fn *on_event, void *ctx, struct qmp **ret, struct errmsg *why)
{
	struct qmp *q = calloc(1, sizeof(*q));
	int r;

	if (!q) {
		close_keep_errno(fd);
		return errmsg_set(why, -ENOMEM, "QMP: out of memory");
	}
	r = init(q, fd);
	if (r < 0) {
		qmp_destroy(q);
		return errmsg_set(why, r, "QMP: cannot set up the connection: %s",
				  strerrordesc_np(-r));
	}
	q->on_event = on_event;
	q->event_ctx = ctx;
	*ret = q;
	return 0;
}

void qmp_destroy(struct qmp *q)
{
	if (!q)
		return;
	close_keep_errno(q->fd);
	if (q->tokener)
		json_tokener_free(q->tokener);
	buf_deinit(&q->queued);
	buf_deinit(&q->out);
	free(q);
}

int qmp_fd(const struct qmp *q)
{
	return q->fd;
}

short qmp_events(const struct qmp *q)
{
	return q->out_done < q->out.len ? POLLIN | POLLOUT : POLLIN;
}

const struct errmsg *qmp_error(const struct qmp *q)
{
	return &q->error;
}

bool qmp_is_ready(const struct qmp *q)
{
	return q->stage == STAGE_READY && q->error.code == 0;
}

size_t qmp_pending(const struct qmp *q)
{
	return q->pending_count;
}

/* -- sending ------------------------------------------------------------------------------ */

static int append_command(struct buf *to, const char *command, struct json_object *arguments,
			  uint64_t id)
{
	struct json_object *o = json_object_new_object();
	const char *text;
	int r = -ENOMEM;

	if (!o) {
		json_object_put(arguments);
		return r;
	}
	json_object_object_add(o, "execute", json_object_new_string(command));
	if (arguments)
		json_object_object_add(o, "arguments", arguments);
	json_object_object_add(o, "id", json_object_new_int64((int64_t)id));
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	/* One append, which is all or nothing: half a command must never stay in the buffer. */
	if (text)
		r = buf_printf(to, "%s\r\n", text);
	json_object_put(o);
	return r;
}

/* A full buffer is the caller's problem of the moment, not an end of the buffer's life. */
static int queue_command(struct buf *to, const char *command, struct json_object *arguments,
			 uint64_t id)
{
	int r = append_command(to, command, arguments, id);

	to->err = 0;
	return r == -EFBIG ? -ENOBUFS : r;
}

int qmp_execute(struct qmp *q, const char *command, struct json_object *arguments, qmp_reply_fn *fn,
		void *ctx)
{
	struct buf *to = q->stage == STAGE_READY ? &q->out : &q->queued;
	int r = q->error.code;

	if (r == 0 && q->pending_count == QMP_PENDING_MAX)
		r = -ENOBUFS;
	if (r < 0) {
		json_object_put(arguments);
		return r;
	}
	r = queue_command(to, command, arguments, q->next_id);
	if (r < 0)
		return r;
	q->pending[q->pending_count++] = (struct pending){q->next_id++, fn, ctx};
	return 0;
}

int qmp_execute_hmp(struct qmp *q, const char *line, qmp_reply_fn *fn, void *ctx)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return -ENOMEM;
	json_object_object_add(o, "command-line", json_object_new_string(line));
	return qmp_execute(q, "human-monitor-command", o, fn, ctx);
}

static int send_some(struct qmp *q)
{
	ssize_t n;

	while (q->out_done < q->out.len) {
		n = send(q->fd, q->out.data + q->out_done, q->out.len - q->out_done,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return fail(q, -ECONNRESET, "the VMM closed the connection");
		q->out_done += (size_t)n;
	}
	buf_clear(&q->out);
	q->out_done = 0;
	return 0;
}

/* -- what the peer says ------------------------------------------------------------------- */

/* Takes the command out before its callback runs, which may execute the next one. */
static void end_command(struct qmp *q, size_t i, const struct qmp_reply *reply)
{
	struct pending p = q->pending[i];

	q->pending_count--;
	memmove(&q->pending[i], &q->pending[i + 1], (q->pending_count - i) * sizeof(p));
	if (p.fn)
		p.fn(p.ctx, reply);
}

static void end_all_commands(struct qmp *q)
{
	struct qmp_reply reply = {.code = q->error.code, .text = q->error.text};

	while (q->pending_count > 0)
		end_command(q, 0, &reply);
}

static const char *error_text(struct json_object *error)
{
	struct json_object *desc;

	if (json_object_object_get_ex(error, "desc", &desc) &&
	    json_object_is_type(desc, json_type_string))
		return json_object_get_string(desc);
	return "no description";
}

/* The reply's id, or UINT64_MAX when it is none of ours. */
static uint64_t reply_id(struct json_object *message)
{
	struct json_object *id;

	if (!json_object_object_get_ex(message, "id", &id) ||
	    !json_object_is_type(id, json_type_int) || json_object_get_int64(id) < 0)
		return UINT64_MAX;
	return (uint64_t)json_object_get_int64(id);
}

static int take_greeting(struct qmp *q, struct json_object *message)
{
	struct json_object *greeting;

	if (!json_object_object_get_ex(message, "QMP", &greeting))
		return fail(q, -EBADMSG, "the peer does not greet as a QMP server does");
	q->stage = STAGE_NEGOTIATION;
	if (queue_command(&q->out, "qmp_capabilities", NULL, ID_NEGOTIATE) < 0)
		return fail(q, -ENOMEM, "out of memory");
	return 0;
}

static int take_negotiated(struct qmp *q, bool ok)
{
	if (!ok)
		return fail(q, -EPROTO, "the VMM refused qmp_capabilities");
	q->stage = STAGE_READY;
	if (buf_append(&q->out, q->queued.data, q->queued.len) < 0)
		return fail(q, -ENOMEM, "out of memory");
	buf_deinit(&q->queued);
	return 0;
}

static int take_event(struct qmp *q, struct json_object *message, struct json_object *event)
{
	struct json_object *data = NULL;

	if (!json_object_is_type(event, json_type_string))
		return fail(q, -EBADMSG, "an event has no name");
	json_object_object_get_ex(message, "data", &data);
	if (q->on_event)
		q->on_event(q->event_ctx, json_object_get_string(event), data);
	return 0;
}

/* A reply with an id that is not ours answers nothing that we asked: it is passed over. One
 * without an id means that the server could not read what we sent. */
static int take_reply(struct qmp *q, struct json_object *message, const struct qmp_reply *reply)
{
	uint64_t id = reply_id(message);

	if (q->stage == STAGE_NEGOTIATION && id == ID_NEGOTIATE)
		return take_negotiated(q, reply->code == 0);
	if (reply->code < 0 && id == UINT64_MAX)
		return fail(q, -EPROTO, "the VMM did not understand a command");
	for (size_t i = 0; q->stage == STAGE_READY && i < q->pending_count; i++) {
		if (q->pending[i].id != id)
			continue;
		end_command(q, i, reply);
		break;
	}
	return 0;
}

static int take_message(struct qmp *q, struct json_object *message)
{
	struct json_object *v;

	if (!json_object_is_type(message, json_type_object))
		return fail(q, -EBADMSG, "a message is no JSON object");
	if (q->stage == STAGE_GREETING)
		return take_greeting(q, message);
	if (json_object_object_get_ex(message, "event", &v))
		return take_event(q, message, v);
	if (json_object_object_get_ex(message, "error", &v)) {
		struct qmp_reply r = {.code = -EREMOTEIO, .text = error_text(v)};

		return take_reply(q, message, &r);
	}
	if (json_object_object_get_ex(message, "return", &v) && v)
		return take_reply(q, message, &(struct qmp_reply){.value = v, .text = ""});
	return fail(q, -EBADMSG, "a message is neither reply nor event");
}

/* -- framing ------------------------------------------------------------------------------ */

/* Commas, colons and brackets: at least as many as there are values, those in strings too. */
static size_t count_values(const char *p, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += p[i] == ',' || p[i] == ':' || p[i] == '[' || p[i] == '{';
	return count;
}

static int count_bytes(struct qmp *q, const char *p, size_t n)
{
	q->message_bytes += n;
	q->message_values += count_values(p, n);
	if (q->message_bytes > QMP_MESSAGE_MAX)
		return fail(q, -EMSGSIZE, "a message is too long");
	if (q->message_values > QMP_VALUES_MAX)
		return fail(q, -EMSGSIZE, "a message has too many values");
	return 0;
}

static int count_message(struct qmp *q)
{
	uint64_t now = clock_now_ns();

	if (now - q->second_start_ns > NSEC_PER_SEC) {
		q->second_start_ns = now;
		q->second_messages = 0;
	}
	if (++q->second_messages > QMP_MESSAGES_PER_SEC)
		return fail(q, -EOVERFLOW, "the peer sends too many messages");
	return 0;
}

static size_t count_blanks(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && (p[i] == '\r' || p[i] == '\n' || p[i] == ' ' || p[i] == '\t'))
		i++;
	return i;
}

static int end_message(struct qmp *q, struct json_object *message)
{
	int r = count_message(q);

	q->in_message = false;
	q->message_bytes = 0;
	q->message_values = 0;
	json_tokener_reset(q->tokener);
	if (r == 0)
		r = take_message(q, message);
	json_object_put(message);
	return r;
}

/* Feeds bytes of one message; returns how many it took, or a negative errno. */
static ssize_t feed_message(struct qmp *q, const char *p, size_t n)
{
	struct json_object *message;
	size_t took;
	int r;

	if (!q->in_message && p[0] != '{')
		return fail(q, -EBADMSG, "the peer does not speak QMP");
	q->in_message = true;
	message = json_tokener_parse_ex(q->tokener, p, (int)n);
	took = message ? json_tokener_get_parse_end(q->tokener) : n;
	if (!message && json_tokener_get_error(q->tokener) != json_tokener_continue)
		return fail(q, -EBADMSG, "a message is no JSON");
	r = count_bytes(q, p, took);
	if (r == 0 && message)
		r = end_message(q, message);
	else if (message)
		json_object_put(message);
	return r < 0 ? r : (ssize_t)took;
}

static int feed(struct qmp *q, const char *p, size_t n)
{
	ssize_t took;

	/* The tokener would take a NUL for the end of its input. */
	if (memchr(p, '\0', n))
		return fail(q, -EBADMSG, "the peer sends binary data");
	while (n > 0) {
		size_t blanks = q->in_message ? 0 : count_blanks(p, n);

		p += blanks;
		n -= blanks;
		if (n == 0)
			break;
		took = feed_message(q, p, n);
		if (took < 0)
			return (int)took;
		p += took;
		n -= (size_t)took;
	}
	return 0;
}

/* 1: there may be more, 0: not now, negative: broken. */
static int receive_chunk(struct qmp *q)
{
	char chunk[READ_CHUNK];
	ssize_t n = recv(q->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
	int r;

	if (n < 0 && errno == EINTR)
		return 1;
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return fail(q, -ECONNRESET, "the VMM closed the connection");
	r = feed(q, chunk, (size_t)n);
	return r < 0 ? r : (size_t)n == sizeof(chunk);
}

static int receive_some(struct qmp *q)
{
	int r = 1;

	for (size_t done = 0; r > 0 && done < READ_AT_ONCE; done += READ_CHUNK)
		r = receive_chunk(q);
	return r < 0 ? r : 0;
}

int qmp_process(struct qmp *q)
{
	int r = q->error.code;

	if (r == 0)
		r = send_some(q);
	if (r == 0)
		r = receive_some(q);
	if (r == 0)
		r = send_some(q); /* what the callbacks asked for, a round of poll earlier */
	if (r < 0)
		end_all_commands(q);
	return r;
}

int qmp_wait_idle(struct qmp *q, uint64_t deadline_ns)
{
	int r = qmp_process(q);

	while (r == 0 && q->pending_count > 0) {
		struct pollfd p = {.fd = q->fd, .events = qmp_events(q)};

		if (clock_left_ms(deadline_ns) == 0)
			return -ETIMEDOUT;
		if (poll(&p, 1, clock_left_ms(deadline_ns)) < 0 && errno != EINTR)
			return -errno;
		r = qmp_process(q);
	}
	return r;
}
