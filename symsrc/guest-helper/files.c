/* The only files that are ever opened for a host, and the only place that opens them. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "symsrc/guest-helper/guest.h"

#define MODULE_NAME_MAX 64 /* with the NUL */

static const char *const paths[] = {
	[PORT_VERSION_FILE] = "proc/version", [PORT_BOOT_ID] = "proc/sys/kernel/random/boot_id",
	[PORT_MODULES] = "proc/modules",      [PORT_KALLSYMS] = "proc/kallsyms",
	[PORT_NOTES] = "sys/kernel/notes",    [PORT_MODULE_NOTE] = "sys/module",
};
static const char *const names[] = PORT_FILE_NAMES;
static int root_fd = -1;

int files_open_root(const char *root)
{
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root_fd < 0 ? -errno : 0;
}

int files_open_path(const char *path, int flags)
{
	int fd = openat(root_fd, path, flags | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

static int open_path(const char *path)
{
	return files_open_path(path, O_RDONLY);
}

int files_open(enum port_file file)
{
	return open_path(paths[file]);
}

int files_find(const char *name)
{
	for (int i = 1; i < PORT_FILE_COUNT; i++) {
		if (names[i] && strcmp(names[i], name) == 0)
			return i;
	}
	return 0;
}

/* ---- sending ------------------------------------------------------------------------------- */

static bool tell_failed(struct port *p, const char *path, int err, bool *ret)
{
	char text[128];

	*ret = false;
	snprintf(text, sizeof(text), "/%s: %s", path, strerror(err)); // NOLINT: one thread
	return port_send_text(p, PORT_FAILED, text);
}

ssize_t files_read(int fd, uint8_t *to, size_t size)
{
	size_t len = 0;
	ssize_t n = 1;

	while (len < size && n != 0) {
		n = read(fd, to + len, size - len);
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)len;
}

bool files_send_content(struct port *p, int fd, const char *path, bool *ret)
{
	ssize_t n;

	while ((n = files_read(fd, port_payload(p), PORT_DATA_MAX)) > 0) {
		if (!port_send(p, PORT_DATA, (size_t)n))
			return false;
	}
	return n < 0 ? tell_failed(p, path, (int)-n, ret) : true;
}

static bool send_content(struct port *p, enum port_file file, int fd, const char *path, bool *ret)
{
	ssize_t n;

	if (file != PORT_KALLSYMS || p->have_count == 0)
		return files_send_content(p, fd, path, ret);
	if (!changes_send(p, fd, &n))
		return false;
	return n < 0 ? tell_failed(p, path, (int)-n, ret) : true;
}

/* module: of a note, else "". */
static bool send_path(struct port *p, enum port_file file, const char *path, const char *module,
		      bool *ret)
{
	int fd = open_path(path);
	bool goes_on;

	if (fd == -ENOENT || fd == -ENOTDIR)
		return true;
	if (fd < 0)
		return tell_failed(p, path, -fd, ret);
	*port_payload(p) = (uint8_t)file;
	memcpy(port_payload(p) + 1, module, strlen(module));
	goes_on =
		port_send(p, PORT_FILE, 1 + strlen(module)) && send_content(p, file, fd, path, ret);
	close(fd);
	return goes_on;
}

static bool is_module_name(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= MODULE_NAME_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("_-.", name[i]))
			return false;
	}
	return true;
}

/* Names come from the kernel, not from the host. */
static bool send_notes(struct port *p, DIR *dir, bool *ret)
{
	char path[MODULE_NAME_MAX + 64];
	struct dirent *e;
	bool goes_on = true;

	while (goes_on && *ret && (e = readdir(dir))) { // NOLINT(concurrency-mt-unsafe): one thread
		if (!is_module_name(e->d_name))
			continue;
		snprintf(path, sizeof(path), "sys/module/%.*s/notes/.note.gnu.build-id",
			 MODULE_NAME_MAX, e->d_name);
		goes_on = send_path(p, PORT_MODULE_NOTE, path, e->d_name, ret);
	}
	return goes_on;
}

bool files_send(struct port *p, enum port_file file, bool *ret)
{
	bool goes_on;
	DIR *dir;
	int fd;

	*ret = true;
	if (file != PORT_MODULE_NOTE)
		return send_path(p, file, paths[file], "", ret);
	fd = files_open(file);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return true;
	}
	goes_on = send_notes(p, dir, ret);
	closedir(dir);
	return goes_on;
}
