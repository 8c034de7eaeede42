/* The files below /lib/modules of those guests whose source is configured with it.
 *
 * What there is, is listed once when the guest's symbols have come, and anew when they were fetched
 * anew; a content is fetched when somebody asks for it, into a cache of bounded size. Who asks gets
 * what is here, or hears that it is on its way: nothing but stop waits.
 *
 * Threads: "kp-modules" follows the guests, their symbols and the clock; "kp-modfile-N" fetch,
 * one guest at a time each, and one guest by one thread at a time. Guests whose last order ran out
 * of time share at most half of these threads. None runs where no guest is configured so.
 */
#ifndef KVMPROFS_MODFILES_H
#define KVMPROFS_MODFILES_H

#include "symsrc/guest.h"
#include "symsrc/modtree.h"
#include "symsrc/symload.h"
#include "symsrc/symsrc.h"

#define MODFILES_FETCHERS   4
#define MODFILES_CACHE_MAX  (128u << 20) /* bytes of contents, of all guests together */
#define MODFILES_WANTED_MAX 64	 /* contents under way for one guest; more come after them */
#define MODFILES_LIST_SEC   60	 /* for a listing */
#define MODFILES_READ_SEC   30	 /* for a content */
#define MODFILES_ANSWER_MS  4000 /* for a guest's first byte */
#define MODFILES_GAP_SEC    10	 /* between listings of one guest */
#define MODFILES_RETRY_SEC  60	 /* after one that failed */
#define MODFILES_FAILED_SEC 2	 /* that a failed content is not tried again */
#define MODFILES_IDLE_SEC   60	 /* until an idle connection is closed */

struct modfiles;

struct modfiles_config {
	const struct source_rule *rules; /* not copied: must outlive it */
	size_t rule_count;
	size_t cache_max; /* 0: MODFILES_CACHE_MAX */
	unsigned gap_ms;  /* 0: MODFILES_GAP_SEC */
};

/* gs and sl must outlive it; sl's subscribers are woken when something is new here. Starts
 * nothing. */
int modfiles_create(const struct modfiles_config *config, struct guests *gs, struct symload *sl,
		    struct modfiles **ret);
int modfiles_start(struct modfiles *m, struct errmsg *why);
/* As symload_stop(). Before the loader's. */
int modfiles_stop(struct modfiles *m);
void modfiles_destroy(struct modfiles *m); /* accepts NULL; after modfiles_stop() */

/* See symsrc_module_tree() and symsrc_module_file(). */
const struct modtree *modfiles_tree(struct modfiles *m, uint64_t serial);
int modfiles_content(struct modfiles *m, uint64_t serial, uint64_t key, uint64_t stamp,
		     struct blob **ret);
/* Fills the modules_* of *ret. */
void modfiles_status(struct modfiles *m, uint64_t serial, struct symsrc_status *ret);

#endif
