/* What the sources that read a guest's RAM share; for symsrc/source*.c alone. */
#ifndef KVMPROFS_SOURCE_MEMORY_H
#define KVMPROFS_SOURCE_MEMORY_H

#include "symsrc/memory/kernel.h"
#include "symsrc/source.h"
#include "symsrc/vmmram.h"

/* Begins such a source. */
struct source_ram {
	struct source base;
	struct vmmram *ram; /* or NULL: why_not says why */
	struct errmsg why_not;
};

/* What a fetch needs, on its stack. */
struct source_ram_reading {
	struct vmmram_reader reader;
	struct ram ram;
};

void source_ram_init(struct source_ram *m, const struct source_target *target);
void source_ram_deinit(struct source_ram *m);

/* Fills rd, and finds and reads the kernel (kernel_read()) by what is known in base.dead. The
 * kernel belongs to rd. Negative errno as kernel_read(), or why there is no RAM. */
int source_ram_read(struct source_ram *m, const struct source_limits *limits,
		    struct source_ram_reading *rd, struct kernel **ret, struct errmsg *why);

/* base.mark is of this kernel from now on. */
void source_ram_keep_mark(struct source_ram *m, const struct kernel *k);

/* struct source_ops.look; s begins with a struct source_ram. */
int source_ram_look(struct source *s, const struct source_limits *limits, struct errmsg *why);

#endif
