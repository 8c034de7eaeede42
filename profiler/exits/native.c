/* counting.h for this process: BPF's helpers stand for functions on struct exits_tables. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <linux/types.h>

#include "profiler/exits/tables.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/text.h"

#define PROGRAM	    static
#define BPF_NOEXIST 1
#undef __noinline
#define __noinline
#undef __always_inline
#define __always_inline inline

/* The tables that this thread counts into, during exits_tables_count(). */
static _Thread_local struct exits_tables *here;
#define constants (here->constants)

/* What counting.h calls its maps. */
enum map { PROCESSES, POOLS, LOST };
static const enum map processes = PROCESSES, pools = POOLS, lost = LOST;

static inline void *bpf_map_lookup_elem(const enum map *map, const void *key)
{
	uint32_t index;

	switch (*map) {
	case POOLS: memcpy(&index, key, sizeof(index)); return &here->pools[index];
	case LOST: return &here->lost;
	default: return exits_hash_find(&here->processes, key);
	}
}

static inline long bpf_map_update_elem(const enum map *map, const void *key, const void *value,
				       int flags)
{
	(void)map;
	(void)flags;
	return exits_hash_add(&here->processes, key, value) ? 0 : -ENOSPC;
}

/* from: in the event that is counted. */
static inline void bpf_probe_read_kernel(void *to, size_t n, const void *from)
{
	size_t at = (size_t)((const char *)from - (const char *)here->now.raw);

	if (at + n <= here->now.size)
		memcpy(to, from, n);
}

static inline __u64 bpf_ktime_get_ns(void)
{
	return here->now.time;
}

static inline __u64 bpf_get_current_pid_tgid(void)
{
	return (__u64)here->now.pid << 32 | here->now.tid;
}

#define on_exit count_exit /* stdlib.h has one */
#include "profiler/exits/counting.h"

static struct exits_thread *find_thread(__u32 tid)
{
	return exits_hash_find(&here->threads, &tid);
}

/* By a key that is no thread's: the kernel has some 4 million at most (PID_MAX_LIMIT). */
static void keep_without_number(struct exits_thread *t)
{
	__u32 tid = t->tid, key = 1U << 31 | ++here->without_number;

	give_up_number(t);
	exits_hash_add(&here->threads, &key, t);
	exits_hash_remove(&here->threads, &tid);
}

static struct exits_thread *add_thread(__u32 tid, __u32 tgid, __u32 vcpu)
{
	static const struct exits_thread empty;
	struct exits_thread *t = find_thread(tid);

	if (t && t->tgid == tgid)
		return t;
	if (t)
		keep_without_number(t);
	t = exits_hash_add(&here->threads, &tid, &empty);
	if (t)
		begin_thread(t, tid, tgid, vcpu);
	return t;
}

static struct exits_hash *rows_of(__u32 kind)
{
	return &here->rows[kind <= EXITS_VMM ? EXITS_REASONS : EXITS_ACCESSES];
}

static struct exits_row *find_row(struct exits_thread *t, __u32 kind, __u64 what, __u32 more,
				  __u32 tid)
{
	struct exits_key key = {
		.what = what, .more = more, .kind = kind, .tgid = t->tgid, .tid = tid};

	return exits_hash_find(rows_of(kind), &key);
}

static long add_row(const struct exits_key *key)
{
	static const struct exits_row empty;

	return exits_hash_add(rows_of(key->kind), key, &empty) ? 0 : -ENOSPC;
}

static inline int field_in_place(const char *ctx, struct exits_field f, __u64 *ret)
{
	(void)ctx;
	(void)f;
	(void)ret;
	return 0;
}

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define NOT_KERNEL \
	UINT32_MAX /* in kernel_threads: somebody else, who need not be asked about again */

/* text: of /proc/TID/stat, "TID (comm) state ppid pgrp session tty_nr tpgid flags ...". */
static bool parse_kernel_thread(char *text, char *comm)
{
	char *end = strrchr(text, ')');
	const char *start = strchr(text, '(');
	unsigned flags;

	if (!start || !end || sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1 ||
	    !(flags & PF_KTHREAD))
		return false;
	*end = '\0';
	snprintf(comm, 16, "%s", start + 1);
	return true;
}

static bool read_kernel_thread(__u32 tid, char *comm)
{
	CLEANUP_BUF struct buf b;
	char path[128];

	buf_init(&b, 4096);
	snprintf(path, sizeof(path), "%s/%u/stat", here->proc, tid);
	return io_read_file(AT_FDCWD, path, &b) == 0 && buf_append_char(&b, '\0') == 0 &&
	       parse_kernel_thread(b.data, comm);
}

static int is_kernel_thread(__u32 *ret_tgid)
{
	__u32 tid = here->now.tid;
	const __u32 *known = exits_hash_find(&here->kernel_threads, &tid);
	__u32 works_for_tgid = NOT_KERNEL;
	char comm[16] = "";

	/* Each is a process of its own. */
	if (here->now.pid != tid)
		return 0;
	if (known)
		works_for_tgid = *known;
	else if (tid == 0 || read_kernel_thread(tid, comm))
		works_for_tgid = works_for(comm);
	if (!known)
		exits_hash_add(&here->kernel_threads, &tid, &works_for_tgid);
	if (works_for_tgid == NOT_KERNEL)
		return 0;
	*ret_tgid = works_for_tgid;
	return 1;
}

/* ---- by name -----------------------------------------------------------------------------------
 */

static const struct {
	const char *name;
	int (*run)(void *event);
} programs[] = {
	{"on_switch", on_switch}, {"on_wakeup", on_wakeup},
	{"on_mmio", on_mmio},	  {"on_pio", on_pio},
	{"on_msr", on_msr},	  {"on_fast_mmio", on_fast_mmio},
	{"on_msi", on_msi},	  {"on_irq", on_irq},
	{"on_exit", on_exit},	  {"on_userspace", on_userspace},
	{"on_entry", on_entry},
};

int exits_counting_find(const char *program, struct exits_counting *ret)
{
	static const char prefix[] = "event_";
	uint64_t index;

	*ret = (struct exits_counting){.index = -1};
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		if (strcmp(program, programs[i].name) == 0) {
			ret->run = programs[i].run;
			return 0;
		}
	}
	if (strncmp(program, prefix, sizeof(prefix) - 1) != 0 ||
	    !text_to_u64(program + sizeof(prefix) - 1, 8, EXITS_EVENTS - 1, &index))
		return -ENOENT;
	ret->index = (int32_t)index;
	return 0;
}

void exits_tables_count(struct exits_tables *t, const struct exits_counting *counting,
			const struct trace_sample *sample)
{
	here = t;
	t->now = *sample;
	if (counting->run)
		counting->run((void *)(uintptr_t)sample->raw);
	else
		event(counting->index);
	here = NULL;
}
