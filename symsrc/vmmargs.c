#include "symsrc/vmmargs.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"

#define ID_MAX	  128 /* bytes of a chardev's id; longer ones are not matched */
#define VALUE_MAX 256 /* of what is compared or converted */
#define KIB	  (1ULL << 10)
#define MIB	  (1ULL << 20)

struct argv {
	char *bytes; /* a copy, ended by a NUL */
	size_t count;
	const char **v;
};

static int argv_init(struct argv *a, const char *cmdline, size_t n)
{
	if (n > VMM_CMDLINE_MAX)
		n = VMM_CMDLINE_MAX;
	*a = (struct argv){.bytes = malloc(n + 1), .v = calloc(VMM_ARGS_MAX, sizeof(const char *))};
	if (!a->bytes || !a->v)
		return -ENOMEM;
	memcpy(a->bytes, cmdline, n);
	a->bytes[n] = '\0';
	for (size_t at = 0; at < n && a->count < VMM_ARGS_MAX; at += strlen(a->bytes + at) + 1)
		a->v[a->count++] = a->bytes + at;
	return 0;
}

static void argv_deinit(const struct argv *a)
{
	free(a->bytes);
	free(a->v);
}

/* -- values: "guest=x,debug-threads=on" or JSON ------------------------------------------- */

/* One argument's value. json is NULL for the plain form. */
struct option {
	const char *text;
	const char *implied; /* the key of a first item that has none */
	struct json_object *json;
};

static struct json_object *parse_json(const char *text)
{
	struct json_tokener *tokener = json_tokener_new_ex(VMM_JSON_DEPTH);
	struct json_object *o;

	if (!tokener)
		return NULL;
	o = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
	json_tokener_free(tokener);
	return o;
}

static void option_init(struct option *o, const char *text, const char *implied)
{
	*o = (struct option){.text = text, .implied = implied};
	if (text[0] != '{')
		return;
	o->text = "";
	if (strnlen(text, VMM_JSON_MAX) < VMM_JSON_MAX)
		o->json = parse_json(text);
}

static void option_deinit(const struct option *o)
{
	json_object_put(o->json);
}
#define CLEANUP_OPTION CLEANUP(option_deinit)

/* Where the value ends: at a comma that is not doubled. */
static const char *value_end(const char *p)
{
	for (; *p; p++) {
		if (*p == ',' && p[1] != ',')
			break;
		if (*p == ',')
			p++;
	}
	return p;
}

/* Copies [p, end) with doubled commas made single; cuts at size - 1. False when cut. */
static bool copy_value(char *dst, size_t size, const char *p, const char *end)
{
	size_t n = 0;

	for (; p < end && n + 1 < size; p++) {
		dst[n++] = *p;
		if (*p == ',')
			p++;
	}
	dst[n] = '\0';
	return p >= end;
}

/* One item of the plain form: key and value are parts of the text. A lone "server" or
 * "nowait" is a flag. */
struct item {
	const char *key;
	size_t key_len;
	const char *value; /* NULL: a flag */
	const char *end;
};

static const char *next_item(const char *p, const char *implied, struct item *ret)
{
	size_t n = strcspn(p, "=,");

	if (p[n] == '=')
		*ret = (struct item){.key = p, .key_len = n, .value = p + n + 1};
	else if (implied)
		*ret = (struct item){.key = implied, .key_len = strlen(implied), .value = p};
	else
		*ret = (struct item){.key = p, .key_len = n};
	ret->end = ret->value ? value_end(ret->value) : p + n;
	return *ret->end ? ret->end + 1 : ret->end;
}

static bool item_has_key(const struct item *i, const char *key)
{
	return strlen(key) == i->key_len && strncmp(i->key, key, i->key_len) == 0;
}

/* The nth value of a key in the plain form; false when there is none. */
static bool find_item(const struct option *o, const char *key, size_t nth, struct item *ret)
{
	const char *implied = o->implied;
	const char *p = o->text;
	struct item item;

	while (*p) {
		p = next_item(p, implied, &item);
		implied = NULL;
		if (!item_has_key(&item, key) || nth-- > 0)
			continue;
		*ret = item;
		return true;
	}
	return false;
}

/* A dotted path into the JSON form. Lists of strings come as ["x"] or [{"str": "x"}] (QAPI's
 * String). */
