#include "tests/unit/lib/guestmaker.h"

#include <stdio.h>
#include <stdlib.h>

struct guest *guestmaker_create(uint64_t serial, pid_t pid, size_t vcpus)
{
	struct guest *g = guest_create();

	if (!g)
		abort();
	g->serial = serial;
	g->pid = pid;
	g->accel = GUEST_ACCEL_KVM;
	snprintf(g->name, sizeof(g->name), "g%llu", (unsigned long long)serial);
	g->vcpus = calloc(vcpus + 1, sizeof(g->vcpus[0]));
	if (!g->vcpus)
		abort();
	g->vcpu_count = vcpus;
	for (size_t i = 0; i < vcpus; i++)
		g->vcpus[i] = (struct guest_vcpu){(unsigned)i, pid + 1 + (pid_t)i};
	return g;
}

void guestmaker_publish(struct guests *gs, struct guest *const *list, size_t count)
{
	if (guests_publish(gs, (const struct guest *const *)list, count) < 0)
		abort();
	for (size_t i = 0; i < count; i++)
		guest_put(list[i]);
}
