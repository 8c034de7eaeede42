#include "fs/daemon.h"

#include <errno.h>
#include <fcntl.h>
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
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
	} while (fd <= STDERR_FILENO);
	close(fd);
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

enum daemon_side daemon_fork(const char *mountpoint, int *ret_ready_fd, int *ret_status)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return DAEMON_ERROR;
	child = fork();
	if (child == 0) {
		close(fds[0]);
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

static void to_syslog(enum log_level level, const char *line)
{
	static const int priority[] = {[LOG_LEVEL_ERROR] = LOG_ERR,
				       [LOG_LEVEL_WARN] = LOG_WARNING,
				       [LOG_LEVEL_INFO] = LOG_INFO,
				       [LOG_LEVEL_DEBUG] = LOG_DEBUG};

	syslog(priority[level], "%s", line);
}

void daemon_detach(void)
{
	CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	openlog("kvmprofs", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	log_set_sink(to_syslog);
	if (chdir("/") < 0)
		log_warn("cannot go to /: %m");
	for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
}
