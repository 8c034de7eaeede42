#include "fs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/fs.h"
#include "fs/mountpoint.h"
#include "fs/notify.h"
#include "fs/ops.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"

#define WORKERS_MAX 16

/* The kernel checks permissions; nothing here is to be run. */
#define OWN_OPTIONS "fsname=kvmprofs,subtype=" MOUNT_SUBTYPE ",default_permissions,noexec,noatime"

struct mount {
	struct fs fs;
	struct fuse_session *session;
	struct notify *notify;
	int wake_fd;
	bool mounted;
	atomic_bool ended; /* by mount_end() */
};

/* -- libfuse's messages ------------------------------------------------------------------ */

/* libfuse says why it fails in words only, in pieces, and without any context: while a session
 * is made, by one thread, they are kept for our own line; later they go to the log. */
static struct {
	bool keep;
	char text[200];
} said;

static void from_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	size_t len = strlen(said.text);
	char line[LOG_LINE_MAX];

	if (said.keep) {
		vsnprintf(said.text + len, sizeof(said.text) - len, fmt, ap);
		return;
	}
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_at(level <= FUSE_LOG_WARNING ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "%s", line);
}

static void keep_what_is_said(bool keep)
{
	fuse_set_log_func(from_libfuse);
	said.keep = keep;
	if (keep)
		said.text[0] = '\0';
}

static const char *what_was_said(void)
{
	const char *text = said.text;

	said.text[strcspn(said.text, "\n")] = '\0';
	return strncmp(text, "fuse: ", 6) == 0 ? text + 6 : text;
}

/* -- making ------------------------------------------------------------------------------ */

static int check_device(struct errmsg *why)
{
	CLEANUP_FD int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return 0;
	if (errno == EACCES || errno == EPERM)
		return errmsg_set(why, -errno,
				  "cannot open /dev/fuse: %s; run as root, or as a user who may "
				  "use FUSE",
				  strerrordesc_np(errno));
	return errmsg_set(why, -errno, "cannot open /dev/fuse: %s; load the module: modprobe fuse",
			  strerrordesc_np(errno));
}

/* libfuse's own words are "unknown option(s): `-o one,two'". */
static int refused_options(struct errmsg *why)
{
	const char *text = what_was_said();
	const char *from = strstr(text, "-o "), *to = strrchr(text, '\'');

	if (!from || !to || to < from)
		return errmsg_set(why, -EINVAL, "cannot set up FUSE: %s", text);
	return errmsg_set(why, -EINVAL,
			  "unknown mount option '%.*s'; see mount.fuse3(8) and kvmprofs(8)",
			  (int)(to - from - 3), from + 3);
}

static int add_options(struct fuse_args *args, const char *options)
{
	int r = fuse_opt_add_arg(args, "kvmprofs");

	if (r == 0)
		r = fuse_opt_add_arg(args, "-o" OWN_OPTIONS);
	if (r == 0 && options && *options) {
		r = fuse_opt_add_arg(args, "-o");
		r = r ? r : fuse_opt_add_arg(args, options);
	}
	return r;
}

static int make_session(const char *options, struct fs *fs, struct fuse_session **ret,
			struct errmsg *why)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session = NULL;
	int r = 0;

	if (add_options(&args, options) < 0) {
		fuse_opt_free_args(&args);
		return errmsg_set(why, -ENOMEM, "out of memory");
	}
	keep_what_is_said(true);
	session = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), fs);
	if (session)
		*ret = session;
	else
		r = refused_options(why);
	keep_what_is_said(false);
	fuse_opt_free_args(&args);
	return r;
}

int mount_check_options(const char *options, struct errmsg *why)
{
	struct fuse_session *session = NULL;
	int r = make_session(options, NULL, &session, why);

	if (session)
		fuse_session_destroy(session);
	return r;
}

/* Not as root it is fusermount3 that mounts, and says on standard error why not: a second line
 * beside our own. Other threads that write there now (those of a recording's symbols) may lose
 * a line. */
