#include "fs/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/log.h"

int daemon_fill_stdio(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest free number, which is this one. */
		if (open("/dev/null", O_RDWR) < 0)
			return -errno;
	}
	return 0;
}

/* The child's exit status, once it has ended without being ready. */
static int status_of_child(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return EXIT_FAILURE;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status))
		return WEXITSTATUS(status);
	if (WIFSIGNALED(status))
		log_error("ended by signal %d before the mount was ready", WTERMSIG(status));
	else
		log_error("unmounted before the mount was ready");
	return EXIT_FAILURE;
}

static int wait_until_ready(int fd, pid_t child, const char *mountpoint)
{
	struct statvfs st;
	char byte;
	ssize_t n;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		return status_of_child(child);
	if (statvfs(mountpoint, &st) == 0)
		return EXIT_SUCCESS;
	log_error("%s was mounted, but does not answer: %m; the system log may tell why",
		  mountpoint);
	return EXIT_FAILURE;
}

/* What the caller had open (a lock, the other end of a pipe) must not stay open for as long as
 * the daemon lives. Nothing of ours is open yet but keep. */
static void close_all_but(int keep)
{
	if (keep > 3)
		close_range(3, (unsigned)keep - 1, 0);
	close_range((unsigned)keep + 1, ~0U, 0);
}

enum daemon_side daemon_fork(const char *mountpoint, int *ret_ready_fd, int *ret_status)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return DAEMON_ERROR;
	child = fork();
	if (child == 0) {
		close_all_but(fds[1]);
		setsid();
		*ret_ready_fd = fds[1];
		return DAEMON_CHILD;
	}
	close_keep_errno(fds[1]);
	if (child > 0)
		*ret_status = wait_until_ready(fds[0], child, mountpoint);
	close_keep_errno(fds[0]);
	return child > 0 ? DAEMON_PARENT : DAEMON_ERROR;
}

/* Set by daemon_detach(), when other threads may already be logging. */
static atomic_bool detached;

/* The terminal is for what main() says of the start. What the other threads say of guests would get
 * there or not, as it happens to come before or after the mount is ready. */
static bool is_for_caller(enum log_level level)
{
	return level <= LOG_LEVEL_WARN && !atomic_load(&detached) && gettid() == getpid();
}

static void to_stderr_or_syslog(enum log_level level, const char *line)
{
	static const int priority[] = {[LOG_LEVEL_ERROR] = LOG_ERR,
				       [LOG_LEVEL_WARN] = LOG_WARNING,
				       [LOG_LEVEL_INFO] = LOG_INFO,
				       [LOG_LEVEL_DEBUG] = LOG_DEBUG};

	if (is_for_caller(level))
		fprintf(stderr, "kvmprofs: %s\n", line);
	else
		syslog(priority[level], "%s", line);
}

void daemon_log(void)
{
	openlog("kvmprofs", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	log_set_sink(to_stderr_or_syslog);
}

void daemon_detach(void)
{
	CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	atomic_store(&detached, true);
	if (chdir("/") < 0)
		log_warn("cannot go to /: %m");
	for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
}
