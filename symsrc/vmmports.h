/* Which unix sockets lead to the ports of a guest's agent and of our own program, as QMP tells:
 * for those that the command line does not have, since they were plugged in later. Never blocks;
 * part of a session of symsrc/vmmquery.h.
 *
 * "query-chardev" has the sockets by labels, "qom-list" of /machine/peripheral and
 * /machine/peripheral-anon the devices, and "qom-get" of a virtserialport its name in the guest and
 * its label (QEMU, qapi/char.json, qapi/qom.json, hw/char/virtio-console.c).
 */
#ifndef KVMPROFS_VMMPORTS_H
#define KVMPROFS_VMMPORTS_H

#include "symsrc/qmp.h"
#include "symsrc/vmmargs.h"

struct vmmports;

/* Asks. agent and port, which live as long as the session: what is found goes there. NULL when out
 * of memory. */
struct vmmports *vmmports_ask(struct qmp *q, struct vmm_socket *agent, struct vmm_socket *port);
/* Once no answer can come any more. Accepts NULL. */
void vmmports_destroy(struct vmmports *p);

/* The path in a chardev's filename as query-chardev has it, "unix:/path,server=on"; empty where it
 * is no unix socket on which the VMM listens. */
void vmmports_path(const char *filename, char *path, size_t size);

#endif
