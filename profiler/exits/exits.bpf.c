/* The programs that count VM exits where they happen, on the kvm tracepoints and two of the
 * scheduler's. BPF C; this file may also be used under the GPL, version 2, which the kernel wants
 * of programs that read event records.
 *
 * A vCPU's thread writes its own entry and its own rows, so nothing here needs a lock or an atomic
 * operation but what counts for a whole process. Offsets of fields come from the running kernel's
 * format files (abi.h): the verifier knows them as constants and drops what has no field.
 */
#include "profiler/exits/abi.h"

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* include/linux/sched.h: TASK_REPORT, and EXIT_DEAD | EXIT_ZOMBIE of it, in sched_switch's
 * prev_state; the same numbers since 4.14. */
#define STATE_ASLEEP 0xff
#define STATE_GONE   0x30

/* linux/kvm.h: KVM_EXIT_... of kvm_userspace_exit */
#define VMM_IO	  2
#define VMM_HLT	  5
#define VMM_MMIO  6
#define VMM_RDMSR 29
#define VMM_WRMSR 30

/* type of kvm_mmio (include/trace/events/kvm.h) */
#define MMIO_UNSATISFIED 0
#define MMIO_WRITE	 2

/* What a program on a tracepoint returns so that others who listen there hear of the event, too. */
#define PASS 1

char _license[] SEC("license") = "Dual MIT/GPL";

const volatile struct exits_fields fields;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct exits_thread);
} threads SEC(".maps");

/* Two maps, so that a guest that touches many addresses takes no room from reasons. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct exits_key);
	__type(value, struct exits_row);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct exits_key);
	__type(value, struct exits_row);
} accesses SEC(".maps");

/* New entries are copies of these: too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exits_thread);
} empty_thread SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exits_row);
} empty_row SEC(".maps");

/* Events of which nothing was counted: no entry was free. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline __u64 field(const void *ctx, struct exits_field f)
{
	__u64 v8 = 0;
	__u32 v4 = 0;
	__u16 v2 = 0;
	__u8 v1 = 0;

	if (f.offset < 0)
		return 0;
	if (f.size == 8) {
		bpf_probe_read_kernel(&v8, 8, ctx + f.offset);
		return v8;
	}
	if (f.size == 4) {
		bpf_probe_read_kernel(&v4, 4, ctx + f.offset);
		return v4;
	}
	if (f.size == 2) {
		bpf_probe_read_kernel(&v2, 2, ctx + f.offset);
		return v2;
	}
	bpf_probe_read_kernel(&v1, 1, ctx + f.offset);
	return v1;
}
#define FIELD(name) field(ctx, (struct exits_field){fields.name.offset, fields.name.size})

static __noinline void count_lost(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&lost, &zero);

	if (n)
		__sync_fetch_and_add(n, 1);
}

static __noinline struct exits_thread *new_thread(__u32 id, __u32 tgid, __u32 vcpu)
{
	__u32 zero = 0;
	struct exits_thread *t = bpf_map_lookup_elem(&empty_thread, &zero);

	if (t)
		bpf_map_update_elem(&threads, &id, t, BPF_NOEXIST);
	t = bpf_map_lookup_elem(&threads, &id);
	if (!t) {
		count_lost();
		return 0;
	}
	t->tgid = tgid;
	t->vcpu = vcpu;
	t->mode = EXITS_UNKNOWN;
	t->since = bpf_ktime_get_ns();
	return t;
}

/* The entry of a vCPU's thread, which runs this: made at its first event. The kernel uses a tid
 * again for another process some day. */
static __always_inline struct exits_thread *self(void)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = id, tgid = id >> 32;
	struct exits_thread *t = bpf_map_lookup_elem(&threads, &tid);

	if (t && t->tgid == tgid) {
		t->vcpu = 1;
		return t;
	}
	if (t)
		bpf_map_delete_elem(&threads, &tid);
	return new_thread(tid, tgid, 1);
}

/* The entry that counts for whoever runs this: a vCPU's own one, or its process's. */
static __always_inline struct exits_thread *self_or_process(void)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = id, tgid = id >> 32;
	struct exits_thread *t = bpf_map_lookup_elem(&threads, &tid);

	if (t && t->tgid == tgid)
		return t;
	t = bpf_map_lookup_elem(&threads, &tgid);
	return t ? t : new_thread(tgid, tgid, 0);
}

