#include "symsrc/vmmquery.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/qmp.h"
#include "symsrc/vmmblocks.h"
#include "symsrc/vmmports.h"

struct question {
	const char *command;
	void (*take)(struct vmm_query *s, struct json_object *value);
};

/* What a reply is for: the question, and who asked. */
struct asked {
	struct vmm_query *s;
	const struct question *question;
};

#define QUESTIONS   6
#define DEVICES_MAX 64 /* memory devices that are looked at */

struct vmm_query {
	struct qmp *q;
	struct vmm_answers info;
	struct asked asked[QUESTIONS];
	uint64_t known_bytes;
	size_t device_count;
	struct vmm_range devices[DEVICES_MAX];
	struct vmmports *ports; /* NULL: they are not asked for */
	size_t located;		/* blocks whose place in the VMM was asked for */
};

/* -- answers ------------------------------------------------------------------------------ */

static void copy_string(struct json_object *value, const char *key, char *dst, size_t size)
{
	struct json_object *v;

	if (json_object_object_get_ex(value, key, &v) && json_object_is_type(v, json_type_string))
		snprintf(dst, size, "%s", json_object_get_string(v));
}

static int64_t get_int(struct json_object *value, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(value, key, &v) || !json_object_is_type(v, json_type_int))
		return -1;
	return json_object_get_int64(v);
}

static bool is_string(struct json_object *value, const char *key, const char *text)
{
	char v[32] = "";

	copy_string(value, key, v, sizeof(v));
	return strcmp(v, text) == 0;
}

static void take_name(struct vmm_query *s, struct json_object *value)
{
	copy_string(value, "name", s->info.name, sizeof(s->info.name));
}

static void take_uuid(struct vmm_query *s, struct json_object *value)
{
	char text[VMM_UUID_SIZE + 1] = "";

	copy_string(value, "UUID", text, sizeof(text));
	vmmargs_uuid(text, s->info.uuid);
}

static void take_status(struct vmm_query *s, struct json_object *value)
{
	copy_string(value, "status", s->info.state, sizeof(s->info.state));
}

/* -- where RAM lies ------------------------------------------------------------------------- */

static void locate_next(struct vmm_query *s);

static void on_hva(void *ctx, const struct qmp_reply *reply)
{
	struct vmm_query *s = ctx;
	struct vmm_answers *info = &s->info;
	uint64_t *hva = &info->blocks[s->located++].hva;

	if (reply->code == 0 && json_object_is_type(reply->value, json_type_string))
		vmmblocks_parse_hva(json_object_get_string(reply->value), hva);
	if (reply->code == 0 || reply->code == -EREMOTEIO)
		locate_next(s);
}

static void drop_unlocated(struct vmm_answers *info)
{
	size_t n = 0;

	for (size_t i = 0; i < info->block_count; i++) {
		if (info->blocks[i].hva)
			info->blocks[n++] = info->blocks[i];
	}
	info->block_count = n;
}

static void locate_next(struct vmm_query *s)
{
	struct vmm_answers *info = &s->info;
	char line[64];

	if (s->located == info->block_count) {
		drop_unlocated(info);
		info->blocks_told = true;
		return;
	}
	snprintf(line, sizeof(line), "gpa2hva 0x%llx",
		 (unsigned long long)info->blocks[s->located].gpa);
	qmp_execute_hmp(s->q, line, on_hva, s);
}

static void on_views(void *ctx, const struct qmp_reply *reply)
{
	struct vmm_query *s = ctx;
	struct vmm_answers *info = &s->info;

	if (reply->code != 0)
		return;
	if (json_object_is_type(reply->value, json_type_string))
		info->block_count =
			vmmblocks_parse(json_object_get_string(reply->value), info->base_bytes,
					s->devices, s->device_count, info->blocks);
	locate_next(s);
}

/* The monitor for people is the only one that tells where the guest sees its RAM, and where in
 * the VMM that is. */
static void ask_blocks(struct vmm_query *s)
{
	qmp_execute_hmp(s->q, "info mtree -f", on_views, s);
}

/* "dimm" has addr and size, "virtio-mem" memaddr and max-size (MemoryDeviceInfo in QEMU's
 * qapi/machine.json); the others are no RAM of the guest's kernel. */
static bool take_device(struct json_object *device, struct vmm_range *ret)
{
	struct json_object *data;
	bool is_dimm = is_string(device, "type", "dimm");
	int64_t gpa;
	int64_t len;

	if (!is_dimm && !is_string(device, "type", "virtio-mem"))
		return false;
	if (!json_object_object_get_ex(device, "data", &data))
		return false;
	gpa = get_int(data, is_dimm ? "addr" : "memaddr");
	len = get_int(data, is_dimm ? "size" : "max-size");
	*ret = (struct vmm_range){(uint64_t)gpa, (uint64_t)len};
	return gpa > 0 && len > 0;
}

