#include "profiler/exits/bpf.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "profiler/exits/numbers.h"
#include "profiler/exits/object.h"
#include "profiler/exits/rawargs.h"
#include "profiler/exits/sizes.h"
#include "profiler/exits/steady.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/lock.h"
#include "symsrc/base/log.h"

#define BATCH 512 /* entries that are read at once */

/* An array of entries, which this process has in its own memory. */
struct places {
	int keys;	/* a hash map of places by key; owned by the object */
	int free;	/* a queue of places; likewise */
	uint32_t count; /* places, with the first one, which no key has */
	size_t size;	/* of an entry */
	char *at;	/* all of them; NULL: not mapped yet */
};

struct exits_bpf {
	struct exits_source source;
	struct bpf_object *object;
	struct exits_sizes sizes;
	struct exits_fields fields;
	bool raw[EXITS_EVENTS + 8]; /* by the plan's hook: a raw tracepoint's program */
	struct mutex lock; /* what stands in the entries, among this process's threads; a leaf */
	struct places threads, rows;
	/* The programs' own; NULL: not mapped yet. */
	uint32_t *numbers;
	uint64_t *row_owners; /* by place */
	/* maps; owned by the object */
	int processes, pools, lost, waiting, waited_for;
	size_t link_count;
	struct bpf_link *links[EXITS_EVENTS + 8];
	int programs[EXITS_EVENTS + 8]; /* descriptors of link's programs; owned by the object */
};

static struct exits_bpf *of(struct exits_source *s)
{
	return (struct exits_bpf *)s;
}

static int to_log(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[LOG_LINE_MAX];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), fmt, ap);
	log_debug("libbpf: %s", line);
	return 0;
}

/* ---- loading -----------------------------------------------------------------------------------
 */

static int set_sizes(struct bpf_object *o, const struct exits_sizes *s)
{
	uint32_t rows = 0;

	for (int i = 0; i < EXITS_MAPS; i++)
		rows += s->rows[i];
	const struct {
		const char *map;
		uint32_t entries;
	} sizes[] = {{"threads", s->threads + 1},  {"thread_places", s->threads},
		     {"free_threads", s->threads}, {"processes", s->processes},
		     {"rows", rows + 1},	   {"row_owners", rows + 1},
		     {"row_places", rows},	   {"free_rows", rows}};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct bpf_map *m = bpf_object__find_map_by_name(o, sizes[i].map);
		int r = m ? bpf_map__set_max_entries(m, sizes[i].entries) : -ENOENT;

		if (r < 0)
			return r;
	}
	return 0;
}

/* Where a thread's flags are, which tell the kernel's own threads. -1 where the kernel has no BTF:
 * each of them then counts as a process. */
static int32_t find_task_flags(const struct btf *btf)
{
	int32_t id = btf ? btf__find_by_name_kind(btf, "task_struct", BTF_KIND_STRUCT) : -1;
	const struct btf_type *t = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;

	for (uint32_t i = 0; t && i < btf_vlen(t); i++) {
		const struct btf_member *m = &btf_members(t)[i];
		const char *name = btf__name_by_offset(btf, m->name_off);

		if (name && strcmp(name, "flags") == 0)
			return (int32_t)(btf_member_bit_offset(t, i) / 8);
	}
	return -1;
}

/* What hangs raw, and where the fields of that are. kvm: as exits_rawargs_find() wants it. */
static void choose_raw(struct exits_bpf *b, const struct exits_plan *plan, const struct btf *kvm)
{
	b->fields = plan->fields;
	for (size_t i = 0; i < plan->hook_count; i++) {
		const struct exits_hook *h = &plan->hooks[i];

		b->raw[i] = h->raw || exits_rawargs_find(kvm, h->event, &b->fields);
	}
}

