/* Going into the background: fork first, do everything in the child, and let the parent end
 * when the mount answers. */
#ifndef KVMPROFS_DAEMON_H
#define KVMPROFS_DAEMON_H

/* Opens /dev/null in place of those of the descriptors 0, 1, 2 that are closed, so that no file
 * of ours gets their numbers. 0 or negative errno. */
int daemon_fill_stdio(void);

enum daemon_side { DAEMON_CHILD, DAEMON_PARENT, DAEMON_ERROR };

/* Forks.
 * DAEMON_CHILD: *ret_ready_fd is where a byte says that it is ready; it starts a new session
 * and closes all other descriptors but the standard ones.
 * DAEMON_PARENT: the child is ready and the mount point answers, or it has ended: *ret_status
 * is the exit status to end with, and all has been said.
 * DAEMON_ERROR: there is no child; errno. */
enum daemon_side daemon_fork(const char *mountpoint, int *ret_ready_fd, int *ret_status);

/* From now on messages go to syslog; warnings and worse to standard error instead until
 * daemon_detach(). Before other threads exist. */
void daemon_log(void);

/* Leaves the caller's terminal, directory and standard streams, and logs to syslog. Other threads
 * may be there already: what fails until here can still be said to the caller. */
void daemon_detach(void);

#endif
