/* The plain model of a guest that every room understands, and the set of those that run.
 *
 * A struct guest and a struct guest_set are immutable once published and reference-counted:
 * whoever holds a reference reads without a lock. The registry (struct guests) has one lock,
 * held for pointer swaps only. Any function here may be called from any thread; none blocks.
 */
#ifndef KVMPROFS_GUEST_H
#define KVMPROFS_GUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/notes.h"

#define GUEST_NAME_MAX	128  /* bytes, with the NUL; longer names are cut */
#define GUEST_VCPUS_MAX 4096 /* KVM_MAX_VCPUS; more are not listed */
#define GUESTS_MAX	4096 /* more VMMs than this are not shown, which is logged */
#define GUEST_PATH_MAX	1024

enum guest_accel { GUEST_ACCEL_UNKNOWN, GUEST_ACCEL_KVM, GUEST_ACCEL_TCG };
const char *guest_accel_name(enum guest_accel accel); /* "kvm", "tcg", "unknown" */

struct guest_vcpu {
	unsigned index;
	pid_t tid; /* in the host's pid namespace */
};

/* How the guest can be reached, as far as the VMM's command line, its descriptors and QMP
 * tell. Paths can be opened by this process as they stand (a VMM in another mount namespace
 * is reached through /proc/PID/root). Empty or 0: there is none. */
struct guest_links {
	char qmp_path[GUEST_PATH_MAX];	 /* unix socket of a QMP monitor */
	char agent_path[GUEST_PATH_MAX]; /* unix socket of org.qemu.guest_agent.0 */
	char port_path[GUEST_PATH_MAX];	 /* unix socket of our own org.kvmprofs.0 */
	char ssh_host[64];		 /* numeric address that hostfwd listens on */
	uint16_t ssh_port;		 /* host port that is forwarded to guest port 22 */
	uint32_t vsock_cid;		 /* of AF_VSOCK on this host */
};

/* As guest_ram_equals() below. */
bool guest_links_equal(const struct guest_links *a, const struct guest_links *b);

/* What is known of how the guest's RAM is laid out, and whether the host can read it. */
enum guest_machine {
	GUEST_MACHINE_UNKNOWN,
	GUEST_MACHINE_PC,
	GUEST_MACHINE_Q35,
	GUEST_MACHINE_MICROVM
};
enum guest_encryption {
	GUEST_PLAIN, /* as far as is known */
	GUEST_ENCRYPTED_SEV,
	GUEST_ENCRYPTED_SEV_ES,
	GUEST_ENCRYPTED_SEV_SNP,
	GUEST_ENCRYPTED_TDX
};

#define GUEST_RAM_BLOCKS_MAX 64
#define GUEST_RAM_PARTS_MAX  16

struct guest_ram_block {
	uint64_t gpa; /* guest-physical */
	uint64_t hva; /* in the VMM */
	uint64_t len;
};

/* A part of base memory, which has a mapping of its own. */
struct guest_ram_part {
	uint64_t bytes;
	unsigned made; /* how many of this size, also of what is no base memory, were made before */
};

struct guest_ram {
	enum guest_machine machine;
	enum guest_encryption encryption;
	uint64_t below_4g_max; /* -machine max-ram-below-4g; 0: the machine's default */
	uint64_t base_bytes;   /* without memory devices, however they got there; 0: not known */
	size_t part_count;     /* in the guest's order; 0: not known */
	struct guest_ram_part parts[GUEST_RAM_PARTS_MAX];
	size_t block_count; /* as QMP tells, ascending; 0: it does not */
	struct guest_ram_block blocks[GUEST_RAM_BLOCKS_MAX];
};

/* What is known of a guest's kernel whoever is asked for its symbols. */
struct guest_kernel {
	char symbol[32]; /* one that it has, "_text" most likely; empty: not known */
	uint64_t symbol_at;
	struct build_id id; /* len 0: not known */
};

