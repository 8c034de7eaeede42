/* kallsyms:PATH[,modules:PATH] - saved copies, named one by one by whoever started the daemon. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/source_fit.h"
#include "symsrc/source_impl.h"

struct source_files {
	struct source base;
	char *kallsyms;
	char *modules; /* or NULL */
	struct guest_kernel known;
};

struct named_file {
	const char *path;
	enum guest_file file;
};

static int fetch_one(const struct named_file *n, const struct source_limits *limits,
		     struct source_fit *fit, struct errmsg *why)
{
	const struct source_sink sink = source_fit_sink(fit);
	CLEANUP_FD int fd = open(n->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int r = 0;

	/* Unlike a guest's, a file that was named must be there. */
	if (fd < 0)
		return errmsg_set(why, -errno, "%s: cannot be opened: %m", n->path);
	if (n->file == GUEST_FILE_KALLSYMS)
		r = source_fit_check_fd(fit, fd);
	return r < 0 ? r : source_deliver_fd(fd, n->path, n->file, NULL, limits, &sink, why);
}

static int files_fetch(struct source *s, unsigned want, const struct source_limits *limits,
		       const struct source_sink *sink, struct errmsg *why)
{
	struct source_files *f = (struct source_files *)s;
	const struct named_file files[] = {{f->modules, GUEST_FILE_MODULES},
					   {f->kallsyms, GUEST_FILE_KALLSYMS}};
	struct source_fit fit;
	int r = 0;

	snprintf(s->used, sizeof(s->used), "kallsyms:%s", f->kallsyms);
	source_fit_init(&fit, &f->known, f->kallsyms, sink, why);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++) {
		if (files[i].path && (want & GUEST_FILE_BIT(files[i].file)))
			r = fetch_one(&files[i], limits, &fit, why);
	}
	if (r == 0)
		r = source_fit_end(&fit, s);
	source_fit_deinit(&fit);
	return r;
}

static void files_destroy(struct source *s)
{
	struct source_files *f = (struct source_files *)s;

	free(f->kallsyms);
	free(f->modules);
	free(f);
}

static const struct source_ops files_ops = {
	.scheme = "kallsyms", .fetch = files_fetch, .destroy = files_destroy};

int source_files_create(const char *uri, const struct source_target *target, struct source **ret,
			struct errmsg *why)
{
	static const char second[] = ",modules:";
	const char *path = uri + strlen("kallsyms:");
	const char *modules = strstr(path, second);
	size_t n = modules ? (size_t)(modules - path) : strlen(path);
	struct source_files *f;

	if (n == 0 || (modules && !modules[sizeof(second) - 1]))
		return errmsg_set(why, -EINVAL,
				  "symbol source \"%s\": wants kallsyms:PATH[,modules:PATH]", uri);
	if (*path != '/' || (modules && modules[sizeof(second) - 1] != '/'))
		return errmsg_set(why, -EINVAL,
				  "symbol source \"%s\": wants paths that begin with /", uri);
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->base.ops = &files_ops;
	f->known = target->kernel;
	f->kallsyms = strndup(path, n);
	f->modules = modules ? strdup(modules + sizeof(second) - 1) : NULL;
	if (!f->kallsyms || (modules && !f->modules)) {
		files_destroy(&f->base);
		return -ENOMEM;
	}
	*ret = &f->base;
	return 0;
}
