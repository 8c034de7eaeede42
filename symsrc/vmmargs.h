/* What a VMM's command line tells about its guest. Pure: bytes in, plain data out. The bytes
 * are those of /proc/PID/cmdline, which their process may have written over as it likes.
 *
 * QEMU's grammar: qemu-options.hx, and docs/devel/qapi-code-gen.rst with util/keyval.c for the
 * values ("a=1,b=x,,y": a comma is doubled); -device, -netdev, -chardev, ... take JSON too.
 */
#ifndef KVMPROFS_VMMARGS_H
#define KVMPROFS_VMMARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/guest.h"

#define VMM_CMDLINE_MAX	 (2u << 20) /* bytes of a command line that are read */
#define VMM_ARGS_MAX	 8192	    /* arguments; the rest is ignored */
#define VMM_JSON_DEPTH	 16
#define VMM_JSON_MAX	 (16u << 10) /* bytes of an argument in JSON; longer ones are ignored */
#define VMM_FORWARDS_MAX 64	     /* of one network that are looked at */
#define VMM_LOOKUPS_MAX	 16	     /* references to character devices that are followed */
#define VMM_QMP_MAX	 4	     /* monitors that are remembered */
#define VMM_OBJECTS_MAX	 64	     /* that have to do with memory; more are not remembered */
#define VMM_UUID_SIZE	 37
#define VMM_AGENT_PORT	 "org.qemu.guest_agent.0"
#define VMM_OWN_PORT	 "org.kvmprofs.0"
#define QEMU_MEMORY_MIB	 128 /* when -m is not given */

/* A unix socket that the VMM listens on, as the command line has it: by a path, which may be
 * relative to the VMM's working directory, or as a descriptor that was passed to it. */
struct vmm_socket {
	char path[GUEST_PATH_MAX]; /* empty: there is none */
	int fd;			   /* -1: there is none */
};

struct vmm_args {
	bool is_qemu;	 /* a QEMU system emulator */
	bool runs_none;	 /* it will not run a machine: -machine none, -version, -device help, ... */
	bool may_be_tcg; /* QEMU: TCG is allowed, or nothing is said */
	char vmm[32];	 /* base name of the executable */
	char name[GUEST_NAME_MAX]; /* of the guest; never empty (the executable's, if need be) */
	bool has_name;		   /* it was given one */
	char uuid[VMM_UUID_SIZE];  /* lower case; empty: not given */
	uint64_t memory_bytes;	   /* 0: not given */
	struct guest_ram ram;	   /* what the host may know of it; no blocks */
	size_t qmp_count;
	struct vmm_socket qmp[VMM_QMP_MAX]; /* those with a path first */
	struct vmm_socket agent;	    /* of org.qemu.guest_agent.0 */
	struct vmm_socket port;		    /* of org.kvmprofs.0 */
	char ssh_host[64];		    /* where hostfwd listens; any address is 127.0.0.1 */
	uint16_t ssh_port;		    /* 0: no hostfwd to guest port 22 */
	uint32_t vsock_cid;		    /* 0: none */
};

/* exe: the path or base name of the executable, or NULL when that cannot be known; the first
 * argument counts then. cmdline: n bytes, arguments ended by NULs, the last one perhaps not.
 * 0, -ENODATA for an empty command line (a kernel thread, a zombie), -ENOMEM. */
int vmmargs_parse(const char *exe, const char *cmdline, size_t n, struct vmm_args *ret);

/* A uuid in lower case; false, and dst untouched, for what is none or is all zero, which QEMU
 * uses for none. */
bool vmmargs_uuid(const char *text, char dst[static VMM_UUID_SIZE]);

/* True when a program of this path or base name is a QEMU system emulator. Cheap, for telling
 * what is worth a closer look. */
bool vmmargs_is_qemu(const char *exe);

#endif
