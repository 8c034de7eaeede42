#include "symsrc/source.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/text.h"
#include "symsrc/source_impl.h"
#include "symsrc/ssh_uri.h"

/* The known kinds by how their URIs begin. */
static const struct scheme {
	const char *begin;
	source_create_fn *create;
} schemes[] = {
	{"auto", source_auto_create},	  {"ssh://", source_ssh_create},
	{"dir:", source_dir_create},	  {"kallsyms:", source_files_create},
	{"memory", source_memory_create}, {"virtio-serial:", source_virtio_create},
	{"vsock:", source_ssh_create},	  {"vmlinux:", source_vmlinux_create},
	{"none:", source_none_create},
};

/* A scheme that is a whole word ("auto") ends there, or a query begins. */
static bool matches(const char *uri, const char *begin)
{
	size_t n = strlen(begin);
	char last = begin[n - 1], next;

	if (strncmp(uri, begin, n) != 0)
		return false;
	next = uri[n];
	return last == ':' || last == '/' || next == '\0' || next == '?';
}

static const struct scheme *find_scheme(const char *uri)
{
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		if (matches(uri, schemes[i].begin))
			return &schemes[i];
	}
	return NULL;
}

int source_create(const char *uri, const struct source_target *target, struct source **ret,
		  struct errmsg *why)
{
	const struct scheme *s = find_scheme(uri);

	if (strlen(uri) >= SOURCE_URI_MAX)
		return errmsg_set(why, -EINVAL, "symbol source: longer than %d bytes",
				  SOURCE_URI_MAX - 1);
	if (!s)
		return errmsg_set(why, -EINVAL,
				  "symbol source \"%s\": not known; there are auto, memory, "
				  "ssh://[user@]host[:port], virtio-serial:SOCKET, "
				  "vsock:CID[:PORT], dir:PATH, kallsyms:PATH[,modules:PATH] and "
				  "vmlinux:PATH[,slide:HEX]",
				  uri);
	return s->create(uri, target, ret, why);
}

bool source_is_none(const char *uri)
{
	return matches(uri, "none:");
}

bool source_is_saved(const char *uri)
{
	return matches(uri, "dir:") || matches(uri, "kallsyms:") || matches(uri, "vmlinux:") ||
	       source_is_none(uri);
}

bool source_wants_ram(const char *uri)
{
	return matches(uri, "auto") || matches(uri, "memory") || matches(uri, "vmlinux:");
}

/* Without the transport and address in front, which are known. */
static const char *reason_of(const struct errmsg *why, const char *way)
{
	size_t n = strlen(way), bare = strcspn(way, "?");

	if (strncmp(why->text, way, bare) != 0)
		return why->text;
	if (strncmp(why->text, way, n) == 0 && strncmp(why->text + n, ": ", 2) == 0)
		return why->text + n + 2;
	return strncmp(why->text + bare, ": ", 2) == 0 ? why->text + bare + 2 : why->text;
}

void source_attempts_add(struct source_attempts *a, const char *uri, int code,
			 const struct errmsg *why, uint64_t took_ns)
{
	struct source_attempt *to = &a->list[a->count];

	if (a->count == SOURCE_TRIED_MAX)
		return;
	a->count++;
	*to = (struct source_attempt){.took_ns = took_ns};
	text_clean(to->way, sizeof(to->way), uri, strlen(uri));
	if (code < 0)
		errmsg_set(&to->why, code, "%s",
			   why && why->text[0] ? reason_of(why, to->way) : strerrordesc_np(-code));
}

void source_destroy(struct source *s)
{
	if (s)
		s->ops->destroy(s);
}

static bool is_modules_query(const char *query)
{
	return strcmp(query, "?modules=yes") == 0 || strcmp(query, "?modules=no") == 0;
}

char *source_path_without_query(const char *path)
{
	const char *query = strrchr(path, '?');
	bool ours = query && is_modules_query(query);

	return strndup(path, ours ? (size_t)(query - path) : strlen(path));
}

bool source_wants_modules(const char *uri)
{
	const char *query = strrchr(uri, '?');
	struct ssh_query q;

	if (!query || !(matches(uri, "auto") || matches(uri, "ssh://") || matches(uri, "vsock:") ||
			matches(uri, "dir:") || matches(uri, "virtio-serial:")))
		return false;
	return ssh_query_parse(query + 1, &q, NULL) == 0 && q.modules;
}

/* Of schemes whose rest is a path, which may have a '?' of its own. */
static int check_modules(const char *uri, struct errmsg *why)
{
	static const char modules[] = "?modules=";
	const char *query = strrchr(uri, '?');

	if (!query || !(matches(uri, "dir:") || matches(uri, "virtio-serial:")) ||
	    strncmp(query, modules, sizeof(modules) - 1) != 0 || is_modules_query(query))
		return 0;
	return errmsg_set(why, -EINVAL, "symbol source \"%s\": modules= wants yes or no", uri);
}

int source_check_uri(const char *uri, struct errmsg *why)
{
	static const struct source_target nobody;
	struct source *s = NULL;
	int r = check_modules(uri, why);

	if (r == 0)
		r = source_create(uri, &nobody, &s, why);
	if (r == 0)
		source_destroy(s);
	return r;
}

int source_check_limits(const struct source_limits *limits, struct errmsg *why)
{
	struct pollfd p = {.fd = limits->cancel_fd, .events = POLLIN};

	if (limits->cancel_fd >= 0 && poll(&p, 1, 0) > 0)
		return errmsg_set(why, -ECANCELED, "cancelled");
	if (clock_now_ns() >= limits->deadline_ns)
		return errmsg_set(why, -ETIMEDOUT, "not done within the time allowed");
	return 0;
}

static int deliver_chunks(int fd, char *chunk, const char *name, enum guest_file file,
			  const struct source_limits *limits, const struct source_sink *sink,
			  struct errmsg *why)
{
	size_t left = guest_file_max(file);
	ssize_t n;
	int r;

	for (;;) {
		r = source_check_limits(limits, why);
		if (r < 0)
			return r;
		n = read(fd, chunk, SOURCE_READ_CHUNK);
		if (n < 0 && errno != EINTR)
			return errmsg_set(why, -errno, "%s: cannot be read: %m", name);
		if (n == 0)
			return 0;
		if (n > 0 && (size_t)n > left)
			return errmsg_set(why, -EFBIG, "%s: above the limit of %zu bytes", name,
					  guest_file_max(file));
		if (n > 0) {
			left -= (size_t)n;
			r = sink->data(sink->ctx, chunk, (size_t)n);
		}
		if (r < 0)
			return r;
	}
}

int source_deliver_fd(int fd, const char *name, enum guest_file file, const char *module,
		      const struct source_limits *limits, const struct source_sink *sink,
		      struct errmsg *why)
{
	CLEANUP_FREE char *chunk = NULL;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return errmsg_set(why, -errno, "%s: %m", name);
	if (!S_ISREG(st.st_mode))
		return errmsg_set(why, -EINVAL, "%s: not a regular file", name);
	chunk = malloc(SOURCE_READ_CHUNK);
	if (!chunk)
		return -ENOMEM;
	r = sink->begin(sink->ctx, file, module);
	return r < 0 ? r : deliver_chunks(fd, chunk, name, file, limits, sink, why);
}
