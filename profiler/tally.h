/* What was counted of one guest: a table of addresses for each of its last boots, numbers for
 * each vCPU, and its share of the host's samples. Nothing here knows names.
 *
 * One mutex a guest. A writer (the engine, the QMP sampler) holds it over a run of samples of
 * this guest, readers only to copy. It is a leaf: nothing else is locked while it is held.
 * Reference-counted, since a reader may still copy when the guest has ended.
 */
#ifndef KVMPROFS_TALLY_H
#define KVMPROFS_TALLY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "profiler/bootwatch.h"
#include "profiler/stalewatch.h"
#include "profiler/choice.h"
#include "profiler/counts.h"
#include "profiler/profiler.h"
#include "profiler/recent.h"
#include "profiler/record.h"
#include "symsrc/base/lock.h"
#include "symsrc/guest.h"

/* The vCPU of a sample whose thread is no vCPU that is known (yet). */
#define VCPU_UNKNOWN GUEST_VCPUS_MAX

struct recording_guest; /* profiler/perfdata/recording.h */

struct tally_vcpu {
	uint64_t kernel, user, halted;
	uint64_t user_weight; /* of a recording */
};

/* One boot. kernel and user are sums; the address of every kernel sample stands in the table,
 * but for table_full of them. */
struct tally_epoch {
	uint32_t epoch;
	uint64_t start_ns; /* samples before it belong to the boot before */
	uint64_t kernel, user;
	uint64_t user_weight;	     /* of a recording */
	uint64_t user_contradictory; /* user samples with an address of the kernel's half */
	uint64_t table_full;
	uint32_t retired;	     /* retired_number() of what the addresses are marked by, */
	uint64_t retired_ns;	     /* since when; a sample of before that may come late, */
	const struct retired *names; /* and is marked by this, held; NULL: none may */
	uint32_t retired_before;     /* for it the sets from here on are new */
	struct counts table;
	struct tally_vcpu *vcpus; /* by index */
	unsigned vcpu_count;
};

/* Where the daemon as a whole stood: subtracted, these give what happened in between. */
struct tally_clock {
	uint64_t samples; /* of all CPUs */
	uint64_t lost;
};

/* What the engine has seen of the guest, to decide how to sample it. */
struct tally_watch {
	struct bootwatch boot; /* since the last tick */
	struct stalewatch names;
	uint64_t window_samples;       /* guest samples since the window began */
	bool saw;		       /* many of them in the window before */
	uint64_t process_ns, vcpus_ns; /* CPU time when it began */
	bool has_process, has_vcpus;   /* which of them were taken */
	struct choice choice;
};

/* What the tallies of all guests may take together. */
struct tally_memory {
	struct counts_budget tables;
	struct counts_budget recent;
	struct counts_budget snapshots;
	atomic_uint snapshots_made; /* ever */
	atomic_uint snapshots_held;
};

struct tally {
	atomic_uint refs;
	uint64_t serial; /* of the guest; constant */
	struct tally_memory *memory;
	struct snapshots *snapshots; /* has a lock of its own */
	struct tally_watch watch;    /* of the engine's thread alone */

	struct mutex lock;			       /* guards all below */
	struct tally_epoch epochs[SYMSRC_EPOCHS_KEPT]; /* oldest first */
	unsigned epoch_count;
	struct recent recent;	     /* goes on over a reset */
	struct tally_vcpu forgotten; /* of boots that are dropped, of all vCPUs */
	uint64_t host_kernel, host_user;
	uint64_t since_ns;	    /* shown; nothing older is counted after a reset */
	uint64_t from_ns, until_ns; /* only samples of this time are counted */
	uint64_t news_ns;	    /* of the newest sample, or what else has changed the counts */
	bool paused;
	struct tally_clock base;      /* at since_ns, later by the length of pauses */
	struct tally_clock paused_at; /* while paused */
	enum sampler_kind sampler;
	unsigned qmp_hz; /* while sampler is SAMPLER_KIND_QMP */
	/* Of a recording, which is filled in before others know the tally (recorded.h): */
	uint64_t ended_ns;		    /* when it ended; 0: live */
	uint64_t weight;		    /* of all samples in it */
	const struct recording_guest *maps; /* where its kernel and modules lay; NULL: not known */
	char choice_note[160];		    /* why this sampler */
	char trouble_note[160];		    /* what keeps it from working at the moment */
};

/* One reference. NULL when out of memory. now: where the daemon's numbers stand. */
struct tally *tally_create(uint64_t serial, struct tally_memory *memory,
			   const struct tally_clock *now);
