/* Which way a guest agent allows, and the files in their order. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/agent.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/modules.h"

#define OS_MAX	    80
#define BLOCKED_MAX 160

/* Passes all on, and keeps /proc/modules, whose names tell which notes there are. */
struct tee {
	const struct source_sink *sink;
	unsigned want;
	bool open;	    /* modules are coming in */
	struct buf modules; /* the first time */
};

static int tee_begin(void *ctx, enum guest_file file, const char *module)
{
	struct tee *t = ctx;

	t->open = file == GUEST_FILE_MODULES;
	if (!(t->want & GUEST_FILE_BIT(file)))
		return 0;
	return t->sink->begin(t->sink->ctx, file, module);
}

static int tee_data(void *ctx, const void *bytes, size_t n)
{
	struct tee *t = ctx;
	int r = t->open ? buf_append(&t->modules, bytes, n) : 0;

	if (r < 0 || (t->open && !(t->want & GUEST_FILE_BIT(GUEST_FILE_MODULES))))
		return r;
	return t->sink->data(t->sink->ctx, bytes, n);
}

/* ---- by files ------------------------------------------------------------------------------ */

struct notes {
	struct agent *a;
	const struct source_sink *sink;
	struct errmsg *why;
	unsigned count;
};

static int deliver_note(void *ctx, const struct module_line *m)
{
	struct notes *n = ctx;
	char path[MODULE_NAME_MAX + 64];
	struct errmsg refused;

	if (++n->count > GUEST_MODULES_MOST)
		return errmsg_set(n->why, -EFBIG, "the guest has more than %d modules",
				  GUEST_MODULES_MOST);
	snprintf(path, sizeof(path), "/sys/module/%s/notes/.note.gnu.build-id", m->name);
	return agent_deliver_file(n->a, path, GUEST_FILE_MODULE_NOTE, m->name, n->sink, &refused,
				  n->why);
}

/* guest-file has no directories: the names come from /proc/modules. */
static int deliver_notes(struct agent *a, struct tee *t, struct errmsg *why)
{
	struct notes n = {.a = a, .sink = t->sink, .why = why};

	if (!(t->want & GUEST_FILE_BIT(GUEST_FILE_MODULE_NOTE)))
		return 0;
	return modules_parse(t->modules.data, t->modules.len, deliver_note, &n, why);
}

/* What the guest says it is, or nothing. */
static void ask_os(struct agent *a, char name[static OS_MAX])
{
	struct json_object *os, *v;

	name[0] = '\0';
	if (!(a->allowed & AGENT_OSINFO) ||
	    agent_call(a, "{\"execute\":\"guest-get-osinfo\"}\n", NULL, NULL, &os, NULL) < 0)
		return;
	if (json_object_is_type(os, json_type_object) &&
	    json_object_object_get_ex(os, "pretty-name", &v) &&
	    json_object_is_type(v, json_type_string))
		snprintf(name, OS_MAX, "%s", json_object_get_string(v));
	json_object_put(os);
}

static int no_kallsyms(struct agent *a, const struct errmsg *refused, struct errmsg *why)
{
	char os[OS_MAX];

	ask_os(a, os);
	return errmsg_set(why, -ENOENT, "the guest (%s) has no /proc/kallsyms for its agent: %s",
			  os[0] ? os : "of unknown kind", refused->text);
}

static int deliver(struct agent *a, enum guest_file file, struct tee *t, struct errmsg *why)
{
	const struct source_sink sink = {tee_begin, tee_data, t};
	unsigned needed = t->want;
	struct errmsg refused;
	int r;

	if (needed & GUEST_FILE_BIT(GUEST_FILE_MODULE_NOTE))
		needed |= GUEST_FILE_BIT(GUEST_FILE_MODULES);
	if (!(needed & GUEST_FILE_BIT(file)))
		return 0;
	r = agent_deliver_file(a, guest_file_path(file), file, NULL, &sink, &refused, why);
	if (r == 0 && refused.code && file == GUEST_FILE_KALLSYMS)
		return no_kallsyms(a, &refused, why);
	return r;
}

/* The second look at modules, and at the boot: the agent of the next one may answer what was asked
 * of this one. */
static int deliver_again(struct agent *a, struct tee *t, struct errmsg *why)
{
	int r;

	buf_clear(&t->modules);
	r = t->want & GUEST_FILE_BIT(GUEST_FILE_MODULES) ? deliver(a, GUEST_FILE_MODULES, t, why)
							 : 0;
	return r < 0 ? r : deliver(a, GUEST_FILE_BOOT_ID, t, why);
}

/* In the order of the remote script: what comes twice comes last. */
static int fetch_by_files(struct agent *a, struct tee *t, struct errmsg *why)
{
	static const enum guest_file first[] = {GUEST_FILE_VERSION, GUEST_FILE_BOOT_ID,
						GUEST_FILE_KERNEL_NOTES, GUEST_FILE_MODULES};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(first); i++)
		r = deliver(a, first[i], t, why);
	if (r == 0)
		r = deliver_notes(a, t, why);
	if (r == 0)
		r = deliver(a, GUEST_FILE_KALLSYMS, t, why);
	if (r == 0 && t->want & GUEST_FILE_BIT(GUEST_FILE_KALLSYMS))
		r = deliver_again(a, t, why);
	return r;
}

/* One of /lib/modules, whose names need no quotes (modtree.h). */
static int fetch_module_file(struct agent *a, const struct source_order *o,
			     const struct source_sink *sink, struct errmsg *why)
{
	char path[MODTREE_PATH_MAX + 256];
	struct errmsg refused;

	snprintf(path, sizeof(path), "/lib/modules/%s/%s", o->release, o->path);
	return agent_deliver_file(a, path, GUEST_FILE_MODULE_KO, NULL, sink, &refused, why);
}

/* ---- the choice ---------------------------------------------------------------------------- */

static int are_blocked(const struct agent *a, unsigned commands, struct errmsg *why)
{
	char blocked[BLOCKED_MAX];

	agent_blocked(a, commands, blocked, sizeof(blocked));
	return errmsg_set(
		why, -EPERM,
		"the guest agent blocks %s: allow them in the guest (on RHEL "
		"/etc/sysconfig/qemu-ga), or give it a port org.kvmprofs.0 with kvmprofs' "
		"guest helper",
		blocked);
}

static int fetch_files(struct agent *a, unsigned want, const struct source_sink *sink,
		       struct errmsg *why)
{
	struct tee t = {.sink = sink, .want = want};
	int r;

	buf_init(&t.modules, GUEST_MODULES_MAX);
	r = fetch_by_files(a, &t, why);
	buf_deinit(&t.modules);
	return r;
}

int agent_fetch(struct agent *a, const struct source_order *order, const struct source_sink *sink,
		struct errmsg *why)
{
	bool files = (a->allowed & AGENT_FILES) == AGENT_FILES;
	bool programs = (a->allowed & AGENT_PROGRAMS) == AGENT_PROGRAMS;
	bool lists = order->release && !order->path; /* for which it has no command of its own */
	int r;

	if (files && !order->release)
		r = fetch_files(a, order->want, sink, why);
	else if (files && order->path)
		r = fetch_module_file(a, order, sink, why);
	else if (programs)
		r = agent_deliver_by_shell(a, order, sink, why);
	else
		r = are_blocked(a, AGENT_PROGRAMS | (lists ? 0 : AGENT_FILES), why);
	return agent_blame(r, why);
}