static struct json_object *find_json(struct json_object *o, const char *path, size_t nth)
{
	char key[64];
	size_t n;

	for (; o && *path; path += n + (path[n] == '.')) {
		n = strcspn(path, ".");
		if (n >= sizeof(key) || !json_object_is_type(o, json_type_object))
			return NULL;
		memcpy(key, path, n);
		key[n] = '\0';
		o = json_object_object_get(o, key);
	}
	if (json_object_is_type(o, json_type_array))
		o = json_object_array_get_idx(o, nth);
	else if (nth > 0)
		return NULL;
	if (json_object_is_type(o, json_type_object))
		o = json_object_object_get(o, "str");
	return o;
}

static bool copy_json(char *dst, size_t size, struct json_object *o)
{
	switch (json_object_get_type(o)) {
	case json_type_boolean:
		return (size_t)snprintf(dst, size, "%s",
					json_object_get_boolean(o) ? "on" : "off") < size;
	case json_type_int:
	case json_type_string:
		return (size_t)snprintf(dst, size, "%s", json_object_get_string(o)) < size;
	default: return false;
	}
}

enum fit { FIT_NONE, FIT_CUT, FIT_WHOLE };

/* The nth value of key, in either form. dst is touched only when there is one. */
static enum fit get_nth(const struct option *o, const char *key, size_t nth, char *dst, size_t size)
{
	struct json_object *v;
	struct item item;

	if (o->json) {
		v = find_json(o->json, key, nth);
		if (!v)
			return FIT_NONE;
		return copy_json(dst, size, v) ? FIT_WHOLE : FIT_CUT;
	}
	if (!find_item(o, key, nth, &item))
		return FIT_NONE;
	if (!item.value)
		return (size_t)snprintf(dst, size, "on") < size ? FIT_WHOLE : FIT_CUT;
	return copy_value(dst, size, item.value, item.end) ? FIT_WHOLE : FIT_CUT;
}

/* True when key has a value that fits; a value that was cut is another value. */
static bool get(const struct option *o, const char *key, char *dst, size_t size)
{
	return get_nth(o, key, 0, dst, size) == FIT_WHOLE;
}

static bool is_on(const struct option *o, const char *key)
{
	char v[16];

	return get(o, key, v, sizeof(v)) && (strcmp(v, "on") == 0 || strcmp(v, "yes") == 0 ||
					     strcmp(v, "true") == 0 || strcmp(v, "y") == 0);
}

static bool is_value(const struct option *o, const char *key, const char *value)
{
	char v[VALUE_MAX];

	return get(o, key, v, sizeof(v)) && strcmp(v, value) == 0;
}

/* -- the forms of single values ----------------------------------------------------------- */

static uint64_t suffix_factor(char c)
{
	static const char suffixes[] = "kmgtpe";
	const char *at = strchr(suffixes, tolower((unsigned char)c));

	if (c == 'b' || c == 'B')
		return 1;
	return at ? KIB << (10 * (at - suffixes)) : 0;
}

/* "2048", "2G", "1.5g", "512MB"; unit: of a number without a suffix. 0 when it is none. */
static uint64_t parse_size(const char *text, uint64_t unit)
{
	char *end;
	double v;
	uint64_t factor;

	if (!isdigit((unsigned char)text[0]))
		return 0;
	v = strtod(text, &end);
	factor = *end ? suffix_factor(*end) : unit;
	if (factor == 0 || !(v * (double)factor < (double)(1ULL << 62)))
		return 0;
	return (uint64_t)(v * (double)factor);
}

bool vmmargs_uuid(const char *text, char dst[static VMM_UUID_SIZE])
{
	bool zero = true;
	size_t i;

	for (i = 0; i < VMM_UUID_SIZE - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		unsigned char c = (unsigned char)text[i];

		if (dash ? c != '-' : !isxdigit(c))
			return false;
		zero &= dash || c == '0';
	}
	if (text[i] || zero)
		return false;
	for (i = 0; i < VMM_UUID_SIZE; i++)
		dst[i] = (char)tolower((unsigned char)text[i]);
	return true;
}

/* The host part of a forward: an IPv4 address as slirp takes it, or [IPv6]; empty: any. Any
 * address is reached through the loopback. */
