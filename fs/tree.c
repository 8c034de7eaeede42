#include "fs/tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"

#define DIR_OF(p)	  .parent = (p), .class = CLASS_DIR, .mode = 0555
#define TEXT_OF(p)	  .parent = (p), .class = CLASS_SNAPSHOT, .mode = 0444
#define SECRET_TEXT_OF(p) .parent = (p), .class = CLASS_SNAPSHOT, .mode = 0400, .secret = true
#define SYMBOLS_OF(p, m)  .parent = (p), .class = CLASS_SYMBOLS, .mode = (m)
#define FOR_PERF_OF(p, m) .parent = (p), .class = CLASS_SYMBOLS_OR_EMPTY, .mode = (m)
#define STREAM_OF(p)	  .parent = (p), .class = CLASS_STREAM, .mode = 0400, .secret = true
#define SECRET		  .secret = true
#define SLICED		  .sliced = true
#define SLICES		  .slices = true

static const struct node nodes[NODE_COUNT] = {
	[NODE_ROOT] = {"/", DIR_OF(NODE_COUNT)},
	[NODE_STATUS] = {"status", TEXT_OF(NODE_ROOT)},
	[NODE_TOP] = {"top", TEXT_OF(NODE_ROOT)},
	[NODE_UTILIZATION] = {"utilization", TEXT_OF(NODE_ROOT)},
	[NODE_METRICS] = {"metrics", TEXT_OF(NODE_ROOT)},
	[NODE_ALL_RECORD] = {"record", STREAM_OF(NODE_ROOT)},
	[NODE_BY_NAME] = {"by-name", DIR_OF(NODE_ROOT)},
	[NODE_BY_NAME_LINK] = {.parent = NODE_BY_NAME,
			       .class = CLASS_LINK,
			       .mode = 0777,
			       .each = EACH_NAME},
	[NODE_GUEST] = {NULL, DIR_OF(NODE_ROOT), .each = EACH_PID},
	[NODE_INFO] = {"info", TEXT_OF(NODE_GUEST)},
	[NODE_KALLSYMS] = {"kallsyms", SYMBOLS_OF(NODE_GUEST, 0400), SECRET},
	[NODE_MODULES] = {"modules", SYMBOLS_OF(NODE_GUEST, 0400), SECRET},
	[NODE_BUILDIDS] = {"buildids", SYMBOLS_OF(NODE_GUEST, 0444)},
	/* An address that no symbol covers stands there as a number. */
	[NODE_PROFILE] = {"profile", SECRET_TEXT_OF(NODE_GUEST), SLICED},
	[NODE_PROFILE_FOLDED] = {"profile.folded", SECRET_TEXT_OF(NODE_GUEST), SLICED},
	[NODE_PROFILE_JSON] = {"profile.json", SECRET_TEXT_OF(NODE_GUEST), SLICED},
	[NODE_PROFILE_PPROF] = {"profile.pb.gz", SECRET_TEXT_OF(NODE_GUEST), SLICED},
	[NODE_FLAMEGRAPH] = {"flamegraph.svg", SECRET_TEXT_OF(NODE_GUEST), SLICED},
	[NODE_EXITS] = {"exits", TEXT_OF(NODE_GUEST), SLICED},
	[NODE_EXITS_JSON] = {"exits.json", TEXT_OF(NODE_GUEST), SLICED},
	[NODE_EVENTS] = {"events", TEXT_OF(NODE_GUEST), SLICED},
	[NODE_VCPUS] = {"vcpus", TEXT_OF(NODE_GUEST)},
	[NODE_RECENT] = {"recent", DIR_OF(NODE_GUEST), SLICES},
	/* The only place where something can be made: snapshots, by the owner. */
	[NODE_SNAPSHOTS] = {"snapshots", .parent = NODE_GUEST, .class = CLASS_DIR, .mode = 0755},
	[NODE_SNAPSHOT_DIR] = {NULL, DIR_OF(NODE_SNAPSHOTS), .each = EACH_SNAPSHOT, SLICES},
	[NODE_DIFF] = {"diff", DIR_OF(NODE_GUEST)},
	[NODE_DIFF_FILE] = {NULL, SECRET_TEXT_OF(NODE_DIFF), .each = EACH_SNAPSHOT},
	[NODE_VCPU] = {"vcpu", DIR_OF(NODE_GUEST)},
	[NODE_VCPU_DIR] = {NULL, DIR_OF(NODE_VCPU), .each = EACH_VCPU, SLICES},
	[NODE_GUEST_UTILIZATION] = {"utilization", TEXT_OF(NODE_GUEST)},
	[NODE_STATS] = {"stats", TEXT_OF(NODE_GUEST)},
	/* Its lines hold guest addresses. */
	[NODE_TRACE] = {"trace", STREAM_OF(NODE_GUEST)},
	[NODE_RECORD] = {"record", STREAM_OF(NODE_GUEST)},
	[NODE_CONTROL] = {"control", .parent = NODE_GUEST, .class = CLASS_CONTROL, .mode = 0600},
	[NODE_PROC] = {"proc", DIR_OF(NODE_GUEST)},
	[NODE_PROC_KALLSYMS] = {"kallsyms", FOR_PERF_OF(NODE_PROC, 0400), SECRET},
	[NODE_PROC_MODULES] = {"modules", FOR_PERF_OF(NODE_PROC, 0400), SECRET},
	[NODE_PROC_VERSION] = {"version", FOR_PERF_OF(NODE_PROC, 0400), SECRET},
	[NODE_SYS] = {"sys", DIR_OF(NODE_GUEST)},
	[NODE_SYS_KERNEL] = {"kernel", DIR_OF(NODE_SYS)},
	/* Kernels before 6.9 leave relocated addresses in their notes (CVE-2024-26816). */
	[NODE_SYS_KERNEL_NOTES] = {"notes", FOR_PERF_OF(NODE_SYS_KERNEL, 0400), SECRET},
	[NODE_SYS_KERNEL_BTF] = {"btf", DIR_OF(NODE_SYS_KERNEL)},
	[NODE_SYS_KERNEL_BTF_VMLINUX] = {"vmlinux", SYMBOLS_OF(NODE_SYS_KERNEL_BTF, 0400),
					 .each = EACH_BTF, SECRET},
	[NODE_SYS_MODULE] = {"module", DIR_OF(NODE_SYS)},
	[NODE_SYS_MODULE_DIR] = {NULL, DIR_OF(NODE_SYS_MODULE), .each = EACH_MODULE},
	[NODE_SYS_MODULE_NOTES] = {"notes", DIR_OF(NODE_SYS_MODULE_DIR)},
	[NODE_SYS_MODULE_BUILD_ID] = {".note.gnu.build-id",
				      FOR_PERF_OF(NODE_SYS_MODULE_NOTES, 0444)},
	/* Both have themselves below them, too: is_in(). */
	[NODE_FILES_DIR] = {NULL, DIR_OF(NODE_GUEST), .each = EACH_FILES},
	[NODE_FILES_FILE] = {.parent = NODE_GUEST,
			     .class = CLASS_GUEST_FILE,
			     .mode = 0400,
			     .each = EACH_FILES,
			     SECRET},
};

