/* The counting itself: one function for each tracepoint, in C that two compilers take. clang makes
 * programs for the kernel of it (exits.bpf.c), the host's compiler what counts the same events out
 * of perf rings (native.c). Whoever includes this has the small maps, `constants`, BPF's helpers or
 * what stands for them, and the functions declared below, which know where entries are. It may also
 * be used under the GPL, version 2, which the kernel wants of programs that read event records.
 *
 * A vCPU's thread writes its own entry and its own rows, so nothing here needs a lock or an atomic
 * operation but what counts for a whole process. Offsets of fields come from the running kernel's
 * format files (abi.h): the verifier knows them as constants and drops what has no field.
 */
#ifndef KVMPROFS_EXITS_COUNTING_H
#define KVMPROFS_EXITS_COUNTING_H

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

/* Whether a thread of the kernel runs this, and which process it works for, or EXITS_KERNEL: of
 * whoever includes this. */
static int is_kernel_thread(__u32 *ret_tgid);

/* The entry of that tid (or tgid), or NULL: of whoever includes this, as what follows. */
static struct exits_thread *find_thread(__u32 tid);

/* One that begins anew, or NULL: no room. What there was of another process with that number is
 * left alone from now on (give_up_number()), but still counts for that one. When another thread of
 * the process has just added it, that one. */
static struct exits_thread *add_thread(__u32 tid, __u32 tgid, __u32 vcpu);

/* The row of that key, which belongs to the thread or its process; NULL: there is none. */
static struct exits_row *find_row(struct exits_thread *t, __u32 kind, __u64 what, __u32 more,
				  __u32 tid);

/* Adds an empty one: 0, or not when there was no room or there is one already. */
static long add_row(const struct exits_key *key);

/* A field of the event ctx, where there is a quicker way to it than bpf_probe_read_kernel(): false
 * when not; likewise. */
static int field_in_place(const char *ctx, struct exits_field f, __u64 *ret);

/* What a program on a tracepoint returns so that others who listen there hear of the event, too. */
#define PASS 1

/* Of the event ctx. */
static __always_inline __u64 field(const char *ctx, struct exits_field f)
{
	__u64 v8 = 0;
	__u32 v4 = 0;
	__u16 v2 = 0;
	__u8 v1 = 0;

	if (f.offset < 0)
		return 0;
	if (field_in_place(ctx, f, &v8))
		return v8;
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
#define FIELD(name) \
	field(ctx, (struct exits_field){constants.fields.name.offset, constants.fields.name.size})

static __noinline void count_lost(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&lost, &zero);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* What stands before it is written before what stands behind it. */
#define IN_ORDER() asm volatile("" ::: "memory")

/* For add_thread(): t is empty. Whoever reads it takes one that has a tgid for whole. */
static __always_inline void begin_thread(struct exits_thread *t, __u32 tid, __u32 tgid, __u32 vcpu)
{
	t->tid = tid;
	t->vcpu = vcpu;
	t->mode = EXITS_UNKNOWN;
	t->began = t->since = t->settled = bpf_ktime_get_ns();
	IN_ORDER();
	t->tgid = tgid;
}

/* Likewise: the thread has ended, and the kernel has used its number again. */
static __always_inline void give_up_number(struct exits_thread *t)
{
	t->had_tid = t->tid;
	IN_ORDER();
	t->tid = 0;
}

static __noinline struct exits_thread *new_thread(__u32 tid, __u32 tgid, __u32 vcpu)
{
	struct exits_thread *t = add_thread(tid, tgid, vcpu);

	if (!t)
		count_lost();
	return t;
}

/* The entry of a vCPU's thread, which runs this: made at its first event. The kernel uses a tid
 * again for another process some day. */
static __always_inline struct exits_thread *self(void)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = (__u32)id, tgid = (__u32)(id >> 32);
	struct exits_thread *t = find_thread(tid);

	if (t && t->tgid == tgid) {
		t->vcpu = 1;
		return t;
	}
	return new_thread(tid, tgid, 1);
}

