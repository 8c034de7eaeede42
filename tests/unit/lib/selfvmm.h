/* This process as a guest's VMM: RAM that a test fills, and the guest as discovery would know it.
 */
#ifndef KVMPROFS_TESTS_SELFVMM_H
#define KVMPROFS_TESTS_SELFVMM_H

#include <stddef.h>
#include <stdint.h>

#include "symsrc/guest.h"

struct selfvmm {
	uint8_t *ram; /* guest-physical from 0 on */
	size_t size;
	struct guest *guest; /* pc, of this size; one reference */
};

/* size: below 3 GiB, and more than any other mapping of the test has. */
void selfvmm_init(struct selfvmm *v, size_t size);
void selfvmm_deinit(struct selfvmm *v);

#endif