static bool parse_forward_host(const char *text, size_t n, char *dst, size_t size)
{
	char host[INET6_ADDRSTRLEN + 2];
	struct in6_addr a6;
	struct in_addr a4 = {0};

	if (n >= sizeof(host))
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &a6) != 1)
			return false;
		if (IN6_IS_ADDR_UNSPECIFIED(&a6))
			a6 = in6addr_loopback;
		return inet_ntop(AF_INET6, &a6, dst, (socklen_t)size) != NULL;
	}
	if (n > 0 && !inet_aton(host, &a4))
		return false;
	if (a4.s_addr == htonl(INADDR_ANY))
		a4.s_addr = htonl(INADDR_LOOPBACK);
	return inet_ntop(AF_INET, &a4, dst, (socklen_t)size) != NULL;
}

/* The first colon outside of brackets. */
static const char *find_colon(const char *p)
{
	int depth = 0;

	for (; *p && !(*p == ':' && depth == 0); p++)
		depth += (*p == '[') - (*p == ']');
	return *p ? p : NULL;
}

/* "[tcp]:[hostaddr]:hostport-[guestaddr]:guestport" (slirp_hostfwd() in QEMU's net/slirp.c). */
static bool parse_forward(const char *text, char *host, size_t size, uint16_t *ret_port)
{
	const char *addr = strchr(text, ':');
	const char *port = addr ? find_colon(addr + 1) : NULL;
	const char *guest = port ? strchr(port, '-') : NULL;
	const char *guest_port = guest ? strrchr(guest, ':') : NULL;
	char number[8];
	uint64_t v;

	if (!guest_port || strcmp(guest_port, ":22") != 0)
		return false;
	if (addr != text && strncmp(text, "tcp:", 4) != 0)
		return false;
	if ((size_t)(guest - port) > sizeof(number))
		return false;
	snprintf(number, sizeof(number), "%.*s", (int)(guest - port - 1), port + 1);
	if (!text_to_u64(number, 10, UINT16_MAX, &v) || v == 0)
		return false;
	if (!parse_forward_host(addr + 1, (size_t)(port - addr - 1), host, size))
		return false;
	*ret_port = (uint16_t)v;
	return true;
}

/* -- QEMU --------------------------------------------------------------------------------- */

/* -object: what RAM is made of, or what encrypts it. */
struct object {
	char id[ID_MAX];
	uint64_t bytes; /* of a memory backend; else 0 */
	enum guest_encryption encryption;
};

struct parse {
	const struct argv *argv;
	struct vmm_args *out;
	size_t object_count;
	struct object objects[VMM_OBJECTS_MAX];
	char encryption[ID_MAX]; /* ids of objects; empty: none */
	char backend[ID_MAX];
	size_t node_count;
	char nodes[GUEST_RAM_PARTS_MAX][ID_MAX]; /* backends of the NUMA nodes */
	bool has_size;
	bool has_machine;
	bool reads_config; /* in which there may be anything */
	unsigned lookups;  /* of character devices; each goes through all arguments */
	bool saw_accel;
	bool saw_tcg;
};

/* Options without a value (qemu-options.hx of 7.2, and some that were removed before). Others,
 * those not known here too, take one. */
static const char *const lone_options[] = {
	"S",
	"alt-grab",
	"audio-help",
	"ctrl-grab",
	"curses",
	"daemonize",
	"enable-fips",
	"enable-kvm",
	"enable-sync-profile",
	"full-screen",
	"h",
	"help",
	"localtime",
	"mem-prealloc",
	"no-acpi",
	"no-fd-bootchk",
	"no-frame",
	"no-hpet",
	"no-kvm",
	"no-kvm-irqchip",
	"no-kvm-pit",
	"no-quit",
	"no-reboot",
	"no-shutdown",
	"no-user-config",
	"nodefaults",
	"nodefconfig",
	"nographic",
	"nouserconfig",
	"old-param",
	"only-migratable",
	"portrait",
	"preconfig",
	"s",
	"semihosting",
	"singlestep",
	"snapshot",
	"tdf",
	"usb",
	"version",
	"win2k-hack",
	"xen-attach",
	"xen-domid-restrict",
};

static bool is_lone(const char *option)
{
	for (size_t i = 0; i < ARRAY_SIZE(lone_options); i++) {
		if (strcmp(option, lone_options[i]) == 0)
			return true;
	}
	return false;
}

