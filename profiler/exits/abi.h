/* What the BPF programs (exits.bpf.c) and the daemon both know of each other: the fields of events
 * that the programs read, and what they count. */
#ifndef KVMPROFS_EXITS_ABI_H
#define KVMPROFS_EXITS_ABI_H

#include <stdint.h>

#define EXITS_BUCKETS 36  /* [2^i, 2^(i+1)) ns; the last one takes all that is longer (34 s) */
#define EXITS_EVENTS  128 /* kvm:* tracepoints at most; x86 has 85 in Linux 6.18 */
/* Rows of one kind that one vCPU may fill, since a guest chooses addresses as it likes; more are
 * counted as [other]. */
#define EXITS_ROWS_EACH 128
/* The tid and tgid of the entry that the kernel's own threads have together: they are of no
 * process, and their events do not say for which guest they are. */
#define EXITS_KERNEL 0

/* What a row counts. The first ones are handled between an exit and an entry, so they have times.
 */
enum exits_kind {
	EXITS_REASON, /* what: reason, more: isa */
	EXITS_VMM, /* what: reason of kvm_userspace_exit, or -errno; more: whether it is an errno */
	EXITS_MMIO,	 /* what: guest-physical address, more: whether it is a write */
	EXITS_PIO,	 /* what: port, more: likewise */
	EXITS_MSR,	 /* what: number, more: likewise */
	EXITS_FAST_MMIO, /* what: address of an ioeventfd */
	EXITS_MSI,	 /* what: vector, more: low bits of the address (the destination) */
	EXITS_IRQ,	 /* what: gsi, more: level */
	EXITS_KINDS	 /* a power of 2, for the verifier's sake */
};

/* Where the time of a vCPU's thread went. */
enum exits_time {
	EXITS_IN_GUEST,
	EXITS_IN_KERNEL, /* from exit to entry, without what follows */
	EXITS_IN_VMM,	 /* from kvm_userspace_exit to the next entry, asleep or not */
	EXITS_HALTED,	 /* asleep in the kernel, or in the VMM for a HLT */
	EXITS_WAITING,	 /* runnable, without a CPU */
	EXITS_UNKNOWN,	 /* before the first event that tells */
	EXITS_TIMES
};

enum exits_run { EXITS_RUNNING, EXITS_ASLEEP, EXITS_RUNNABLE, EXITS_GONE };

struct exits_key {
	uint64_t what;
	uint32_t more;
	uint32_t kind;
	uint32_t tgid;
	uint32_t tid; /* the vCPU's thread; 0 for EXITS_MSI and EXITS_IRQ, which come from any */
};

struct exits_sums {
	uint64_t count;
	uint64_t userspace;	  /* of them, those that reached the VMM */
	uint64_t timed;		  /* of them, those whose time is known */
	uint64_t total, min, max; /* ns, of these */
};

/* Whoever counts here sets `begun` first and `ended` last, to the moment of the exit: while they
 * differ it is being written (steady.h). An exit that began later has not been counted here. */
struct exits_row {
	uint64_t begun, ended;
	struct exits_sums sums;
	uint64_t buckets[EXITS_BUCKETS];
};

/* One for each vCPU's thread, by its tid, written by that thread alone; and one for the other
 * threads of a process together, by its tgid. */
struct exits_thread {
	uint32_t tgid;
	uint32_t tid;		     /* its key; 0: another process has its number by now */
	uint32_t had_tid;	     /* then, the number; or 0 */
	uint32_t vcpu;		     /* whether it is a vCPU's */
	uint32_t mode;		     /* enum exits_time: what it would be doing if it ran */
	uint32_t run;		     /* enum exits_run */
	uint64_t began;		     /* tells it from others that have the same number some day */
	uint64_t since;		     /* set first when the thread does something else */
	uint64_t times[EXITS_TIMES]; /* ns, up to since */
	uint32_t entered;	     /* kvm_entry was seen: it fires on this host */
	uint32_t in_exit;	     /* an exit that no entry has followed yet */
	uint64_t exit_at;
	uint64_t settled; /* set to `since` last: while they differ it is being written */
	uint64_t reason;
	uint32_t isa;
	uint32_t userspace;  /* this exit has reached the VMM */
	uint32_t vmm_wants;  /* enum exits_kind that the VMM was asked for, or 0 */
	uint32_t vmm_is_err; /* vmm_reason is an errno */
	uint64_t vmm_at;     /* 0: not there */
	uint64_t vmm_reason;
	uint64_t access_what; /* the access that this exit is about, counted when the exit is */
	uint32_t access_more;
	uint32_t access_kind;	   /* 0: none (yet) */
	uint32_t access_userspace; /* this access has reached the VMM */
	uint32_t bucket;	   /* of the time that is being counted */
	uint32_t rows[EXITS_KINDS];
	struct exits_sums other[EXITS_KINDS];
	uint64_t events[EXITS_EVENTS];
};

/* ---- where the programs in the kernel have these: in arrays, by place ---- */

#define EXITS_NUMBERS 32768 /* low bits of tids: entries of `numbers` */
#define EXITS_RECENT  8	    /* rows of one kind that a thread finds again quickly */

/* The place 0 is the entry of EXITS_KERNEL; the others are free at first. Apart from each other by
 * cache lines, since threads on many CPUs write them. */
struct exits_thread_place {
	struct exits_thread t;
	uint32_t recent[EXITS_KINDS * EXITS_RECENT]; /* places of rows, by a hash of their keys */
} __attribute__((aligned(64)));

/* The place 0 stays empty. */
struct exits_row_place {
	struct exits_key key; /* all zero: it is free */
	struct exits_row row;
} __attribute__((aligned(64)));

struct exits_field {
	int32_t offset; /* -1: this kernel has no such field */
	uint32_t size;	/* 1, 2, 4 or 8 bytes */
};

/* Where rows are. Two maps, so that a guest that touches many addresses takes no room from
 * reasons. */
enum exits_map { EXITS_REASONS, EXITS_ACCESSES, EXITS_MAPS };

/* One for each process that has rows, by its tgid. */
struct exits_process {
	uint32_t rows[EXITS_MAPS];
};

/* Of one map's rows. */
struct exits_limits {
	uint32_t sure; /* those that every process may have */
	uint32_t most; /* those that one may have while the pool lasts */
	uint32_t pool; /* those beyond `sure` of all processes together */
};

/* Of the running kernel's format files. */
struct exits_fields {
	struct exits_field reason, isa;
	struct exits_field vmm_reason, vmm_errno;
	struct exits_field mmio_type, mmio_gpa;
	struct exits_field pio_rw, pio_port;
	struct exits_field msr_write, msr_ecx;
	struct exits_field fast_gpa;
	struct exits_field msi_address, msi_data;
	struct exits_field irq_gsi, irq_level;
	struct exits_field prev_pid, prev_state, next_pid, wakeup_pid;
	/* Indexes into exits_thread.events; -1: another program counts it, or none. */
	int32_t exit, entry, vmm, mmio, pio, msr, fast, msi, irq;
};

/* What the programs know once they are loaded. */
struct exits_constants {
	struct exits_fields fields;
	struct exits_limits limits[EXITS_MAPS];
	int32_t task_flags; /* offset in struct task_struct; -1: not known */
};

#endif