/* What the kernel says of its own types. */
static void ask_kernel(struct exits_bpf *b, const struct exits_plan *plan, int32_t *ret_task_flags)
{
	struct btf *kernel = btf__load_vmlinux_btf();
	struct btf *module = kernel ? btf__load_module_btf("kvm", kernel) : NULL;

	*ret_task_flags = find_task_flags(kernel);
	choose_raw(b, plan, module ? module : kernel); /* or it is built in */
	btf__free(module);
	btf__free(kernel);
}

/* A map that libbpf has made for global variables, whose name begins with the object's. */
static struct bpf_map *find_section(struct bpf_object *o, const char *section)
{
	struct bpf_map *m;

	bpf_object__for_each_map(m, o)
	{
		const char *name = bpf_map__name(m), *dot = strrchr(name, '.');

		if (dot && strcmp(dot, section) == 0)
			return m;
	}
	return NULL;
}

/* The programs' constants: the only content of their .rodata. */
static int set_constants(struct bpf_object *o, const struct exits_constants *constants)
{
	struct bpf_map *m = find_section(o, ".rodata");

	return m ? bpf_map__set_initial_value(m, constants, sizeof(*constants)) : -ENOENT;
}

static void load_only_what_is_used(const struct exits_bpf *b, const struct exits_plan *plan)
{
	struct bpf_program *p;

	bpf_object__for_each_program(p, b->object)
	{
		bpf_program__set_autoload(p, false);
	}
	for (size_t i = 0; i < plan->hook_count; i++) {
		p = bpf_object__find_program_by_name(b->object, plan->hooks[i].program);
		if (!p)
			continue;
		bpf_program__set_autoload(p, true);
		if (b->raw[i])
			bpf_program__set_type(p, BPF_PROG_TYPE_RAW_TRACEPOINT);
	}
}

/* Shared with the programs. n: bytes. */
static int map_memory(const struct bpf_map *m, size_t n, void **ret)
{
	void *at;

	if (!m)
		return -ENOENT;
	at = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(m), 0);
	if (at == MAP_FAILED)
		return -errno;
	*ret = at;
	return 0;
}

static int open_places(const struct exits_bpf *b, struct places *p, const char *array)
{
	const struct bpf_map *m = bpf_object__find_map_by_name(b->object, array);
	void *at = NULL;
	int r;

	p->count = bpf_map__max_entries(m);
	p->size = bpf_map__value_size(m);
	r = map_memory(m, p->count * p->size, &at);
	if (r < 0)
		return r;
	p->at = at;
	for (uint32_t i = 1; i < p->count; i++) {
		if (bpf_map_update_elem(p->free, NULL, &i, BPF_ANY) < 0)
			return -errno;
	}
	return 0;
}

static void close_places(struct places *p)
{
	if (p->at)
		munmap(p->at, p->count * p->size);
}

/* After the places. The numbers are the only content of the programs' .bss. */
static int open_helpers(struct exits_bpf *b)
{
	void *at = NULL;
	int r = map_memory(find_section(b->object, ".bss"), EXITS_NUMBERS * sizeof(*b->numbers),
			   &at);

	if (r < 0)
		return r;
	b->numbers = at;
	r = map_memory(bpf_object__find_map_by_name(b->object, "row_owners"),
		       b->rows.count * sizeof(*b->row_owners), &at);
	if (r == 0)
		b->row_owners = at;
	return r;
}

static void close_helpers(struct exits_bpf *b)
{
	if (b->numbers)
		munmap(b->numbers, EXITS_NUMBERS * sizeof(*b->numbers));
	if (b->row_owners)
		munmap(b->row_owners, b->rows.count * sizeof(*b->row_owners));
}

static int find_maps(struct exits_bpf *b)
{
	const struct {
		const char *name;
		int *fd;
	} maps[] = {{"thread_places", &b->threads.keys},
		    {"free_threads", &b->threads.free},
		    {"row_places", &b->rows.keys},
		    {"free_rows", &b->rows.free},
		    {"processes", &b->processes},
		    {"pools", &b->pools},
		    {"lost", &b->lost},
		    {"waiting", &b->waiting},
		    {"waited_for", &b->waited_for}};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		*maps[i].fd = bpf_object__find_map_fd_by_name(b->object, maps[i].name);
		if (*maps[i].fd < 0)
			return *maps[i].fd;
	}
	r = open_places(b, &b->threads, "threads");
	if (r == 0)
		r = open_places(b, &b->rows, "rows");
	return r < 0 ? r : open_helpers(b);
}

