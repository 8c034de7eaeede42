/* The inside of a link; for symsrc/ssh_*.c alone. */
#ifndef KVMPROFS_SSH_LINK_IMPL_H
#define KVMPROFS_SSH_LINK_IMPL_H

#include <libssh/libssh.h>
#include <stdbool.h>

#include "symsrc/ssh_link.h"

struct ssh_link {
	struct ssh_uri uri; /* with what the configuration adds */
	struct source_limits limits;
	ssh_session session;
	ssh_channel channel;
	struct ssh_counter_struct counter; /* of the socket */
	uint64_t hello_ns;		   /* the guest must have sent something by then */
	uint64_t phase_ns;		   /* end of what goes on now */
	const char *phase;		   /* "the key exchange" */
	bool config_identity;		   /* the configuration has an IdentityFile */
	char name[SSH_SHOW_MAX];
	char stderr_text[SSH_STDERR_MAX];
	size_t stderr_len;
};

/* Begins a phase of at most sec seconds. */
void ssh_link_phase(struct ssh_link *l, const char *what, unsigned sec);

/* Waits until libssh should be called again. 0, -ETIMEDOUT, -ECANCELED, -EFBIG. */
int ssh_link_wait(struct ssh_link *l, struct errmsg *why);

/* Fills why with what libssh says; code, or -ECONNRESET for a connection that broke. */
int ssh_link_fail(const struct ssh_link *l, int code, struct errmsg *why);

/* ssh_config.c: session options from the URI and, if it says so, ssh_config(5). */
int ssh_link_configure(struct ssh_link *l, struct errmsg *why);

/* ssh_hostkey.c */
int ssh_link_check_host(struct ssh_link *l, struct errmsg *why);

/* ssh_auth.c */
int ssh_link_authenticate(struct ssh_link *l, struct errmsg *why);

/* Copies an option of the session into dst; leaves dst alone when it is unset. */
void ssh_link_get(const struct ssh_link *l, enum ssh_options_e option, char *dst, size_t size);

/* The home of the user who runs this, from the password database. False: there is none. */
bool ssh_home(char *buf, size_t size);

#endif