static int mount_quietly(struct fuse_session *session, const char *mountpoint)
{
	CLEANUP_FD int kept = memfd_create("fusermount3", MFD_CLOEXEC);
	CLEANUP_FD int err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	char text[sizeof(said.text)];
	ssize_t n;
	int r;

	if (kept < 0 || err < 0 || dup2(kept, STDERR_FILENO) < 0)
		return fuse_session_mount(session, mountpoint);
	r = fuse_session_mount(session, mountpoint);
	dup2(err, STDERR_FILENO);
	n = pread(kept, text, sizeof(text) - 1, 0);
	if (r < 0 && n > 0) {
		text[n] = '\0';
		snprintf(said.text, sizeof(said.text), "%s", text);
	}
	return r;
}

static int do_mount(struct mount *m, const char *mountpoint, struct errmsg *why)
{
	int r = 0;

	keep_what_is_said(true);
	if (mount_quietly(m->session, mountpoint) < 0)
		r = errmsg_set(why, -EIO, "cannot mount on %s: %s", mountpoint,
			       *what_was_said()
				       ? what_was_said()
				       : "fusermount3 refused; may this user write there?");
	keep_what_is_said(false);
	m->mounted = r == 0;
	return r;
}

static int make_parts(struct mount *m, struct errmsg *why)
{
	m->wake_fd = io_wake_create();
	if (m->wake_fd < 0)
		return errmsg_set(why, m->wake_fd, "cannot make an eventfd: %s",
				  strerrordesc_np(-m->wake_fd));
	m->fs.inodes = inodes_create();
	m->fs.park = park_create(m->wake_fd);
	m->fs.refusals = refusals_create();
	if (!m->fs.inodes || !m->fs.park || !m->fs.refusals)
		return errmsg_set(why, -ENOMEM, "out of memory");
	return streams_create(ops_has_news, &m->fs, &m->fs.streams, why);
}

int mount_create(const struct mount_config *config, const struct rooms *rooms, struct mount **ret,
		 struct errmsg *why)
{
	struct mount *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return errmsg_set(why, -ENOMEM, "out of memory");
	m->wake_fd = -1;
	m->fs = (struct fs){.rooms = *rooms,
			    .symbols_mode = config->symbols_mode,
			    .uid = geteuid(),
			    .gid = config->gid == (gid_t)-1 ? getegid() : config->gid,
			    .ready_fd = config->ready_fd};
	clock_gettime(CLOCK_REALTIME, &m->fs.started);
	r = check_device(why);
	if (r == 0)
		r = make_parts(m, why);
	if (r == 0)
		r = make_session(config->fuse_options, &m->fs, &m->session, why);
	if (r == 0)
		r = notify_create(&m->fs, m->session, m->wake_fd, &m->notify, why);
	if (r == 0)
		r = do_mount(m, config->mountpoint, why);
	if (r < 0) {
		mount_destroy(m);
		return r;
	}
	*ret = m;
	return 0;
}

void mount_destroy(struct mount *m)
{
	if (!m)
		return;
	notify_stop(m->notify);
	streams_stop(m->fs.streams);
	if (m->mounted)
		fuse_session_unmount(m->session);
	notify_destroy(m->notify);
	/* What is still parked belongs to the session. */
	park_destroy(m->fs.park);
	streams_destroy(m->fs.streams);
	refusals_destroy(m->fs.refusals);
	if (m->session)
		fuse_session_destroy(m->session);
	inodes_destroy(m->fs.inodes);
	close_keep_errno(m->wake_fd);
	free(m);
}

/* -- serving ----------------------------------------------------------------------------- */

static int loop(struct mount *m)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int r;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, WORKERS_MAX);
	r = fuse_session_loop_mt(m->session, config);
	fuse_loop_cfg_destroy(config);
	return r > 0 ? 0 : r;
}

int mount_start(struct mount *m, struct errmsg *why)
{
	int r = notify_start(m->notify, why);

	return r < 0 ? r : streams_start(m->fs.streams, why);
}

int mount_serve(struct mount *m, struct errmsg *why)
{
	int r = loop(m);

	if (r < 0)
		return errmsg_set(why, r, "the FUSE session has failed: %s", strerrordesc_np(-r));
	/* Nobody of ours has asked for that, so who finds it gone wants to know. */
	if (!atomic_load(&m->ended))
		log_info("ending: it was unmounted");
	return 0;
}

void mount_end(struct mount *m)
{
	/* In this order: a notification may have to wait for an answer of ours. */
	notify_stop(m->notify);
	atomic_store(&m->ended, true);
	fuse_session_exit(m->session);
}
