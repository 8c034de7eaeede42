/* Are saved symbols those of the guest's kernel? For symsrc/source*.c alone.
 *
 * A copy of kallsyms says nothing of the boot that it is of. Where it is known which kernel the
 * guest has and where that lies (struct guest_kernel), the copy must be of that build-id, as far
 * as it tells one; and where its kernel lies elsewhere, since KASLR chose another place in the boot
 * that it is of, its symbols are moved as perf moves them, by the distance of one symbol
 * (tools/perf/util/symbol.c, kallsyms__delta()). Those of modules cannot be: each lies where there
 * was room. What this machine's own /proc says is no guest's.
 *
 * Used by one thread.
 */
#ifndef KVMPROFS_SOURCE_FIT_H
#define KVMPROFS_SOURCE_FIT_H

#include "symsrc/base/buf.h"
#include "symsrc/source.h"

/* One fetch: a sink that looks through what passes. */
struct source_fit {
	const struct guest_kernel *known;
	const char *name; /* of the source, for messages */
	const struct source_sink *to;
	struct errmsg *why;
	struct buf *into;	    /* where a copy of what passes goes, or NULL */
	struct buf notes, kallsyms; /* the latter is held back until it is whole */
	bool id_fits;
	uint64_t moved_by; /* 0: nothing was moved */
	bool modules_left_out;
};

/* known, name, to and why live as long as f. */
void source_fit_init(struct source_fit *f, const struct guest_kernel *known, const char *name,
		     const struct source_sink *to, struct errmsg *why);
void source_fit_deinit(struct source_fit *f);
struct source_sink source_fit_sink(struct source_fit *f);

/* Before a kallsyms is delivered out of this descriptor: 0, or -EKEYREJECTED and why: it is this
 * machine's. */
int source_fit_check_fd(const struct source_fit *f, int fd);

/* All has come: delivers what was held back. 0, what the sink returned, or -EKEYREJECTED and why.
 * Then sets what is to be said of it in s. */
int source_fit_end(struct source_fit *f, struct source *s);

#endif