/* "-name" and "--name" are the same; NULL for what is no option. */
static const char *option_name(const char *arg)
{
	if (arg[0] != '-' || arg[1] == '\0')
		return NULL;
	return arg[1] == '-' ? arg + 2 : arg + 1;
}

/* Steps to the next option from *at on; its value is NULL when it has none. */
static bool next_option(const struct argv *a, size_t *at, const char **name, const char **value)
{
	while (*at < a->count) {
		*name = option_name(a->v[(*at)++]);
		*value = NULL;
		if (!*name)
			continue;
		if (!is_lone(*name) && *at < a->count)
			*value = a->v[(*at)++];
		return true;
	}
	return false;
}

static bool is_help(const char *value)
{
	return strcmp(value, "help") == 0 || strcmp(value, "?") == 0;
}

static void on_name(struct parse *p, const char *value)
{
	CLEANUP_OPTION struct option o;

	option_init(&o, value, "guest");
	get_nth(&o, "guest", 0, p->out->name, sizeof(p->out->name));
}

static void on_uuid(struct parse *p, const char *value)
{
	vmmargs_uuid(value, p->out->uuid);
}

static void on_memory(struct parse *p, const char *value)
{
	CLEANUP_OPTION struct option o;
	char size[32];
	uint64_t v;

	option_init(&o, value, "size");
	if (!get(&o, "size", size, sizeof(size)))
		return;
	v = parse_size(size, MIB);
	if (v == 0)
		return;
	p->out->memory_bytes = v;
	p->has_size = true;
}

/* -- QEMU: memory ----------------------------------------------------------------------------- */

/* An SEV guest's policy: qapi/qom.json, SevGuestProperties; bit 2 stands for SEV-ES (AMD's "SEV
 * API", Guest Policy). */
static enum guest_encryption encryption_of(const struct option *o, const char *type)
{
	char policy[24];

	if (strcmp(type, "sev-snp-guest") == 0)
		return GUEST_ENCRYPTED_SEV_SNP;
	if (strcmp(type, "tdx-guest") == 0)
		return GUEST_ENCRYPTED_TDX;
	if (strcmp(type, "sev-guest") != 0)
		return GUEST_PLAIN;
	if (get(o, "policy", policy, sizeof(policy)) && (strtoull(policy, NULL, 0) & 4))
		return GUEST_ENCRYPTED_SEV_ES;
	return GUEST_ENCRYPTED_SEV;
}

static void on_object(struct parse *p, const char *value)
{
	CLEANUP_OPTION struct option o;
	struct object *at = &p->objects[p->object_count];
	char type[64];
	char size[32];

	option_init(&o, value, "qom-type");
	if (p->object_count == VMM_OBJECTS_MAX || !get(&o, "qom-type", type, sizeof(type)) ||
	    !get(&o, "id", at->id, sizeof(at->id)))
		return;
	at->bytes = 0;
	at->encryption = encryption_of(&o, type);
	if (strncmp(type, "memory-backend-", 15) == 0 && get(&o, "size", size, sizeof(size)))
		at->bytes = parse_size(size, 1);
	if (at->bytes || at->encryption != GUEST_PLAIN)
		p->object_count++;
}

static const struct object *find_object(const struct parse *p, const char *id)
{
	for (size_t i = 0; id[0] && i < p->object_count; i++) {
		if (strcmp(p->objects[i].id, id) == 0)
			return &p->objects[i];
	}
	return NULL;
}

/* "node,nodeid=0,memdev=ram-node0"; without a number it is the next one. */
static void on_numa(struct parse *p, const char *value)
{
	CLEANUP_OPTION struct option o;
	char number[16];
	uint64_t node = p->node_count;

	option_init(&o, value, "type");
	if (!is_value(&o, "type", "node"))
		return;
	if (get(&o, "nodeid", number, sizeof(number)) &&
	    !text_to_u64(number, 10, UINT32_MAX, &node))
		return;
	if (node >= GUEST_RAM_PARTS_MAX)
		return;
	get(&o, "memdev", p->nodes[node], sizeof(p->nodes[node]));
	if (p->node_count <= node)
		p->node_count = node + 1;
}

