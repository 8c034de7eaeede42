#include "symsrc/virsh.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/text.h"
#include "symsrc/source_impl.h"

#define CHUNK	     (64u << 10)
#define SAID_MAX     512
#define PID_FILE_MAX 32
#define DOMAINS_MAX  16384

const char *virsh_run_dir = "/run/libvirt/qemu";

/* ---- whose guest it is --------------------------------------------------------------------- */

static bool is_uuid(const char *s)
{
	for (size_t i = 0; i < VIRSH_UUID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
			return false;
	}
	return s[VIRSH_UUID_LEN] == '\0';
}

static bool holds_pid(int dir_fd, const char *name, pid_t pid)
{
	size_t n = strlen(name);
	CLEANUP_BUF struct buf b;
	uint64_t found;

	buf_init(&b, PID_FILE_MAX);
	if (n < 4 || strcmp(name + n - 4, ".pid") != 0 || io_read_file(dir_fd, name, &b) < 0)
		return false;
	b.data[strcspn(b.data, "\n")] = '\0';
	return text_to_u64(b.data, 10, INT32_MAX, &found) && (pid_t)found == pid;
}

static bool is_of_libvirt(pid_t pid)
{
	DIR *dir = opendir(virsh_run_dir);
	bool found = false;
	struct dirent *e;

	if (!dir)
		return false;
	/* readdir() is safe here: no other thread knows dir (readdir(3)). */
	for (int i = 0; !found && i < DOMAINS_MAX && (e = readdir(dir)); i++) // NOLINT
		found = holds_pid(dirfd(dir), e->d_name, pid);
	closedir(dir);
	return found;
}

int virsh_init(struct virsh *v, const struct source_target *target, struct errmsg *why)
{
	if (!is_uuid(target->uuid))
		return errmsg_set(why, VIRSH_NONE, "the guest's UUID is not known");
	if (!is_of_libvirt(target->pid))
		return errmsg_set(why, VIRSH_NONE, "the guest is none of libvirt's");
	snprintf(v->uuid, sizeof(v->uuid), "%s", target->uuid);
	return 0;
}

/* ---- the process --------------------------------------------------------------------------- */

struct child {
	pid_t pid;
	int pidfd;
	int out, err; /* -1: at its end */
	size_t out_len;
	char said[SAID_MAX]; /* the beginning of its standard error */
	size_t said_len;
};

/* All signals are blocked in our threads, and a child would inherit that. A group of its own, so
 * that what it starts ends with it. */
static int set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, pipe;

	sigemptyset(&none);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &pipe);
	posix_spawnattr_setpgroup(attr, 0);
	return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						      POSIX_SPAWN_SETPGROUP);
}

static int spawn(const struct virsh *v, const char *command, unsigned seconds, int out, int err,
		 pid_t *ret)
{
	const char *path = getenv("PATH"); // NOLINT(concurrency-mt-unsafe): nobody sets it
	char wait[16], path_var[4096];
	const char *const argv[] = {
		"virsh",     "-q", "-c",    "qemu:///system", "qemu-agent-command",
		"--timeout", wait, v->uuid, command,	      NULL};
	char *envp[] = {path_var, (char *)"LC_ALL=C", NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int r;

	snprintf(wait, sizeof(wait), "%u", seconds);
	snprintf(path_var, sizeof(path_var), "PATH=%s", path ? path : "/usr/bin:/bin");
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	r = set_attributes(&attr);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&files, out, 1);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&files, err, 2);
	if (r == 0)
		r = posix_spawnp(ret, argv[0], &files, &attr, (char *const *)argv, envp);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return -r;
}

static int start(struct child *c, const struct virsh *v, const char *command, unsigned seconds,
		 struct errmsg *why)
{
	int out[2], err[2], r;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(err, O_CLOEXEC) < 0) {
		r = -errno;
		close(out[0]);
		close(out[1]);
		return r;
	}
	r = spawn(v, command, seconds, out[1], err[1], &c->pid);
	close(out[1]);
	close(err[1]);
	c->out = out[0];
	c->err = err[0];
	if (r == -ENOENT)
		return errmsg_set(why, VIRSH_NONE, "there is no virsh here");
	if (r < 0)
		return errmsg_set(why, r, "virsh cannot be started: %s", strerrordesc_np(-r));
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	return 0;
}

