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
enum map { THREADS, PROCESSES, REASONS, ACCESSES, POOLS, LOST, EMPTY_THREAD, EMPTY_ROW };
static const enum map threads = THREADS, processes = PROCESSES, reasons = REASONS,
		      accesses = ACCESSES, pools = POOLS, lost = LOST, empty_thread = EMPTY_THREAD,
		      empty_row = EMPTY_ROW;

static struct exits_hash *hash_of(enum map map)
{
	switch (map) {
	case THREADS: return &here->threads;
	case PROCESSES: return &here->processes;
	case REASONS: return &here->rows[EXITS_REASONS];
	case ACCESSES: return &here->rows[EXITS_ACCESSES];
	default: return NULL;
	}
}

static inline void *bpf_map_lookup_elem(const enum map *map, const void *key)
{
	static struct exits_thread no_thread;
	static struct exits_row no_row;
	uint32_t index;

	switch (*map) {
	case POOLS: memcpy(&index, key, sizeof(index)); return &here->pools[index];
	case LOST: return &here->lost;
	case EMPTY_THREAD: return &no_thread;
	case EMPTY_ROW: return &no_row;
	default: return exits_hash_find(hash_of(*map), key);
	}
}

static inline long bpf_map_update_elem(const enum map *map, const void *key, const void *value,
				       int flags)
{
	(void)flags;
	return exits_hash_add(hash_of(*map), key, value) ? 0 : -ENOSPC;
}

static inline void bpf_map_delete_elem(const enum map *map, const void *key)
{
	exits_hash_remove(hash_of(*map), key);
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
