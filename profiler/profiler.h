/* The room's door: what every guest is doing, as counts of addresses, and the profile that
 * comes of joining them with names.
 *
 * Three threads: the engine, which drains one perf ring per CPU (engine.c), the QMP sampler
 * (qmpsampler.c) for guests that the host kernel cannot see into, both of which only count; and
 * the one that makes streams of events while somebody reads them (trace.c). Everything
 * below may be called from any thread; nothing but profiler_stop() waits for a thread.
 */
#ifndef KVMPROFS_PROFILER_H
#define KVMPROFS_PROFILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profiler/exits/exits.h"
#include "profiler/exits/snapshot.h"
#include "profiler/kvmstats.h"
#include "profiler/slice.h"
#include "symsrc/base/buf.h"
#include "symsrc/base/bulk.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/base/feed.h"
#include "symsrc/symsrc.h"

enum sampler_choice { SAMPLER_AUTO, SAMPLER_PERF, SAMPLER_QMP };

struct profiler_config {
	enum sampler_choice sampler;
	const char *event; /* "auto", or what event_parse() takes */
	unsigned freq;	   /* samples a second on each CPU; 0: the default, or what is allowed */
	enum exits_choice exits;
	/* Serve this one, whose guests (recorded.h) are symsrc's: nothing is sampled, and nothing
	 * else here counts. Its counts are taken out of it; it must outlive the profiler. NULL:
	 * live guests. */
	struct recording *recording;
};

struct profiler;
struct recording; /* profiler/perfdata/recording.h */

/* Opens the perf events on every CPU, so that what is not allowed is said before the mount;
 * starts nothing. With SAMPLER_AUTO and the event "auto" a host that refuses perf still works,
 * with QMP alone, and profiler_totals() says why. -EINVAL: what the user asked for is wrong. */
int profiler_create(const struct profiler_config *config, struct symsrc *symsrc,
		    struct profiler **ret, struct errmsg *why);
/* Starts the threads: call it after the last fork. */
int profiler_start(struct profiler *p, struct errmsg *why);
void profiler_stop(struct profiler *p);
void profiler_destroy(struct profiler *p); /* accepts NULL; after profiler_stop() */

enum sampler_kind {
	SAMPLER_KIND_NONE,
	SAMPLER_KIND_PERF,
	SAMPLER_KIND_QMP,
	SAMPLER_KIND_RECORDING /* none: the samples are a recording's */
};

/* The daemon as a whole, for `status`. */
struct profiler_totals {
	bool perf_running;
	struct exits_state exits; /* what counts VM exits */
	char perf_error[320];	  /* why not, one line; empty while it runs */
	char event[64];		  /* the event in use, "cpu-clock" */
	char event_reason[128];	  /* why auto chose it; empty when it was asked for */
	unsigned freq;
	unsigned cpus;		/* rings */
	uint64_t samples;	/* all records of samples that were read */
	uint64_t guest_samples; /* of them in a guest (perf) */
	uint64_t qmp_samples;	/* registers read over QMP */
	uint64_t lost;		/* samples that the kernel could not write */
	bool lost_exact;	/* from PERF_FORMAT_LOST; else LOST records, trailing loss unseen */
	uint64_t throttled;	/* times that the kernel slowed the event down */
	uint64_t host_kernel, host_user, host_idle; /* samples outside of guests */
	uint64_t stranger_guest; /* guest samples of a pid that is no known guest (any more) */
	uint64_t since_ns;	 /* start, clock_now_ns() */
	unsigned snapshots;	 /* of all guests */
	uint64_t snapshot_bytes;
	char snapshot_refused[160]; /* the last that could not be made, and why; may be empty */
	const struct recording *recording; /* NULL: live */
};
void profiler_totals(struct profiler *p, struct profiler_totals *ret);
/* NULL: the guests are live. */
const struct recording *profiler_recording(const struct profiler *p);

/* Samples of one guest by where they hit, since the mount or the last reset. */
struct profiler_shares {
	uint64_t host_kernel; /* the VMM process in the host kernel */
	uint64_t host_user;   /* the VMM process in its own code */
	uint64_t guest_kernel;
	uint64_t guest_user;
	uint64_t total; /* all samples of all CPUs in that time, idle ones too */
	uint64_t lost;	/* of all CPUs that the kernel could not write, not in total */
	bool no_perf;	/* host_* and lost are not known: no samples of perf, live or recorded */
};
/* serial 0: the host as a whole (guest_* are sums). -ESRCH when there is no such guest. */
int profiler_shares(struct profiler *p, uint64_t serial, struct profiler_shares *ret);