/* -object comes before the machine, and its default memory (qemu_create_late_backends() in QEMU's
 * softmmu/vl.c). o: NULL for that. */
static unsigned made_before(const struct parse *p, const struct object *o, uint64_t bytes)
{
	const struct object *end = o ? o : p->objects + p->object_count;
	unsigned n = 0;

	for (const struct object *i = p->objects; i < end; i++)
		n += i->bytes == bytes;
	return n;
}

static void add_part(const struct parse *p, const struct object *o, struct guest_ram *ram)
{
	uint64_t bytes = o ? o->bytes : ram->base_bytes;

	ram->parts[ram->part_count++] =
		(struct guest_ram_part){.bytes = bytes, .made = made_before(p, o, bytes)};
}

/* One backend for each node, in the nodes' order; or one for all, or the machine's own. */
static void find_parts(const struct parse *p, struct guest_ram *ram)
{
	const struct object *o;

	for (size_t i = 0; i < p->node_count; i++) {
		o = find_object(p, p->nodes[i]);
		if (o && o->bytes)
			add_part(p, o, ram);
	}
	if (ram->part_count || ram->base_bytes == 0)
		return;
	o = find_object(p, p->backend);
	add_part(p, o && o->bytes ? o : NULL, ram);
}

/* After all options: they may refer to what comes behind them. */
static void finish_memory(const struct parse *p, struct vmm_args *out)
{
	const struct object *guard = find_object(p, p->encryption);
	const struct object *backend = find_object(p, p->backend);

	if (guard)
		out->ram.encryption = guard->encryption;
	if (p->reads_config && !p->has_machine)
		out->ram.machine = GUEST_MACHINE_UNKNOWN;
	if (!p->has_size && backend && backend->bytes)
		out->memory_bytes = backend->bytes;
	if (p->has_size || !p->reads_config)
		out->ram.base_bytes = out->memory_bytes;
	find_parts(p, &out->ram);
}

/* -- QEMU: machine, monitors, devices --------------------------------------------------------- */

/* "kvm" or "kvm:tcg". */
static void add_accels(struct parse *p, const char *list)
{
	p->saw_accel = true;
	for (; *list; list += strcspn(list, ":"), list += *list == ':')
		p->saw_tcg |= strncmp(list, "tcg", 3) == 0 && (list[3] == ':' || !list[3]);
}

static void on_accel(struct parse *p, const char *value)
{
	CLEANUP_OPTION struct option o;
	char list[VALUE_MAX];

	option_init(&o, value, "accel");
	p->out->runs_none |= is_help(value);
	if (get(&o, "accel", list, sizeof(list)))
		add_accels(p, list);
}

static void on_enable_kvm(struct parse *p, const char *value)
{
	(void)value;
	add_accels(p, "kvm");
}

/* "pc", "pc-i440fx-7.2", "pc-q35-rhel9.2.0", "pc+pve0", "ubuntu-q35", ...: versions and
 * distributions. */
static enum guest_machine parse_machine(const char *type)
{
	if (strstr(type, "q35"))
		return GUEST_MACHINE_Q35;
	if (strcmp(type, "microvm") == 0)
		return GUEST_MACHINE_MICROVM;
	if (strncmp(type, "pc", 2) == 0 || strstr(type, "i440fx") || strcmp(type, "ubuntu") == 0)
		return GUEST_MACHINE_PC;
	return GUEST_MACHINE_UNKNOWN;
}

static void take_machine_ram(struct parse *p, const struct option *o)
{
	struct guest_ram *ram = &p->out->ram;
	char v[VALUE_MAX];

	if (get(o, "type", v, sizeof(v))) {
		ram->machine = parse_machine(v);
		p->has_machine = true;
	}
	if (get(o, "max-ram-below-4g", v, sizeof(v)))
		ram->below_4g_max = parse_size(v, 1);
	get(o, "memory-backend", p->backend, sizeof(p->backend));
	get(o, "memory-encryption", p->encryption, sizeof(p->encryption));
	get(o, "confidential-guest-support", p->encryption, sizeof(p->encryption));
}

static void on_machine(struct parse *p, const char *value)
{
	CLEANUP_OPTION struct option o;
	char list[VALUE_MAX];

	option_init(&o, value, "type");
	if (is_help(value) || is_value(&o, "type", "none"))
		p->out->runs_none = true;
	if (get(&o, "accel", list, sizeof(list)))
		add_accels(p, list);
	take_machine_ram(p, &o);
}

