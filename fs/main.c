/* kvmprofs: the order of its life. Parse; read a recording, if one is to be served; fork; check and
 * open what may fail; mount; start threads; serve; stop and join; free. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/daemon.h"
#include "fs/input.h"
#include "fs/mount.h"
#include "fs/mountpoint.h"
#include "fs/options.h"
#include "fs/signals.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/log.h"

#define EXIT_USAGE   2
#define FILES_WANTED 65536 /* a perf event for each CPU, and some for each guest */

struct life {
	const struct options *options;
	struct input *input; /* without a recording: live guests */
	int ready_fd;
	char *mountpoint;
	int lock_fd;
	struct rooms rooms;
	struct mount *mount;
	struct signals *signals;
};

static void raise_file_limit(void)
{
	struct rlimit now;

	if (getrlimit(RLIMIT_NOFILE, &now) < 0 || now.rlim_cur >= FILES_WANTED)
		return;
	struct rlimit want = {.rlim_cur = FILES_WANTED,
			      .rlim_max =
				      now.rlim_max > FILES_WANTED ? now.rlim_max : FILES_WANTED};
	if (setrlimit(RLIMIT_NOFILE, &want) == 0)
		return;
	want = (struct rlimit){.rlim_cur = now.rlim_max, .rlim_max = now.rlim_max};
	if (setrlimit(RLIMIT_NOFILE, &want) < 0)
		log_debug("cannot raise the limit of open files: %m");
}

static int make_symsrc(struct life *l, struct errmsg *why)
{
	const struct options *o = l->options;
	struct symsrc_config config = {.proc_root = "/proc",
				       .debugfs_root = "/sys/kernel/debug",
				       .only = o->pids,
				       .only_count = o->pid_count,
				       .rules = o->rules,
				       .rule_count = o->rule_count};

	if (l->input->recording) {
		config.recorded = l->input->guests;
		config.recorded_count = (size_t)l->input->guest_count;
		config.rules = l->input->rules;
		config.rule_count = l->input->rule_count;
	}
	return symsrc_create(&config, &l->rooms.symsrc, why);
}

static int make_profiler(struct life *l, struct errmsg *why)
{
	const struct options *o = l->options;
	struct profiler_config config = {
		.sampler = o->sampler,
		.event = o->event ? o->event : "auto",
		.freq = o->freq_given ? o->freq : 0,
		.exits = o->exits,
		.recording = l->input->recording,
	};

	l->rooms.sampler = o->sampler;
	return profiler_create(&config, l->rooms.symsrc, &l->rooms.profiler, why);
}

/* A recording's guests have their symbols before there is a mount, so that the first reader finds
 * names, and nobody is kept waiting at the mount point meanwhile. */
static int start_symsrc(struct life *l, struct errmsg *why)
{
	int r = symsrc_start(l->rooms.symsrc, why);

	if (r == 0 && l->input->recording)
		r = input_await_symbols(l->input, l->rooms.symsrc, l->ready_fd, why);
	return r;
}

static int make_mount(struct life *l, struct errmsg *why)
{
	const struct options *o = l->options;
	struct mount_config config = {.mountpoint = l->mountpoint,
				      .fuse_options = o->fuse_options,
				      .symbols_mode = o->symbols_mode,
				      .gid = o->gid,
				      .ready_fd = l->ready_fd};

	return mount_create(&config, &l->rooms, &l->mount, why);
}

static int make_all(struct life *l, struct errmsg *why)
{
	int r = mountpoint_prepare(l->options->mountpoint, &l->mountpoint, &l->lock_fd, why);

	if (r == 0)
		r = make_symsrc(l, why);
	if (r == 0)
		r = make_profiler(l, why);
	if (r == 0 && l->input->recording)
		r = start_symsrc(l, why);
	if (r == 0)
		r = make_mount(l, why);
	return r;
}

static void end_by_signal(void *ctx)
{
	mount_end(ctx);
}

static int start_all(struct life *l, struct errmsg *why)
{
	int r = l->input->recording ? 0 : start_symsrc(l, why);

	if (r == 0)
		r = profiler_start(l->rooms.profiler, why);
	if (r == 0)
		r = mount_start(l->mount, why);
	if (r == 0)
		r = signals_start(end_by_signal, l->mount, &l->signals, why);
	return r;
}

