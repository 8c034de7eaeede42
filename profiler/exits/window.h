/* What was counted some seconds ago, for the files of recent/: copies of all tables, taken every
 * few seconds, of which the right one is subtracted from what stands there now. Whichever engine
 * counts.
 *
 * No lock of its own.
 */
#ifndef KVMPROFS_EXITS_WINDOW_H
#define KVMPROFS_EXITS_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#include "profiler/exits/raw.h"
#include "symsrc/base/clock.h"

#define EXITS_WINDOW_NS	    (10 * NSEC_PER_SEC)
#define EXITS_WINDOW_COPIES 6
#define EXITS_WINDOW_BYTES  (96u << 20) /* of all copies together */

/* The oldest first. All zero is one that holds nothing. */
struct exits_window {
	size_t count;
	struct exits_raw copies[EXITS_WINDOW_COPIES];
	uint64_t next_ns; /* when another copy is due; 0: now */
};
void exits_window_deinit(struct exits_window *w);

/* Takes over a copy of all processes' counts, and drops those that no window begins with any more.
 * took_ns: what it cost. The next one is due as soon as EXITS_WINDOW_COPIES of them span a window,
 * but later where copies are so large or so slow that they would take more than
 * EXITS_WINDOW_BYTES or a two-hundredth of a CPU's time; where not even two find room there is
 * none. */
void exits_window_add(struct exits_window *w, struct exits_raw *all, uint64_t took_ns);

/* What that process had counted where the window that ends now begins: at the newest copy that is
 * at least EXITS_WINDOW_NS old, or at the oldest one. *ret: exits_raw_deinit(). -ENOENT: there is
 * no copy; -ENOMEM. */
int exits_window_begin(const struct exits_window *w, uint32_t tgid, uint64_t now_ns,
		       struct exits_raw *ret);

#endif
