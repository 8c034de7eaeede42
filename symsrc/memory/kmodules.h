/* The modules that a guest's kernel has loaded: its list `modules`, walked in its RAM
 * (include/linux/module.h, kernel/module/main.c). The guest loads and unloads meanwhile: the
 * list is walked, then what hangs on it is read, then it is walked again, and taken when both
 * walks agree in all but use counts.
 */
#ifndef KVMPROFS_MEMORY_KMODULES_H
#define KVMPROFS_MEMORY_KMODULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/memory/kstructs.h"
#include "symsrc/memory/paging.h"
#include "symsrc/source.h"

#define KMODULES_MAX	     4096	/* GUEST_MODULES_MOST */
#define KMODULES_SYMBOLS_MAX (1u << 19) /* of all modules together; 100 modules have 40,000 */
#define KMODULES_EXPORTS_MAX (1u << 17)
#define KMODULES_USES_MAX    (1u << 16)	 /* which module uses which */
#define KMODULES_BYTES_MAX   (48u << 20) /* symbols, names, exports and notes together */
#define KMODULES_NOTE_MAX    4096u	 /* bytes of one module's note */
#define KMODULES_EXTRA_MAX   (1u << 14)	 /* BPF programs, trampolines and their like */
#define KMODULES_TRIES	     5		 /* until two walks agree */

/* Immutable once made. */
struct kmodules;

/* Where the kernel keeps what is read here: addresses of symbols, 0 where this kernel has no
 * such symbol. Only `modules` must be there. */
enum kmodules_root {
	KMODULES_ROOT_MODULES,		/* the list's head */
	KMODULES_ROOT_MOD_TREE,		/* its sequence counts loads and unloads */
	KMODULES_ROOT_BPF_KALLSYMS,	/* the list of BPF programs and trampolines, which is */
	KMODULES_ROOT_BPF_JIT_KALLSYMS, /* shown where this is 1 */
	KMODULES_ROOT_BPF_JIT_HARDEN,	/* and this is 0 */
	KMODULES_ROOT_FTRACE_TRAMPOLINES,
	KMODULES_ROOT_KPROBE_SLOTS,
	KMODULES_ROOT_KPROBE_OPT_SLOTS,
	KMODULES_ROOT_COUNT
};
extern const char *const kmodules_root_names[KMODULES_ROOT_COUNT]; /* for ksyms_find_many() */

struct kmodules_roots {
	uint64_t va[KMODULES_ROOT_COUNT];
};

/* 0, or negative errno and why: -EAGAIN: it changes all the time; -EBADMSG: the list leads
 * nowhere, or what hangs on it is not what a kernel has (loops, bad pointers, names that are
 * none, more than the maximum); or as paging_read(). */
int kmodules_read(struct paging *p, const struct kstructs *structs,
		  const struct kmodules_roots *roots, struct kmodules **ret, struct errmsg *why);
void kmodules_destroy(struct kmodules *m); /* accepts NULL */

size_t kmodules_count(const struct kmodules *m); /* lines of /proc/modules */

/* The modules' lines of /proc/kallsyms, in the kernel's order and format (kernel/kallsyms.c), and
 * behind them, as in the kernel, those of code that it has made itself: trampolines of ftrace
 * ([__builtin__ftrace]), BPF programs and trampolines ([bpf]), pages of kprobes
 * ([__builtin__kprobes]); in kernels since 5.8. Goes to the sink's data(), in pieces of any size.
 * 0 or what the sink returned.
 *
 * Left out: functions of modules' init that ftrace remembers after their memory is gone, for
 * modules that were loaded while a tracer ran. */
int kmodules_deliver_kallsyms(const struct kmodules *m, const struct source_sink *sink);

/* /proc/modules, as a file of the sink's (begin and data). */
int kmodules_deliver_modules(const struct kmodules *m, const struct source_sink *sink);

/* Each module's .note.gnu.build-id, likewise. A module without one is left out. */
int kmodules_deliver_notes(const struct kmodules *m, const struct source_sink *sink);

/* By what is told cheaply whether the list has changed since: says itself where to look. Plain
 * data. BPF programs and the like, which come and go with each service that systemd starts, are
 * not watched. */
struct kmodules_mark {
	uint64_t head_va;     /* the list's head; 0: there is nothing to be looked at */
	uint64_t sequence_va; /* mod_tree's sequence; 0 where there is none */
	uint64_t state_va;    /* of the newest module's state; 0: there is no module */
	uint64_t first, last; /* the head's two links */
	uint32_t sequence;
	uint32_t state;
};
void kmodules_get_mark(const struct kmodules *m, struct kmodules_mark *ret);

/* Three reads at most. 0 and *ret_changed, or as paging_read(). */
int kmodules_look(struct paging *p, const struct kmodules_mark *mark, bool *ret_changed);

#endif
