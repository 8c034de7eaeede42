#include "symsrc/agent_answer.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

#define DECODE_AT_ONCE 4096 /* digits */

static const struct {
	const char *key;
	enum agent_data which;
} keys[] = {
	{"buf-b64", AGENT_DATA_OUT},
	{"out-data", AGENT_DATA_OUT},
	{"err-data", AGENT_DATA_ERR},
};

void agent_answer_init(struct agent_answer *a, agent_data_fn *data, void *ctx)
{
	*a = (struct agent_answer){.data = data, .ctx = ctx};
	buf_init(&a->text, AGENT_TEXT_MAX);
}

void agent_answer_deinit(struct agent_answer *a)
{
	buf_deinit(&a->text);
}

static int no_answer(struct errmsg *why, const char *what)
{
	return errmsg_set(why, -EBADMSG, "the guest agent's answer is not one: %s", what);
}

static enum agent_data data_of_key(const struct agent_answer *a)
{
	for (size_t i = 0; a->data && i < ARRAY_SIZE(keys); i++) {
		if (strlen(keys[i].key) == a->key_len &&
		    memcmp(keys[i].key, a->key, a->key_len) == 0)
			return keys[i].which;
	}
	return AGENT_DATA_NONE;
}

static int keep(struct agent_answer *a, const char *bytes, size_t n, struct errmsg *why)
{
	int r = buf_append(&a->text, bytes, n);

	if (r == -EFBIG)
		return errmsg_set(why, r, "the guest agent's answer is above %u bytes",
				  AGENT_TEXT_MAX);
	return r;
}

/* ---- inside of strings -------------------------------------------------------------------- */

static void add_to_key(struct agent_answer *a, char c)
{
	if (a->key_len < sizeof(a->key))
		a->key[a->key_len] = c;
	a->key_len++;
}

static int in_string(struct agent_answer *a, char c, struct errmsg *why)
{
	if (c == '\n')
		return no_answer(why, "a line ends within a string");
	if (a->state == AGENT_ESCAPE) {
		a->state = AGENT_STRING;
	} else if (c == '\\') {
		a->state = AGENT_ESCAPE;
	} else if (c == '"') {
		a->state = AGENT_OUTSIDE;
		a->after_key = AGENT_KEY_ENDED;
		return keep(a, &c, 1, why);
	}
	add_to_key(a, c);
	return keep(a, &c, 1, why);
}

static int decode(struct agent_answer *a, const char *digits, size_t n, struct errmsg *why)
{
	uint8_t bytes[AGENT_BASE64_BYTES(DECODE_AT_ONCE)];
	int r = 0;

	while (n > 0 && r == 0) {
		size_t now = n < DECODE_AT_ONCE ? n : DECODE_AT_ONCE;
		ptrdiff_t got = agent_base64_feed(&a->base64, digits, now, bytes);

		if (got < 0)
			return no_answer(why, "what should be base64 is none");
		if (got > 0)
			r = a->data(a->ctx, a->which, bytes, (size_t)got);
		digits += now;
		n -= now;
	}
	return r;
}

/* The string is over. */
static int end_base64(struct agent_answer *a, struct errmsg *why)
{
	if (agent_base64_end(&a->base64) < 0)
		return no_answer(why, "its base64 breaks off");
	a->state = AGENT_OUTSIDE;
	a->after_key = AGENT_KEY_NO;
	return keep(a, "\"", 1, why);
}

/* JSON may write a '/' as "\/", which libvirt does. */
static ptrdiff_t in_base64(struct agent_answer *a, const char *bytes, size_t n, struct errmsg *why)
{
	size_t run = 0;
	int r;

	if (a->state == AGENT_BASE64_ESCAPE) {
		a->state = AGENT_BASE64;
		r = *bytes == '/' ? decode(a, bytes, 1, why)
				  : no_answer(why, "an escape in its base64");
		return r < 0 ? r : 1;
	}
	while (run < n && bytes[run] != '"' && bytes[run] != '\\')
		run++;
	r = decode(a, bytes, run, why);
	if (r < 0 || run == n)
		return r < 0 ? r : (ptrdiff_t)run;
	if (bytes[run] == '\\')
		a->state = AGENT_BASE64_ESCAPE;
	else
		r = end_base64(a, why);
	return r < 0 ? r : (ptrdiff_t)run + 1;
}

/* ---- outside ------------------------------------------------------------------------------ */

static void begin_string(struct agent_answer *a)
{
	a->which = a->after_key == AGENT_KEY_COLON ? data_of_key(a) : AGENT_DATA_NONE;
	a->base64 = (struct agent_base64){0};
	a->state = a->which == AGENT_DATA_NONE ? AGENT_STRING : AGENT_BASE64;
	a->after_key = AGENT_KEY_NO;
	a->key_len = 0;
}

static int outside(struct agent_answer *a, char c, struct errmsg *why)
{
	if (c == '\n') {
		a->done = true;
		return 0;
	}
	if (c == '"')
		begin_string(a);
	else if (c == ':' && a->after_key == AGENT_KEY_ENDED)
		a->after_key = AGENT_KEY_COLON;
	else if (c != ' ' && c != '\t' && c != '\r')
		a->after_key = AGENT_KEY_NO;
	return keep(a, &c, 1, why);
}

static ptrdiff_t step(struct agent_answer *a, const char *bytes, size_t n, struct errmsg *why)
{
	int r;

	if (a->state == AGENT_BASE64 || a->state == AGENT_BASE64_ESCAPE)
		return in_base64(a, bytes, n, why);
	/* The tokener would take a NUL for the end of its input. */
	if (*bytes == '\0')
		return no_answer(why, "binary data");
	r = a->state == AGENT_OUTSIDE ? outside(a, *bytes, why) : in_string(a, *bytes, why);
	return r < 0 ? r : 1;
}

ptrdiff_t agent_answer_feed(struct agent_answer *a, const char *bytes, size_t n, struct errmsg *why)
{
	size_t at = 0;

	while (at < n && !a->done) {
		ptrdiff_t took = step(a, bytes + at, n - at, why);

		if (took < 0)
			return took;
		at += (size_t)took;
	}
	return (ptrdiff_t)at;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static struct json_object *parse(const struct buf *text)
{
	struct json_tokener *t = json_tokener_new_ex(AGENT_DEPTH_MAX);
	struct json_object *o;

	if (!t)
		return NULL;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	/* With its NUL, which ends a number too. */
	o = json_tokener_parse_ex(t, text->data, (int)text->len + 1);
	json_tokener_free(t);
	return o;
}

static const char *error_text(struct json_object *error)
{
	struct json_object *desc;

	if (json_object_is_type(error, json_type_object) &&
	    json_object_object_get_ex(error, "desc", &desc) &&
	    json_object_is_type(desc, json_type_string))
		return json_object_get_string(desc);
	return "no description";
}

int agent_answer_result(const struct agent_answer *a, struct json_object **ret, struct errmsg *why)
{
	struct json_object *o = parse(&a->text), *v;
	int r;

	if (json_object_is_type(o, json_type_object) &&
	    json_object_object_get_ex(o, "return", &v) && v) {
		*ret = json_object_get(v);
		r = 0;
	} else if (json_object_is_type(o, json_type_object) &&
		   json_object_object_get_ex(o, "error", &v)) {
		r = errmsg_set(why, -EREMOTEIO, "%s", error_text(v));
	} else {
		r = no_answer(why, "neither a result nor an error");
	}
	json_object_put(o);
	return r;
}