const struct node *tree_node(enum node_id id)
{
	return &nodes[id];
}

bool place_equal(const struct place *a, const struct place *b)
{
	return a->node == b->node && a->serial == b->serial && a->file == b->file &&
	       slice_equal(&a->slice, &b->slice) && strcmp(a->module, b->module) == 0;
}

static uint64_t fnv(const char *s)
{
	uint64_t h = 14695981039346656037ULL;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ULL;
	return h ^ (h >> 29);
}

uint64_t place_hash(const struct place *p)
{
	uint64_t h = (p->serial * NODE_COUNT + p->node) * 0x9e3779b97f4a7c15ULL;

	h = (h ^ p->slice.time) * 0x9e3779b97f4a7c15ULL;
	h = (h ^ p->slice.vcpu) * 0x9e3779b97f4a7c15ULL;
	return (h ^ (h >> 32)) + fnv(p->module) + p->file;
}

/* 25 bits: a vCPU's 13, or those of a time. No place has both, nor a module beside them. */
static uint64_t slice_bits(const struct slice *s)
{
	return s->vcpu ? s->vcpu : (s->time ? 1u << 24 | (s->time & 0xffffff) : 0);
}

_Static_assert(NODE_COUNT < 128, "a node's number needs 7 bits");

/* serial (32 bits, of which the first is never set), the slice or a hash of the module's name (25),
 * node + 1 (7). Of the files, of which there are thousands: 1, serial (20), key (43). */
