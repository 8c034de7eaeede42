#include "symsrc/base/thread.h"

#include <signal.h>

static int start(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *arg), void *arg)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, attr, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int thread_start(pthread_t *ret, const char *name, void *(*run)(void *arg), void *arg)
{
	int r = start(ret, NULL, run, arg);

	if (r == 0)
		pthread_setname_np(*ret, name);
	return r;
}

int thread_start_detached(void *(*run)(void *arg), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = start(&thread, &attr, run, arg);
	pthread_attr_destroy(&attr);
	return r;
}
