/* Files by guest-exec: the same script as over ssh, run by a shell of the guest, whose output
 * comes in one piece at its end. The agent keeps at most 16 MiB of it (qga/commands.c,
 * GUEST_EXEC_MAX_OUTPUT), which is why it is packed where the guest has gzip. What was started
 * cannot be stopped: after a cancel the agent keeps its output. */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>

#include "symsrc/agent.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/frames.h"
#include "symsrc/source_impl.h"
#include "symsrc/ssh_script.h"
#include "symsrc/wire.h"

#define PAUSE_MIN_MS 5
#define PAUSE_MAX_MS 100
#define SAID_MAX     160
#define LINE_MAX_LEN ((size_t)4 * SSH_SCRIPT_MAX) /* with what JSON escapes */

struct run {
	struct wire wire;
	struct errmsg *why;
	char said[SAID_MAX]; /* the beginning of its standard error */
	size_t said_len;
};

static int take(void *ctx, enum agent_data which, const void *bytes, size_t n)
{
	struct run *run = ctx;
	size_t room = sizeof(run->said) - 1 - run->said_len;

	if (which == AGENT_DATA_OUT)
		return wire_feed(&run->wire, bytes, n, run->why);
	n = n < room ? n : room;
	memcpy(run->said + run->said_len, bytes, n);
	run->said_len += n;
	return 0;
}

/* ---- the two commands ---------------------------------------------------------------------- */

static struct json_object *string_list(const char *a, const char *b)
{
	struct json_object *list = json_object_new_array();

	json_object_array_add(list, json_object_new_string(a));
	json_object_array_add(list, json_object_new_string(b));
	return list;
}

static int exec_line(struct buf *b, const char *script)
{
	struct json_object *o = json_object_new_object(), *args = json_object_new_object();
	const char *text;

	json_object_object_add(args, "path", json_object_new_string("/bin/sh"));
	json_object_object_add(args, "arg", string_list("-c", script));
	json_object_object_add(args, "capture-output", json_object_new_boolean(1));
	json_object_object_add(o, "execute", json_object_new_string("guest-exec"));
	json_object_object_add(o, "arguments", args);
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	if (text)
		buf_printf(b, "%s\n", text);
	json_object_put(o);
	return text ? b->err : -ENOMEM;
}

static int start(struct agent *a, const struct source_order *order, const char *boundary,
		 int64_t *ret, struct errmsg *why)
{
	CLEANUP_BUF struct buf script, line;
	struct json_object *value = NULL;
	int r;

	buf_init(&script, SSH_SCRIPT_MAX);
	buf_init(&line, LINE_MAX_LEN);
	r = ssh_script_order(&script, order, boundary);
	if (r == 0)
		r = exec_line(&line, script.data);
	if (r == 0)
		r = agent_call(a, line.data, NULL, NULL, &value, why);
	if (r < 0)
		return r;
	if (!agent_number(value, "pid", ret))
		r = errmsg_set(why, -EBADMSG, "the guest agent starts a program without a pid");
	json_object_put(value);
	return r;
}

static bool is_true(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) &&
	       json_object_get_boolean(v);
}

/* 1: it has ended, and all of its output was taken. 0: it runs. */
static int look(struct agent *a, int64_t pid, struct run *run, int64_t *status)
{
	struct json_object *value;
	char line[128];
	int r;

	snprintf(line, sizeof(line),
		 "{\"execute\":\"guest-exec-status\",\"arguments\":{\"pid\":%lld}}\n",
		 (long long)pid);
	r = agent_call(a, line, take, run, &value, run->why);
	if (r < 0)
		return r;
	r = is_true(value, "exited");
	*status = -1;
	agent_number(value, "exitcode", status);
	if (is_true(value, "out-truncated"))
		r = errmsg_set(
			run->why, -EFBIG,
			"what is asked for is more than the guest's agent hands out of a program "
			"(16 MiB): install gzip in the guest, or allow guest-file-open");
	json_object_put(value);
	return r;
}

/* ---- both ---------------------------------------------------------------------------------- */

static int pause_ms(struct agent *a, int ms, struct errmsg *why)
{
	struct pollfd p = {.fd = a->link->limits.cancel_fd, .events = POLLIN};

	poll(&p, 1, ms);
	return source_check_limits(&a->link->limits, why);
}

static int wait_for_end(struct agent *a, int64_t pid, struct run *run, int64_t *status)
{
	int r = 0;

	for (int ms = PAUSE_MIN_MS; r == 0; ms = 2 * ms < PAUSE_MAX_MS ? 2 * ms : PAUSE_MAX_MS) {
		r = pause_ms(a, ms, run->why);
		if (r == 0)
			r = look(a, pid, run, status);
	}
	return r < 0 ? r : 0;
}

static int check_end(const struct run *run, int64_t status)
{
	int r = wire_finish(&run->wire, run->why);

	if (r == 0 && status == 0)
		return 0;
	return errmsg_set(run->why, r < 0 ? r : -EIO,
			  "the command failed in the guest (status %lld)%s%s", (long long)status,
			  run->said_len ? ": " : "", run->said);
}

int agent_deliver_by_shell(struct agent *a, const struct source_order *order,
			   const struct source_sink *sink, struct errmsg *why)
{
	char boundary[FRAMES_BOUNDARY_LEN + 1];
	struct run run = {.why = why};
	int64_t pid = -1, status = -1;
	int r = frames_draw_boundary(boundary);

	if (r < 0)
		return r;
	wire_init(&run.wire, boundary, sink);
	r = start(a, order, boundary, &pid, why);
	if (r == 0)
		r = wait_for_end(a, pid, &run, &status);
	if (r == 0)
		r = check_end(&run, status);
	wire_deinit(&run.wire);
	return r;
}
