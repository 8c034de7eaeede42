/* What lies below /lib/modules, which is the only place where a path of the host's leads to: name
 * by name, and through no link. Where the last one is a link, the place that it names is gone to in
 * the same way, if it is there, too: by "/lib/modules/...", as those of weak-updates, or from where
 * it stands, since no directory on the way is another one's name. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symsrc/guest-helper/guest.h"

#define TOP	    "lib/modules"
#define PATH_LEN    1160 /* RELEASE and PATH of a line have room */
#define DEPTH_MAX   16
#define ENTRIES_MAX 65536
#define LINE_LEN    512

/* As modtree_name_is_valid() on the host. */
static bool is_name(const char *name, size_t n)
{
	if (n == 0 || n > 255 || name[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!isalnum((unsigned char)name[i]) && (!name[i] || !strchr("._-+,=@:~", name[i])))
			return false;
	}
	return !(name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.')));
}

static bool is_path(const char *path)
{
	size_t n;

	do {
		n = strcspn(path, "/");
		if (!is_name(path, n))
			return false;
		path += n + 1;
	} while (path[-1]);
	return true;
}

/* ---- going there ---------------------------------------------------------------------------- */

/* A descriptor with O_PATH of what the path names, be it a link; or negative errno. */
static int walk(const char *path)
{
	int fd = files_open_path(TOP, O_PATH | O_DIRECTORY);
	char name[256];

	while (fd >= 0 && *path) {
		size_t n = strcspn(path, "/");
		int next;

		memcpy(name, path, n);
		name[n] = '\0';
		next = openat(fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		next = next < 0 ? -errno : next;
		close(fd);
		fd = next;
		path += n + (path[n] == '/');
	}
	return fd;
}

/* dir of *len bytes and more of the path, made one without "." and "..". */
static bool append(char *dir, size_t *len, const char *more)
{
	while (*more) {
		size_t n = strcspn(more, "/");

		if (n == 2 && memcmp(more, "..", 2) == 0) {
			if (*len == 0)
				return false;
			while (*len > 0 && dir[--*len] != '/')
				continue;
		} else if (n > 0 && !(n == 1 && *more == '.')) {
			if (!is_name(more, n) || *len + n + 2 > PATH_LEN)
				return false;
			if (*len)
				dir[(*len)++] = '/';
			memcpy(dir + *len, more, n);
			*len += n;
		}
		more += n + (more[n] == '/');
	}
	dir[*len] = '\0';
	return *len > 0;
}

/* Where the link at path leads to, in its place. */
static bool follow(int fd, char path[PATH_LEN])
{
	static const char *const tops[] = {"/" TOP "/", "/usr/" TOP "/"};
	char to[PATH_LEN];
	ssize_t n = readlinkat(fd, "", to, sizeof(to) - 1);
	const char *last = strrchr(path, '/');
	size_t len = last ? (size_t)(last - path) : 0, top;

	if (n <= 0 || n == (ssize_t)sizeof(to) - 1)
		return false;
	to[n] = '\0';
	if (to[0] != '/')
		return append(path, &len, to);
	for (int i = 0; i < 2; i++) {
		top = strlen(tops[i]);
		len = 0;
		if (strncmp(to, tops[i], top) == 0)
			return append(path, &len, to + top);
	}
	return false;
}

/* A descriptor with O_PATH of a regular file or a directory, or negative errno. */
static int go(const char *path, struct stat *st)
{
	char at[PATH_LEN];
	int fd, r = 0;

	if (strlen(path) >= sizeof(at))
		return -ENAMETOOLONG;
	memcpy(at, path, strlen(path) + 1);
	for (int links = 0; links < 8; links++) {
		fd = walk(at);
		if (fd < 0)
			return fd;
		if (fstat(fd, st) < 0)
			r = -errno;
		else if (S_ISREG(st->st_mode) || (S_ISDIR(st->st_mode) && links == 0))
			return fd;
		else if (!S_ISLNK(st->st_mode) || !follow(fd, at))
			r = -ENOENT;
		close(fd);
		if (r < 0)
			return r;
	}
	return -ELOOP;
}

/* Opens what it is for reading. A device or a pipe is never opened. */
static int open_for_reading(const char *path, int flags)
{
	struct stat st;
	int place = go(path, &st), fd;
	char name[32];

	if (place < 0)
		return place;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", place);
	fd = (st.st_mode & S_IFMT) == (flags & O_DIRECTORY ? S_IFDIR : S_IFREG)
		     ? open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | flags)
		     : -1;
	close(place);
	return fd < 0 ? -ENOENT : fd;
}

/* ---- a listing ------------------------------------------------------------------------------ */

struct listing {
	struct port *p;
	size_t len; /* of what is in the payload */
	unsigned entries;
};

static bool say(struct listing *l, const char *line)
{
	size_t n = strlen(line);

	if (l->len + n > PORT_DATA_MAX) {
		if (!port_send(l->p, PORT_DATA, l->len))
			return false;
		l->len = 0;
	}
	memcpy(port_payload(l->p) + l->len, line, n);
	l->len += n;
	return true;
}

/* The words of ls -l, as far as they tell of a change. */
static bool say_entry(struct listing *l, const char *name, const struct stat *st)
{
	char line[LINE_LEN];

	if (S_ISDIR(st->st_mode))
		snprintf(line, sizeof(line), "d 1 0 0 0 0 0 0 %s\n", name);
	else
		snprintf(line, sizeof(line), "- 1 0 0 %lld %lld %ld %llu %s\n",
			 (long long)st->st_size, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
			 (unsigned long long)st->st_ino, name);
	return say(l, line);
}

static bool enter(struct listing *l, char path[PATH_LEN], size_t top, unsigned depth);

/* What leads to the kernel's sources is of no use. */
static bool is_left_out(const char *name, unsigned depth)
{
	return !is_name(name, strlen(name)) || name[0] == '.' ||
	       (depth == 0 && (strcmp(name, "source") == 0 || strcmp(name, "build") == 0));
}

/* Says it, or, where it is a directory, lists it. */
static bool take(struct listing *l, char path[PATH_LEN], size_t top, const char *name,
		 unsigned depth, bool lists)
{
	size_t len = strlen(path), n = strlen(name);
	bool goes_on = true;
	struct stat st;
	int fd;

	if (is_left_out(name, depth) || len + n + 2 > PATH_LEN)
		return true;
	path[len] = '/';
	memcpy(path + len + 1, name, n + 1);
	fd = go(path, &st);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && !lists && l->entries++ < ENTRIES_MAX)
		goes_on = say_entry(l, name, &st);
	else if (fd >= 0 && lists && S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
		goes_on = enter(l, path, top, depth + 1);
	path[len] = '\0';
	return goes_on;
}

/* First all that is in the directory, then all that is in those below it. */
static bool enter(struct listing *l, char path[PATH_LEN], size_t top, unsigned depth)
{
	char head[PATH_LEN + 8];
	int fd = open_for_reading(path, O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	bool goes_on = true;
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return true;
	}
	if (depth > 0) {
		snprintf(head, sizeof(head), "\n%s:\n", path + top + 1);
		goes_on = say(l, head);
	}
	while (goes_on && (e = readdir(dir))) // NOLINT(concurrency-mt-unsafe): one thread
		goes_on = take(l, path, top, e->d_name, depth, false);
	rewinddir(dir);
	while (goes_on && (e = readdir(dir))) // NOLINT(concurrency-mt-unsafe)
		goes_on = take(l, path, top, e->d_name, depth, true);
	closedir(dir);
	return goes_on;
}

static bool begin_file(struct port *p, enum port_file file)
{
	*port_payload(p) = (uint8_t)file;
	return port_send(p, PORT_FILE, 1);
}

bool modfiles_list(struct port *p, const char *release, bool *ret)
{
	struct listing l = {.p = p};
	char path[PATH_LEN];
	int fd;

	*ret = is_name(release, strlen(release));
	if (!*ret)
		return port_send_text(p, PORT_FAILED, "list: that is no name");
	fd = open_for_reading(release, O_DIRECTORY);
	if (fd < 0)
		return true;
	close(fd);
	memcpy(path, release, strlen(release) + 1);
	if (!begin_file(p, PORT_LISTING) || !enter(&l, path, strlen(path), 0))
		return false;
	return l.len == 0 || port_send(p, PORT_DATA, l.len);
}

/* ---- one file ------------------------------------------------------------------------------- */

bool modfiles_read(struct port *p, char *words, bool *ret)
{
	char *blank = strchr(words, ' ');
	bool goes_on;
	int fd;

	if (blank)
		*blank = '/';
	*ret = blank && is_path(words);
	if (!*ret)
		return port_send_text(p, PORT_FAILED, "read: that is no file's name");
	fd = open_for_reading(words, 0);
	if (fd < 0)
		return true;
	goes_on = begin_file(p, PORT_MODULE_FILE) && files_send_content(p, fd, TOP, ret);
	close(fd);
	return goes_on;
}
