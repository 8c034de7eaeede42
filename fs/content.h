/* What stands in a file right now: gathers snapshots from the rooms below and renders them.
 * Nothing here waits. Any thread. */
#ifndef KVMPROFS_CONTENT_H
#define KVMPROFS_CONTENT_H

#include "fs/tree.h"
#include "profiler/profiler.h"
#include "symsrc/base/blob.h"
#include "symsrc/symsrc.h"

/* The most bytes of one rendered file. */
#define CONTENT_MAX (64u << 20)

/* The rooms below, as the files see them. */
struct rooms {
	struct symsrc *symsrc;
	struct profiler *profiler;
	enum sampler_choice sampler; /* what was asked for, for `status` */
};

/* The content of a CLASS_SNAPSHOT, CLASS_SYMBOLS or CLASS_SYMBOLS_OR_EMPTY file; a reference
 * for the caller. -EINPROGRESS: the guest's symbols are being fetched. -ENOENT: the guest is
 * gone. For CLASS_SYMBOLS files without symbols: an errno that open(2) may show and that says
 * why; `info` has the line. */
int content_make(const struct rooms *rooms, const struct place *p, struct blob **ret);

/* Whether a CLASS_SNAPSHOT text that was made at that moment (clock_now_ns()) would be another one
 * now: cheap, and a false alarm is possible. stale_ns: when guests or symbols changed last. */
bool content_has_news(const struct rooms *rooms, const struct place *p, uint64_t made_ns,
		      uint64_t stale_ns);

/* Size and stamp of a CLASS_GUEST_FILE. 0, or -ENOENT when it is not there any more. */
int content_file_facts(const struct rooms *rooms, const struct place *p, uint64_t *ret_size,
		       uint64_t *ret_stamp);

/* Its content; a reference for the caller. 0, -EINPROGRESS: it is being fetched, -ESTALE: that
 * stamp is not the file's any more, or an errno that open(2) may show. */
int content_file(const struct rooms *rooms, const struct place *p, uint64_t stamp,
		 struct blob **ret);

/* What reading a guest's `control` shows. refused: why the last write was, or NULL. */
int content_control(const struct rooms *rooms, uint64_t serial, const struct errmsg *refused,
		    struct buf *out);

/* An errno of any origin as one that open(2) may fail with. Never -ENOSYS, which the kernel
 * takes for "no file of this mount has open" (fs/fuse/file.c, fuse_file_open()), and never
 * -ESTALE, which makes it look up and open once more. */
int content_open_errno(int err);

#endif
