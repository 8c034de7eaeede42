/* The one command that is run in a guest. Pure. */
#ifndef KVMPROFS_SSH_SCRIPT_H
#define KVMPROFS_SSH_SCRIPT_H

#include "symsrc/base/buf.h"

#define SSH_SCRIPT_MAX 4096

/* Appends the command that prints the wanted files (GUEST_FILE_BIT()s) as symsrc/wire.h says,
 * with this boundary. The command may be given to any login shell. 0 or b's error. */
int ssh_script(struct buf *b, unsigned want, const char *boundary);

#endif
