/* ssh://[user@]host[:port] - over the network, by libssh.
 *
 * One TCP connection, one exec channel, one command, one stream back (symsrc/wire.h); nothing
 * is installed in the guest and nothing is executed on this host.
 */
#ifndef KVMPROFS_SOURCE_SSH_H
#define KVMPROFS_SOURCE_SSH_H

#include "symsrc/base/errmsg.h"

/* Once, before there are threads. 0 or -EIO. */
int source_ssh_init(struct errmsg *why);

#endif