static void on_readconfig(struct parse *p, const char *value)
{
	(void)value;
	p->reads_config = true;
}

static void on_query(struct parse *p, const char *value)
{
	(void)value;
	p->out->runs_none = true;
}

static void on_model(struct parse *p, const char *value)
{
	p->out->runs_none |= is_help(value);
}

static bool parse_fd(const char *text, int *ret)
{
	uint64_t v;

	if (!text_to_u64(text, 10, INT32_MAX, &v))
		return false;
	*ret = (int)v;
	return true;
}

/* The first of these keys that has a value. */
static bool get_any(const struct option *o, const char *const *keys, char *dst, size_t size)
{
	for (; *keys; keys++) {
		if (get(o, *keys, dst, size))
			return true;
	}
	return false;
}

/* Where the QAPI form (ChardevBackend) has what the plain form calls path, fd and server. */
static bool parse_socket(const struct option *o, struct vmm_socket *ret)
{
	static const char *const paths[] = {"path", "backend.data.addr.data.path",
					    "backend.addr.path", NULL};
	static const char *const fds[] = {"fd", "backend.data.addr.data.str", "backend.addr.str",
					  NULL};
	struct vmm_socket s = {.fd = -1};
	char fd[16];

	if (!is_on(o, "server") && !is_on(o, "backend.data.server") && !is_on(o, "backend.server"))
		return false; /* a client: nobody listens there for us */
	if (is_on(o, "abstract"))
		return false;
	if (get_any(o, paths, s.path, sizeof(s.path)) && s.path[0])
		return *ret = s, true;
	s.path[0] = '\0';
	if (!get_any(o, fds, fd, sizeof(fd)) || !parse_fd(fd, &s.fd))
		return false;
	*ret = s;
	return true;
}

/* Thousands of references to thousands of devices would take minutes: few are followed. */
static bool find_chardev(struct parse *p, const char *id, struct vmm_socket *ret)
{
	const struct argv *a = p->argv;
	const char *name;
	const char *value;
	size_t at = 1;

	if (p->lookups++ >= VMM_LOOKUPS_MAX)
		return false;
	while (next_option(a, &at, &name, &value)) {
		CLEANUP_OPTION struct option o = {0};

		if (!value || strcmp(name, "chardev") != 0)
			continue;
		option_init(&o, value, "backend");
		if (is_value(&o, "id", id))
			return parse_socket(&o, ret);
	}
	return false;
}

/* Sockets with a path go first: a passed descriptor belongs to a manager, which stays
 * connected. */
static void add_qmp(struct vmm_args *out, const struct vmm_socket *s)
{
	size_t at = 0;

	if (out->qmp_count == VMM_QMP_MAX)
		return;
	while (at < out->qmp_count && (out->qmp[at].path[0] || !s->path[0]))
		at++;
	memmove(&out->qmp[at + 1], &out->qmp[at], (out->qmp_count - at) * sizeof(*s));
	out->qmp[at] = *s;
	out->qmp_count++;
}

static void add_qmp_chardev(struct parse *p, const char *id)
{
	struct vmm_socket s;

	if (p->out->qmp_count < VMM_QMP_MAX && find_chardev(p, id, &s))
		add_qmp(p->out, &s);
}

/* The old form of a character device: "unix:PATH,server=on", "chardev:ID", "stdio", ... */
static void on_qmp(struct parse *p, const char *value)
{
	CLEANUP_OPTION struct option o = {0};
	struct vmm_socket s;

	if (strncmp(value, "chardev:", 8) == 0)
		return add_qmp_chardev(p, value + 8);
	if (strncmp(value, "unix:", 5) != 0)
		return;
	option_init(&o, value + 5, "path");
	if (parse_socket(&o, &s))
		add_qmp(p->out, &s);
}

static void on_mon(struct parse *p, const char *value)
{
	CLEANUP_OPTION struct option o;
	char id[ID_MAX];

	option_init(&o, value, "chardev");
	if (is_value(&o, "mode", "control") && get(&o, "chardev", id, sizeof(id)))
		add_qmp_chardev(p, id);
}

