/* What a recording of perf's says about guests: read once, then immutable.
 *
 * The samples of one of its events count, as perf report shows events one by one: the one that was
 * asked for, or that with most samples of the guests that are served. Memory is bounded: so many
 * guests, threads and addresses; what finds no room is counted, and said.
 */
#ifndef KVMPROFS_PERFDATA_RECORDING_H
#define KVMPROFS_PERFDATA_RECORDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "profiler/counts.h"
#include "profiler/perfdata/events.h"
#include "profiler/perfdata/read.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/guest.h"
#include "symsrc/notes.h"

#define RECORDING_GUESTS_MAX	GUESTS_MAX
#define RECORDING_PROCESSES_MAX 65536  /* of the host, whose samples are told apart */
#define RECORDING_THREADS_MAX	262144 /* likewise whose names are kept */
#define RECORDING_MAPS_MAX	8192   /* of one guest */
#define RECORDING_MAP_NAME_MAX	128
#define RECORDING_OTHERS_MAX	64
#define RECORDING_ELSEWHERE_MAX 4	   /* events with samples of a guest that are not shown */
#define RECORDING_ENTRIES_MAX	(1u << 22) /* addresses of one guest */
#define RECORDING_MEMORY_MAX	(1u << 30) /* for the addresses and maps of all guests */

/* Where a guest's kernel, or one of its modules, lay, as far as perf knew when it recorded. */
struct recording_map {
	uint64_t start, end;
	char name[RECORDING_MAP_NAME_MAX]; /* "[guest.kernel.kallsyms]", "[ext4]" */
	bool kernel;
	/* Of the kernel: a symbol of it, and at which address that was; empty: none. */
	char symbol[32];
	uint64_t symbol_at;
};

struct recording_build_id {
	struct build_id id;
	char name[RECORDING_MAP_NAME_MAX];
	bool kernel;
};

/* One that guest samples hit. */
struct recording_vcpu {
	pid_t tid;
	unsigned index; /* as the threads' names tell, or by their order */
	unsigned place; /* while it is read: what it is in the table */
	uint64_t kernel, user, user_weight;
};

/* Samples of a guest that are not shown. */
struct recording_elsewhere {
	size_t event;
	uint64_t samples;
};

struct recording_guest {
	pid_t pid; /* of the VMM; 0: the default guest, of samples that do not say */
	char name[GUEST_NAME_MAX]; /* of the VMM's main thread; empty: not known */
	size_t vcpu_count;
	struct recording_vcpu *vcpus; /* by index, ascending */
	/* Kernel samples by address and vCPU's index (GUEST_VCPUS_MAX: not known). */
	struct counts table;
	uint64_t kernel, user, user_weight;
	uint64_t user_contradictory;	 /* user samples with an address of the kernel's half */
	uint64_t table_full;		 /* kernel samples without room */
	uint64_t host_kernel, host_user; /* samples of the VMM itself */
	size_t elsewhere_count;		 /* of the first such events */
	struct recording_elsewhere elsewhere[RECORDING_ELSEWHERE_MAX];
	size_t map_count, map_room;
	struct recording_map *maps; /* by start, ascending */
	size_t build_id_count, build_id_room;
	struct recording_build_id *build_ids;
};

/* One with samples of any event, which was not asked for. */
struct recording_other {
	pid_t pid;
	char name[16]; /* as that of a guest; of a stranger: raw bytes */
};

struct recording {
	char *path;
	struct perfdata_facts facts;
	struct recording_events events;
	size_t shown; /* the event whose samples count; events.count: none */
	/* Of that event. */
	uint64_t samples, weight; /* all: also of the host, and what else there is */
	uint64_t host_kernel, host_user, host_idle, guest_kernel, guest_user;
	uint64_t lost, throttled;   /* of all events */
	uint64_t strange;	    /* samples that nobody can tell the event of, or too short */
	uint64_t left_out;	    /* guest samples of guests that do not count, or of too many */
	uint64_t first_ns, last_ns; /* of samples, on the recorder's clock */
	uint64_t ended_wall_ns;	    /* when it was, nanoseconds since 1970 */
	size_t guest_count;
	struct recording_guest **guests; /* by pid, ascending */
	size_t other_count;		 /* all; the first ones, by pid: */
	struct recording_other others[RECORDING_OTHERS_MAX];
	struct counts_budget budget; /* of the guests' tables and maps */
	uint64_t host_symbol_at;     /* where the host's _text was; 0: not known */
	struct recorder *recorder;   /* while it is read */
};

struct recording_config {
	const char *path;  /* "-": standard input */
	const char *event; /* NULL or "auto": that with most samples of these guests; of what comes
			      by a pipe, among the first 16 MiB of samples */
	const pid_t *only; /* these guests; only_count 0: all */
	size_t only_count;
	/* Told now and then how much of how many bytes (0: not known) was read, of a pipe also
	 * before there are any; may be NULL. */
	void (*progress)(void *ctx, uint64_t bytes, uint64_t of);
	void *ctx;
};

/* Reads all of it, which takes as long as it takes. 0, or negative errno and why (with the path).
 * Before any fork, too: a thread that helps has ended when this returns, whatever came of it. */
int recording_read(const struct recording_config *config, struct recording **ret,
		   struct errmsg *why);
/* The same out of bytes that are told; for tests. size: 0, not known. */
int recording_read_bytes(const struct recording_config *config, const struct perfdata_bytes *bytes,
			 uint64_t size, struct recording **ret, struct errmsg *why);
void recording_free(struct recording *r); /* accepts NULL */

/* NULL: there is no such guest. */
const struct recording_guest *recording_find(const struct recording *r, pid_t pid);
/* Where most samples are of a guest that has none of the event that is shown; NULL: nowhere, or it
 * has some. */
const struct recording_elsewhere *recording_elsewhere(const struct recording_guest *g);
/* Where its kernel and modules lay: its own maps, or those of the default guest. */
const struct recording_guest *recording_maps_of(const struct recording *r,
						const struct recording_guest *g);
/* Its kernel: the map that names a symbol, and the build-id. NULL: there is none. */
const struct recording_map *recording_kernel_map(const struct recording_guest *g);
const struct recording_build_id *recording_kernel_id(const struct recording_guest *g);
/* The map that holds the address, or NULL. */
const struct recording_map *recording_map_at(const struct recording_guest *g, uint64_t ip);

#endif