uint64_t place_ino(const struct place *p)
{
	uint64_t which = p->module[0] ? fnv(p->module) & 0x1ffffff : slice_bits(&p->slice);

	if (p->file)
		return 1ULL << 63 | (p->serial & 0xfffff) << 43 | (p->file & 0x7ffffffffff);
	return p->serial << 32 | which << 7 | (uint64_t)(p->node + 1);
}

bool tree_needs_symbols(enum node_id dir)
{
	return dir == NODE_SYS_MODULE || dir == NODE_SYS_KERNEL_BTF;
}

bool tree_needs_snapshots(const struct place *dir)
{
	return dir->node == NODE_SNAPSHOTS || dir->node == NODE_DIFF ||
	       dir->slice.time >= SLICE_SNAPSHOT;
}

static bool has_snapshot(const struct tree_view *view, uint32_t time)
{
	size_t i = 0;

	while (i < view->snapshot_count && view->snapshots[i].id != time)
		i++;
	return time < SLICE_SNAPSHOT || i < view->snapshot_count;
}

bool tree_needs_files(enum node_id dir)
{
	return dir == NODE_GUEST || dir == NODE_FILES_DIR;
}

bool tree_exists(const struct tree_view *view, const struct place *p)
{
	if (p->serial == 0)
		return true;
	return guest_set_find_serial(view->guests, p->serial) && has_snapshot(view, p->slice.time);
}

void tree_guest_name(const struct guest *g, char *to, size_t size)
{
	if (g->pid)
		snprintf(to, size, "%d", (int)g->pid);
	else
		snprintf(to, size, "%s", TREE_DEFAULT_GUEST);
}

/* -- lookup ------------------------------------------------------------------------------ */

static int find_pid(const struct tree_view *view, const char *name, struct place *ret)
{
	const struct guest_entry *e;
	uint64_t pid;

	/* One name for a guest: "007" is not 7. */
	if (strcmp(name, TREE_DEFAULT_GUEST) == 0)
		pid = 0;
	else if (name[0] == '0' || !text_to_u64(name, 10, INT32_MAX, &pid))
		return -ENOENT;
	e = guest_set_find_pid(view->guests, (pid_t)pid);
	if (!e)
		return -ENOENT;
	ret->serial = e->guest->serial;
	return 0;
}

static int find_name(const struct tree_view *view, const char *name, struct place *ret)
{
	CLEANUP_NAMES struct names names;
	int r = names_init(&names, view->guests);

	if (r < 0)
		return r;
	for (size_t i = 0; i < names.count; i++) {
		if (strcmp(names.name[i], name) == 0) {
			ret->serial = view->guests->entries[i].guest->serial;
			return 0;
		}
	}
	return -ENOENT;
}

static int find_module(const struct tree_view *view, const char *name, struct place *ret)
{
	for (size_t i = 0; view->symbols && i < view->symbols->module_count; i++) {
		const char *module = view->symbols->module_list[i].name;

		if (strcmp(module, name) == 0) {
			snprintf(ret->module, sizeof(ret->module), "%s", module);
			return 0;
		}
	}
	return -ENOENT;
}

static const struct guest *guest_of(const struct tree_view *view, const struct place *p)
{
	const struct guest_entry *e = guest_set_find_serial(view->guests, p->serial);

	return e ? e->guest : NULL;
}

