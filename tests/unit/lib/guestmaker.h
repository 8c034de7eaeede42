/* Guests for a test, published without a VMM. */
#ifndef KVMPROFS_TESTS_GUESTMAKER_H
#define KVMPROFS_TESTS_GUESTMAKER_H

#include "symsrc/guest.h"

/* A KVM guest called "g<serial>" whose vCPU i has the thread id pid + 1 + i. The caller may
 * change it before it is published. */
struct guest *guestmaker_create(uint64_t serial, pid_t pid, size_t vcpus);

/* Publishes just these, and drops the caller's references. */
void guestmaker_publish(struct guests *gs, struct guest *const *list, size_t count);

#endif