static __always_inline int starts_with(const char *s, const char *what, __u32 n)
{
	for (__u32 i = 0; i < n; i++) {
		if (s[i] != what[i])
			return 0;
	}
	return 1;
}

/* Some of the kernel's threads bear the pid for which they work: KVM's timer chip (arch/x86/kvm/
 * i8254.c, "kvm-pit/%d") and vhost's before 6.4 (drivers/vhost/vhost.c, "vhost-%d"). Others, as
 * the workers of irqfd, do not: EXITS_KERNEL. comm: 16 bytes with a NUL. */
static __noinline __u32 works_for(const char *comm)
{
	__u32 first, n = 0;

	if (!comm)
		return EXITS_KERNEL;
	if (starts_with(comm, "kvm-pit/", 8))
		first = 8;
	else if (starts_with(comm, "vhost-", 6))
		first = 6;
	else
		return EXITS_KERNEL;
	for (__u32 i = 6; i < 15; i++) {
		if (i < first)
			continue;
		if (comm[i] < '0' || comm[i] > '9')
			break;
		n = n * 10 + (__u32)(comm[i] - '0');
	}
	return n;
}

/* The entry that counts for whoever runs this and has none of his own: his process's, or the
 * kernel's. */
static __noinline struct exits_thread *process_entry(__u32 tgid)
{
	struct exits_thread *t = find_thread(tgid);

	if (t && t->tgid == tgid)
		return t;
	if (is_kernel_thread(&tgid)) {
		t = find_thread(tgid);
		if (t)
			return t;
	}
	return new_thread(tgid, tgid, 0);
}

/* Or his own one. */
static __always_inline struct exits_thread *self_or_process(void)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = (__u32)id, tgid = (__u32)(id >> 32);
	struct exits_thread *t = find_thread(tid);

	return t && t->tgid == tgid ? t : process_entry(tgid);
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

/* Begins a change of what the thread does, which ran so far, or slept or the like: all that belongs
 * together and that the programs write from here to settle() is read by nobody but as it was or as
 * it is (steady.h). A clock that goes back a little from one CPU to another counts no time twice.
 */
static __always_inline void account(struct exits_thread *t, __u64 now, __u32 run)
{
	__u64 since = t->since;
	__u32 slot = t->mode;

	if (now <= since)
		return;
	t->since = now;
	IN_ORDER();
	if (run == EXITS_RUNNABLE)
		slot = EXITS_WAITING;
	else if (run == EXITS_ASLEEP &&
		 (slot != EXITS_IN_VMM || (t->vmm_reason == VMM_HLT && !t->vmm_is_err)))
		slot = EXITS_HALTED;
	if (slot < EXITS_TIMES && run != EXITS_GONE)
		t->times[slot] += now - since;
}

static __always_inline void settle(struct exits_thread *t)
{
	IN_ORDER();
	t->settled = t->since;
}

static __always_inline void change_mode(struct exits_thread *t, __u64 now, __u32 mode)
{
	account(t, now, EXITS_RUNNING);
	t->run = EXITS_RUNNING;
	t->mode = mode;
}

/* Whoever has the number of one that is gone is somebody else, until an event of KVM says that a
 * vCPU of the same process has it again: which does nothing up to then. */
static __always_inline void change_run(struct exits_thread *t, __u32 run)
{
	if (t->run == EXITS_GONE)
		return;
	account(t, bpf_ktime_get_ns(), t->run);
	t->run = run;
	if (run == EXITS_GONE)
		t->mode = EXITS_TIMES;
	settle(t);
}

static __always_inline void switch_to(__u32 tid, __u32 run)
{
	struct exits_thread *t = find_thread(tid);

	if (t && t->vcpu)
		change_run(t, run);
}

PROGRAM int on_switch(void *ctx)
{
	__u64 state = FIELD(prev_state);

	switch_to((__u32)FIELD(prev_pid), state & STATE_GONE	 ? EXITS_GONE
					  : state & STATE_ASLEEP ? EXITS_ASLEEP
								 : EXITS_RUNNABLE);
	switch_to((__u32)FIELD(next_pid), EXITS_RUNNING);
	return PASS;
}