static int find_vcpu(const struct tree_view *view, const char *name, struct place *ret)
{
	const struct guest *g = guest_of(view, ret);
	uint64_t index;

	if (!g || (name[0] == '0' && name[1]) || !text_to_u64(name, 10, GUEST_VCPUS_MAX, &index))
		return -ENOENT;
	for (size_t i = 0; i < g->vcpu_count; i++) {
		if (g->vcpus[i].index == index) {
			ret->slice.vcpu = (uint32_t)index + 1;
			return 0;
		}
	}
	return -ENOENT;
}

static int find_snapshot(const struct tree_view *view, const char *name, struct place *ret)
{
	for (size_t i = 0; i < view->snapshot_count; i++) {
		if (strcmp(view->snapshots[i].name, name) == 0) {
			ret->slice.time = view->snapshots[i].id;
			return 0;
		}
	}
	return -ENOENT;
}

/* Directories and files have one namespace, and two nodes. */
static bool is_node_of(const struct modtree_entry *e, enum node_id id)
{
	return e->dir == (nodes[id].class == CLASS_DIR);
}

static int find_file(const struct tree_view *view, const struct place *dir, enum node_id id,
		     const char *name, struct place *ret)
{
	const struct modtree_entry *e =
		view->files ? modtree_child(view->files, dir->file, name) : NULL;

	if (!e || !is_node_of(e, id))
		return -ENOENT;
	ret->file = e->key;
	return 0;
}

static bool has_btf(const struct tree_view *view)
{
	return view->symbols && view->symbols->btf;
}

static int find_child(const struct tree_view *view, const struct place *dir, enum node_id id,
		      const char *name, struct place *ret)
{
	switch (nodes[id].each) {
	case EACH_ONE: return strcmp(nodes[id].name, name) == 0 ? 0 : -ENOENT;
	case EACH_PID: return find_pid(view, name, ret);
	case EACH_NAME: return find_name(view, name, ret);
	case EACH_MODULE: return find_module(view, name, ret);
	case EACH_BTF: return has_btf(view) && strcmp(nodes[id].name, name) == 0 ? 0 : -ENOENT;
	case EACH_VCPU: return find_vcpu(view, name, ret);
	case EACH_SNAPSHOT: return find_snapshot(view, name, ret);
	case EACH_FILES: return find_file(view, dir, id, name, ret);
	}
	return -ENOENT;
}

/* The place that is the entry `id` of dir, before its name has its say. */
static struct place enter(enum node_id id, const struct place *dir)
{
	struct place p = *dir;

	p.node = id;
	if (id == NODE_RECENT)
		p.slice.time = SLICE_RECENT;
	return p;
}

static bool is_in(enum node_id id, const struct place *dir)
{
	return nodes[id].parent == dir->node || (nodes[id].sliced && nodes[dir->node].slices) ||
	       (nodes[id].each == EACH_FILES && dir->node == NODE_FILES_DIR);
}

int tree_lookup(const struct tree_view *view, const struct place *dir, const char *name,
		struct place *ret)
{
	if (!tree_exists(view, dir))
		return -ENOENT;
	for (enum node_id id = 0; id < NODE_COUNT; id++) {
		struct place found = enter(id, dir);
		int r;

		if (!is_in(id, dir))
			continue;
		r = find_child(view, dir, id, name, &found);
		if (r == -ENOENT)
			continue;
		if (r == 0)
			*ret = found;
		return r;
	}
	return -ENOENT;
}

/* -- listing ----------------------------------------------------------------------------- */

static struct tree_entry *append(struct tree_list *l, const struct place *dir, enum node_id id,
				 const char *name)
{
	struct tree_entry *e = &l->entries[l->count++];

	e->place = enter(id, dir);
	if (name)
		snprintf(e->name, sizeof(e->name), "%s", name);
	return e;
}

static void append_pids(const struct tree_view *view, const struct place *dir, enum node_id id,
			struct tree_list *l)
{
	for (size_t i = 0; i < view->guests->count; i++) {
		const struct guest *g = view->guests->entries[i].guest;
		struct tree_entry *e = append(l, dir, id, NULL);

		tree_guest_name(g, e->name, sizeof(e->name));
		e->place.serial = g->serial;
	}
}