static void take_devices(struct vmm_query *s, struct json_object *value)
{
	size_t n =
		json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;

	s->device_count = 0;
	for (size_t i = 0; i < n && s->device_count < DEVICES_MAX; i++) {
		if (take_device(json_object_array_get_idx(value, i), &s->devices[s->device_count]))
			s->device_count++;
	}
}

static void take_memory(struct vmm_query *s, struct json_object *value)
{
	struct vmm_answers *info = &s->info;
	int64_t base = get_int(value, "base-memory");
	int64_t plugged = get_int(value, "plugged-memory");

	if (base <= 0)
		return;
	info->base_bytes = (uint64_t)base;
	info->memory_bytes = (uint64_t)base + (plugged > 0 ? (uint64_t)plugged : 0);
	if (info->memory_bytes != s->known_bytes)
		ask_blocks(s);
}

static int compare_vcpus(const void *a, const void *b)
{
	const struct guest_vcpu *x = a;
	const struct guest_vcpu *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

static bool take_cpu(struct json_object *cpu, struct guest_vcpu *ret)
{
	int64_t index = get_int(cpu, "cpu-index");
	int64_t tid = get_int(cpu, "thread-id");

	if (index < 0 || index > INT32_MAX || tid <= 0 || tid > INT32_MAX)
		return false;
	*ret = (struct guest_vcpu){.index = (unsigned)index, .tid = (pid_t)tid};
	return true;
}

static void take_cpus(struct vmm_query *s, struct json_object *value)
{
	struct vmm_answers *info = &s->info;
	size_t n =
		json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;

	if (n > GUEST_VCPUS_MAX)
		n = GUEST_VCPUS_MAX;
	free(info->vcpus);
	info->vcpu_count = 0;
	info->vcpus = n ? calloc(n, sizeof(*info->vcpus)) : NULL;
	for (size_t i = 0; info->vcpus && i < n; i++) {
		if (take_cpu(json_object_array_get_idx(value, i), &info->vcpus[info->vcpu_count]))
			info->vcpu_count++;
	}
	if (info->vcpu_count)
		qsort(info->vcpus, info->vcpu_count, sizeof(*info->vcpus), compare_vcpus);
}

/* In this order: what is asked because of an answer needs those before it. */
static const struct question questions[QUESTIONS] = {
	{"query-name", take_name},
	{"query-uuid", take_uuid},
	{"query-status", take_status},
	{"query-cpus-fast", take_cpus},
	{"query-memory-devices", take_devices},
	{"query-memory-size-summary", take_memory},
};

static void on_reply(void *ctx, const struct qmp_reply *reply)
{
	struct asked *asked = ctx;

	/* A command that this VMM does not know is no answer, and no error. */
	if (reply->code == 0)
		asked->question->take(asked->s, reply->value);
}

static void on_event(void *ctx, const char *event, struct json_object *data)
{
	struct vmm_query *s = ctx;

	(void)data;
	if (strcmp(event, "RESET") == 0)
		s->info.resets++;
}

/* -- the session -------------------------------------------------------------------------- */

static int ask_all(struct vmm_query *s)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < QUESTIONS; i++) {
		s->asked[i] = (struct asked){s, &questions[i]};
		r = qmp_execute(s->q, questions[i].command, NULL, on_reply, &s->asked[i]);
	}
	return r;
}

int vmm_query_start(const char *path, const struct vmm_wanted *wanted, struct vmm_query **ret,
		    struct errmsg *why)
{
	struct vmm_query *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return errmsg_set(why, -ENOMEM, "QMP: out of memory");
	s->known_bytes = wanted->known_bytes;
	r = qmp_connect(path, on_event, s, &s->q, why);
	if (r == 0 && ask_all(s) < 0)
		r = errmsg_set(why, -ENOMEM, "QMP: out of memory");
	if (r < 0) {
		vmm_query_destroy(s);
		return r;
	}
	if (wanted->ports)
		s->ports = vmmports_ask(s->q, &s->info.agent, &s->info.port);
	*ret = s;
	return 0;
}

void vmm_query_destroy(struct vmm_query *s)
{
	if (!s)
		return;
	qmp_destroy(s->q);
	vmmports_destroy(s->ports);
	vmm_answers_deinit(&s->info);
	free(s);
}

int vmm_query_fd(const struct vmm_query *s)
{
	return qmp_fd(s->q);
}

short vmm_query_events(const struct vmm_query *s)
{
	return qmp_events(s->q);
}

int vmm_query_process(struct vmm_query *s)
{
	int r = qmp_process(s->q);

	return r < 0 ? r : qmp_pending(s->q) == 0;
}

const struct errmsg *vmm_query_error(const struct vmm_query *s)
{
	return qmp_error(s->q);
}

struct vmm_answers vmm_query_take(struct vmm_query *s)
{
	struct vmm_answers info = s->info;

	s->info = (struct vmm_answers){.vcpus = NULL};
	if (!info.blocks_told)
		info.block_count = 0; /* half of the answers, or none */
	return info;
}

void vmm_answers_deinit(struct vmm_answers *info)
{
	free(info->vcpus);
	*info = (struct vmm_answers){.vcpus = NULL};
}