static __always_inline void count_event(struct exits_thread *t, __s32 event)
{
	if (event >= 0 && event < EXITS_EVENTS)
		t->events[event]++;
}

static __always_inline void count_event_shared(struct exits_thread *t, __s32 event)
{
	if (event >= 0 && event < EXITS_EVENTS)
		__sync_fetch_and_add(&t->events[event], 1);
}

/* ---- where the time goes ------------------------------------------------------------------- */

static __always_inline void account(struct exits_thread *t, __u64 now)
{
	__u32 slot = t->mode;

	if (t->run == EXITS_RUNNABLE)
		slot = EXITS_WAITING;
	else if (t->run == EXITS_ASLEEP &&
		 (slot != EXITS_IN_VMM || (t->vmm_reason == VMM_HLT && !t->vmm_is_err)))
		slot = EXITS_HALTED;
	if (slot < EXITS_TIMES && t->run != EXITS_GONE && now > t->since)
		t->times[slot] += now - t->since;
	t->since = now;
}

static __always_inline void change_mode(struct exits_thread *t, __u64 now, __u32 mode)
{
	t->run = EXITS_RUNNING;
	account(t, now);
	t->mode = mode;
}

static __always_inline void change_run(__u32 tid, __u32 run)
{
	struct exits_thread *t = bpf_map_lookup_elem(&threads, &tid);

	if (!t || !t->vcpu)
		return;
	account(t, bpf_ktime_get_ns());
	t->run = run;
}

SEC("tp")
int on_switch(void *ctx)
{
	__u64 state = FIELD(prev_state);

	change_run(FIELD(prev_pid), state & STATE_GONE	   ? EXITS_GONE
				    : state & STATE_ASLEEP ? EXITS_ASLEEP
							   : EXITS_RUNNABLE);
	change_run(FIELD(next_pid), EXITS_RUNNING);
	return PASS;
}

/* Who was woken before it slept is still running. */
SEC("tp")
int on_wakeup(void *ctx)
{
	__u32 tid = FIELD(wakeup_pid);
	struct exits_thread *t = bpf_map_lookup_elem(&threads, &tid);

	if (t && t->vcpu && t->run == EXITS_ASLEEP) {
		account(t, bpf_ktime_get_ns());
		t->run = EXITS_RUNNABLE;
	}
	return PASS;
}

/* ---- rows ---------------------------------------------------------------------------------- */

static __noinline struct exits_row *new_row(struct exits_thread *t, struct exits_key *key)
{
	__u32 zero = 0, kind;
	struct exits_row *row = bpf_map_lookup_elem(&empty_row, &zero);

	if (!t || !key || !row)
		return 0;
	kind = key->kind;
	if (kind >= EXITS_KINDS || t->rows[kind] >= EXITS_ROWS_EACH)
		return 0;
	if (kind <= EXITS_VMM) {
		if (bpf_map_update_elem(&reasons, key, row, BPF_NOEXIST) == 0)
			t->rows[kind]++;
		return bpf_map_lookup_elem(&reasons, key);
	}
	if (bpf_map_update_elem(&accesses, key, row, BPF_NOEXIST) == 0)
		t->rows[kind]++;
	return bpf_map_lookup_elem(&accesses, key);
}

/* NULL: it is to be counted as [other]. */
static __always_inline struct exits_row *row_of(struct exits_thread *t, __u32 kind, __u64 what,
						__u32 more, __u32 tid)
{
	struct exits_key key = {
		.what = what, .more = more, .kind = kind, .tgid = t->tgid, .tid = tid};
	struct exits_row *row = kind <= EXITS_VMM ? bpf_map_lookup_elem(&reasons, &key)
						  : bpf_map_lookup_elem(&accesses, &key);

	return row ? row : new_row(t, &key);
}

static __always_inline __u32 log2_of(__u64 v)
{
	__u32 n = 0;

	if (v >> 32) {
		v >>= 32;
		n += 32;
	}
	if (v >> 16) {
		v >>= 16;
		n += 16;
	}
	if (v >> 8) {
		v >>= 8;
		n += 8;
	}
	if (v >> 4) {
		v >>= 4;
		n += 4;
	}
	if (v >> 2) {
		v >>= 2;
		n += 2;
	}
	return n + (v >> 1 ? 1 : 0);
}

