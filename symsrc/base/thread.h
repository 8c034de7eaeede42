/* Starting threads. All signals are blocked in them: main() alone answers those. */
#ifndef KVMPROFS_BASE_THREAD_H
#define KVMPROFS_BASE_THREAD_H

#include <pthread.h>

#define THREAD_NAME_SIZE 16 /* pthread_setname_np(3): 15 characters and the NUL */

/* Starts a thread that is to be joined. name: at most 15 characters, what ps -L shows. 0 and
 * *ret, or negative errno. */
int thread_start(pthread_t *ret, const char *name, void *(*run)(void *arg), void *arg);

/* Starts one that nobody joins: for a call of the system that cannot be interrupted. It must
 * own all that it uses. 0 or negative errno. */
int thread_start_detached(void *(*run)(void *arg), void *arg);

#endif
