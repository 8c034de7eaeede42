/* Where the kernel's tracepoints are described: its tracefs, mounted or not. */
#ifndef KVMPROFS_TRACEFSROOT_H
#define KVMPROFS_TRACEFSROOT_H

#include <stdbool.h>

#include "symsrc/base/errmsg.h"

struct tracefs_root {
	char path[64]; /* valid until tracefs_root_close() */
	int fd;	       /* of a mount of our own that nobody else sees; -1: none was needed */
};

/* The usual mount point; where nothing is mounted, a mount without a place in the tree, which takes
 * CAP_SYS_ADMIN. 0, or negative errno and why. */
int tracefs_root_open(struct tracefs_root *ret, struct errmsg *why);
/* Whether it is at a usual mount point, where people can look. */
bool tracefs_is_mounted(void);
void tracefs_root_close(struct tracefs_root *r);

#endif
