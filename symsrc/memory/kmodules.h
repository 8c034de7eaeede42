/* The modules that a guest's kernel has loaded: its list `modules`, walked in its RAM
 * (include/linux/module.h, kernel/module/). The guest loads and unloads meanwhile, so the list
 * is walked twice and taken when both walks agree. */
#ifndef KVMPROFS_MEMORY_KMODULES_H
#define KVMPROFS_MEMORY_KMODULES_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/memory/kstructs.h"
#include "symsrc/memory/paging.h"
#include "symsrc/source.h"

#define KMODULES_MAX	     4096	/* GUEST_MODULES_MOST */
#define KMODULES_SYMBOLS_MAX (1u << 20) /* of all modules together */
#define KMODULES_STRINGS_MAX (64u << 20)
#define KMODULES_TRIES	     5 /* walks until two agree */

/* Immutable once made. */
struct kmodules;

/* Where the kernel keeps what is read here; 0: this kernel has no such symbol. */
struct kmodules_roots {
	uint64_t modules;      /* the list's head: must be there */
	uint64_t mod_tree;     /* its generation counts loads and unloads */
	uint64_t bpf_kallsyms; /* BPF programs and trampolines */
};

/* 0, or negative errno and why: -EAGAIN: it changes all the time; -EBADMSG: the list leads
 * nowhere (loops, bad pointers, more than the maximum); or as paging_read(). */
int kmodules_read(struct paging *p, const struct kstructs *structs,
		  const struct kmodules_roots *roots, struct kmodules **ret, struct errmsg *why);
void kmodules_destroy(struct kmodules *m); /* accepts NULL */

size_t kmodules_count(const struct kmodules *m);

/* The modules' lines of /proc/kallsyms, in the kernel's order and format; behind them those of
 * BPF, where bpf_kallsyms is known. Goes to the sink's data(). */
int kmodules_deliver_kallsyms(const struct kmodules *m, const struct source_sink *sink);

/* /proc/modules, as a file of the sink's (begin and data). */
int kmodules_deliver_modules(const struct kmodules *m, const struct source_sink *sink);

/* Each module's .note.gnu.build-id, likewise. A module without one is left out. */
int kmodules_deliver_notes(const struct kmodules *m, const struct source_sink *sink);

/* What tells cheaply whether the list has changed: a few reads. */
struct kmodules_mark {
	uint64_t first, last; /* the list head's two links */
	uint32_t generation;  /* of mod_tree; 0 where there is none */
};
int kmodules_look(struct paging *p, const struct kstructs *structs,
		  const struct kmodules_roots *roots, struct kmodules_mark *ret);

#endif
