#include "profiler/tracefs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/text.h"

#define PATH_BYTES 512

void tracefs_events_deinit(struct tracefs_events *e)
{
	free(e->list);
	*e = (struct tracefs_events){0};
}

static int append(struct tracefs_events *e, const char *name, uint64_t id)
{
	struct tracefs_event *list;

	if (e->count == TRACEFS_EVENTS_MAX)
		return -E2BIG;
	list = reallocarray(e->list, e->count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	e->list = list;
	list[e->count] = (struct tracefs_event){.id = (uint32_t)id};
	snprintf(list[e->count++].name, sizeof(list->name), "%.*s", TRACEFS_NAME_MAX - 1, name);
	return 0;
}

/* What has no id is no event: "enable", "filter". */
static int take_entry(int dirfd, const char *name, struct tracefs_events *e)
{
	char path[PATH_BYTES];
	uint64_t id;
	int r;

	if (!text_is_component(name) || strlen(name) >= TRACEFS_NAME_MAX)
		return 0;
	snprintf(path, sizeof(path), "%s/id", name);
	r = io_read_u64(dirfd, path, &id);
	if (r == -EACCES || r == -EPERM)
		return r;
	return r < 0 || id > UINT32_MAX ? 0 : append(e, name, id);
}

static int compare_names(const void *a, const void *b)
{
	const struct tracefs_event *x = a;
	const struct tracefs_event *y = b;

	return strcmp(x->name, y->name);
}

static int read_list(DIR *dir, struct tracefs_events *e)
{
	const struct dirent *d;
	int r = 0;

	while (r == 0 && (d = readdir(dir)))
		r = take_entry(dirfd(dir), d->d_name, e);
	if (r == 0 && e->count == 0)
		r = -ENOENT;
	if (r == 0)
		qsort(e->list, e->count, sizeof(*e->list), compare_names);
	return r;
}

static int explain(const char *root, const char *subsystem, int err, struct errmsg *why)
{
	char path[PATH_BYTES];
	bool has_tracefs;

	snprintf(path, sizeof(path), "%s/events", root);
	has_tracefs = access(path, F_OK) == 0;
	if (err == -ENOENT && !has_tracefs)
		return errmsg_set(why, err,
				  "no tracefs at %s; mount it: mount -t tracefs tracefs %s", root,
				  root);
	if (err == -ENOENT)
		return errmsg_set(why, err, "this kernel has no %s tracepoints (is it loaded?)",
				  subsystem);
	return errmsg_set(why, err, "cannot list %s/events/%s: %s", root, subsystem,
			  strerrordesc_np(-err));
}

int tracefs_list(const char *root, const char *subsystem, struct tracefs_events *ret,
		 struct errmsg *why)
{
	struct tracefs_events e = {0};
	char path[PATH_BYTES];
	DIR *dir;
	int r;

	snprintf(path, sizeof(path), "%s/events/%s", root, subsystem);
	dir = opendir(path);
	if (!dir)
		return explain(root, subsystem, -errno, why);
	r = read_list(dir, &e);
	closedir(dir);
	if (r < 0) {
		tracefs_events_deinit(&e);
		return explain(root, subsystem, r, why);
	}
	*ret = e;
	return 0;
}

int tracefs_format(const char *root, const char *subsystem, const char *event, struct buf *out)
{
	char path[PATH_BYTES];

	if (snprintf(path, sizeof(path), "%s/events/%s/%s/format", root, subsystem, event) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	return io_read_file(AT_FDCWD, path, out);
}
