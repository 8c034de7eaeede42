/* Notices a guest that boots although nobody said so: its kernel was up (it has symbols), and
 * now nearly all that it does is kernel code at low addresses, as firmware, boot loader and
 * decompressor do. Told once for each such phase. A false alarm costs another fetch. Pure.
 *
 * Real-mode firmware at the very first boot does no harm: there are no symbols yet.
 */
#ifndef KVMPROFS_BOOTWATCH_H
#define KVMPROFS_BOOTWATCH_H

#include <stdbool.h>
#include <stdint.h>

#define BOOTWATCH_REASON      "boot code seen"
#define BOOTWATCH_SAMPLES_MIN 20 /* fewer say nothing */
#define BOOTWATCH_PERCENT     80

struct bootwatch {
	uint32_t samples;    /* of the guest, since the last look */
	uint32_t low_kernel; /* of them, kernel ones in the lower half */
	bool told;	     /* this phase was told of already */
};

/* True when the samples since the last look are boot code and a phase has just begun. */
bool bootwatch_is_new(const struct bootwatch *w);

/* Ends a look. told: the phase that has begun was told of. */
void bootwatch_next(struct bootwatch *w, bool told);

#endif