static int append_names(const struct tree_view *view, const struct place *dir, enum node_id id,
			struct tree_list *l)
{
	CLEANUP_NAMES struct names names;
	int r = names_init(&names, view->guests);

	if (r < 0)
		return r;
	for (size_t i = 0; i < names.count; i++)
		append(l, dir, id, names.name[i])->place.serial =
			view->guests->entries[i].guest->serial;
	return 0;
}

static void append_modules(const struct tree_view *view, const struct place *dir, enum node_id id,
			   struct tree_list *l)
{
	for (size_t i = 0; view->symbols && i < view->symbols->module_count; i++) {
		const char *module = view->symbols->module_list[i].name;
		struct tree_entry *e = append(l, dir, id, module);

		snprintf(e->place.module, sizeof(e->place.module), "%s", module);
	}
}

static void append_vcpus(const struct tree_view *view, const struct place *dir, enum node_id id,
			 struct tree_list *l)
{
	const struct guest *g = guest_of(view, dir);

	for (size_t i = 0; g && i < g->vcpu_count; i++) {
		struct tree_entry *e = append(l, dir, id, NULL);

		snprintf(e->name, sizeof(e->name), "%u", g->vcpus[i].index);
		e->place.slice.vcpu = g->vcpus[i].index + 1;
	}
}

static void append_snapshots(const struct tree_view *view, const struct place *dir, enum node_id id,
			     struct tree_list *l)
{
	for (size_t i = 0; i < view->snapshot_count; i++)
		append(l, dir, id, view->snapshots[i].name)->place.slice.time =
			view->snapshots[i].id;
}

static void append_files(const struct tree_view *view, const struct place *dir, enum node_id id,
			 struct tree_list *l)
{
	size_t count = 0;
	const struct modtree_entry *e =
		view->files ? modtree_children(view->files, dir->file, &count) : NULL;

	for (size_t i = 0; i < count; i++) {
		if (is_node_of(&e[i], id))
			append(l, dir, id, modtree_name(view->files, &e[i]))->place.file = e[i].key;
	}
}

static int append_child(const struct tree_view *view, const struct place *dir, enum node_id id,
			struct tree_list *l)
{
	switch (nodes[id].each) {
	case EACH_ONE: append(l, dir, id, nodes[id].name); break;
	case EACH_PID: append_pids(view, dir, id, l); break;
	case EACH_NAME: return append_names(view, dir, id, l);
	case EACH_MODULE: append_modules(view, dir, id, l); break;
	case EACH_BTF:
		if (has_btf(view))
			append(l, dir, id, nodes[id].name);
		break;
	case EACH_VCPU: append_vcpus(view, dir, id, l); break;
	case EACH_SNAPSHOT: append_snapshots(view, dir, id, l); break;
	case EACH_FILES: append_files(view, dir, id, l); break;
	}
	return 0;
}

/* An upper bound: no directory holds two kinds of many. */
static size_t most_entries(const struct tree_view *view, const struct place *dir)
{
	const struct guest *g = guest_of(view, dir);
	size_t modules = view->symbols ? view->symbols->module_count : 0;
	size_t vcpus = g ? g->vcpu_count : 0, files = 0;

	if (view->files)
		modtree_children(view->files, dir->file, &files);
	return NODE_COUNT + view->guests->count + modules + vcpus + files + view->snapshot_count;
}

int tree_list(const struct tree_view *view, const struct place *dir, struct tree_list *ret)
{
	struct tree_list l = {0};

	if (!tree_exists(view, dir))
		return -ENOENT;
	l.entries = calloc(most_entries(view, dir), sizeof(*l.entries));
	if (!l.entries)
		return -ENOMEM;
	for (enum node_id id = 0; id < NODE_COUNT; id++) {
		int r = is_in(id, dir) ? append_child(view, dir, id, &l) : 0;

		if (r < 0) {
			tree_list_free(&l);
			return r;
		}
	}
	*ret = l;
	return 0;
}

void tree_list_free(struct tree_list *l)
{
	free(l->entries);
	*l = (struct tree_list){0};
}