static int load(struct exits_bpf *b, const struct exits_plan *plan, unsigned cpus)
{
	struct exits_constants constants = {0};
	int r;

	ask_kernel(b, plan, &constants.task_flags);
	constants.fields = b->fields;
	exits_sizes_of(cpus, &b->sizes);
	memcpy(constants.limits, b->sizes.limits, sizeof(constants.limits));
	r = set_sizes(b->object, &b->sizes);
	if (r == 0)
		r = set_constants(b->object, &constants);
	if (r < 0)
		return r;
	load_only_what_is_used(b, plan);
	r = bpf_object__load(b->object);
	return r < 0 ? r : find_maps(b);
}

/* One perf event will do for all CPUs: the program hangs on the tracepoint itself (kernel/events/
 * core.c, perf_event_set_bpf_prog()), also while the event itself counts nothing. Not by name,
 * since libbpf wants a mounted tracefs then. */
static struct bpf_link *attach_classic(const struct bpf_program *p, const struct exits_hook *h)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = h->id, .disabled = 1};
	int fd = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	struct bpf_link *link = fd < 0 ? NULL : bpf_program__attach_perf_event(p, fd);

	if (!link)
		close_keep_errno(fd);
	else
		ioctl(fd, PERF_EVENT_IOC_DISABLE, 0); /* libbpf has enabled it */
	return link;
}

/* Raw where that will do: it is cheaper, and the kernel waits for all CPUs with every classic one
 * that is detached, which takes seconds for all of kvm:*. */
static int attach(struct exits_bpf *b, const struct exits_hook *h, bool raw)
{
	struct bpf_program *p = bpf_object__find_program_by_name(b->object, h->program);
	struct bpf_link *link;

	if (!p)
		return -ENOENT;
	link = raw ? bpf_program__attach_raw_tracepoint(p, h->event) : attach_classic(p, h);
	if (!link)
		return -errno;
	b->programs[b->link_count] = bpf_program__fd(p);
	b->links[b->link_count++] = link;
	return 0;
}

static const char *hint(int r)
{
	return r == -EPERM || r == -EACCES ? " (it takes CAP_BPF and CAP_PERFMON, and no lockdown)"
					   : "";
}

/* ---- reading -----------------------------------------------------------------------------------
 */

static struct exits_thread_place *thread_at(const struct exits_bpf *b, uint32_t place)
{
	return (struct exits_thread_place *)(void *)b->threads.at + place;
}

static struct exits_row_place *row_at(const struct exits_bpf *b, uint32_t place)
{
	return (struct exits_row_place *)(void *)b->rows.at + place;
}

/* Without the hash maps, whose reading takes calls of the kernel. What is added meanwhile may be
 * missed. Threads before rows, as
 * exits_raw_show() wants it. */
static int with_lock__read_threads(const struct exits_bpf *b, uint32_t tgid, struct exits_raw *raw)
{
	int r = 0;

	for (uint32_t i = 1; r == 0 && i < b->threads.count; i++) {
		const struct exits_thread *from = &thread_at(b, i)->t;
		struct exits_thread t;

		if (!from->tgid || !exits_is_of(from->tgid, tgid))
			continue;
		exits_steady_thread(from, &t);
		r = exits_raw_add_thread(raw, exits_number_of(&t), &t);
	}
	return r;
}

static int with_lock__read_rows(const struct exits_bpf *b, uint32_t tgid, struct exits_raw *raw)
{
	int r = 0;

	for (uint32_t i = 1; r == 0 && i < b->rows.count; i++) {
		uint64_t owner = b->row_owners[i];
		const struct exits_row_place *e = row_at(b, i);
		struct exits_row row;

		if (!owner || !exits_is_of((uint32_t)owner, tgid))
			continue;
		exits_steady_row(&e->row, &row);
		r = exits_raw_add_row(raw, &e->key, &row);
	}
	return r;
}

