/* What comes over the channel, down to the frames in it. Pure; the bytes come from a stranger.
 *
 *	...whatever the login shell says, at most WIRE_NOISE_MAX bytes...
 *	BOUNDARY kvmprofs 1 gzip\n	or "raw" where the guest has no gzip
 *	...frames (symsrc/frames.h), in one gzip member if so said...
 *
 * Unpacking is bounded by what comes out, not by what goes in: each file by its own maximum,
 * the whole by WIRE_TOTAL_MAX.
 */
#ifndef KVMPROFS_WIRE_H
#define KVMPROFS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/frames.h"

#define WIRE_NOISE_MAX	  (64u << 10)
#define WIRE_GREETING_MAX 32
#define WIRE_TOTAL_MAX	  (80u << 20) /* bytes of frames */
#define WIRE_CHUNK	  (64u << 10)

/* The greeting that the script prints after the boundary and a blank. */
#define WIRE_GREETING_GZIP "kvmprofs 1 gzip"
#define WIRE_GREETING_RAW  "kvmprofs 1 raw"

enum wire_state { WIRE_NOISE, WIRE_RAW, WIRE_GZIP, WIRE_GZIP_END };

struct wire {
	enum wire_state state;
	char boundary[FRAMES_BOUNDARY_LEN + 1];
	struct buf noise; /* until the greeting was seen */
	uint64_t total;	  /* bytes given to the frames */
	z_stream z;	  /* WIRE_GZIP and later */
	struct frames frames;
	char *out; /* WIRE_CHUNK bytes, in WIRE_GZIP and later */
};

/* As frames_init(). */
void wire_init(struct wire *w, const char *boundary, const struct source_sink *sink);
void wire_deinit(struct wire *w);

/* As frames_feed(); also -EBADMSG for bytes that do not unpack and -EFBIG for too many. */
int wire_feed(struct wire *w, const void *bytes, size_t n, struct errmsg *why);

/* The end of the stream: 0, or -EBADMSG when something is missing. why tells what was seen
 * instead, where nothing of ours was. */
int wire_finish(const struct wire *w, struct errmsg *why);

#endif
