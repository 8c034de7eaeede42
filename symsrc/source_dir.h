/* Between source_dir.c and source_dir_modules.c. Errors have their line in why. */
#ifndef KVMPROFS_SOURCE_DIR_H
#define KVMPROFS_SOURCE_DIR_H

#include "symsrc/source.h"

/* As source_ops.list() and read(), of the folder path. */
int source_dir_list(const char *path, const char *release, const struct source_limits *limits,
		    struct modtree_builder *to, struct errmsg *why);
int source_dir_read(const char *path, const char *release, const char *file,
		    const struct source_limits *limits, struct buf *to, struct errmsg *why);

/* Opens what an O_PATH descriptor stands for, if that is a regular file (else -EINVAL). */
int source_dir_open_regular(int path_fd);

#endif