static void stop_and_free_all(struct life *l)
{
	signals_stop(l->signals);
	mount_destroy(l->mount);
	if (l->rooms.profiler)
		profiler_stop(l->rooms.profiler);
	if (l->rooms.symsrc)
		symsrc_stop(l->rooms.symsrc);
	profiler_destroy(l->rooms.profiler);
	symsrc_destroy(l->rooms.symsrc);
	close_keep_errno(l->lock_fd);
	close_keep_errno(l->ready_fd);
	free(l->mountpoint);
}

/* They may come: but a wrong number would only show nothing. */
static void warn_of_missing(const struct life *l)
{
	const struct options *o = l->options;
	const struct guest_set *set;

	if (o->pid_count == 0 || l->input->recording)
		return;
	symsrc_await_guests(l->rooms.symsrc);
	set = guests_acquire(symsrc_guests(l->rooms.symsrc));
	for (size_t i = 0; i < o->pid_count; i++) {
		if (!guest_set_find_pid(set, o->pids[i]))
			log_warn("-p %d: no guest now; it is shown once it is one",
				 (int)o->pids[i]);
	}
	guest_set_put(set);
}

/* Everything after the fork. Returns the exit status. */
static int live(const struct options *o, struct input *input, int ready_fd)
{
	struct life l = {.options = o, .input = input, .ready_fd = ready_fd, .lock_fd = -1};
	struct errmsg why = {0};
	int r;

	umask(077);
	if (!o->foreground)
		daemon_log();
	signals_block();
	raise_file_limit();
	r = make_all(&l, &why);
	if (r == 0)
		r = start_all(&l, &why);
	if (r == 0)
		warn_of_missing(&l);
	if (r == 0 && !o->foreground)
		daemon_detach();
	if (r == 0) {
		/* Whoever comes now finds the mount. Kept on, it would refuse a restart that does
		 * not wait for our last moment. */
		close_keep_errno(take_fd(&l.lock_fd));
		log_info("serving %s", l.mountpoint);
		/* Whoever waited for us finds the guests. */
		symsrc_await_guests(l.rooms.symsrc);
		r = mount_serve(l.mount, &why);
	}
	if (r < 0)
		log_error("%s", why.text);
	stop_and_free_all(&l);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int in_background(const struct options *o, struct input *input)
{
	int ready_fd = -1, status = EXIT_FAILURE;

	switch (daemon_fork(o->mountpoint, &ready_fd, &status)) {
	case DAEMON_CHILD: return live(o, input, ready_fd);
	case DAEMON_PARENT: return status;
	case DAEMON_ERROR: log_error("cannot go into the background: %m; try -f"); break;
	}
	return EXIT_FAILURE;
}

static int print_help(void)
{
	CLEANUP_BUF struct buf b;

	buf_init(&b, 16384);
	options_help(&b);
	return fputs(b.data, stdout) < 0 || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Nobody waits for a big recording only to be told then that there is no such directory. */
static int check_mountpoint(const struct options *o, struct errmsg *why)
{
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FD int lock_fd = -1;

	return o->input ? mountpoint_prepare(o->mountpoint, &path, &lock_fd, why) : 0;
}

/* A recording is read before there is a mount: what is mounted is whole, and until then Ctrl-C
 * ends it as it ends any program. */
static int serve(const struct options *o)
{
	struct errmsg why = {0};
	struct input input = {0};
	int status, r = check_mountpoint(o, &why);

	if (r == 0)
		r = input_read(o, &input, &why);
	if (r < 0) {
		log_error("%s", why.text);
		return options_exit_status(r);
	}
	status = o->foreground ? live(o, &input, -1) : in_background(o, &input);
	input_deinit(&input);
	return status;
}

static int run(const struct options *o)
{
	struct errmsg why = {0};

	if (o->help)
		return print_help();
	if (o->version)
		return puts("kvmprofs " KVMPROFS_VERSION) < 0 || fflush(stdout) ? EXIT_FAILURE
										: EXIT_SUCCESS;
	if (mount_check_options(o->fuse_options, &why) < 0) {
		log_error("%s", why.text);
		return EXIT_USAGE;
	}
	log_set_level(o->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	return serve(o);
}

int main(int argc, char **argv)
{
	struct errmsg why = {0};
	struct options o;
	int status, r;

	r = daemon_fill_stdio();
	if (r < 0) {
		log_error("cannot open /dev/null: %s", strerrordesc_np(-r));
		return EXIT_FAILURE;
	}
	options_init(&o);
	r = options_parse(&o, argc, argv, OPTIONS_DEFAULT_CONFIG, &why);
	if (r < 0) {
		log_error("%s", why.text);
		status = options_exit_status(r);
	} else {
		status = run(&o);
	}
	options_deinit(&o);
	return status;
}