/* Nothing of it is left. Returns its exit status; -1: it did not get that far. */
static int end(struct child *c)
{
	int status = -1;

	close_keep_errno(c->out);
	close_keep_errno(c->err);
	close_keep_errno(c->pidfd);
	if (c->pid <= 0)
		return -1;
	/* Not reaped yet, so the number is its own; what has ended does not mind. */
	kill(-c->pid, SIGKILL);
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- what it says -------------------------------------------------------------------------- */

/* The next bytes; at the end *fd is closed. */
static ssize_t read_some(int *fd, char *chunk, size_t size)
{
	ssize_t n = read(*fd, chunk, size);

	if (n < 0 && errno == EINTR)
		return 0;
	if (n <= 0) {
		close(*fd);
		*fd = -1;
	}
	return n > 0 ? n : 0;
}

static int take_output(struct child *c, char *chunk, virsh_take_fn *take, void *ctx,
		       struct errmsg *why)
{
	ssize_t n = read_some(&c->out, chunk, CHUNK);

	c->out_len += (size_t)n;
	if (c->out_len > VIRSH_OUTPUT_MAX)
		return errmsg_set(why, -EFBIG, "virsh says more than %u bytes", VIRSH_OUTPUT_MAX);
	return n > 0 ? take(ctx, chunk, (size_t)n, why) : 0;
}

static void take_complaint(struct child *c, char *chunk)
{
	ssize_t n = read_some(&c->err, chunk, CHUNK);
	size_t room = sizeof(c->said) - 1 - c->said_len;

	n = (size_t)n < room ? n : (ssize_t)room;
	memcpy(c->said + c->said_len, chunk, (size_t)n);
	c->said_len += (size_t)n;
}

/* Both ends of output, and then its own end. */
static int attend(struct child *c, char *chunk, const struct source_limits *limits,
		  uint64_t until_ns, virsh_take_fn *take, void *ctx, struct errmsg *why)
{
	uint64_t stop_ns = until_ns < limits->deadline_ns ? until_ns : limits->deadline_ns;
	int r = 0;

	while (r == 0) {
		bool silent = c->out < 0 && c->err < 0;
		struct pollfd p[] = {{.fd = c->out, .events = POLLIN},
				     {.fd = c->err, .events = POLLIN},
				     {.fd = silent ? c->pidfd : -1, .events = POLLIN},
				     {.fd = limits->cancel_fd, .events = POLLIN}};

		r = source_check_limits(limits, why);
		if (r < 0)
			return r;
		if (clock_now_ns() >= stop_ns)
			return errmsg_set(why, -ETIMEDOUT, "virsh takes too long");
		if (poll(p, ARRAY_SIZE(p), clock_left_ms(stop_ns)) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents)
			take_complaint(c, chunk);
		if (p[0].revents)
			r = take_output(c, chunk, take, ctx, why);
		if (p[2].revents || (silent && c->pidfd < 0))
			return r;
	}
	return r;
}

/* "error: internal error: unable to execute QEMU agent command 'guest-file-open': failed to..." is
 * the agent's own word (libvirt, qemu/qemu_agent.c, qemuAgentCheckError()). */
static int explain(struct child *c, int status, struct errmsg *why)
{
	static const char agent_says[] = "unable to execute QEMU agent command '";
	const char *at, *text;
	char said[SAID_MAX];

	text_clean(said, sizeof(said), c->said, c->said_len);
	at = strstr(said, agent_says);
	at = at ? strstr(at + strlen(agent_says), "': ") : NULL;
	if (at)
		return errmsg_set(why, -EREMOTEIO, "%s", at + 3);
	text = strncmp(said, "error: ", 7) == 0 ? said + 7 : said;
	return errmsg_set(why, -EIO, "virsh failed (status %d)%s%s", status, *text ? ": " : "",
			  text);
}

int virsh_agent_command(const struct virsh *v, const char *line, const struct source_limits *limits,
			uint64_t until_ns, virsh_take_fn *take, void *ctx, struct errmsg *why)
{
	struct child c = {.pidfd = -1, .out = -1, .err = -1};
	uint64_t now = clock_now_ns();
	unsigned seconds = until_ns > now ? (unsigned)((until_ns - now) / NSEC_PER_SEC) + 1 : 1;
	CLEANUP_FREE char *command = strndup(line, strcspn(line, "\n"));
	CLEANUP_FREE char *chunk = malloc(CHUNK);
	int r = command && chunk ? start(&c, v, command, seconds, why) : -ENOMEM, status;

	if (r == 0)
		r = attend(&c, chunk, limits, until_ns, take, ctx, why);
	status = end(&c);
	return r == 0 && status != 0 ? explain(&c, status, why) : r;
}
