/* The way to a unix socket whose path a VMM names, which is a stranger. */
#ifndef KVMPROFS_SOCKPATH_H
#define KVMPROFS_SOCKPATH_H

#define SOCKPATH_WAIT_MS 50 /* for a path that is not in the kernel's cache */
#define SOCKPATH_OPENERS 4  /* paths that are being waited for beyond that, all together */

/* Opens the socket at path with O_PATH: connect(2) to /proc/self/fd/N leads there. A path of the
 * form /proc/PID/root/... is resolved as that process sees it: symbolic links in it cannot lead
 * to this host's own sockets. Does not wait for a filesystem that hangs. The descriptor
 * (close-on-exec), or negative errno: -ECONNREFUSED for what is no socket, -EINPROGRESS when the
 * filesystem takes its time, or what open(2) says. */
int sockpath_open(const char *path);

/* Connects a unix socket (stream, non-blocking) to that path. 0, or negative errno: what
 * sockpath_open() says, -EAGAIN when the listener's queue is full, or what connect(2) says. */
int sockpath_connect(int sock, const char *path);

#endif
