/* The loader: for every guest and every boot of it, its symbols; by a bounded pool of threads.
 *
 * Threads: "kp-load" follows the registry of guests and the clock, and hands out work;
 * "kp-fetch-N" fetch. A fetch ends at once when its guest is gone, when the guest boots anew,
 * or when the loader stops.
 *
 * When: at once for a new guest or epoch; after a failure again, with growing pauses (short
 * ones while the guest is young: it is still booting). A guest that is not ready, as its memory
 * shows, is tried twice a second by what costs next to nothing, and thoroughly only as often as
 * that takes a few per cent of a CPU.
 *
 * Then: looks, which cost little; at memory every three seconds, else every seven at boot id and
 * module list, so that a change is known within ten, and at once where the guest tells of it
 * (serial_turn.h); and all of it anew when something changed. Another boot begins a new epoch
 * (guests_new_epoch()). What is known of the boot that is over goes along with the next fetches, so
 * that its remains are not taken for the new one.
 *
 * One hung guest must not delay another: the first attempt gives up soon when nobody answers,
 * and guests whose last attempt ran out of time, or took long, share at most half of the threads
 * with those that are asked by a connection whether all is as it was.
 */
#ifndef KVMPROFS_SYMLOAD_H
#define KVMPROFS_SYMLOAD_H

#include "symsrc/guest.h"
#include "symsrc/symsrc.h"

#define SYMLOAD_FETCHERS	8
#define SYMLOAD_FETCHERS_MAX	64
#define SYMLOAD_CHECK_SEC	7    /* between looks at a guest whose symbols are here */
#define SYMLOAD_LOOK_MS		3000 /* the same where a look is at its memory */
#define SYMLOAD_YOUNG_LOOK_MS	1000 /* and the guest booted less than a minute ago */
#define SYMLOAD_NEWS_MS		1000 /* from the last attempt until a guest's news are heeded */
#define SYMLOAD_YOUNG_CPU_SHARE 10   /* see SYMLOAD_CPU_SHARE: while it boots */
#define SYMLOAD_BOOT_MS		500  /* between quick attempts at a guest that boots */
#define SYMLOAD_QUIET_MS	2000 /* the same when it has been at it for a minute */
#define SYMLOAD_REMAINS_SEC	10 /* after a reboot: only quick attempts, RAM is full of remains */
#define SYMLOAD_CPU_SHARE	30 /* an attempt rests that many times its CPU time */
#define SYMLOAD_CPU_CREDIT_SEC                                                                    \
	20			   /* so much of it before such rests hold up what is urgent, too \
				    */
#define SYMLOAD_RAM_CHECK_SEC 10   /* between looks at whether RAM is mapped as it was */
#define SYMLOAD_TOTAL_SEC     120  /* for one fetch of a guest that is known to be slow */
#define SYMLOAD_FIRST_SEC     45   /* of another one; emulated guests need 5 to 15 */
#define SYMLOAD_SLOW_SEC      20   /* whoever took longer is slow, whatever came of it */
#define SYMLOAD_ANSWER_MS     4000 /* for the first byte, the first time */
#define SYMLOAD_ANSWER_STEPS  1	   /* times that this is doubled for a guest that boots */
#define SYMLOAD_CROWDED_MS    1000 /* the same while more guests wait than there are threads */
#define SYMLOAD_KEPT_MAX      (1u << 30) /* bytes of all symbols; above, those of old boots go */
/* Above this much in all for each guest (a distribution's kernel with its modules takes 10 to 20)
 * and the above, whoever takes most does without, and is tried again after that many seconds. */
#define SYMLOAD_KEPT_GUEST  (32u << 20)
#define SYMLOAD_NO_ROOM_SEC 300
#define SYMLOAD_SAMPLED_MAX 256 /* addresses that are kept of a guest whose source wants them, */
#define SYMLOAD_SAMPLED_MIN 24	/* and how many of them are worth an attempt; then twice as many */
#define SYMLOAD_STOP_MS	    10000 /* for a thread to end before it is left behind */

struct symload;

struct symload_config {
	const struct source_rule *rules; /* copied; first match wins; none matches: auto */
	size_t rule_count;
	unsigned fetchers; /* 0: SYMLOAD_FETCHERS */
	unsigned check_ms; /* 0: SYMLOAD_CHECK_SEC */
	unsigned look_ms;  /* 0: SYMLOAD_LOOK_MS */
	bool cpu_is_free;  /* an attempt rests for no CPU time that it took: for tests, where it is
			      much */
	bool recorded;	   /* the guests do not run any more */
	const char *proc_root; /* copied; NULL: "/proc" */
	size_t kept_max;       /* 0: SYMLOAD_KEPT_MAX */
};

/* gs must outlive the loader. Starts nothing. 0, -ENOMEM, or what guests_subscribe() returns. */
int symload_create(const struct symload_config *config, struct guests *gs, struct symload **ret);
/* Starts the threads. 0 or negative errno; then none of them runs. */
int symload_start(struct symload *sl, struct errmsg *why);
/* Ends running fetches, wakes and joins the threads. One that hangs in a read of a dead network
 * filesystem, which nothing can interrupt, is left behind after SYMLOAD_STOP_MS: then -EBUSY,
 * and neither the loader nor gs may be destroyed. Else 0. */
int symload_stop(struct symload *sl);
void symload_destroy(struct symload *sl); /* accepts NULL; after symload_stop() */

/* See the functions of the same name in symsrc.h. */
const struct symbols *symload_symbols(struct symload *sl, uint64_t serial, uint32_t epoch);
void symload_status(struct symload *sl, uint64_t serial, struct symsrc_status *ret);
int symload_refresh(struct symload *sl, uint64_t serial);
int symload_look(struct symload *sl, uint64_t serial);
void symload_set_misfit(struct symload *sl, uint64_t serial, uint32_t epoch, bool misfit);
void symload_offer_addresses(struct symload *sl, uint64_t serial, uint32_t epoch,
			     const uint64_t *ips, size_t n);
size_t symload_waiting(struct symload *sl);
void symload_on_retired(struct symload *sl, symsrc_retired_fn *fn, void *ctx);
int symload_subscribe(struct symload *sl, int wake_fd);
void symload_unsubscribe(struct symload *sl, int wake_fd);
/* Wakes all subscribers, on behalf of what belongs to the symbols (modfiles.h). */
void symload_wake_subscribers(struct symload *sl);

/* The loader's copy of its rules, which lives as long as it does. */
const struct source_rule *symload_rules(const struct symload *sl, size_t *ret_count);

/* The URI that the rules say for this guest. Pure. */
const char *symload_uri_for(const struct source_rule *rules, size_t count, const struct guest *g);

/* The pause before the next attempt, in seconds, after this many failures in a row (at least
 * 1) of which the last was err; 0: trying again is pointless. young: it booted less than a
 * minute ago. Pure. */
unsigned symload_pause_sec(int err, unsigned failures, bool young);

#endif
