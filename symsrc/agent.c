#include "symsrc/agent.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"

#define VIRSH_GRACE_MS 2000 /* as SERIAL_GRACE_MS, for a whole process */

static const struct {
	const char *name;
	enum agent_command bit;
} commands[] = {
	{"guest-file-open", AGENT_FILE_OPEN},	  {"guest-file-read", AGENT_FILE_READ},
	{"guest-file-close", AGENT_FILE_CLOSE},	  {"guest-exec", AGENT_EXEC},
	{"guest-exec-status", AGENT_EXEC_STATUS}, {"guest-get-osinfo", AGENT_OSINFO},
};

/* ---- one call ------------------------------------------------------------------------------ */

static int receive(struct agent *a, struct errmsg *why)
{
	ssize_t n = serial_link_recv(a->link, a->chunk, sizeof(a->chunk),
				     serial_link_silence_ns(a->link), why);

	if (n == -ETIME)
		return errmsg_set(why, -ETIMEDOUT, "the guest agent fell silent");
	if (n < 0)
		return (int)n;
	a->at = 0;
	a->len = (size_t)n;
	return 0;
}

static int read_answer(struct agent *a, struct errmsg *why)
{
	ptrdiff_t took;
	int r = 0;

	while (r == 0 && !a->answer.done) {
		if (a->at == a->len)
			r = receive(a, why);
		if (r < 0)
			return r;
		took = agent_answer_feed(&a->answer, a->chunk + a->at, a->len - a->at, why);
		if (took < 0)
			return (int)took;
		a->at += (size_t)took;
	}
	return r;
}

static int ask(struct agent *a, const char *line, struct errmsg *why)
{
	int r = serial_link_send(a->link, line, strlen(line), why);

	if (r == 0)
		r = read_answer(a, why);
	return r;
}

static int take_from_virsh(void *ctx, const char *bytes, size_t n, struct errmsg *why)
{
	struct agent *a = ctx;
	ptrdiff_t took = agent_answer_feed(&a->answer, bytes, n, why);

	return took < 0 ? (int)took : 0;
}

static int ask_virsh(struct agent *a, const char *line, struct errmsg *why)
{
	int r = virsh_agent_command(a->virsh, line, &a->link->limits,
				    serial_link_silence_ns(a->link), take_from_virsh, a, why);

	if (r == 0 && !a->answer.done)
		r = take_from_virsh(a, "\n", 1, why);
	return r;
}

int agent_call(struct agent *a, const char *line, agent_data_fn *data, void *ctx,
	       struct json_object **ret, struct errmsg *why)
{
	int r;

	agent_answer_deinit(&a->answer);
	agent_answer_init(&a->answer, data, ctx);
	r = a->virsh ? ask_virsh(a, line, why) : ask(a, line, why);
	return r < 0 ? r : agent_answer_result(&a->answer, ret, why);
}

int agent_finish_call(struct agent *a, struct json_object **ret)
{
	int r;

	if (a->virsh)
		return -ECONNRESET; /* who was asked is dead */
	serial_link_grace(a->link);
	r = read_answer(a, NULL);
	return r < 0 ? r : agent_answer_result(&a->answer, ret, NULL);
}

/* Lines that end in what is here. */
static size_t count_lines(struct agent *a)
{
	size_t lines = 0;

	for (; a->at < a->len; a->at++)
		lines += a->chunk[a->at] == '\n';
	return lines;
}

static int ignore(void *ctx, const char *bytes, size_t n, struct errmsg *why)
{
	(void)ctx;
	(void)bytes;
	(void)n;
	(void)why;
	return 0;
}

static void last_words_by_virsh(struct agent *a, const char *line)
{
	a->link->limits.deadline_ns = clock_now_ns() + VIRSH_GRACE_MS * NSEC_PER_MSEC;
	virsh_agent_command(a->virsh, line, &a->link->limits, a->link->limits.deadline_ns, ignore,
			    NULL, NULL);
}

void agent_last_words(struct agent *a, const char *line)
{
	size_t answers = a->answer.done ? 1 : 2, lines;

	serial_link_grace(a->link);
	if (a->virsh) {
		last_words_by_virsh(a, line);
		return;
	}
	if (serial_link_send(a->link, line, strlen(line), NULL) < 0)
		return;
	while ((lines = count_lines(a)) < answers) {
		answers -= lines;
		if (receive(a, NULL) < 0)
			return;
	}
}

int agent_blame(int r, struct errmsg *why)
{
	struct errmsg e;

	if (r != -EREMOTEIO || !why)
		return r;
	e = *why;
	return errmsg_set(why, r, "the guest agent says: %s", e.text);
}

bool agent_number(struct json_object *o, const char *key, int64_t *ret)
{
	struct json_object *v;

	if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &v) ||
	    !json_object_is_type(v, json_type_int))
		return false;
	*ret = json_object_get_int64(v);
	return true;
}

/* ---- what is allowed ----------------------------------------------------------------------- */

static unsigned bit_of(struct json_object *command)
{
	struct json_object *name, *enabled;

	if (!json_object_is_type(command, json_type_object) ||
	    !json_object_object_get_ex(command, "name", &name) ||
	    !json_object_object_get_ex(command, "enabled", &enabled) ||
	    !json_object_is_type(name, json_type_string) || !json_object_get_boolean(enabled))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, json_object_get_string(name)) == 0)
			return commands[i].bit;
	}
	return 0;
}

static int ask_what_is_allowed(struct agent *a, struct errmsg *why)
{
	struct json_object *info, *list;
	int r = agent_call(a, "{\"execute\":\"guest-info\"}\n", NULL, NULL, &info, why);

	if (r < 0)
		return agent_blame(r, why);
	if (json_object_is_type(info, json_type_object) &&
	    json_object_object_get_ex(info, "supported_commands", &list) &&
	    json_object_is_type(list, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(list); i++)
			a->allowed |= bit_of(json_object_array_get_idx(list, i));
	}
	json_object_put(info);
	return 0;
}

void agent_blocked(const struct agent *a, unsigned wanted, char *text, size_t size)
{
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(commands) && len < size; i++) {
		if (wanted & (unsigned)commands[i].bit & ~a->allowed)
			len += (size_t)snprintf(text + len, size - len, "%s%s", len ? ", " : "",
						commands[i].name);
	}
}

int agent_create(struct serial_link *link, const struct virsh *virsh, struct agent **ret,
		 struct errmsg *why)
{
	struct agent *a = malloc(sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->link = link;
	a->virsh = virsh;
	a->allowed = 0;
	a->at = a->len = 0;
	agent_answer_init(&a->answer, NULL, NULL);
	r = ask_what_is_allowed(a, why);
	if (r < 0) {
		agent_destroy(a);
		return r;
	}
	*ret = a;
	return 0;
}

void agent_destroy(struct agent *a)
{
	if (!a)
		return;
	agent_answer_deinit(&a->answer);
	free(a);
}
