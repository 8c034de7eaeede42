/* The room's door: who runs (guests), and by what names their addresses go (symbols).
 *
 * Three kinds of thread live behind it: one discovery thread (discover.c), the loader's
 * (symload.c): one that hands out work and a bounded pool of fetchers, and the same for the files
 * of /lib/modules where they are asked for (modfiles.c). They publish immutable snapshots;
 * everything here may be called from any thread, and only symsrc_stop() and symsrc_await_guests()
 * wait for anything.
 */
#ifndef KVMPROFS_SYMSRC_H
#define KVMPROFS_SYMSRC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "symsrc/base/errmsg.h"
#include "symsrc/guest.h"
#include "symsrc/modtree.h"
#include "symsrc/symbols.h"

/* Boots of one guest whose symbols are kept, the newest ones; fewer when all guests' symbols
 * together take too much memory, but always the current one. */
#define SYMSRC_EPOCHS_KEPT 4

/* `-s PATTERN=URI`: pattern is a pid or a glob (fnmatch(3)) on the VM's name. */
struct source_rule {
	char *pattern;
	char *uri;
};

struct symsrc_config {
	const char *proc_root;	  /* "/proc", or a made-up one in tests */
	const char *debugfs_root; /* "/sys/kernel/debug" */
	const pid_t *only;	  /* `-p`: only these VMMs; only_count 0: all */
	size_t only_count;
	const struct source_rule *rules; /* first match wins; none matches: auto */
	size_t rule_count;
	unsigned fetchers; /* threads that fetch symbols; 0: default */
	/* Guests that do not run, of a recording: nobody looks for others, and they stay. A NULL
	 * list: live guests. Their sources are to be saved ones (source_is_saved()). */
	const struct guest *const *recorded;
	size_t recorded_count;
};

struct symsrc;

/* Copies the config. Starts nothing. */
int symsrc_create(const struct symsrc_config *config, struct symsrc **ret, struct errmsg *why);
/* Starts the threads: call it after the last fork. */
int symsrc_start(struct symsrc *s, struct errmsg *why);
/* Waits, a second at most, until the guests that run now are in symsrc_guests(). */
void symsrc_await_guests(const struct symsrc *s);
/* Wakes and joins all of them; ends running fetches at once. */
void symsrc_stop(struct symsrc *s);
void symsrc_destroy(struct symsrc *s); /* accepts NULL; after symsrc_stop() */

struct guests *symsrc_guests(struct symsrc *s);

enum symsrc_state {
	SYMSRC_WAITING, /* no attempt has ended yet: queued or under way */
	SYMSRC_READY,	/* symbols of the current epoch are here */
	SYMSRC_FAILED,	/* the last attempt failed and there are none of this epoch; will retry */
	SYMSRC_GONE	/* no such guest */
};

struct symsrc_status {
	enum symsrc_state state;
	uint32_t epoch;
	char source_uri[SOURCE_URI_MAX]; /* as the rules say: "auto", "ssh://..." */
	char used[256];			 /* what worked last; empty: nothing yet */
	struct errmsg error;		 /* of the last attempt, code 0 when it worked */
	struct source_attempts tried;	 /* by the last fetch, of this epoch or an earlier one */
	bool misfit;			 /* symsrc_set_misfit() */
	unsigned attempts;		 /* to fetch them, of this epoch */
	unsigned looks;			 /* whether they still are right, likewise */
	uint64_t next_try_ns;		 /* clock_now_ns(); 0: none is planned */
	uint64_t fetched_ns;		 /* 0: never */
	/* Of /lib/modules, where the source is asked for it. */
	bool modules_wanted;
	bool modules_listed;
	size_t modules_files;
	char modules_used[256];
	struct errmsg modules_error; /* of the last listing */
};

/* Symbols of one boot of a guest, with a reference for the caller; NULL when there are none
 * (yet, or no more). epoch 0: of the current epoch. */
const struct symbols *symsrc_symbols(struct symsrc *s, uint64_t serial, uint32_t epoch);
void symsrc_status(struct symsrc *s, uint64_t serial, struct symsrc_status *ret);

/* How many of the guests that run now, or are recorded, are SYMSRC_WAITING. */
size_t symsrc_waiting(struct symsrc *s);

/* What the guest has below /lib/modules, with a reference for the caller; NULL: nothing is here, or
 * its source is not asked for it ("?modules=yes"). */
const struct modtree *symsrc_module_tree(struct symsrc *s, uint64_t serial);

/* The content of one of these files, as it was when it was listed with this stamp; a reference for
 * the caller. -EINPROGRESS: it is on its way, ask again when woken. -ESTALE: the file has changed,
 * or is not there any more. -ENOENT: no such guest. Else why it could not be had a moment ago. */
int symsrc_module_file(struct symsrc *s, uint64_t serial, uint64_t key, uint64_t stamp,
		       struct blob **ret);

/* Fetch again now. -ESRCH when the guest is gone. */
int symsrc_refresh(struct symsrc *s, uint64_t serial);

/* Somebody has begun to answer in the guest: look at it now, unless that was done a moment ago, or
 * its memory tells all. Costs little. -ESRCH when the guest is gone. */
int symsrc_look(struct symsrc *s, uint64_t serial);

/* Addresses that were sampled in the kernel of this boot of the guest. They are taken where its
 * source wants them: it has the kernel's file alone, and knows by nothing else where that runs.
 * Offer them while samples have no names, or symbols are unproven. Waits for nothing. */
void symsrc_offer_addresses(struct symsrc *s, uint64_t serial, uint32_t epoch, const uint64_t *ips,
			    size_t n);

/* Whether this boot's symbols cannot be right, since hardly any sample has a name that had one
 * before. For symsrc_status() alone: they are kept, and asked for anew by symsrc_refresh(). */
void symsrc_set_misfit(struct symsrc *s, uint64_t serial, uint32_t epoch, bool misfit);

/* Symbols of this boot have been replaced, and some have gone (retired.h): what was counted until
 * now is to be marked. Called by a fetcher's thread just after the new ones are there; it must not
 * wait for this room. */
typedef void symsrc_retired_fn(void *ctx, uint64_t serial, uint32_t epoch,
			       const struct retired *retired);
/* One at most, before symsrc_start(); ctx lives until symsrc_stop() returns. */
void symsrc_on_retired(struct symsrc *s, symsrc_retired_fn *fn, void *ctx);

/* wake_fd is woken whenever a state above changes. As guests_subscribe(). */
int symsrc_subscribe(struct symsrc *s, int wake_fd);
void symsrc_unsubscribe(struct symsrc *s, int wake_fd);

#endif
