/* The programs that count VM exits where they happen, on the kvm tracepoints and two of the
 * scheduler's. BPF C; this file may also be used under the GPL, version 2, which the kernel wants
 * of programs that read event records. What they do is in counting.h.
 */
#include "profiler/exits/abi.h"

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

typedef __u32 u32;
typedef __u64 u64;

const volatile struct exits_constants constants;

/* Threads and rows are in arrays, where the verifier makes a lookup a few instructions. Hash maps
 * say at which place; what has just been used is found without them. bpf.c sets the sizes, and
 * reads the arrays in its own memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct exits_thread_place);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct exits_row_place);
} rows SEC(".maps");

/* Whose row is at a place, by its tgid: bpf.c finds one process's rows here, in a fiftieth of the
 * memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} row_owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32); /* tid */
	__type(value, __u32);
} thread_places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct exits_key);
	__type(value, __u32);
} row_places SEC(".maps");

/* Places that are free: filled by bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1024);
	__type(value, __u32);
} free_threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1024);
	__type(value, __u32);
} free_rows SEC(".maps");

/* By the low bits of a tid, a place that was last found for it. 0: none has ever been added, so
 * that all other threads of the host are told without a look into the hash map. */
__u32 numbers[EXITS_NUMBERS];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, __u32); /* tgid */
	__type(value, struct exits_process);
} processes SEC(".maps");

/* How many rows all processes have beyond those that each is sure of. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EXITS_MAPS);
	__type(key, __u32);
	__type(value, __u32);
} pools SEC(".maps");

/* New entries are copies of these: too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exits_thread_place);
} empty_thread SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exits_row_place);
} empty_row SEC(".maps");

/* Events of which nothing was counted: no entry was free. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/* No program uses these: to put the one into the other is how bpf.c waits for programs to end. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} waited_for SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, typeof(waited_for));
} waiting SEC(".maps");

#define PROGRAM SEC("tp")
#include "profiler/exits/counting.h"

#include "profiler/exits/places.h"

/* ---- what else counting.h asks for ----------------------------------------------------------- */

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h; the same number since 2.6.27 */

static __always_inline int is_kernel_thread(__u32 *ret_tgid)
{
	char comm[16] = {0};
	__u32 flags = 0;

	if (constants.task_flags < 0)
		return 0;
	bpf_probe_read_kernel(&flags, sizeof(flags),
			      (const char *)bpf_get_current_task() + constants.task_flags);
	if (!(flags & PF_KTHREAD))
		return 0;
	bpf_get_current_comm(comm, sizeof(comm));
	*ret_tgid = works_for(comm);
	return 1;
}

/* Read at a constant offset, which is much cheaper than the helper that reads memory: what the
 * verifier knows not to be the case is dropped. As assembly, so that no two of these are made one
 * with a variable offset, which it refuses. */
#define IN_PLACE(type, n)                                                                          \
	do {                                                                                       \
		if (f.offset == (n) && f.size == sizeof(type)) {                                   \
			type v;                                                                    \
                                                                                                   \
			asm volatile("%0 = *(" #type " *)(%1 + %2)" : "=r"(v) : "r"(ctx), "i"(n)); \
			*ret = v;                                                                  \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)
#define IN_PLACES(n)            \
	IN_PLACE(u32, n);       \
	IN_PLACE(u32, (n) + 4); \
	IN_PLACE(u64, n)

static __always_inline int field_in_place(const char *ctx, struct exits_field f, __u64 *ret)
{
	IN_PLACES(0); /* of raw tracepoints alone */
	IN_PLACES(8);
	IN_PLACES(16);
	IN_PLACES(24);
	IN_PLACES(32);
	IN_PLACES(40);
	IN_PLACES(48);
	IN_PLACES(56);
	return 0;
}

#define EVENT(n)                    \
	SEC("raw_tp")               \
	int event_##n(void *ctx)    \
	{                           \
		(void)ctx;          \
		return event(0##n); \
	}
#define EVENTS(n)   \
	EVENT(n##0) \
	EVENT(n##1) EVENT(n##2) EVENT(n##3) EVENT(n##4) EVENT(n##5) EVENT(n##6) EVENT(n##7)

/* Octal: event_000 to event_177. */
EVENTS(00)
EVENTS(01)
EVENTS(02)
EVENTS(03)
EVENTS(04)
EVENTS(05)
EVENTS(06)
EVENTS(07)
EVENTS(10)
EVENTS(11)
EVENTS(12)
EVENTS(13)
EVENTS(14)
EVENTS(15)
EVENTS(16)
EVENTS(17)
