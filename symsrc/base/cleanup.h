/* Scope cleanup: what a function owns is released on every way out of it.
 *
 *	CLEANUP_FREE char *text = NULL;
 *	CLEANUP_FD int fd = open(...);
 *	...
 *	return take_fd(&fd);		// ownership moves to the caller
 *
 * All of it keeps errno, so that "return -errno" after a failure is right.
 */
#ifndef KVMPROFS_BASE_CLEANUP_H
#define KVMPROFS_BASE_CLEANUP_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn)  __attribute__((cleanup(fn)))
#define CLEANUP_FREE CLEANUP(cleanup_free_)
#define CLEANUP_FD   CLEANUP(cleanup_fd_)
#define CLEANUP_FILE CLEANUP(cleanup_file_)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Hands the pointer in p over and leaves NULL behind. */
#define take_ptr(p)                                 \
	__extension__({                             \
		__typeof__(p) *take_from_ = &(p);   \
		__typeof__(p) taken_ = *take_from_; \
		*take_from_ = NULL;                 \
		taken_;                             \
	})

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Never retried on EINTR: Linux has closed the descriptor by then, and another thread may
 * already have been given the same number. */
static inline void close_keep_errno(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
}

static inline void cleanup_free_(void *p)
{
	int saved = errno;

	free(*(void **)p);
	errno = saved;
}

static inline void cleanup_fd_(const int *fd)
{
	close_keep_errno(*fd);
}

static inline void cleanup_file_(FILE **f)
{
	int saved = errno;

	if (*f)
		fclose(*f);
	errno = saved;
}

#endif
