#include "tests/unit/lib/realagent.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "tests/unit/lib/wait.h"

#define PROGRAM "usr/sbin/qemu-ga"

const char *realagent_program(void)
{
	static char path[512];
	const char *cache = getenv("KVMPROFS_CACHE");

	snprintf(path, sizeof(path), "%s/qemu-guest-agent/" PROGRAM,
		 cache && *cache ? cache : "/var/tmp/kvmprofs-tests");
	if (access(path, X_OK) == 0)
		return path;
	return access("/" PROGRAM, X_OK) == 0 ? "/" PROGRAM : NULL;
}

static bool run(const char *command)
{
	return system(command) == 0; // NOLINT(concurrency-mt-unsafe,cert-env33-c)
}

bool realagent_furnish(const char *root)
{
	char command[2048];
	const char *from = realagent_program();

	if (geteuid() != 0 || !from)
		return false;
	snprintf(command, sizeof(command),
		 "set -e; cd '%s'; mkdir -p bin dev run tmp usr/sbin; cp '%s' " PROGRAM "; "
		 "for p in sh cat gzip; do cp -L \"$(command -v $p)\" bin/; done; "
		 "for l in $(ldd bin/* " PROGRAM
		 " | grep '^[[:space:]]' | grep -o '/[^ ]*' | sort -u); do "
		 "mkdir -p \".${l%%/*}\"; cp -L \"$l\" \".$l\"; done; : >dev/null",
		 root, from);
	return run(command);
}

static void die_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == 1)
		_exit(0);
}

static void exec_agent(const struct realagent_config *c)
{
	const char *dir = c->dir ? c->dir : "/tmp";
	const char *method = c->terminal ? "isa-serial" : "unix-listen";
	const char *argv[10] = {"qemu-ga", "-m", method, "-p", c->path, "-t", dir};

	if (c->block) {
		argv[7] = "-b";
		argv[8] = c->block;
	}
	die_with_parent();
	if (c->root && chroot(c->root) == 0 && chdir("/") == 0)
		execv("/" PROGRAM, (char *const *)argv);
	if (!c->root)
		execv(realagent_program(), (char *const *)argv);
	_exit(99);
}

/* By __SO_ACCEPTCON in /proc/net/unix, where the path is as the agent has it, in its own root: each
 * test program that runs beside others has one of its own. */
static bool is_listening(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512];
	bool found = false;

	assert_non_null(f);
	while (!found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		found = strstr(line, " 00010000 ") && strlen(line) > strlen(path) &&
			strcmp(line + strlen(line) - strlen(path), path) == 0;
	}
	fclose(f);
	return found;
}

pid_t realagent_start(const struct realagent_config *c)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		exec_agent(c);
	if (!c->terminal)
		wait_until(is_listening(c->path));
	return pid;
}

/* Beside the tests' folder, wherever this build is. */
static void own_program(char *path, size_t size)
{
	char self[512] = "";
	char *tests;

	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	tests = strstr(self, "/tests/unit/");
	assert_non_null(tests);
	snprintf(path, size, "%.*s/kvmprofs-guest", (int)(tests - self), self);
	assert_int_equal(access(path, X_OK), 0);
}

pid_t realagent_start_own(const char *path, const char *root)
{
	char program[600];
	pid_t pid;

	own_program(program, sizeof(program));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		die_with_parent();
		execl(program, program, "-p", path, "-r", root ? root : "/", NULL);
		_exit(99);
	}
	return pid;
}

void realagent_stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

unsigned realagent_open_files(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}
