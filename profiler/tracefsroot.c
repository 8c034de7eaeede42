#include "profiler/tracefsroot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"

/* Not the automount of debugfs, which would mount it for everybody. */
static const char *const usual[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

static int mount_own(void)
{
	CLEANUP_FD int fs = fsopen("tracefs", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = fsmount(fs, FSMOUNT_CLOEXEC,
		     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID);
	return fd < 0 ? -errno : fd;
}

/* The usual mount point that has it, or NULL. */
static const char *find_mounted(void)
{
	char events[80];

	for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
		snprintf(events, sizeof(events), "%s/events", usual[i]);
		if (access(events, X_OK) == 0)
			return usual[i];
	}
	return NULL;
}

bool tracefs_is_mounted(void)
{
	return find_mounted() != NULL;
}

int tracefs_root_open(struct tracefs_root *ret, struct errmsg *why)
{
	const char *mounted = find_mounted();
	int fd;

	if (mounted) {
		ret->fd = -1;
		snprintf(ret->path, sizeof(ret->path), "%s", mounted);
		return 0;
	}
	fd = mount_own();
	if (fd < 0)
		return errmsg_set(why, fd, "no tracefs at %s, and mounting one fails: %s", usual[0],
				  strerrordesc_np(-fd));
	ret->fd = fd;
	snprintf(ret->path, sizeof(ret->path), "/proc/self/fd/%d", fd);
	return 0;
}

void tracefs_root_close(struct tracefs_root *r)
{
	close_keep_errno(r->fd);
	r->fd = -1;
}
