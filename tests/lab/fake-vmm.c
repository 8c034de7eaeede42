/*
 * fake-vmm: what a VMM looks like from outside, for machines whose processor cannot be had: a
 * process with a vCPU thread and any command line. To be installed under the VMM's name.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *rest(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static int begin(const char *name)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, rest, NULL) || pthread_setname_np(thread, name);
}

int main(void)
{
	if (begin("call_rcu") || begin("CPU 0/TCG"))
		return 1;
	/* Like a guest's RAM: there is something to be found. */
	if (!calloc(1, 256u << 20))
		return 1;
	rest(NULL);
}