static __always_inline void add_time(struct exits_sums *s, __u64 ns)
{
	if (s->timed == 0 || ns < s->min)
		s->min = ns;
	if (ns > s->max)
		s->max = ns;
	s->timed++;
	s->total += ns;
}

static __noinline int count_row(struct exits_thread *t, struct exits_row *row, __u32 kind, __u64 ns,
				__u32 userspace)
{
	struct exits_sums *s;

	if (!t || kind >= EXITS_KINDS)
		return 0;
	s = row ? &row->sums : &t->other[kind];
	s->count++;
	s->userspace += userspace;
	add_time(s, ns);
	if (row) {
		__u32 bucket = log2_of(ns);

		if (bucket >= EXITS_BUCKETS)
			bucket = EXITS_BUCKETS - 1;
		row->buckets[bucket]++;
	}
	return 0;
}

/* Without its time: that of an access is known at the entry. */
static __always_inline void count_only(struct exits_thread *t, struct exits_row *row, __u32 kind)
{
	struct exits_sums *s = row ? &row->sums : &t->other[kind];

	s->count++;
}

static __always_inline struct exits_row *own_row(struct exits_thread *t, __u32 kind, __u64 what,
						 __u32 more)
{
	return row_of(t, kind, what, more, (__u32)bpf_get_current_pid_tgid());
}

/* ---- accesses: MMIO, ports, MSRs ----------------------------------------------------------- */

static __noinline int credit_access(struct exits_thread *t, __u64 ns, __u32 timed, __u32 userspace)
{
	struct exits_row *row;
	struct exits_sums *s;
	__u32 kind;

	if (!t)
		return 0;
	kind = t->access_kind;
	if (kind < EXITS_MMIO || kind > EXITS_FAST_MMIO)
		return 0;
	row = own_row(t, kind, t->access_what, t->access_more);
	s = row ? &row->sums : &t->other[kind];
	s->userspace += userspace;
	if (!timed)
		return 0;
	add_time(s, ns);
	if (row) {
		__u32 bucket = log2_of(ns);

		row->buckets[bucket < EXITS_BUCKETS ? bucket : EXITS_BUCKETS - 1]++;
	}
	return 0;
}

/* A read is told after the VMM has answered it, a write before the VMM is asked. */
static __noinline int begin_access(struct exits_thread *t, __u32 kind, __u64 what, __u32 more)
{
	if (!t || kind < EXITS_MMIO || kind > EXITS_FAST_MMIO)
		return 0;
	count_only(t, own_row(t, kind, what, more), kind);
	t->access_kind = kind;
	t->access_what = what;
	t->access_more = more;
	if (t->vmm_wants == kind) {
		t->vmm_wants = 0;
		if (!more)
			credit_access(t, 0, 0, 1);
	}
	return 0;
}

static __always_inline __u32 kind_that_vmm_handles(__u64 reason)
{
	switch (reason) {
	case VMM_IO: return EXITS_PIO;
	case VMM_MMIO: return EXITS_MMIO;
	case VMM_RDMSR:
	case VMM_WRMSR: return EXITS_MSR;
	default: return 0;
	}
}

SEC("tp")
int on_mmio(void *ctx)
{
	struct exits_thread *t = self();
	__u64 type = FIELD(mmio_type);

	if (!t)
		return PASS;
	count_event(t, fields.mmio);
	/* The same read is told again once there is an answer. */
	if (type != MMIO_UNSATISFIED)
		begin_access(t, EXITS_MMIO, FIELD(mmio_gpa), type == MMIO_WRITE);
	return PASS;
}

SEC("tp")
int on_pio(void *ctx)
{
	struct exits_thread *t = self();

	if (!t)
		return PASS;
	count_event(t, fields.pio);
	begin_access(t, EXITS_PIO, FIELD(pio_port), FIELD(pio_rw) != 0);
	return PASS;
}

SEC("tp")
int on_msr(void *ctx)
{
	struct exits_thread *t = self();

	if (!t)
		return PASS;
	count_event(t, fields.msr);
	begin_access(t, EXITS_MSR, FIELD(msr_ecx), FIELD(msr_write) != 0);
	return PASS;
}

SEC("tp")
int on_fast_mmio(void *ctx)
{
	struct exits_thread *t = self();

	if (!t)
		return PASS;
	count_event(t, fields.fast);
	begin_access(t, EXITS_FAST_MMIO, FIELD(fast_gpa), 1);
	return PASS;
}

/* ---- interrupts: by any thread of the VMM, or the host's for it ---------------------------- */