/* Who was woken before it slept is still running. */
PROGRAM int on_wakeup(void *ctx)
{
	__u32 tid = (__u32)FIELD(wakeup_pid);
	struct exits_thread *t = find_thread(tid);

	if (t && t->vcpu && t->run == EXITS_ASLEEP)
		change_run(t, EXITS_RUNNABLE);
	return PASS;
}

/* ---- rows ---------------------------------------------------------------------------------- */

static __always_inline struct exits_process *process_of(__u32 tgid)
{
	struct exits_process *p = bpf_map_lookup_elem(&processes, &tgid);
	struct exits_process none = {0};

	if (p)
		return p;
	bpf_map_update_elem(&processes, &tgid, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&processes, &tgid);
}

/* Its own function, so that nobody's index has an address: the verifier forgets what is known of
 * such a one. */
static __noinline __u32 *pool_of(__u32 map)
{
	__u32 key = map;

	return bpf_map_lookup_elem(&pools, &key);
}

/* Guests choose what they touch, and how often they do it on how many vCPUs: so each process is
 * sure of some rows, and what is more comes out of a pool of which nobody may have all. Processes
 * that add at the same moment may go beyond by one for each CPU. */
static __noinline int may_add(struct exits_process *p, __u32 map)
{
	__u32 *pool = pool_of(map);

	if (!p || !pool || map >= EXITS_MAPS)
		return 0;
	if (p->rows[map] < constants.limits[map].sure)
		return 1;
	return p->rows[map] < constants.limits[map].most && *pool < constants.limits[map].pool;
}

static __noinline int added(struct exits_process *p, __u32 map)
{
	__u32 *pool = pool_of(map);

	if (!p || !pool || map >= EXITS_MAPS)
		return 0;
	__sync_fetch_and_add(&p->rows[map], 1);
	if (p->rows[map] > constants.limits[map].sure)
		__sync_fetch_and_add(pool, 1);
	return 0;
}

/* Or NULL: no room. Another thread of the process may have added the same one just now. */
static __noinline struct exits_row *new_row(struct exits_thread *t, __u32 kind, __u64 what,
					    __u32 more, __u32 tid)
{
	struct exits_key key = {.what = what, .more = more, .kind = kind, .tid = tid};
	__u32 map = kind <= EXITS_VMM ? EXITS_REASONS : EXITS_ACCESSES;
	struct exits_process *p;

	/* The verifier is to see that it is inside. */
	asm volatile("" : "+r"(kind));
	kind %= EXITS_KINDS;
	if (!t || t->rows[kind] >= EXITS_ROWS_EACH)
		return 0;
	key.tgid = t->tgid;
	if (key.tgid == EXITS_KERNEL) /* the entry is being forgotten */
		return 0;
	p = process_of(key.tgid);
	if (!may_add(p, map))
		return 0;
	if (add_row(&key) == 0) {
		t->rows[kind]++;
		added(p, map);
	}
	return find_row(t, kind, what, more, tid);
}

