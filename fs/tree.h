/* What there is: one table of nodes, and the way through it.
 *
 * Pure: everything that changes comes in as snapshots (the guest set, a guest's symbols).
 * Lookup, readdir, getattr, open and rendering all work from this table.
 */
#ifndef KVMPROFS_TREE_H
#define KVMPROFS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/names.h"
#include "profiler/profiler.h"
#include "symsrc/guest.h"
#include "symsrc/modtree.h"
#include "symsrc/symbols.h"

enum node_id {
	NODE_ROOT,
	NODE_STATUS,
	NODE_TOP,
	NODE_UTILIZATION,
	NODE_METRICS,
	NODE_ALL_RECORD, /* record: of all guests */
	NODE_BY_NAME,
	NODE_BY_NAME_LINK, /* by-name/NAME */
	NODE_GUEST,	   /* PID/; guest-0/ for a recording's default guest */
	NODE_INFO,
	NODE_KALLSYMS,
	NODE_MODULES,
	NODE_BUILDIDS,
	NODE_PROFILE,
	NODE_PROFILE_FOLDED,
	NODE_PROFILE_JSON,
	NODE_PROFILE_PPROF,
	NODE_FLAMEGRAPH,
	NODE_EXITS,
	NODE_EXITS_JSON,
	NODE_EVENTS,
	NODE_VCPUS,
	NODE_RECENT,	   /* recent/ */
	NODE_SNAPSHOTS,	   /* snapshots/ */
	NODE_SNAPSHOT_DIR, /* snapshots/NAME/ */
	NODE_DIFF,	   /* diff/ */
	NODE_DIFF_FILE,	   /* diff/NAME */
	NODE_VCPU,	   /* vcpu/ */
	NODE_VCPU_DIR,	   /* vcpu/N/ */
	NODE_GUEST_UTILIZATION,
	NODE_STATS,
	NODE_TRACE,
	NODE_RECORD,
	NODE_CONTROL,
	NODE_PROC,
	NODE_PROC_KALLSYMS,
	NODE_PROC_MODULES,
	NODE_PROC_VERSION,
	NODE_SYS,
	NODE_SYS_KERNEL,
	NODE_SYS_KERNEL_NOTES,
	NODE_SYS_KERNEL_BTF,
	NODE_SYS_KERNEL_BTF_VMLINUX, /* only where the guest has BTF, as in the guest */
	NODE_SYS_MODULE,
	NODE_SYS_MODULE_DIR, /* sys/module/NAME/ */
	NODE_SYS_MODULE_NOTES,
	NODE_SYS_MODULE_BUILD_ID,
	NODE_FILES_DIR, /* lib/ and all below it, where the guest's source has it: modtree.h */
	NODE_FILES_FILE,
	NODE_COUNT
};

enum node_class {
	CLASS_DIR,
	CLASS_LINK,
	/* A text made when it is looked at: a new inode for each, unless it says the same. */
	CLASS_SNAPSHOT,
	/* What the guest's symbols hold; open waits for them, for a while. */
	CLASS_SYMBOLS,
	/* The same for perf's --guestmount: empty while there are none, and never waits, since
	 * perf up to 6.12 ends its scan of all guests at the first one that it cannot read
	 * (tools/perf/util/machine.c, machines__create_guest_kernel_maps()). */
	CLASS_SYMBOLS_OR_EMPTY,
	/* What happens from its opening on: see fs/stream.h. */
	CLASS_STREAM,
	/* A file of the guest's disk: its size is known, its content comes when it is opened. */
	CLASS_GUEST_FILE,
	CLASS_CONTROL
};

/* How many of it there are in its directory, and what their names come from. */
enum node_each {
	EACH_ONE,
	EACH_PID,
	EACH_NAME,
	EACH_MODULE,
	EACH_BTF,
	EACH_VCPU,
	EACH_SNAPSHOT,
	EACH_FILES
};

struct node {
	const char *name; /* NULL unless EACH_ONE or EACH_BTF */
	enum node_id parent;
	enum node_class class;
	mode_t mode; /* permission bits */
	enum node_each each;
	bool secret; /* carries guest kernel addresses: -o symbols_mode counts */
	/* A file of NODE_GUEST that tells of samples: it also stands in each directory that holds
	 * the files of a slice. */
	bool sliced;
	bool slices; /* such a directory */
};

const struct node *tree_node(enum node_id id);

/* One place in the tree: which node, of which guest, of which of its modules or of which slice
 * of its samples. */
struct place {
	enum node_id node;
	uint64_t serial;    /* 0: of no guest */
	struct slice slice; /* all zero where there is a module */
	char module[MODULE_NAME_MAX];
	uint64_t file; /* key of a struct modtree_entry; 0: none */
};

bool place_equal(const struct place *a, const struct place *b);
uint64_t place_hash(const struct place *p);
/* The number that stat shows: the same for all generations of a file; 1 for the root. */
uint64_t place_ino(const struct place *p);

/* The directory of the guest whose pid is 0: perf's default guest, in a recording. */
#define TREE_DEFAULT_GUEST "guest-0"
/* What the guest's directory is called. size: NAME_COMPONENT_MAX does. */
void tree_guest_name(const struct guest *g, char *to, size_t size);

/* What the tree is made of at this moment. */
struct tree_view {
	const struct guest_set *guests;
	const struct symbols *symbols;	     /* of the guest of the directory; NULL: none */
	struct profiler_snapshot *snapshots; /* likewise */
	size_t snapshot_count;
	const struct modtree *files; /* likewise */
};

/* True when entries of this directory come from the guest's symbols: they are to be in the
 * view then. */
bool tree_needs_symbols(enum node_id dir);
/* The same for the guest's snapshots. */
bool tree_needs_snapshots(const struct place *dir);
/* Likewise of its module files. */
bool tree_needs_files(enum node_id dir);

/* True while the place's guest runs, or it belongs to none, and its snapshot is there. */
bool tree_exists(const struct tree_view *view, const struct place *p);

/* 0, -ENOENT, or -ENOMEM. */
int tree_lookup(const struct tree_view *view, const struct place *dir, const char *name,
		struct place *ret);

struct tree_entry {
	char name[NAME_COMPONENT_MAX];
	struct place place;
};

struct tree_list {
	size_t count;
	struct tree_entry *entries;
};

/* All entries of a directory, without "." and "..", always in the same order: guests by pid.
 * 0, -ENOENT when the guest is gone, -ENOMEM. */
int tree_list(const struct tree_view *view, const struct place *dir, struct tree_list *ret);
void tree_list_free(struct tree_list *l);

#endif