static __always_inline int interrupt(__u32 kind, __u64 what, __u32 more, __s32 event)
{
	struct exits_thread *t = self_or_process();
	struct exits_row *row;

	if (!t)
		return PASS;
	count_event_shared(t, event);
	row = row_of(t, kind, what, more, 0);
	__sync_fetch_and_add(row ? &row->sums.count : &t->other[kind].count, 1);
	return PASS;
}

SEC("tp")
int on_msi(void *ctx)
{
	return interrupt(EXITS_MSI, FIELD(msi_data) & 0xff, (FIELD(msi_address) >> 12) & 0xff,
			 fields.msi);
}

SEC("tp")
int on_irq(void *ctx)
{
	return interrupt(EXITS_IRQ, FIELD(irq_gsi), FIELD(irq_level), fields.irq);
}

/* ---- exit, VMM, entry ---------------------------------------------------------------------- */

static __always_inline void finish_vmm(struct exits_thread *t, __u64 now)
{
	struct exits_row *row;

	if (!t->vmm_at)
		return;
	row = own_row(t, EXITS_VMM, t->vmm_reason, t->vmm_is_err);
	count_row(t, row, EXITS_VMM, now - t->vmm_at, 1);
	t->vmm_at = 0;
}

static __always_inline void finish_exit(struct exits_thread *t, __u64 now)
{
	struct exits_row *row;

	if (!t->in_exit)
		return;
	row = own_row(t, EXITS_REASON, t->reason, t->isa);
	count_row(t, row, EXITS_REASON, now - t->exit_at, t->userspace);
	if (t->access_kind)
		credit_access(t, now - t->exit_at, 1, 0);
	t->in_exit = 0;
}

/* Where no entry tells the time. */
static __always_inline void count_vmm_only(struct exits_thread *t)
{
	struct exits_row *row = own_row(t, EXITS_VMM, t->vmm_reason, t->vmm_is_err);
	struct exits_sums *s = row ? &row->sums : &t->other[EXITS_VMM];

	s->count++;
	s->userspace++;
}

SEC("tp")
int on_exit(void *ctx)
{
	struct exits_thread *t = self();
	__u64 now = bpf_ktime_get_ns();

	if (!t)
		return PASS;
	count_event(t, fields.exit);
	finish_exit(t, now);
	change_mode(t, now, EXITS_IN_KERNEL);
	t->reason = FIELD(reason);
	t->isa = FIELD(isa);
	t->exit_at = now;
	t->in_exit = 1;
	t->userspace = 0;
	t->access_kind = 0;
	t->vmm_wants = 0;
	return PASS;
}

SEC("tp")
int on_userspace(void *ctx)
{
	struct exits_thread *t = self();
	__u64 now = bpf_ktime_get_ns();
	__s32 err = FIELD(vmm_errno);
	__u32 kind;

	if (!t)
		return PASS;
	count_event(t, fields.vmm);
	finish_vmm(t, now);
	change_mode(t, now, t->entered ? EXITS_IN_VMM : EXITS_UNKNOWN);
	t->vmm_is_err = err < 0;
	t->vmm_reason = err < 0 ? -err : FIELD(vmm_reason);
	t->userspace = 1;
	if (t->entered)
		t->vmm_at = now;
	else
		count_vmm_only(t);
	kind = t->vmm_is_err ? 0 : kind_that_vmm_handles(t->vmm_reason);
	t->vmm_wants = kind;
	if (kind && t->access_kind == kind && t->access_more) {
		credit_access(t, 0, 0, 1);
		t->vmm_wants = 0;
	}
	if (!t->entered)
		t->access_kind = 0;
	return PASS;
}

SEC("tp")
int on_entry(void *ctx)
{
	struct exits_thread *t = self();
	__u64 now = bpf_ktime_get_ns();

	(void)ctx;
	if (!t)
		return PASS;
	count_event(t, fields.entry);
	finish_vmm(t, now);
	finish_exit(t, now);
	change_mode(t, now, EXITS_IN_GUEST);
	t->entered = 1;
	t->access_kind = 0;
	t->vmm_wants = 0;
	return PASS;
}

/* ---- every other kvm:* tracepoint: one program each, since 5.10 has no cookies --------------- */

static __noinline int event(__s32 index)
{
	struct exits_thread *t = self_or_process();

	if (t)
		count_event_shared(t, index);
	return PASS;
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
