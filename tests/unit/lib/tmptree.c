#include "tests/unit/lib/tmptree.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void tmptree_init(struct tmptree *t)
{
	snprintf(t->path, sizeof(t->path), "/tmp/kvmprofs-test-XXXXXX");
	if (!mkdtemp(t->path))
		abort();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void tmptree_deinit(struct tmptree *t)
{
	nftw(t->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void tmptree_put(struct tmptree *t, const char *name, const char *content)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", t->path, name);
	for (char *slash = path + strlen(t->path) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	f = fopen(path, "we");
	if (!f || fputs(content, f) < 0 || fclose(f) != 0)
		abort();
}