struct guest {
	atomic_uint refs;
	uint64_t serial; /* of this instance: never used twice, not even when the pid is */
	pid_t pid;	 /* tgid of the VMM */
	uint64_t start;	 /* its start time, clock ticks since boot (proc_pid_stat(5), field 22) */
	char name[GUEST_NAME_MAX]; /* -name, QMP, or the executable's name; may hold any byte */
	char uuid[37];		   /* empty: not known */
	char vmm[32];		   /* the executable's base name */
	char state[24];		   /* QMP query-status ("running", ...); empty: not known */
	enum guest_accel accel;
	uint64_t memory_bytes; /* at start, without hot-plug; 0: not known */
	struct guest_ram ram;
	struct guest_links links;
	struct guest_kernel kernel; /* of a recorded guest: as the recording has it */
	size_t vcpu_count;
	struct guest_vcpu *vcpus; /* by index, ascending */
};

/* Whether the same is known of both. */
bool guest_ram_equals(const struct guest_ram *a, const struct guest_ram *b);

/* One reference, everything zero. NULL when out of memory. The maker fills it and publishes. */
struct guest *guest_create(void);
const struct guest *guest_get(const struct guest *g); /* accepts NULL */
void guest_put(const struct guest *g);		      /* accepts NULL */

/* An epoch is one boot of a guest. Samples and symbols belong to (serial, epoch). */
struct guest_entry {
	const struct guest *guest; /* held by the set */
	uint32_t epoch;		   /* 1 for the first boot that was seen */
	uint64_t epoch_start_ns;   /* clock_now_ns() when it was noticed */
	char epoch_reason[48];	   /* why it began: "first seen", "QMP RESET", ... */
};

struct guest_set {
	atomic_uint refs;
	uint64_t generation; /* grows with every publication */
	size_t count;
	struct guest_entry entries[]; /* by pid, ascending */
};

const struct guest_set *guest_set_get(const struct guest_set *set);
void guest_set_put(const struct guest_set *set); /* accepts NULL */

/* The entry, which lives as long as the set, or NULL. */
const struct guest_entry *guest_set_find_pid(const struct guest_set *set, pid_t pid);
const struct guest_entry *guest_set_find_serial(const struct guest_set *set, uint64_t serial);

struct guests; /* the registry */

#define GUESTS_SUBSCRIBERS_MAX 16

struct guests *guests_create(void);	/* holds an empty set; NULL when out of memory */
void guests_destroy(struct guests *gs); /* accepts NULL; sets that are held stay valid */

/* A reference to the newest set; never NULL. Drop it with guest_set_put(). */
const struct guest_set *guests_acquire(struct guests *gs);

/* The newest set's generation: one atomic load, to see cheaply whether to acquire again. */
uint64_t guests_generation(const struct guests *gs);

/* Replaces the set by these guests (any order). Takes its own references. Epochs of serials
 * that were there before go on; new ones start at 1. For discovery only. 0 or -ENOMEM. */
int guests_publish(struct guests *gs, const struct guest *const *list, size_t count);

/* The guest has booted anew (or may have: a false alarm only costs another fetch). Starts the
 * next epoch unless the current one is not seen_epoch any more (somebody else was faster).
 * reason: at most 47 characters, for people. 0 (also when somebody was faster), -ESRCH when
 * there is no such guest, -ENOMEM. */
int guests_new_epoch(struct guests *gs, uint64_t serial, uint32_t seen_epoch, const char *reason);

/* What QMP said of this guest may not hold any more (its memory could not be read by that, nobody
 * answers where its ports were, it does not run as its state says, somebody wants to know):
 * discovery asks again soon. Dropped when GUESTS_DOUBTS_MAX others wait: it asks once a minute
 * anyway. */
#define GUESTS_DOUBTS_MAX 64
void guests_doubt(struct guests *gs, uint64_t serial);
/* The next of them, which is taken off the list. False: there is none. For discovery only. */
bool guests_next_doubt(struct guests *gs, uint64_t *ret_serial);

/* wake_fd (io_wake_create()) is woken at every publication from now on. The caller keeps it
 * open until guests_unsubscribe(). -ENOSPC when there are too many. */
int guests_subscribe(struct guests *gs, int wake_fd);
void guests_unsubscribe(struct guests *gs, int wake_fd);

#endif
