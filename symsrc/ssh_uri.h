/* ssh://[user@]host[:port] and vsock:[user@]CID[:port], both with
 * ?identity=FILE&known_hosts=FILE&config=FILE&modules=yes, taken apart. Pure. */
#ifndef KVMPROFS_SSH_URI_H
#define KVMPROFS_SSH_URI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/errmsg.h"

#define SSH_HOST_MAX 256 /* with the NUL; DNS allows 253 characters */
#define SSH_USER_MAX 64
#define SSH_FILE_MAX 1024
#define SSH_SHOW_MAX 256 /* of ssh_uri_show(); what is longer is cut */

/* What may follow the '?', also of "auto". Empty: not given. */
struct ssh_query {
	char identity[SSH_FILE_MAX];
	char known_hosts[SSH_FILE_MAX];
	char config[SSH_FILE_MAX]; /* "yes": the usual ones */
	bool modules;		   /* serve /lib/modules, too */
};

struct ssh_uri {
	char user[SSH_USER_MAX]; /* empty: not given */
	/* A name or an address, IPv6 without brackets. Of a CID it is "vsock-CID": what
	 * known_hosts files and an ssh_config(5) call that guest. (libssh takes neither '%' nor '/'
	 * in a host name.) */
	char host[SSH_HOST_MAX];
	uint16_t port; /* 0: not given */
	uint32_t cid;  /* to be reached by AF_VSOCK; 0: by TCP */
	struct ssh_query query;
};

/* 0 or -EINVAL and why. Names that could be taken for an option, or hold anything but letters,
 * digits, '.', '-', '_' (and ':' in an address), are refused. */
int ssh_uri_parse(const char *uri, struct ssh_uri *ret, struct errmsg *why);

/* Names the guest with this CID, by AF_VSOCK. */
void ssh_uri_set_cid(struct ssh_uri *u, uint32_t cid);

/* query: what follows the '?'. 0 or -EINVAL. */
int ssh_query_parse(const char *query, struct ssh_query *ret, struct errmsg *why);

/* A DNS name or an address that can be put into a URI and on a command line. An all-digit name
 * is none: the resolver would take it for an address. */
bool ssh_host_is_valid(const char *host);

/* "ssh://user@host:port" or "vsock:user@CID:port" without the query; the port only when it is not
 * 22. */
void ssh_uri_show(const struct ssh_uri *u, char *buf, size_t size);

#endif
