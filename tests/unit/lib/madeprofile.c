#include "tests/unit/lib/madeprofile.h"

#include "symsrc/base/clock.h"

const struct render_when made_when = {.now_ns = 100 * NSEC_PER_SEC,
				      .wall_ns = 1795289094 * NSEC_PER_SEC};

struct profile made_profile(struct profile_row *rows, size_t count)
{
	struct profile p = {.sampler = SAMPLER_KIND_PERF,
			    .event = "cycles",
			    .freq = 997,
			    .since_ns = 90 * NSEC_PER_SEC,
			    .taken_ns = made_when.now_ns,
			    .epochs = 1,
			    .row_count = count,
			    .rows = rows};

	for (size_t i = 0; i < count; i++) {
		p.samples += rows[i].samples;
		*(rows[i].type == 'u' ? &p.guest_user : &p.guest_kernel) += rows[i].samples;
		if (rows[i].unnamed)
			p.unresolved += rows[i].samples;
	}
	return p;
}
