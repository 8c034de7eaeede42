/* A made-up /proc and debugfs in a temporary directory, for what looks at processes. */
#ifndef KVMPROFS_TESTS_FAKEPROC_H
#define KVMPROFS_TESTS_FAKEPROC_H

#include <sys/types.h>

struct fakeproc {
	char root[64];	/* the temporary directory */
	char proc[80];	/* root/proc */
	char debug[80]; /* root/debug, with an empty kvm/ */
};

/* All of these fail the test when they cannot. */
void fakeproc_init(struct fakeproc *f);
void fakeproc_deinit(struct fakeproc *f); /* removes all of it */

/* cmdline: words separated by blanks. It has one thread, which is called after exe. */
void fakeproc_process(struct fakeproc *f, pid_t pid, const char *exe, const char *cmdline);
void fakeproc_remove(struct fakeproc *f, pid_t pid);
void fakeproc_stat(struct fakeproc *f, pid_t pid, pid_t ppid, unsigned threads,
		   unsigned long long start);

/* A thread with this name; also as /proc/TID, which exists though it is not listed. */
void fakeproc_task(struct fakeproc *f, pid_t pid, pid_t tid, const char *comm);

/* Anything below PROC/PID: a link, a file. Replaces what is there. */
void fakeproc_link(struct fakeproc *f, pid_t pid, const char *what, const char *target);
void fakeproc_file(struct fakeproc *f, pid_t pid, const char *what, const char *text);
void fakeproc_unlink(struct fakeproc *f, pid_t pid, const char *what);

/* The last pid in loadavg. Without this call there is no such file. */
void fakeproc_last_pid(struct fakeproc *f, pid_t pid);

/* KVM's directory PID-FD, a vCPU in it, and removal of the whole. */
void fakeproc_vm(struct fakeproc *f, pid_t pid, int fd);
void fakeproc_vcpu(struct fakeproc *f, pid_t pid, int fd, unsigned index, pid_t tid,
		   long long tsc_offset);
void fakeproc_remove_vm(struct fakeproc *f, pid_t pid, int fd);

#endif
