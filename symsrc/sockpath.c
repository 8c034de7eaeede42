#include "symsrc/sockpath.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/thread.h"

#define CACHED_TRIES 3 /* a rename elsewhere may spoil one */

/* ---- one try ------------------------------------------------------------------------------ */

/* The length of "/proc/PID/root" when path begins with it and goes on, else 0. */
static size_t root_len(const char *path)
{
	const char *p = path + strlen("/proc/");

	if (strncmp(path, "/proc/", strlen("/proc/")) != 0 || !isdigit((unsigned char)*p))
		return 0;
	while (isdigit((unsigned char)*p))
		p++;
	return strncmp(p, "/root/", strlen("/root/")) == 0 ? (size_t)(p - path) + strlen("/root")
							   : 0;
}

static int open_root(const char *path, size_t len)
{
	CLEANUP_FREE char *root = strndup(path, len);
	int fd = root ? open(root, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	return fd < 0 ? -errno : fd;
}

static int open_at(int dirfd, const char *path, uint64_t resolve)
{
	int fd = io_openat2(dirfd, path, O_PATH, resolve);

	/* Before Linux 5.6 a path of this namespace is all that there is. */
	if (fd != -ENOSYS || dirfd != AT_FDCWD)
		return fd;
	fd = open(path, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* resolve: more of openat2(2)'s flags. */
static int open_place(const char *path, uint64_t resolve)
{
	size_t len = root_len(path);
	CLEANUP_FD int root = len ? open_root(path, len) : AT_FDCWD;

	if (!len)
		return open_at(AT_FDCWD, path, resolve);
	if (root < 0)
		return root;
	return open_at(root, path + len, resolve | RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/* RESOLVE_CACHED: -EAGAIN instead of asking a filesystem (Linux 5.12; before, -EINVAL). A bound
 * socket keeps its own directories in the cache. */
static int open_cached(const char *path)
{
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < CACHED_TRIES; i++)
		r = open_place(path, RESOLVE_CACHED);
	return r;
}

/* ---- what may hang ------------------------------------------------------------------------ */

/* Shared by the thread that opens and whoever waits for it; the last of the two frees it. */
struct opening {
	atomic_int refs;
	int done_fd;
	atomic_int result; /* the descriptor, or negative errno; valid once done_fd is readable */
	char *path;
};

static atomic_int openers;

static void opening_put(struct opening *o)
{
	if (atomic_fetch_sub(&o->refs, 1) != 1)
		return;
	close_keep_errno(atomic_load(&o->result));
	close_keep_errno(o->done_fd);
	free(o->path);
	free(o);
}

static struct opening *opening_create(const char *path)
{
	struct opening *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	atomic_init(&o->refs, 1);
	atomic_init(&o->result, -EINPROGRESS);
	o->done_fd = io_wake_create();
	o->path = strdup(path);
	if (o->done_fd >= 0 && o->path)
		return o;
	opening_put(o);
	return NULL;
}

static void *opener_main(void *arg)
{
	struct opening *o = arg;

	atomic_store(&o->result, open_place(o->path, 0));
	/* Before anybody is told: who asks for path after path has a place each time. */
	atomic_fetch_sub(&openers, 1);
	io_wake(o->done_fd);
	opening_put(o);
	return NULL;
}

static int start_opener(struct opening *o)
{
	int r;

	if (atomic_fetch_add(&openers, 1) >= SOCKPATH_OPENERS) {
		atomic_fetch_sub(&openers, 1);
		return -EINPROGRESS;
	}
	atomic_fetch_add(&o->refs, 1);
	r = thread_start_detached(opener_main, o);
	if (r < 0) {
		opening_put(o);
		atomic_fetch_sub(&openers, 1);
	}
	return r;
}

static int open_patiently(const char *path)
{
	struct opening *o = opening_create(path);
	int r = o ? start_opener(o) : -ENOMEM;
	struct pollfd p = {.fd = o ? o->done_fd : -1, .events = POLLIN};

	if (r == 0)
		r = poll(&p, 1, SOCKPATH_WAIT_MS) > 0 ? atomic_exchange(&o->result, -EINPROGRESS)
						      : -EINPROGRESS;
	if (o)
		opening_put(o);
	return r;
}

int sockpath_open(const char *path)
{
	CLEANUP_FD int fd = open_cached(path);
	struct stat st;

	if (fd == -EAGAIN || fd == -EINVAL)
		fd = open_patiently(path);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISSOCK(st.st_mode) ? take_fd(&fd) : -ECONNREFUSED;
}

/* By the link that /proc has for the descriptor: sun_path holds 108 bytes, and the path is not to
 * be resolved again. */
int sockpath_connect(int sock, const char *path)
{
	CLEANUP_FD int fd = sockpath_open(path);
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	if (fd < 0)
		return fd;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d", fd);
	return connect(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
}