/* The samples of one guest as they were counted, of all its boots: each number only grows until a
 * reset, a change of the sampler, or the guest's end. */
struct profiler_counts {
	enum sampler_kind sampler;
	unsigned freq; /* samples a second while a vCPU runs; 0: none are taken */
	bool paused;
	uint64_t guest_kernel, guest_user;
	uint64_t host_kernel, host_user; /* of perf, also where the guest's are registers */
};
/* -ESRCH when there is no such guest, -ENOMEM. */
int profiler_counts(struct profiler *p, uint64_t serial, struct profiler_counts *ret);

/* Whether samples have come, or been forgotten by a reset, since that moment: of that guest, or
 * of all (serial 0). It may say so of some that had come a moment before. False for a guest that
 * is not known. */
bool profiler_has_news(struct profiler *p, uint64_t serial, uint64_t since_ns);

/* A guest's vCPUs with their samples; *ret is to be freed. Returns the number, -ESRCH, or -ENOMEM.
 * Where nobody tells which thread is which vCPU, the threads that had events of one are listed,
 * unnumbered. */
struct profiler_vcpu {
	unsigned index;
	bool unnumbered; /* index and samples are not known */
	pid_t tid;
	uint64_t kernel, user; /* samples */
	bool has_exits;	       /* exits are counted here */
	uint64_t exits;
};
int profiler_vcpus(struct profiler *p, uint64_t serial, struct profiler_vcpu **ret);

/* `control`. -ESRCH when there is no such guest, -EOPNOTSUPP in a recording. While paused, its
 * samples are not counted. */
int profiler_reset(struct profiler *p, uint64_t serial);
int profiler_pause(struct profiler *p, uint64_t serial, bool paused);

/* -- KVM's own counters ------------------------------------------------------------------- */

struct profiler_reading {
	struct kvmstats now;	/* taken_ns 0: there is none */
	struct kvmstats before; /* at least a second earlier; taken_ns 0: none, and all 0 */
	uint64_t span_ns;	/* between them, or since the guest was started */
};

struct profiler_stats {
	struct profiler_reading debugfs;
	struct errmsg debugfs_error; /* why there is none */
	struct profiler_reading qmp; /* "query-stats", from the time before this one */
	bool has_qmp;		     /* it will be asked, so that the next time has it */
};

/* Reads some sixty small files of debugfs. *ret is to be freed. -ESRCH, -ENOMEM, and -EOPNOTSUPP
 * for a guest without KVM, with why. */
int profiler_stats(struct profiler *p, uint64_t serial, struct profiler_stats **ret,
		   struct errmsg *why);

/* -- snapshots ------------------------------------------------------------------------------ */

#define PROFILER_SNAPSHOT_NAME_MAX 64 /* with the NUL */

struct profiler_snapshot {
	uint32_t id; /* a slice's time; never used twice */
	char name[PROFILER_SNAPSHOT_NAME_MAX];
};

/* A guest's snapshots, the oldest first; *ret is to be freed. Returns the number, -ESRCH or
 * -ENOMEM. */
int profiler_snapshots(struct profiler *p, uint64_t serial, struct profiler_snapshot **ret);
/* Freezes what is counted now of this guest, whatever is reset or paused later; gone with the
 * guest. The name: printable ASCII without '/', not hidden. -ESRCH, -EINVAL, -ENAMETOOLONG,
 * -EEXIST; -ENOSPC: too many or too large, and profiler_totals() says which; -ENOMEM. */
int profiler_snapshot_make(struct profiler *p, uint64_t serial, const char *name);
int profiler_snapshot_forget(struct profiler *p, uint64_t serial, const char *name);

/* -- the stream of kvm events --------------------------------------------------------------- */

/* See trace_open(), trace_select(), trace_check() and trace_selected() of profiler/trace.h. */
int profiler_trace(struct profiler *p, uint64_t serial, int wake_fd, struct feed **ret);
int profiler_trace_select(struct profiler *p, uint64_t serial, const char *words, size_t n,
			  struct errmsg *why);
int profiler_trace_check(struct profiler *p, uint64_t serial, const char *words, size_t n,
			 struct errmsg *why);

