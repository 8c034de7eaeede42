/* The stream that the remote script prints, taken apart: bytes in, at any chunk size; files out
 * into a source_sink. Pure; the bytes come from a stranger.
 *
 *	BOUNDARY NAME\n			a file begins; it ends where the next BOUNDARY begins
 *	...any bytes...
 *	BOUNDARY end\n			the last one: whatever follows is an error
 *
 * BOUNDARY is FRAMES_BOUNDARY_LEN hexadecimal digits that the host drew at random for this
 * fetch, so no file can hold it unless the guest means to lie about itself, which it can
 * anyway. Names:
 *	version boot_id modules kallsyms notes	one file each, at most once
 *	modules_again	/proc/modules once more, after all else; delivered as GUEST_FILE_MODULES
 *	listing		of /lib/modules/RELEASE, by ls (symsrc/lslist.h)
 *	file		one file below that
 *	names		the paths of the modules' build-id notes, blank-separated, on one line
 *	module_notes	those notes, one after the other; each tells its own length
 *	failed		its content is the name of the file that could not be read: an error
 *
 * The paths and the notes are joined by their order. When their numbers differ, a module was
 * unloaded while they were read: no note is delivered then, rather than a wrong one, and the
 * second look at /proc/modules tells that story.
 */
#ifndef KVMPROFS_FRAMES_H
#define KVMPROFS_FRAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "symsrc/base/buf.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/source.h"

#define FRAMES_BOUNDARY_LEN 32
#define FRAMES_NAME_MAX	    32		 /* of a frame, with the NUL */
#define FRAMES_NAMES_MAX    (512u << 10) /* bytes of all note paths */
#define FRAMES_NOTES_MAX    (1u << 20)	 /* bytes of all module notes */

enum frames_state { FRAMES_BEFORE, FRAMES_HEAD, FRAMES_BODY, FRAMES_END };

struct frames {
	const struct source_sink *sink;		/* not owned */
	char boundary[FRAMES_BOUNDARY_LEN + 2]; /* followed by a blank */
	enum frames_state state;
	size_t matched; /* bytes of boundary that the stream ends with so far */
	char head[FRAMES_NAME_MAX];
	size_t head_len;
	const struct frame_kind *kind; /* of the frame that is open */
	size_t body_len;
	unsigned seen; /* bits by index of the kinds */
	struct buf names, notes, failed;
};

/* A boundary for one fetch. 0 or -EIO. */
int frames_draw_boundary(char text[static FRAMES_BOUNDARY_LEN + 1]);

/* boundary: FRAMES_BOUNDARY_LEN lower-case hexadecimal digits. sink must outlive f. */
void frames_init(struct frames *f, const char *boundary, const struct source_sink *sink);
void frames_deinit(struct frames *f);

/* 0; -EBADMSG for what is not of the form above, -EFBIG for a file above guest_file_max(),
 * -EIO when the guest could not read a file, -ENOMEM, or what the sink returned. why is left
 * alone in the last case: the sink knows better. */
int frames_feed(struct frames *f, const void *bytes, size_t n, struct errmsg *why);

/* True once "end" was seen: all is there. */
bool frames_complete(const struct frames *f);

#endif
