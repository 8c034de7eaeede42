/* Bounded reads of whole files, and the wake-up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"

static char dir[64];
static int dirfd_;

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_io.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	dirfd_ = open(dir, O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {"file", "fifo", "link", "number"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlinkat(dirfd_, names[i], 0);
	close(dirfd_);
	return rmdir(dir);
}

static void write_file(const char *name, const char *bytes, size_t n)
{
	int fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	close(fd);
}

static void test_whole_file(void **state)
{
	size_t n = 200001; /* more than one chunk, no multiple of one */
	char *bytes = malloc(n);
	struct buf b;

	(void)state;
	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)(i * 7);
	write_file("file", bytes, n);
	buf_init(&b, 1 << 20);
	buf_append_str(&b, "before");
	assert_int_equal(io_read_file(dirfd_, "file", &b), 0);
	assert_int_equal(b.len, 6 + n);
	assert_memory_equal(b.data + 6, bytes, n);
	buf_deinit(&b);
	free(bytes);
}

/* Just at the maximum is right, one byte more is not. */
static void test_maximum(void **state)
{
	struct buf b;

	(void)state;
	write_file("file", "12345678", 8);
	buf_init(&b, 8);
	assert_int_equal(io_read_file(dirfd_, "file", &b), 0);
	assert_string_equal(b.data, "12345678");
	buf_deinit(&b);
	buf_init(&b, 7);
	assert_int_equal(io_read_file(dirfd_, "file", &b), -EFBIG);
	buf_deinit(&b);
}

/* stat says 0 of it. */
static void test_proc_file(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 16);
	assert_int_equal(io_read_file(AT_FDCWD, "/proc/self/status", &b), 0);
	assert_memory_equal(b.data, "Name:", 5);
	buf_deinit(&b);
}

static void test_an_endless_file_ends(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100000);
	assert_int_equal(io_read_file(AT_FDCWD, "/dev/zero", &b), -EINVAL);
	buf_deinit(&b);
}

/* Nobody writes to the fifo: opening it must neither wait nor succeed. */
static void test_only_regular_files(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_int_equal(mkfifoat(dirfd_, "fifo", 0600), 0);
	assert_int_equal(io_read_file(dirfd_, "fifo", &b), -EINVAL);
	assert_int_equal(io_read_file(AT_FDCWD, dir, &b), -EINVAL);
	assert_int_equal(io_read_file(dirfd_, "missing", &b), -ENOENT);
	assert_int_equal(b.len, 0);
	buf_deinit(&b);
}

static int read_number(const char *text, uint64_t *ret)
{
	write_file("number", text, strlen(text));
	return io_read_u64(dirfd_, "number", ret);
}

static void test_numbers(void **state)
{
	uint64_t n = 4711;

	(void)state;
	assert_int_equal(read_number("12\n", &n), 0);
	assert_int_equal(n, 12);
	assert_int_equal(read_number("13", &n), 0);
	assert_int_equal(n, 13);
	assert_int_equal(read_number("", &n), -EINVAL);
	assert_int_equal(read_number("-1\n", &n), -EINVAL);
	assert_int_equal(read_number("1 2\n", &n), -EINVAL);
	assert_int_equal(io_read_u64(dirfd_, "missing", &n), -ENOENT);
	assert_int_equal(n, 13);
}

static int readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0);
}

static void test_wake(void **state)
{
	int fd = io_wake_create();

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(readable(fd), 0);
	io_wake_clear(fd); /* of nothing: does not wait */
	io_wake(fd);
	io_wake(fd);
	assert_int_equal(readable(fd), 1);
	io_wake_clear(fd);
	assert_int_equal(readable(fd), 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static void test_cleanup_keeps_errno(void **state)
{
	(void)state;
	errno = ENOTTY;
	{
		CLEANUP_FD int none = -1;
		CLEANUP_FD int fd = openat(dirfd_, ".", O_DIRECTORY | O_CLOEXEC);
		CLEANUP_FREE char *p = malloc(3);

		(void)none;
		(void)fd;
		(void)p;
		errno = ENOTTY;
	}
	assert_int_equal(errno, ENOTTY);
}

static void test_take(void **state)
{
	int fd = 7, taken = take_fd(&fd);
	char *p = dir, *q = take_ptr(p);

	(void)state;
	assert_int_equal(taken, 7);
	assert_int_equal(fd, -1);
	assert_ptr_equal(q, dir);
	assert_null(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_file),
		cmocka_unit_test(test_maximum),
		cmocka_unit_test(test_proc_file),
		cmocka_unit_test(test_an_endless_file_ends),
		cmocka_unit_test(test_only_regular_files),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_wake),
		cmocka_unit_test(test_cleanup_keeps_errno),
		cmocka_unit_test(test_take),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