/* What no entry was free for, and what came while a program ran on the same CPU: an interrupt's
 * events inside of another event. */
static void tell_lost(struct exits_source *s, struct exits_lost *ret)
{
	const struct exits_bpf *b = of(s);
	uint32_t zero = 0;

	*ret = (struct exits_lost){0};
	bpf_map_lookup_elem(b->lost, &zero, &ret->rows);
	for (size_t i = 0; i < b->link_count; i++) {
		struct bpf_prog_info info = {0};
		uint32_t size = sizeof(info);

		if (bpf_obj_get_info_by_fd(b->programs[i], &info, &size) < 0)
			continue;
		*exits_plan_lost(info.name, ret) += info.recursion_misses;
	}
}

static int read_entry(struct exits_source *s, uint32_t tid, struct exits_thread *ret)
{
	struct exits_bpf *b = of(s);
	uint32_t place = 0;

	if (tid != EXITS_KERNEL && bpf_map_lookup_elem(b->threads.keys, &tid, &place) < 0)
		return -errno;
	mutex_lock(&b->lock);
	exits_steady_thread(&thread_at(b, place < b->threads.count ? place : 0)->t, ret);
	mutex_unlock(&b->lock);
	return ret->tid == tid ? 0 : -ENOENT; /* or forgotten just now */
}

static int read_process(struct exits_source *s, uint32_t tgid, struct exits_raw *ret)
{
	struct exits_bpf *b = of(s);
	struct exits_raw raw = {.taken_ns = clock_now_ns()};
	struct exits_thread kernel;
	int r;

	tell_lost(s, &raw.lost);
	if (read_entry(s, EXITS_KERNEL, &kernel) == 0)
		raw.kernel_irqs = exits_raw_irqs(&kernel, &b->fields);
	mutex_lock(&b->lock);
	r = with_lock__read_threads(b, tgid, &raw);
	if (r == 0)
		r = with_lock__read_rows(b, tgid, &raw);
	mutex_unlock(&b->lock);
	if (r < 0) {
		exits_raw_deinit(&raw);
		return r;
	}
	*ret = raw;
	return 0;
}

static int tell_lasts(struct exits_source *s, exits_last_fn *fn, void *ctx)
{
	struct exits_bpf *b = of(s);
	int r = 0;

	mutex_lock(&b->lock);
	for (uint32_t i = 1; r == 0 && i < b->threads.count; i++) {
		const struct exits_thread *t = &thread_at(b, i)->t;

		if (t->tgid && t->vcpu)
			r = fn(ctx, t->tgid, t->since);
	}
	mutex_unlock(&b->lock);
	return r;
}

/* ---- forgetting ---------------------------------------------------------------------------------
 */

struct forgetting {
	struct exits_bpf *b;
	exits_keep_fn *keep;
	void *ctx;
	struct buf threads, rows; /* struct exits_gone each */
	struct buf processes;	  /* tgids */
};

/* From now on a program finds it neither by its key nor, since the entry is no proof any more, by
 * what it remembers; but one that already runs may still write there. One that is just being added
 * has no key yet: it stays until the next time. key NULL: it has given it up. */
static int with_lock__take_away(struct buf *to, struct exits_gone gone, const struct places *p,
				const void *key)
{
	uint32_t place;
	int r;

	if (key && (bpf_map_lookup_elem(p->keys, key, &place) < 0 || place != gone.place))
		return 0;
	r = buf_append(to, &gone, sizeof(gone));
	if (r < 0)
		return r;
	if (key)
		bpf_map_delete_elem(p->keys, key);
	memset(p->at + gone.place * p->size, 0, p->size);
	return 0;
}