/* NULL: it is to be counted as [other]. */
static __always_inline struct exits_row *row_of(struct exits_thread *t, __u32 kind, __u64 what,
						__u32 more, __u32 tid)
{
	struct exits_row *row = find_row(t, kind, what, more, tid);

	return row ? row : new_row(t, kind, what, more, tid);
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

/* A time, and in which bucket it belongs. */
struct exits_took {
	__u64 ns;
	__u32 bucket;
};

/* By way of memory, so that the verifier forgets how the bucket was found: it would follow each way
 * to it to the program's end. */
static __always_inline struct exits_took took(struct exits_thread *t, __u64 ns)
{
	volatile __u32 *bucket = &t->bucket;

	*bucket = log2_of(ns);
	return (struct exits_took){ns, *bucket};
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

static __always_inline void begin_row(struct exits_row *row, __u64 exit_at)
{
	if (row)
		row->begun = exit_at;
	IN_ORDER();
}

static __always_inline void end_row(struct exits_row *row, __u64 exit_at)
{
	IN_ORDER();
	if (row)
		row->ended = exit_at;
}

static __always_inline void count_row(struct exits_thread *t, struct exits_row *row, __u32 kind,
				      struct exits_took time, __u32 userspace)
{
	__u64 exit_at = t->exit_at;
	struct exits_sums *s;

	/* Compared as it is: the verifier is to see it. */
	asm volatile("" : "+r"(kind));
	if (kind >= EXITS_KINDS)
		return;
	s = row ? &row->sums : &t->other[kind];
	begin_row(row, exit_at);
	s->count++;
	s->userspace += userspace;
	add_time(s, time.ns);
	if (row)
		row->buckets[time.bucket < EXITS_BUCKETS ? time.bucket : EXITS_BUCKETS - 1]++;
	end_row(row, exit_at);
}

static __always_inline struct exits_row *own_row(struct exits_thread *t, __u32 kind, __u64 what,
						 __u32 more)
{
	return row_of(t, kind, what, more, t->tid);
}

/* ---- accesses: MMIO, ports, MSRs ----------------------------------------------------------- */

/* Where no exit goes before it, an access counts at once; else at the entry, which knows its time.
 * When one exit has several, the last one has it. */
static __noinline int count_access(struct exits_thread *t, __u32 count, __u32 userspace)
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
	begin_row(row, t->exit_at);
	s->count += count;
	s->userspace += userspace;
	end_row(row, t->exit_at);
	return 0;
}

/* A read is told after the VMM has answered it, a write before the VMM is asked. */
static __always_inline void begin_access(struct exits_thread *t, __u32 kind, __u64 what, __u32 more)
{
	if (t->in_exit && t->access_kind)
		count_access(t, 1, t->access_userspace);
	/* The kind last: whoever reads it then sees the same access before and after, or none. */
	t->access_kind = 0;
	IN_ORDER();
	t->access_what = what;
	t->access_more = more;
	t->access_userspace = t->vmm_wants == kind && !more;
	IN_ORDER();
	t->access_kind = kind;
	if (t->vmm_wants == kind)
		t->vmm_wants = 0;
	if (!t->in_exit)
		count_access(t, 1, t->access_userspace);
}

/* The VMM is asked for the access that was told of. */
static __always_inline void access_reaches_vmm(struct exits_thread *t)
{
	t->access_userspace = 1;
	if (!t->in_exit)
		count_access(t, 0, 1);
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

PROGRAM int on_mmio(void *ctx)
{
	struct exits_thread *t = self();
	__u64 type = FIELD(mmio_type);

	if (!t)
		return PASS;
	count_event(t, constants.fields.mmio);
	/* The same read is told again once there is an answer. */
	if (type != MMIO_UNSATISFIED)
		begin_access(t, EXITS_MMIO, FIELD(mmio_gpa), type == MMIO_WRITE);
	return PASS;
}

PROGRAM int on_pio(void *ctx)
{
	struct exits_thread *t = self();

	if (!t)
		return PASS;
	count_event(t, constants.fields.pio);
	begin_access(t, EXITS_PIO, FIELD(pio_port), FIELD(pio_rw) != 0);
	return PASS;
}

PROGRAM int on_msr(void *ctx)
{
	struct exits_thread *t = self();

	if (!t)
		return PASS;
	count_event(t, constants.fields.msr);
	begin_access(t, EXITS_MSR, FIELD(msr_ecx), FIELD(msr_write) != 0);
	return PASS;
}

PROGRAM int on_fast_mmio(void *ctx)
{
	struct exits_thread *t = self();

	if (!t)
		return PASS;
	count_event(t, constants.fields.fast);
	begin_access(t, EXITS_FAST_MMIO, FIELD(fast_gpa), 1);
	return PASS;
}

/* ---- interrupts: by any thread of the VMM; which guest the kernel's own threads interrupt, no
 * event says ---- */

static __always_inline int interrupt(__u32 kind, __u64 what, __u32 more, __s32 event)
{
	struct exits_thread *t = self_or_process();
	struct exits_row *row;

	if (!t)
		return PASS;
	count_event_shared(t, event);
	if (t->tgid == EXITS_KERNEL)
		return PASS;
	row = row_of(t, kind, what, more, 0);
	__sync_fetch_and_add(row ? &row->sums.count : &t->other[kind].count, 1);
	return PASS;
}

PROGRAM int on_msi(void *ctx)
{
	return interrupt(EXITS_MSI, FIELD(msi_data) & 0xff, (FIELD(msi_address) >> 12) & 0xff,
			 constants.fields.msi);
}

PROGRAM int on_irq(void *ctx)
{
	return interrupt(EXITS_IRQ, FIELD(irq_gsi), (__u32)FIELD(irq_level), constants.fields.irq);
}

/* ---- exit, VMM, entry ---------------------------------------------------------------------- */

static __always_inline void finish_vmm(struct exits_thread *t, __u64 now)
{
	struct exits_row *row;

	if (!t->vmm_at)
		return;
	row = own_row(t, EXITS_VMM, t->vmm_reason, t->vmm_is_err);
	count_row(t, row, EXITS_VMM, took(t, now - t->vmm_at), 1);
	t->vmm_at = 0;
}

static __always_inline void finish_exit(struct exits_thread *t, __u64 now)
{
	struct exits_took time;
	struct exits_row *row;
	__u32 kind = t->access_kind;

	if (!t->in_exit)
		return;
	time = took(t, now - t->exit_at);
	row = own_row(t, EXITS_REASON, t->reason, t->isa);
	count_row(t, row, EXITS_REASON, time, t->userspace);
	if (kind >= EXITS_MMIO && kind <= EXITS_FAST_MMIO) {
		row = own_row(t, kind, t->access_what, t->access_more);
		count_row(t, row, kind, time, t->access_userspace);
	}
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

PROGRAM int on_exit(void *ctx)
{
	struct exits_thread *t = self();
	__u64 now = bpf_ktime_get_ns();

	if (!t)
		return PASS;
	change_mode(t, now, EXITS_IN_KERNEL);
	count_event(t, constants.fields.exit);
	finish_exit(t, now);
	t->reason = FIELD(reason);
	t->isa = (__u32)FIELD(isa);
	t->exit_at = now;
	t->in_exit = 1;
	t->userspace = 0;
	t->access_kind = 0;
	t->vmm_wants = 0;
	settle(t);
	return PASS;
}

PROGRAM int on_userspace(void *ctx)
{
	struct exits_thread *t = self();
	__u64 now = bpf_ktime_get_ns();
	__s32 err = (__s32)FIELD(vmm_errno);
	__u32 kind;

	if (!t)
		return PASS;
	change_mode(t, now, t->entered ? EXITS_IN_VMM : EXITS_UNKNOWN);
	count_event(t, constants.fields.vmm);
	finish_vmm(t, now);
	t->vmm_is_err = err < 0;
	t->vmm_reason = err < 0 ? (__u64)-err : FIELD(vmm_reason);
	t->userspace = 1;
	if (t->entered)
		t->vmm_at = now;
	else
		count_vmm_only(t);
	kind = t->vmm_is_err ? 0 : kind_that_vmm_handles(t->vmm_reason);
	t->vmm_wants = kind;
	if (kind && t->access_kind == kind && t->access_more) {
		access_reaches_vmm(t);
		t->vmm_wants = 0;
	}
	if (!t->in_exit)
		t->access_kind = 0;
	settle(t);
	return PASS;
}

PROGRAM int on_entry(void *ctx)
{
	struct exits_thread *t = self();
	__u64 now = bpf_ktime_get_ns();

	(void)ctx;
	if (!t)
		return PASS;
	change_mode(t, now, EXITS_IN_GUEST);
	count_event(t, constants.fields.entry);
	finish_vmm(t, now);
	finish_exit(t, now);
	t->entered = 1;
	t->access_kind = 0;
	t->vmm_wants = 0;
	settle(t);
	return PASS;
}

/* ---- every other kvm:* tracepoint: one program each, since 5.10 has no cookies --------------- */

static __always_inline int event(__s32 index)
{
	struct exits_thread *t = self_or_process();

	if (t)
		count_event_shared(t, index);
	return PASS;
}

#endif