void profiler_trace_selected(struct profiler *p, uint64_t serial, struct buf *out);

/* -- recordings ----------------------------------------------------------------------------- */

/* A guest's samples from now on, or all guests' (serial 0), as perf.data: see livedata_open() of
 * profiler/livedata.h. While a guest is paused, none of its samples are recorded. */
int profiler_record(struct profiler *p, uint64_t serial, int wake_fd, struct feed **ret);

/* Whether profiler_exits() would tell more than at that moment. */
bool profiler_exits_have_news(struct profiler *p, uint64_t serial, uint64_t since_ns);
/* A guest's VM exits; *ret goes to exits_free(). Where they are not counted the note says why.
 * -ESRCH, -ENOMEM. */
int profiler_exits(struct profiler *p, uint64_t serial, const struct slice *slice,
		   struct exits **ret);

/* -- the resolved profile ---------------------------------------------------------------- */

#define PROFILE_OBJECT_KERNEL  "[guest.kernel.kallsyms]"
#define PROFILE_OBJECT_UNKNOWN "[unknown]"
#define PROFILE_SYMBOL_USER    "[guest.user]"

struct profile_row {
	uint64_t samples;
	char type;	    /* 'g' guest kernel, 'u' guest user */
	const char *symbol; /* belongs to the profile; safe to print */
	const char *object; /* likewise; with brackets */
	/* Where the symbol begins in the newest of the boots that it was hit in, or the address
	 * that stands for itself; 0: a row of many (user space). */
	uint64_t address;
	uint64_t weight; /* of the samples, in a recording: profile_weight_of() */
	bool unnamed;	 /* the symbol is the address: a secret */
};

struct profile {
	struct slice slice;			   /* what it is a profile of */
	char snapshot[PROFILER_SNAPSHOT_NAME_MAX]; /* its name where it is one of a snapshot */
	enum sampler_kind sampler;
	char sampler_note[160]; /* why this sampler, or why none; may be empty */
	char event[64];
	unsigned freq;
	bool paused;
	uint64_t since_ns; /* clock_now_ns() of the mount, discovery or reset */
	uint64_t taken_ns; /* of this snapshot */
	uint64_t samples;  /* guest_kernel + guest_user */
	uint64_t guest_kernel;
	uint64_t guest_user;
	uint64_t unresolved;	/* kernel samples that no symbol covers */
	uint64_t lost;		/* samples lost on the host's rings in that time, any guest's */
	uint64_t table_full;	/* kernel samples without a row: the table was at its maximum */
	uint64_t forgotten;	/* samples of boots too long ago to be kept */
	uint64_t refused;	/* SLICE_RECENT: samples that found no room, not in `samples` */
	uint64_t contradictory; /* misc bits and address disagree (counted by the misc bits) */
	uint32_t epochs;	/* boots that the rows are from */
	size_t row_count;
	struct profile_row *rows; /* hottest first; of equal ones as their addresses ascend */
	struct bulk memory;	  /* of the rows and their strings */
	/* SAMPLER_KIND_RECORDING: of all samples in the recording, also of the host and of other
	 * guests: profile_weight(). */
	uint64_t weight;
};

/* What the rows are shares of, and their parts in that: samples; in a recording the events that
 * these stand for, as perf report has it. */
static inline uint64_t profile_weight(const struct profile *p)
{
	return p->sampler == SAMPLER_KIND_RECORDING ? p->weight : p->samples;
}
static inline uint64_t profile_weight_of(const struct profile *p, const struct profile_row *r)
{
	return p->sampler == SAMPLER_KIND_RECORDING ? r->weight : r->samples;
}

/* Copies the counts (under the guest's lock, microseconds) and joins them with names (outside
 * of it). *ret goes to profile_free(). -ESRCH, -ENOENT: no such snapshot, -ENOMEM. */
int profiler_profile(struct profiler *p, uint64_t serial, const struct slice *slice,
		     struct profile **ret);
void profile_free(struct profile *profile);   /* accepts NULL */
void profile_deinit(struct profile *profile); /* of one that is no memory of its own */
/* Keeps the hottest rows that have a name, `most` of them, and makes the others without a name one
 * row of the object PROFILE_OBJECT_UNKNOWN; frees what the rest took. 0 or -ENOMEM. */
int profile_shorten(struct profile *profile, size_t most);

#endif