/* The ports whose other end we can talk to, by their names. */
static void take_port(struct parse *p, const struct option *o)
{
	struct vmm_socket *to = NULL;
	char id[ID_MAX];
	struct vmm_socket s;

	if (is_value(o, "name", VMM_AGENT_PORT))
		to = &p->out->agent;
	else if (is_value(o, "name", VMM_OWN_PORT))
		to = &p->out->port;
	if (to && get(o, "chardev", id, sizeof(id)) && find_chardev(p, id, &s))
		*to = s;
}

/* 0 to 2 are the hypervisor, local and the host; the last stands for any (vsock(7)). */
static void take_cid(struct vmm_args *out, const char *cid)
{
	uint64_t v;

	if (text_to_u64(cid, 10, UINT32_MAX - 1, &v) && v > 2)
		out->vsock_cid = (uint32_t)v;
}

/* A vhost-user-vsock-* has no CID here: the process behind it has, and a unix socket for it. */
static void take_vsock(struct parse *p, const struct option *o)
{
	char cid[16];

	if (get(o, "guest-cid", cid, sizeof(cid)))
		take_cid(p->out, cid);
}

static void on_device(struct parse *p, const char *value)
{
	CLEANUP_OPTION struct option o;
	char driver[64];

	p->out->runs_none |= is_help(value);
	option_init(&o, value, "driver");
	if (!get(&o, "driver", driver, sizeof(driver)))
		return;
	if (strcmp(driver, "virtserialport") == 0)
		take_port(p, &o);
	else if (strncmp(driver, "vhost-vsock-", 12) == 0)
		take_vsock(p, &o);
}

static void on_net(struct parse *p, const char *value)
{
	CLEANUP_OPTION struct option o;
	struct vmm_args *out = p->out;
	char forward[VALUE_MAX];
	enum fit fit = FIT_WHOLE;

	option_init(&o, value, "type");
	if (!is_value(&o, "type", "user"))
		return;
	for (size_t i = 0; fit != FIT_NONE && out->ssh_port == 0 && i < VMM_FORWARDS_MAX; i++) {
		fit = get_nth(&o, "hostfwd", i, forward, sizeof(forward));
		if (fit == FIT_WHOLE)
			parse_forward(forward, out->ssh_host, sizeof(out->ssh_host),
				      &out->ssh_port);
	}
}

static const struct handler {
	const char *option;
	void (*take)(struct parse *p, const char *value);
} qemu_handlers[] = {
	{"name", on_name},
	{"uuid", on_uuid},
	{"m", on_memory},
	{"accel", on_accel},
	{"enable-kvm", on_enable_kvm},
	{"machine", on_machine},
	{"M", on_machine},
	{"cpu", on_model},
	{"version", on_query},
	{"help", on_query},
	{"h", on_query},
	{"audio-help", on_query},
	{"readconfig", on_readconfig},
	{"object", on_object},
	{"numa", on_numa},
	{"qmp", on_qmp},
	{"qmp-pretty", on_qmp},
	{"mon", on_mon},
	{"device", on_device},
	{"netdev", on_net},
	{"nic", on_net},
	{"net", on_net},
};

static void take_option(struct parse *p, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(qemu_handlers); i++) {
		if (strcmp(name, qemu_handlers[i].option) != 0)
			continue;
		if (value || is_lone(name))
			qemu_handlers[i].take(p, value);
		return;
	}
}

static void parse_qemu(const struct argv *a, struct vmm_args *out)
{
	struct parse p = {.argv = a, .out = out};
	const char *name;
	const char *value;
	size_t at = 1;

	out->memory_bytes = QEMU_MEMORY_MIB * MIB;
	out->ram.machine = GUEST_MACHINE_PC; /* of both x86 emulators when none is given */
	while (next_option(a, &at, &name, &value))
		take_option(&p, name, value);
	out->may_be_tcg = p.saw_tcg || !p.saw_accel;
	finish_memory(&p, out);
}

/* -- other VMMs: firecracker --id, kvmtool and crosvm --name, ... --------------------------- */

/* The value of an option in the forms "--name X" and "--name=X". */
static const char *long_value(const struct argv *a, size_t i, const char *option)
{
	size_t n = strlen(option);

	if (strncmp(a->v[i], option, n) != 0)
		return NULL;
	if (a->v[i][n] == '=')
		return a->v[i] + n + 1;
	return a->v[i][n] == '\0' && i + 1 < a->count ? a->v[i + 1] : NULL;
}

