/* What the tests of rendering share: a moment, and a profile of given rows. */
#ifndef KVMPROFS_TESTS_MADEPROFILE_H
#define KVMPROFS_TESTS_MADEPROFILE_H

#include <stddef.h>

#include "fs/render.h"

/* 100 s after the start of the clock, on 2026-11-21 at 19:24:54 UTC. */
extern const struct render_when made_when;

/* Ten seconds of cycles at 997 Hz until then, by perf. The rows stay the caller's; the sums are
 * theirs. */
struct profile made_profile(struct profile_row *rows, size_t count);

#endif
