/* Small reads with a maximum, and a wake-up that can be polled. */
#ifndef KVMPROFS_BASE_IO_H
#define KVMPROFS_BASE_IO_H

#include <stdint.h>

#include "symsrc/base/buf.h"

/* Appends the file's content to b, whole, whatever stat says of its size (files below /proc
 * say 0). Relative paths start at dirfd (or AT_FDCWD). Refuses anything but a regular file
 * without blocking on it (-EINVAL). Returns 0 or negative errno; -EFBIG when it does not fit
 * into b's maximum. */
int io_read_file(int dirfd, const char *path, struct buf *b);

/* The same for a file that holds one unsigned decimal number. */
int io_read_u64(int dirfd, const char *path, uint64_t *ret);

/* A wake-up that poll(2) sees as POLLIN: an eventfd, non-blocking and close-on-exec. Returns
 * the descriptor or negative errno. */
int io_wake_create(void);
/* Wakes whoever polls fd, from any thread; never blocks. */
void io_wake(int fd);
/* Takes all wake-ups that are pending; never blocks. */
void io_wake_clear(int fd);

/* openat2(2) with flags (O_CLOEXEC is added) and RESOLVE_ flags: a descriptor or negative errno.
 * The kernel gives up with EAGAIN when anybody renames or mounts anything while a ".." is
 * resolved: that is tried again, unless RESOLVE_CACHED asks not to wait. */
int io_openat2(int dirfd, const char *path, int flags, uint64_t resolve);

#endif