/* A failure leaves the rest to the next time. */
static void with_lock__take_away_all(struct forgetting *f)
{
	const struct exits_bpf *b = f->b;
	int r = 0;

	for (uint32_t i = 1; r == 0 && i < b->threads.count; i++) {
		const struct exits_thread *t = &thread_at(b, i)->t;
		uint32_t tid = t->tid;

		if (t->tgid && !f->keep(f->ctx, t->tgid))
			r = with_lock__take_away(&f->threads, (struct exits_gone){i, tid},
						 &b->threads, t->had_tid ? NULL : &tid);
	}
	for (uint32_t i = 1; r == 0 && i < b->rows.count; i++) {
		uint64_t owner = b->row_owners[i];
		const struct exits_key key = owner ? row_at(b, i)->key : (struct exits_key){0};

		if (owner && !f->keep(f->ctx, (uint32_t)owner))
			r = with_lock__take_away(&f->rows, (struct exits_gone){i, key.tid},
						 &b->rows, &key);
	}
}

/* Until all programs have ended that run now: the kernel promises that to who has changed a map of
 * maps (kernel/bpf/syscall.c, maybe_wait_bpf_programs(), since 5.0), also where nothing changes. It
 * takes some milliseconds or some dozens of them. */
static void wait_for_programs(const struct exits_bpf *b)
{
	uint32_t zero = 0;

	if (bpf_map_update_elem(b->waiting, &zero, &b->waited_for, BPF_ANY) < 0)
		log_debug("exits: cannot wait for programs: %s", strerrordesc_np(errno));
}

static void with_lock__give_back(const struct places *p, const struct buf *all)
{
	struct exits_gone gone;

	for (size_t at = 0; at < all->len; at += sizeof(gone)) {
		memcpy(&gone, all->data + at, sizeof(gone));
		memset(p->at + gone.place * p->size, 0, p->size);
		bpf_map_update_elem(p->free, NULL, &gone.place, BPF_ANY);
	}
}

static void with_lock__clear_owners(struct exits_bpf *b, const struct buf *rows)
{
	struct exits_gone gone;

	for (size_t at = 0; at < rows->len; at += sizeof(gone)) {
		memcpy(&gone, rows->data + at, sizeof(gone));
		b->row_owners[gone.place] = 0;
	}
}

/* With what is gone. */
static void use_again(struct forgetting *f)
{
	struct exits_bpf *b = f->b;

	wait_for_programs(b);
	exits_numbers_renew(b->numbers, thread_at(b, 0), b->threads.count,
			    (const struct exits_gone *)(const void *)f->threads.data,
			    f->threads.len / sizeof(struct exits_gone));
	mutex_lock(&b->lock);
	with_lock__clear_owners(b, &f->rows);
	with_lock__give_back(&b->threads, &f->threads);
	with_lock__give_back(&b->rows, &f->rows);
	mutex_unlock(&b->lock);
}

static void forget_entries(struct forgetting *f)
{
	struct exits_bpf *b = f->b;

	buf_init(&f->threads, SIZE_MAX / 2);
	buf_init(&f->rows, SIZE_MAX / 2);
	mutex_lock(&b->lock);
	with_lock__take_away_all(f);
	mutex_unlock(&b->lock);
	if (f->threads.len || f->rows.len)
		use_again(f);
	buf_deinit(&f->threads);
	buf_deinit(&f->rows);
}

/* ---- processes and pools ------------------------------------------------------------------------
 */

/* Calls fn with every entry of a hash map; what is added or removed meanwhile may be missed. */
static int each(int map, size_t key_size, size_t value_size,
		int (*fn)(void *ctx, const void *key, const void *value), void *ctx)
{
	CLEANUP_FREE char *keys = calloc(BATCH, key_size);
	CLEANUP_FREE char *values = calloc(BATCH, value_size);
	uint32_t position[2] = {0}; /* of hash maps: a bucket's number */
	void *from = NULL;
	int r = keys && values ? 0 : -ENOMEM;

	while (r == 0) {
		uint32_t n = BATCH;

		r = bpf_map_lookup_batch(map, from, position, keys, values, &n, NULL);
		if (r < 0 && r != -ENOENT)
			return r;
		for (uint32_t i = 0; i < n; i++) {
			int err = fn(ctx, keys + i * key_size, values + i * value_size);

			if (err < 0)
				return err;
		}
		from = position;
	}
	return r == -ENOENT ? 0 : r;
}

