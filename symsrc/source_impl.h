/* What the sources share; for symsrc/source*.c alone. */
#ifndef KVMPROFS_SOURCE_IMPL_H
#define KVMPROFS_SOURCE_IMPL_H

#include <errno.h>
#include <stdbool.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/lslist.h"
#include "symsrc/source.h"

#define SOURCE_READ_CHUNK (64u << 10)

typedef int source_create_fn(const char *uri, const struct source_target *target,
			     struct source **ret, struct errmsg *why);
source_create_fn source_auto_create;
source_create_fn source_dir_create;
source_create_fn source_files_create;
source_create_fn source_ssh_create;
source_create_fn source_memory_create;
source_create_fn source_virtio_create;
source_create_fn source_vmlinux_create;
source_create_fn source_none_create;

/* The same as source_ssh_create() for a host whose name is a guess: an address of this machine
 * itself is refused, since its symbols are not the guest's. */
source_create_fn source_ssh_create_guess;

/* The same as source_memory_create(), but a fetch that could bring only the core's symbols brings
 * nothing: SOURCE_PARTIAL. Nothing else returns that. */
#define SOURCE_PARTIAL (-ENOMSG)
source_create_fn source_memory_create_whole;

/* What is asked of a guest: the wanted files; or, with a release, what is below its
 * /lib/modules/RELEASE; or, with a path, too, one file of that. */
struct source_order {
	unsigned want;
	const char *release, *path;
};

/* A sink that takes one file, and passes over all others. */
struct source_catch {
	enum guest_file file;
	bool seen, open;
	struct lslist *list; /* either this */
	struct buf *to;	     /* or this */
};
struct source_sink source_catch_sink(struct source_catch *c);

/* How a source carries an order out for such a sink. */
typedef int source_catch_fn(struct source *s, const struct source_order *o, struct source_catch *c,
			    const struct source_limits *limits, struct errmsg *why);

/* struct source_ops' list and read by it; -ENOENT where nothing came. */
int source_catch_list(struct source *s, source_catch_fn *one, const char *release,
		      const struct source_limits *limits, struct modtree_builder *to,
		      struct errmsg *why);
int source_catch_module(struct source *s, source_catch_fn *one, const char *release,
			const char *path, const struct source_limits *limits, struct buf *to,
			struct errmsg *why);

/* A copy of a URI's path without "?modules=yes" or "no" at its end; any other '?' belongs to it. To
 * be freed; NULL when out of memory. */
char *source_path_without_query(const char *path);

/* 0, -ECANCELED once the limits' descriptor is readable, -ETIMEDOUT past the deadline. */
int source_check_limits(const struct source_limits *limits, struct errmsg *why);

/* Delivers what can be read from fd until its end (whatever its size is said to be), as one
 * file. name: for messages. Takes a regular file only (-EINVAL). Looks at the limits between
 * reads; a read of a hung network filesystem blocks beyond them. */
int source_deliver_fd(int fd, const char *name, enum guest_file file, const char *module,
		      const struct source_limits *limits, const struct source_sink *sink,
		      struct errmsg *why);

#endif
