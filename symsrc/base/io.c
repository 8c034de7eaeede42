#include "symsrc/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"

#define IO_CHUNK   65536
#define OPEN_TRIES 64

static int open_regular(int dirfd, const char *path)
{
	CLEANUP_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return take_fd(&fd);
}

/* The buffer is full: 0 when that was all. */
static ssize_t probe_end(int fd)
{
	char byte;
	ssize_t n = read(fd, &byte, 1);

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	return n > 0 ? -EFBIG : 0;
}

/* 0: the end; more than 0: call again. Never asks for more than the maximum, but then for one
 * byte beyond it, so that a file that is just too long is told from one that just fits. */
static ssize_t read_some(int fd, struct buf *b)
{
	size_t room = b->max - b->len;
	size_t want = room < IO_CHUNK ? room : IO_CHUNK;
	void *to;

	if (want == 0)
		return probe_end(fd);
	to = buf_reserve(b, want);
	if (!to)
		return b->err;
	ssize_t n = read(fd, to, want);
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	buf_commit(b, (size_t)n);
	return n;
}

int io_read_file(int dirfd, const char *path, struct buf *b)
{
	CLEANUP_FD int fd = open_regular(dirfd, path);
	ssize_t n;

	if (fd < 0)
		return fd;
	do
		n = read_some(fd, b);
	while (n > 0);
	return (int)n;
}

int io_read_u64(int dirfd, const char *path, uint64_t *ret)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, 64);
	r = io_read_file(dirfd, path, &b);
	if (r < 0)
		return r;
	b.data[strcspn(b.data, "\n")] = '\0';
	return text_to_u64(b.data, 10, UINT64_MAX, ret) ? 0 : -EINVAL;
}

int io_wake_create(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void io_wake(int fd)
{
	int saved = errno;
	uint64_t one = 1;

	/* The only failure is a counter at its maximum: then it is readable anyway. */
	if (write(fd, &one, sizeof(one)) < 0)
		errno = saved;
}

void io_wake_clear(int fd)
{
	int saved = errno;
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		errno = saved;
}

int io_openat2(int dirfd, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC), .resolve = resolve};
	int tries = resolve & RESOLVE_CACHED ? 1 : OPEN_TRIES;
	long fd;

	do
		fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
	while (fd < 0 && errno == EAGAIN && --tries > 0);
	return fd < 0 ? -errno : (int)fd;
}
