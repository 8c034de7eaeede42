/* What is to be counted on this kernel, and by what names: read out of the format files of its
 * tracepoints (libtraceevent), so that another release or architecture needs no other programs.
 *
 * Made once and constant; the names may be asked for from any thread (one lock inside).
 */
#ifndef KVMPROFS_EXITS_PLAN_H
#define KVMPROFS_EXITS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profiler/exits/abi.h"
#include "profiler/exits/snapshot.h"
#include "profiler/tracefs.h"
#include "symsrc/base/errmsg.h"

#define EXITS_NAME_MAX 64 /* of a reason, with the NUL */

/* One tracepoint and the program that counts it. */
struct exits_hook {
	uint32_t id;
	char event[TRACEFS_NAME_MAX];
	char program[16]; /* its name in exits.bpf.c */
	bool raw;	  /* its program reads no fields, so it may hang raw anywhere */
};

struct exits_names;

struct exits_plan {
	struct exits_fields fields;
	char events[EXITS_EVENTS][TRACEFS_NAME_MAX]; /* index: exits_thread.events */
	size_t event_count;
	size_t hook_count;
	struct exits_hook hooks[EXITS_EVENTS + 8];
	bool has_exits;		   /* exit and entry are known here */
	struct exits_names *names; /* NULL: numbers for names */
};

/* root: of a tracefs. -ENOENT: KVM has no tracepoints here (its module is not loaded). */
int exits_plan_make(const char *root, struct exits_plan **ret, struct errmsg *why);
void exits_plan_free(struct exits_plan *plan); /* accepts NULL */

/* Where an event that this program did not see is counted. */
uint64_t *exits_plan_lost(const char *program, struct exits_lost *lost);

/* The name of an exit's reason or of a VMM's (kind EXITS_REASON, EXITS_VMM) as the kernel itself
 * prints it, in one word without KVM_EXIT_; a number when the kernel has no name. The other kinds
 * are addresses and numbers. ret: EXITS_NAME_MAX bytes. */
void exits_plan_name(const struct exits_plan *plan, const struct exits_key *key, char *ret);

#endif