struct tally *tally_get(struct tally *t); /* accepts NULL */
void tally_put(struct tally *t);	  /* accepts NULL */

/* Begins that boot unless it, or a later one, has begun; forgets the oldest past
 * SYMSRC_EPOCHS_KEPT. */
void tally_begin_epoch(struct tally *t, uint32_t epoch, uint64_t start_ns);

/* Marks the addresses of that boot's samples that have been given to others (retired.h), unless it
 * was done. now_ns: samples of before may still come. A copy that was made before is marked when it
 * is resolved. */
void tally_retire(struct tally *t, uint32_t epoch, const struct retired *retired, uint64_t now_ns);

/* A sample of perf: files it by mode, time and address. vcpu: index or VCPU_UNKNOWN. Guest
 * samples are only noted, not filed, while the guest is sampled over QMP. True when it was filed
 * as the guest's own. */
bool with_lock__tally_sample(struct tally *t, const struct sample *s, unsigned vcpu)
	LOCK_ATTR(requires_capability(t->lock));

/* A vCPU as QMP showed it at the moment now_ns. */
struct tally_observation {
	unsigned vcpu;
	uint64_t ip;
	bool kernel;
	bool halted;
};
/* True when it was filed. */
bool with_lock__tally_observation(struct tally *t, const struct tally_observation *o,
				  uint64_t now_ns) LOCK_ATTR(requires_capability(t->lock));

/* Sets how the guest is sampled and why. A change between two that count starts anew at
 * now_ns, since samples of different rates do not add up. True when the sampler changed. */
bool tally_set_sampler(struct tally *t, enum sampler_kind kind, const char *note, uint64_t now_ns,
		       const struct tally_clock *now);
void tally_set_rate(struct tally *t, unsigned qmp_hz);
void tally_set_trouble(struct tally *t, const char *note); /* "": none */
enum sampler_kind tally_sampler(struct tally *t);
/* True when it is sampled over QMP and not paused. */
bool tally_wants_registers(struct tally *t);

void tally_reset(struct tally *t, uint64_t now_ns, const struct tally_clock *now);
void tally_pause(struct tally *t, bool paused, uint64_t now_ns, const struct tally_clock *now);

/* When the counts changed last; 0: never. A sample may be filed ENGINE_TICK_NS after its time. */
uint64_t tally_news_ns(struct tally *t);

/* A copy of one boot's numbers, of all vCPUs or one of them. */
struct tally_epoch_copy {
	uint32_t epoch;
	uint32_t retired; /* as in struct tally_epoch */
	uint64_t kernel, user, user_contradictory, table_full;
	struct counts_entry *entries;
	size_t entry_count;
	uint64_t *weights;    /* of the entries; NULL: each sample weighs 1, */
	uint64_t user_weight; /* and this one does not count */
};

struct tally_copy {
	enum sampler_kind sampler;
	unsigned qmp_hz;
	char note[160];
	bool paused;
	uint64_t weight; /* of a recording, as the maps */
	const struct recording_guest *maps;
	uint64_t since_ns;
	uint64_t taken_ns;
	struct tally_vcpu forgotten; /* of boots that are dropped; none for one vCPU */
	uint64_t refused;	     /* recent: samples that found no room */
	uint64_t host_kernel, host_user;
	struct tally_clock elapsed; /* since since_ns, without pauses */
	unsigned epoch_count;
	struct tally_epoch_copy epochs[SYMSRC_EPOCHS_KEPT];
};

/* vcpu: an index, or -1 for all. with_tables: also the entries (an allocation each). now: as
 * above, for elapsed. 0 or -ENOMEM. *ret goes to tally_copy_deinit(). */
int tally_copy(struct tally *t, int vcpu, bool with_tables, const struct tally_clock *now,
	       struct tally_copy *ret);
/* The same, with entries, of the last RECENT_NS; nothing of host_* and elapsed. An entry a sample:
 * an address may stand there more than once. */
int tally_copy_recent(struct tally *t, int vcpu, uint64_t now_ns, struct tally_copy *ret);
/* The members from sampler to paused alone. */
void tally_copy_facts(struct tally *t, struct tally_copy *to);
/* A copy of a copy, with the entries. 0 or -ENOMEM. */
int tally_copy_dup(const struct tally_copy *copy, struct tally_copy *ret);
void tally_copy_deinit(struct tally_copy *copy);

/* Frees the samples that are not recent any more, of a guest that may have no new ones. */
void tally_expire(struct tally *t, uint64_t now_ns);

/* The numbers of one vCPU over all kept boots. */
struct tally_vcpu tally_vcpu(struct tally *t, unsigned vcpu);

#endif
