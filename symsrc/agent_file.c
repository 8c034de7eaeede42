/* Files by guest-file-open, guest-file-read and guest-file-close. The agent reads with fread(3),
 * which hides the short reads of procfs. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "symsrc/agent.h"
#include "symsrc/base/clock.h"

#define OPEN_LINE_MAX (MODTREE_PATH_MAX + 512)

struct reading {
	const struct source_sink *sink;
	enum guest_file file;
	int64_t handle;
	size_t left;		 /* of what the file may have */
	size_t chunk_max, chunk; /* decoded bytes of the current answer */
	struct errmsg *why;
};

static int take(void *ctx, enum agent_data which, const void *bytes, size_t n)
{
	struct reading *f = ctx;

	if (which != AGENT_DATA_OUT)
		return 0;
	f->chunk += n;
	if (f->chunk > f->chunk_max)
		return errmsg_set(f->why, -EBADMSG,
				  "the guest agent sends more than was asked for");
	if (n > f->left)
		return errmsg_set(f->why, -EFBIG, "the guest's %s is above the limit of %zu bytes",
				  guest_file_path(f->file), guest_file_max(f->file));
	f->left -= n;
	return f->sink->data(f->sink->ctx, bytes, n);
}

/* ---- open, read, close --------------------------------------------------------------------- */

static void close_line(char *line, size_t size, int64_t handle)
{
	snprintf(line, size, "{\"execute\":\"guest-file-close\",\"arguments\":{\"handle\":%lld}}\n",
		 (long long)handle);
}

static void abandon(struct agent *a, int64_t handle)
{
	char line[128];

	close_line(line, sizeof(line), handle);
	agent_last_words(a, line);
}

/* A cancel came while the agent was opening: it is told to close what it has opened since. */
static void abandon_opening(struct agent *a)
{
	struct json_object *value;

	if (agent_finish_call(a, &value) < 0)
		return;
	if (json_object_is_type(value, json_type_int))
		abandon(a, json_object_get_int64(value));
	json_object_put(value);
}

/* 1: it is open. 0: it cannot be, as refused says. */
static int open_file(struct agent *a, const char *path, int64_t *ret, struct errmsg *refused,
		     struct errmsg *why)
{
	struct json_object *value;
	struct errmsg e = {0};
	char line[OPEN_LINE_MAX];
	int r;

	snprintf(line, sizeof(line),
		 "{\"execute\":\"guest-file-open\",\"arguments\":{\"path\":\"%s\",\"mode\":\"r\"}}"
		 "\n",
		 path);
	r = agent_call(a, line, NULL, NULL, &value, &e);
	if (r == -ECANCELED || r == -ETIMEDOUT)
		abandon_opening(a);
	if (r < 0) {
		*(r == -EREMOTEIO || !why ? refused : why) = e;
		return r == -EREMOTEIO ? 0 : r;
	}
	r = json_object_is_type(value, json_type_int) ? 1 : -EBADMSG;
	*ret = r > 0 ? json_object_get_int64(value) : 0;
	json_object_put(value);
	return r < 0 ? errmsg_set(why, r, "the guest agent opens a file without a handle") : r;
}

/* One chunk. 1: there is more, 0: that was all. */
static int read_some(struct agent *a, struct reading *f)
{
	struct json_object *value, *eof;
	int64_t count = -1;
	char line[128];
	bool end;
	int r;

	f->chunk = 0;
	snprintf(
		line, sizeof(line),
		"{\"execute\":\"guest-file-read\",\"arguments\":{\"handle\":%lld,\"count\":%zu}}\n",
		(long long)f->handle, f->chunk_max);
	r = agent_call(a, line, take, f, &value, f->why);
	if (r < 0)
		return r;
	end = json_object_is_type(value, json_type_object) &&
	      json_object_object_get_ex(value, "eof", &eof) && json_object_get_boolean(eof);
	if (!agent_number(value, "count", &count) || count != (int64_t)f->chunk ||
	    (count == 0 && !end))
		r = errmsg_set(f->why, -EBADMSG,
			       "the guest agent sends other than it says it does");
	json_object_put(value);
	return r < 0 ? r : !end;
}

static int close_file(struct agent *a, int64_t handle, struct errmsg *why)
{
	struct json_object *value;
	char line[128];
	int r;

	close_line(line, sizeof(line), handle);
	r = agent_call(a, line, NULL, NULL, &value, why);
	if (r == 0)
		json_object_put(value);
	return r;
}

static int read_all(struct agent *a, struct reading *f)
{
	int r = 1;

	while (r > 0)
		r = read_some(a, f);
	if (r < 0) {
		abandon(a, f->handle);
		return r;
	}
	return close_file(a, f->handle, f->why);
}

int agent_deliver_file(struct agent *a, const char *path, enum guest_file file, const char *module,
		       const struct source_sink *sink, struct errmsg *refused, struct errmsg *why)
{
	struct reading f = {.sink = sink,
			    .file = file,
			    .left = guest_file_max(file),
			    .chunk_max = a->virsh ? AGENT_VIRSH_BYTES : AGENT_READ_BYTES,
			    .why = why};
	int r;

	*refused = (struct errmsg){0};
	r = open_file(a, path, &f.handle, refused, why);
	if (r <= 0)
		return r;
	r = sink->begin(sink->ctx, file, module);
	if (r < 0) {
		abandon(a, f.handle);
		return r;
	}
	return read_all(a, &f);
}
