/* The seam: from here on a stranger's bytes are read.
 *
 * Above this line (symload.c and everything over it) the daemon holds privilege: perf rings,
 * /proc/PID, the mount. Behind it are connections and parsers: source*.c, ssh_*.c, wire.c,
 * frames.c, kallsyms.c, vmlinux.c, modules.c, notes.c, symbols.c, memory/. They are handed a struct
 * fetch_request, which is plain data and descriptors (a guest's RAM, opened above), read nothing
 * else than what it names (and, for ssh, the keys, known hosts and configuration of the user;
 * for an agent that libvirt holds, virsh and the pid files of libvirt's domains),
 * know no guest registry, no perf and no mount, and hand
 * back immutable plain data (a struct symtab is one block without pointers for this reason).
 *
 * So moving the second half into a process of its own means: these functions become a
 * request over a socket, cancel_fd becomes a message, and nothing on either side is rewritten.
 * Add nothing to the request that could not be sent over a socket.
 */
#ifndef KVMPROFS_FETCH_H
#define KVMPROFS_FETCH_H

#include "symsrc/base/blob.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/modtree.h"
#include "symsrc/source.h"
#include "symsrc/symbols.h"

struct fetch_request {
	char uri[SOURCE_URI_MAX];
	struct source_target target;
	struct source_limits limits;
	char used[SOURCE_USED_MAX]; /* what worked last time for this guest, or empty */
	/* Both ways: struct source. mark is for a look, which brings it up to date; dead is for a
	 * fetch, likewise. A fetch makes a mark of its own, which stands in the symbols. */
	struct source_mark mark, dead;
	/* Out, where it worked: struct source; NULL: none. The caller's, to be destroyed. */
	struct serial_ear *ear;
	struct blob *had;	      /* struct source; one reference, which stays the caller's */
	struct source_attempts tried; /* out: by fetch_symbols(), whatever comes of it */
	bool wants_sampled;	      /* likewise */
};

/* Fetches all that a guest's symbols are made of, and makes them. Blocks until done, the
 * deadline or a cancel; a guest that changes its modules meanwhile is asked again, a few times.
 * Where a source has several ways, one that spoils what it has begun gives place to the others.
 * One reference in *ret, or negative errno and why: what source_ops.fetch() and
 * symbols_builder_finish() return; -EAGAIN: there is nothing yet. Any number of threads may be in
 * here. */
int fetch_symbols(struct fetch_request *req, const struct symbols **ret, struct errmsg *why);

/* Asks the source that made req->mark for news, which costs much less than any fetch: by a way of
 * its own (source_ops.look()), or by the guest's boot_id and list of modules (symsrc/filemark.h).
 * 0, or negative errno and why. */
int fetch_look(struct fetch_request *req, enum source_news *ret, struct errmsg *why);

/* A way to the files below a guest's /lib/modules. Between two orders it may stay connected, so
 * that the next one costs little. Used by one thread at a time. */
struct fetch_files;

/* Connects to nothing yet. 0, -EOPNOTSUPP for a source that has no such files, or as
 * source_create(). */
int fetch_files_open(const char *uri, const struct source_target *target, struct fetch_files **ret,
		     struct errmsg *why);
void fetch_files_close(struct fetch_files *f); /* accepts NULL; ends the connection */

/* What it used last ("ssh://root@host"); empty: nothing yet. */
const char *fetch_files_used(const struct fetch_files *f);

/* What there is for this kernel. One reference in *ret, or negative errno and why: -ENOENT for
 * nothing, -EFBIG above the limits of modtree.h. Blocks as fetch_symbols(). */
int fetch_files_list(struct fetch_files *f, const char *release, const struct source_limits *limits,
		     const struct modtree **ret, struct errmsg *why);

/* The content of one of them, likewise. -ESTALE: it is not as large as the tree says. */
int fetch_files_read(struct fetch_files *f, const struct modtree *tree, uint64_t key,
		     const struct source_limits *limits, struct blob **ret, struct errmsg *why);

#endif