static int doom_process(void *ctx, const void *key, const void *value)
{
	struct forgetting *f = ctx;
	uint32_t tgid;

	(void)value;
	memcpy(&tgid, key, sizeof(tgid));
	return f->keep(f->ctx, tgid) ? 0 : buf_append(&f->processes, &tgid, sizeof(tgid));
}

static void forget_processes(struct forgetting *f)
{
	const struct exits_bpf *b = f->b;

	buf_init(&f->processes, SIZE_MAX / 2);
	each(b->processes, sizeof(uint32_t), sizeof(struct exits_process), doom_process, f);
	for (size_t at = 0; at < f->processes.len; at += sizeof(uint32_t))
		bpf_map_delete_elem(b->processes, f->processes.data + at);
	buf_deinit(&f->processes);
}

struct pools {
	const struct exits_limits *limits;
	uint32_t used[EXITS_MAPS];
};

static int add_to_pools(void *ctx, const void *key, const void *value)
{
	const struct exits_process *p = value;
	struct pools *pools = ctx;

	(void)key;
	for (int i = 0; i < EXITS_MAPS; i++) {
		if (p->rows[i] > pools->limits[i].sure)
			pools->used[i] += p->rows[i] - pools->limits[i].sure;
	}
	return 0;
}

/* Anew, by those processes that are left. */
static void count_pools(const struct exits_bpf *b)
{
	struct pools pools = {.limits = b->sizes.limits};

	if (each(b->processes, sizeof(uint32_t), sizeof(struct exits_process), add_to_pools,
		 &pools) < 0)
		return;
	for (uint32_t i = 0; i < EXITS_MAPS; i++)
		bpf_map_update_elem(b->pools, &i, &pools.used[i], BPF_ANY);
}

static void forget(struct exits_source *s, exits_keep_fn *keep, void *ctx)
{
	struct exits_bpf *b = of(s);
	struct forgetting f = {.b = b, .keep = keep, .ctx = ctx};

	forget_entries(&f);
	forget_processes(&f);
	count_pools(b);
}

/* ---- the source --------------------------------------------------------------------------------
 */

static void release(struct exits_source *s)
{
	struct exits_bpf *b = of(s);

	for (size_t i = 0; i < b->link_count; i++)
		bpf_link__destroy(b->links[i]);
	close_places(&b->threads);
	close_places(&b->rows);
	close_helpers(b);
	bpf_object__close(b->object);
	mutex_deinit(&b->lock);
	free(b);
}

static const struct exits_source_ops ops = {
	.name = "bpf",
	.read = read_process,
	.read_thread = read_entry,
	.lasts = tell_lasts,
	.lost = tell_lost,
	.look = forget,
	.free = release,
};

int exits_bpf_load(const struct exits_plan *plan, unsigned cpus, struct exits_source **ret,
		   struct errmsg *why)
{
	struct exits_bpf *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return errmsg_set(why, -ENOMEM, "no memory for the BPF programs");
	b->source = (struct exits_source){.ops = &ops, .fd = -1};
	mutex_init(&b->lock);
	libbpf_set_print(to_log);
	b->object = bpf_object__open_mem(
		exits_object, (uintptr_t)exits_object_end - (uintptr_t)exits_object, NULL);
	r = b->object ? load(b, plan, cpus) : -errno;
	for (size_t i = 0; r == 0 && i < plan->hook_count; i++)
		r = attach(b, &plan->hooks[i], b->raw[i]);
	if (r < 0) {
		release(&b->source);
		return errmsg_set(why, r,
				  "the kernel refuses BPF programs on KVM's tracepoints: %s%s",
				  strerrordesc_np(-r), hint(r));
	}
	*ret = &b->source;
	return 0;
}
