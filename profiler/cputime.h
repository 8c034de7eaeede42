/* CPU time of processes and threads, from /proc/PID/stat (proc_pid_stat(5), fields 14 and 15:
 * utime, which includes time in the guest, and stime). */
#ifndef KVMPROFS_CPUTIME_H
#define KVMPROFS_CPUTIME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/guest.h"

/* The text of such a file: nanoseconds to *ret. -EBADMSG when malformed. Pure. */
int cputime_parse(const char *stat, uint64_t ticks_per_sec, uint64_t *ret);

/* All threads of a process, or its vCPU threads alone. 0 or negative errno. */
int cputime_of_process(pid_t pid, uint64_t *ret);
int cputime_of_vcpus(const struct guest *g, uint64_t *ret);

#endif