static const char *any_long_value(const struct argv *a, size_t i, const char *const *options)
{
	const char *value = NULL;

	for (; *options && !value; options++)
		value = long_value(a, i, *options);
	return value;
}

/* cloud-hypervisor's --platform. */
static void take_platform(struct guest_ram *ram, const char *value)
{
	CLEANUP_OPTION struct option o;

	option_init(&o, value, NULL);
	if (is_on(&o, "tdx"))
		ram->encryption = GUEST_ENCRYPTED_TDX;
	else if (is_on(&o, "sev_snp"))
		ram->encryption = GUEST_ENCRYPTED_SEV_SNP;
}

/* kvmtool's "--vsock 3", crosvm's "--vsock cid=3" and "--cid 3". cloud-hypervisor's has a unix
 * socket instead of AF_VSOCK. */
static void take_other_vsock(struct vmm_args *out, const char *value)
{
	CLEANUP_OPTION struct option o;
	char cid[16], socket[2];

	option_init(&o, value, "cid");
	if (get(&o, "cid", cid, sizeof(cid)) &&
	    get_nth(&o, "socket", 0, socket, sizeof(socket)) == FIT_NONE)
		take_cid(out, cid);
}

static void parse_other(const struct argv *a, struct vmm_args *out)
{
	static const char *const names[] = {"--name", "--id", NULL};
	static const char *const memories[] = {"--mem", "--memory", "-m", NULL};
	static const char *const vsocks[] = {"--vsock", "--cid", NULL};
	struct parse p = {.argv = a, .out = out};
	const char *v;

	for (size_t i = 1; i < a->count; i++) {
		v = any_long_value(a, i, names);
		if (v && !out->name[0])
			snprintf(out->name, sizeof(out->name), "%s", v);
		v = any_long_value(a, i, memories);
		if (v && out->memory_bytes == 0)
			on_memory(&p, v);
		v = long_value(a, i, "--platform");
		if (v)
			take_platform(&out->ram, v);
		v = any_long_value(a, i, vsocks);
		if (v)
			take_other_vsock(out, v);
	}
	out->ram.base_bytes = out->memory_bytes;
}

/* -- all ---------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Also ".qemu-system-x86_64-wrapped" and the like; qemu-x86_64 (one program) and qemu-img are
 * none. */
bool vmmargs_is_qemu(const char *exe)
{
	const char *name = base_name(exe);

	return strstr(name, "qemu-system-") || strcmp(name, "qemu-kvm") == 0;
}

/* readlink(2) of /proc/PID/exe says " (deleted)" once the package was updated. */
static void copy_vmm(char *dst, size_t size, const char *exe)
{
	const char *name = base_name(exe);
	const char *deleted = strstr(name, " (deleted)");
	int n = deleted && !deleted[10] ? (int)(deleted - name) : (int)strlen(name);

	snprintf(dst, size, "%.*s", n, name);
}

static void parse(const char *exe, const struct argv *a, struct vmm_args *out)
{
	/* A loader or a wrapper (ld.so, valgrind) may be what the kernel runs. */
	if (!exe || (!vmmargs_is_qemu(exe) && vmmargs_is_qemu(a->v[0])))
		exe = a->v[0];
	copy_vmm(out->vmm, sizeof(out->vmm), exe);
	out->is_qemu = vmmargs_is_qemu(out->vmm);
	if (out->is_qemu)
		parse_qemu(a, out);
	else
		parse_other(a, out);
	out->has_name = out->name[0];
	if (!out->has_name)
		snprintf(out->name, sizeof(out->name), "%s", out->vmm[0] ? out->vmm : "vmm");
}

int vmmargs_parse(const char *exe, const char *cmdline, size_t n, struct vmm_args *ret)
{
	struct vmm_args out = {.agent.fd = -1, .port.fd = -1};
	struct argv a;
	int r = argv_init(&a, cmdline, n);

	if (r == 0 && a.count == 0)
		r = -ENODATA;
	if (r == 0) {
		parse(exe, &a, &out);
		*ret = out;
	}
	argv_deinit(&a);
	return r;
}
