/* What collects a struct recording while it is read; for profiler/perfdata/recording*.c alone. */
#ifndef KVMPROFS_PERFDATA_RECORDER_H
#define KVMPROFS_PERFDATA_RECORDER_H

#include "profiler/perfdata/counter.h"
#include "profiler/perfdata/recording.h"
#include "symsrc/base/buf.h"

/* A process of the host (tid 0), or a thread that guest samples hit. */
struct recorder_task {
	uint64_t key;			 /* 0: free */
	bool is_vmm, is_thread;		 /* guest samples hit it: a process, a thread */
	struct recording_guest *guest;	 /* of these; NULL: it does not count */
	unsigned vcpu;			 /* of a thread: the place in the guest's vcpus */
	uint64_t host_kernel, host_user; /* of a process */
};

/* The name of a thread that runs a vCPU, or of a process' main thread. */
struct recorder_name {
	uint64_t key; /* 0: free */
	char name[16];
};

/* A hash table of things that begin with a key. */
struct recorder_table {
	char *slots;
	size_t element; /* bytes */
	size_t slot_count, used;
	size_t most;
	uint64_t seed;
};

struct recorder {
	const struct recording_config *config;
	uint64_t size;		     /* of the recording; 0: not known */
	struct recorder_table tasks; /* of struct recorder_task */
	struct recorder_table names; /* of struct recorder_name */
	struct counter *counter;
	size_t preferred; /* the event to be shown; SIZE_MAX: any */
	bool undecided;	  /* held decides that */
	struct buf
		held; /* then: the first samples, each as a struct perfdata_record and its bytes */
	struct errmsg *why;
};

/* A new one if need be; NULL: no room. */
struct recorder_task *recorder_process(struct recording *r, uint32_t pid);
struct recorder_task *recorder_vmm(struct recording *r, uint32_t pid);
struct recorder_task *recorder_thread(struct recording *r, uint32_t pid, uint32_t tid);

/* The guest, which is made unless it is there; NULL: it is none of those that count, there are too
 * many, or there is no memory. */
struct recording_guest *recorder_guest(struct recording *r, pid_t pid);

/* Records of a guest's mappings and build-ids, and of threads' names; others are ignored. */
void recorder_map(struct recording *r, const struct perfdata_record *rec);
void recorder_build_id(struct recording *r, const struct perfdata_record *rec);
void recorder_name(struct recording *r, const struct perfdata_record *rec);

struct recorder *recorder_create(const struct recording_config *config, uint64_t size);
void recorder_destroy(struct recorder *to); /* accepts NULL */

/* Names, numbers and sorts what has been collected. */
void recorder_finish(struct recording *r);

#endif
