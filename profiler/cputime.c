#include "profiler/cputime.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"

#define STAT_MAX 4096

int cputime_parse(const char *stat, uint64_t ticks_per_sec, uint64_t *ret)
{
	/* The name, which may hold anything, ends at the last parenthesis; field 3 follows. */
	const char *s = strrchr(stat, ')');
	uint64_t utime;
	uint64_t stime;

	for (int field = 2; s && field < 14; field++) {
		s = strchr(s, ' ');
		s = s ? s + 1 : NULL;
	}
	if (!s || sscanf(s, "%" SCNu64 " %" SCNu64, &utime, &stime) != 2)
		return -EBADMSG;
	*ret = (utime + stime) * (NSEC_PER_SEC / ticks_per_sec);
	return 0;
}

static int read_stat(const char *path, uint64_t *ret)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, STAT_MAX);
	r = io_read_file(AT_FDCWD, path, &b);
	return r < 0 ? r : cputime_parse(b.data, (uint64_t)sysconf(_SC_CLK_TCK), ret);
}

int cputime_of_process(pid_t pid, uint64_t *ret)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	return read_stat(path, ret);
}

int cputime_of_vcpus(const struct guest *g, uint64_t *ret)
{
	char path[64];
	uint64_t sum = 0;
	uint64_t one;

	for (size_t i = 0; i < g->vcpu_count; i++) {
		snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)g->pid,
			 (int)g->vcpus[i].tid);
		if (read_stat(path, &one) == 0)
			sum += one;
	}
	*ret = sum;
	return 0;
}
