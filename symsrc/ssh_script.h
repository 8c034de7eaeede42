/* The one command that is run in a guest. Pure. */
#ifndef KVMPROFS_SSH_SCRIPT_H
#define KVMPROFS_SSH_SCRIPT_H

#include "symsrc/base/buf.h"

#define SSH_SCRIPT_MAX 4096

/* Appends the command that prints the wanted files (GUEST_FILE_BIT()s) as symsrc/wire.h says,
 * with this boundary. The command may be given to any login shell. 0 or b's error. */
int ssh_script(struct buf *b, unsigned want, const char *boundary);

/* The same for `ls` of /lib/modules/RELEASE as symsrc/lslist.h says, without its source and build,
 * which lead to the kernel's sources. release: a name as modtree.h says. Nothing is printed where
 * there is no such directory. */
int ssh_script_list(struct buf *b, const char *release, const char *boundary);

/* The same for one file below it. path: as modtree_path() says. */
int ssh_script_read(struct buf *b, const char *release, const char *path, const char *boundary);

/* One of these three. */
struct source_order;
int ssh_script_order(struct buf *b, const struct source_order *o, const char *boundary);

#endif
