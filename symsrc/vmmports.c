#include "symsrc/vmmports.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

#define DEVICES_MAX 16 /* ports that are looked at */

struct device {
	struct vmmports *p;
	char path[256]; /* in QOM */
	struct vmm_socket *to;
};

struct vmmports {
	struct qmp *q;
	struct vmm_socket *agent, *port;
	struct json_object *chardevs; /* what query-chardev said; NULL: nothing */
	size_t count;
	struct device devices[DEVICES_MAX];
};

/* ---- chardevs ------------------------------------------------------------------------------ */

static bool take_prefix(const char **text, const char *prefix)
{
	size_t n = strlen(prefix);

	if (strncmp(*text, prefix, n) != 0)
		return false;
	*text += n;
	return true;
}

/* Before 6.0 it ends in ",server", and more may follow it. */
void vmmports_path(const char *filename, char *path, size_t size)
{
	const char *end, *next;

	path[0] = '\0';
	take_prefix(&filename, "disconnected:");
	if (!take_prefix(&filename, "unix:"))
		return;
	end = strstr(filename, ",server");
	while (end && (next = strstr(end + 1, ",server")))
		end = next;
	if (end && end > filename && (size_t)(end - filename) < size)
		snprintf(path, size, "%.*s", (int)(end - filename), filename);
}

static const char *string_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &v) ||
	    !json_object_is_type(v, json_type_string))
		return "";
	return json_object_get_string(v);
}

static size_t length_of(struct json_object *list)
{
	return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

static void find_socket(const struct vmmports *p, const char *label, struct vmm_socket *to)
{
	for (size_t i = 0; i < length_of(p->chardevs); i++) {
		struct json_object *c = json_object_array_get_idx(p->chardevs, i);

		if (strcmp(string_of(c, "label"), label) == 0)
			vmmports_path(string_of(c, "filename"), to->path, sizeof(to->path));
	}
}

/* ---- devices ------------------------------------------------------------------------------- */

static int get(struct device *d, const char *property, qmp_reply_fn *fn)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "path", json_object_new_string(d->path));
	json_object_object_add(o, "property", json_object_new_string(property));
	return qmp_execute(d->p->q, "qom-get", o, fn, d);
}

static void on_chardev(void *ctx, const struct qmp_reply *reply)
{
	struct device *d = ctx;

	if (reply->code == 0 && json_object_is_type(reply->value, json_type_string))
		find_socket(d->p, json_object_get_string(reply->value), d->to);
}

static void on_name(void *ctx, const struct qmp_reply *reply)
{
	struct device *d = ctx;
	const char *name;

	if (reply->code != 0 || !json_object_is_type(reply->value, json_type_string))
		return;
	name = json_object_get_string(reply->value);
	if (strcmp(name, VMM_AGENT_PORT) == 0)
		d->to = d->p->agent;
	if (strcmp(name, VMM_OWN_PORT) == 0)
		d->to = d->p->port;
	if (d->to)
		get(d, "chardev", on_chardev);
}

static void add_device(struct vmmports *p, const char *dir, struct json_object *item)
{
	struct device *d = &p->devices[p->count];
	const char *name = string_of(item, "name");

	if (p->count == DEVICES_MAX ||
	    strcmp(string_of(item, "type"), "child<virtserialport>") != 0)
		return;
	if ((size_t)snprintf(d->path, sizeof(d->path), "%s/%s", dir, name) >= sizeof(d->path))
		return;
	d->p = p;
	if (get(d, "name", on_name) == 0)
		p->count++;
}

static void add_devices(struct vmmports *p, const char *dir, const struct qmp_reply *reply)
{
	for (size_t i = 0; reply->code == 0 && i < length_of(reply->value); i++)
		add_device(p, dir, json_object_array_get_idx(reply->value, i));
}

/* With an id, and without. */
static const char named[] = "/machine/peripheral", unnamed[] = "/machine/peripheral-anon";

static void on_named(void *ctx, const struct qmp_reply *reply)
{
	add_devices(ctx, named, reply);
}

static void on_unnamed(void *ctx, const struct qmp_reply *reply)
{
	add_devices(ctx, unnamed, reply);
}

static void list(struct vmmports *p, const char *dir, qmp_reply_fn *fn)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "path", json_object_new_string(dir));
	qmp_execute(p->q, "qom-list", o, fn, p);
}

static bool has_sockets(const struct vmmports *p)
{
	char path[GUEST_PATH_MAX];

	for (size_t i = 0; i < length_of(p->chardevs); i++) {
		vmmports_path(string_of(json_object_array_get_idx(p->chardevs, i), "filename"),
			      path, sizeof(path));
		if (path[0])
			return true;
	}
	return false;
}

static void on_chardevs(void *ctx, const struct qmp_reply *reply)
{
	struct vmmports *p = ctx;

	if (reply->code != 0)
		return;
	p->chardevs = json_object_get(reply->value);
	if (!has_sockets(p))
		return;
	list(p, named, on_named);
	list(p, unnamed, on_unnamed);
}

/* ---- all of it ----------------------------------------------------------------------------- */

struct vmmports *vmmports_ask(struct qmp *q, struct vmm_socket *agent, struct vmm_socket *port)
{
	struct vmmports *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	*p = (struct vmmports){.q = q, .agent = agent, .port = port};
	if (qmp_execute(q, "query-chardev", NULL, on_chardevs, p) == 0)
		return p;
	vmmports_destroy(p);
	return NULL;
}

void vmmports_destroy(struct vmmports *p)
{
	if (p)
		json_object_put(p->chardevs);
	free(p);
}
