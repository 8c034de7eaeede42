/* Notices a guest that boots although nobody said so: its kernel was up (it has symbols), and
 * now nearly all that it does is kernel code at low addresses, as firmware, boot loader and
 * decompressor do. Told once for each such phase, and not at all for the phase of a boot that
 * somebody else has noticed. A false alarm costs another fetch. Pure.
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
#define BOOTWATCH_LOOKS_MAX   8 /* for so many looks samples are gathered until they are enough */

struct bootwatch {
	uint32_t samples;    /* of the guest, since they were last enough */
	uint32_t low_kernel; /* of them, kernel ones in the lower half */
	unsigned looks;	     /* in that time */
	bool told;	     /* this phase was told of already, by whomever */
	uint32_t epoch;	     /* of the guest, at the last look; 0: there was none yet */
};

/* A look, in the guest's epoch: true when the samples are enough, are boot code, and a phase has
 * just begun. Those that were gathered before the epoch began are dropped. */
bool bootwatch_is_new(struct bootwatch *w, uint32_t epoch);

/* Ends a look. told: the phase that has begun was told of. */
void bootwatch_next(struct bootwatch *w, bool told);

#endif
