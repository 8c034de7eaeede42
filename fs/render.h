/* Rendering: snapshots in, text out. Pure: no FUSE, no locks, no clock, no input but the
 * arguments, so that a test can make everything up.
 *
 * Every function appends to out, whose maximum and sticky error bound it; the return value is
 * out->err. Numbers are printed as integers only, so that no locale changes them. All text
 * that comes from a guest or a VMM is escaped on the way.
 */
#ifndef KVMPROFS_RENDER_H
#define KVMPROFS_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profiler/profiler.h"
#include "symsrc/base/buf.h"
#include "symsrc/guest.h"
#include "symsrc/symbols.h"
#include "symsrc/symsrc.h"

struct recording_guest; /* profiler/perfdata/recording.h */

/* One moment on both clocks, so that monotonic times can be shown as dates. */
struct render_when {
	uint64_t now_ns;  /* clock_now_ns() */
	uint64_t wall_ns; /* CLOCK_REALTIME at the same moment, nanoseconds since 1970 */
};

/* -- pieces ------------------------------------------------------------------------------ */

/* part of whole in percent with two decimals, as perf prints it, padded with blanks to width; 0.00
 * of nothing. */
int render_percent(struct buf *out, int width, uint64_t part, uint64_t whole);
/* The moment at_ns (monotonic) as "2026-11-21T18:51:00Z". */
int render_date(struct buf *out, const struct render_when *when, uint64_t at_ns);
/* A length of time as "12.345 s". */
int render_seconds(struct buf *out, uint64_t ns);
/* Free text for the end of a line. */
int render_text(struct buf *out, const char *text);
/* "key value", a line of info or status; "-" when value is empty. */
int render_line(struct buf *out, const char *key, const char *value);
int render_line_u64(struct buf *out, const char *key, uint64_t value);
/* One column: as render_text(), and blanks are escaped too; "-" when empty. */
int render_word(struct buf *out, const char *text);
/* "# paused: PID NAME": a guest whose samples are not counted now. */
int render_paused(struct buf *out, const struct guest *guest);

/* What a format writes in the place of a character; a list of them ends with c 0. */
struct render_quote {
	char c;
	const char *as;
};
/* Text as a format quotes it: bytes outside printable ASCII as \xNN, then every character of
 * the list (also the backslash of \xNN) as the list says. */
int render_quoted(struct buf *out, const char *text, const struct render_quote *list);

const char *render_sampler_name(enum sampler_kind kind);

/* Whether there are samples of perf, or a recording's: else zeros would look as if something had
 * been measured. */
bool render_has_samples(const struct profiler_totals *t);
/* The moment at_ns (monotonic) in nanoseconds since 1970. */
uint64_t render_wall_ns(const struct render_when *when, uint64_t at_ns);
/* How long the profile has been counting, nanoseconds. */
uint64_t render_length_ns(const struct profile *profile);

/* The rows of one object of a profile. */
struct render_object {
	const char *name;
	uint64_t samples;
	const struct profile_row **rows; /* hottest first */
	size_t count;
};
/* The rows of a profile by their objects, hottest object first. Points into the profile. */
struct render_objects {
	size_t count;
	struct render_object *list;
	const struct profile_row **rows; /* what the lists of rows lie in */
};
int render_objects_make(const struct profile *profile, struct render_objects *ret); /* or -ENOMEM */
void render_objects_free(struct render_objects *o);

/* -- files ------------------------------------------------------------------------------- */

struct render_status {
	const char *version;
	pid_t pid;
	enum sampler_choice sampler; /* what was asked for */
	struct profiler_totals totals;
	size_t guests;
	uint64_t cpu_user_ns, cpu_system_ns; /* of the daemon itself */
	uint64_t rss_bytes, rss_peak_bytes;
	size_t guests_paused;
};
int render_status(const struct render_status *s, const struct render_when *when, struct buf *out);

/* What `metrics` says of a guest. */
struct render_metrics_guest {
	const struct guest_entry *entry;
	struct profiler_counts counts;
	const struct exits *exits; /* NULL: not known; only the reasons are shown */
	bool has_symbols;	   /* of the current epoch */
};
/* The daemon and its guests as OpenMetrics text. Never shows a name or an address out of a
 * guest's kernel. */
int render_metrics(const struct render_status *s, const struct render_metrics_guest *guests,
		   size_t count, const struct render_when *when, struct buf *out);

struct render_share {
	const struct guest *guest;
	struct profiler_shares shares;
	bool paused;
};
/* host: the whole machine, or NULL to leave its line out (a guest's own file). */
int render_utilization(const struct profiler_shares *host, const struct render_share *guests,
		       size_t count, struct buf *out);

struct render_profile {
	const struct guest *guest;
	const struct profile *profile;
};
#define RENDER_TOP_ROWS 100 /* of all guests together */

/* The hottest symbols of all guests, out of the RENDER_TOP_ROWS hottest of each. Never shows an
 * address: what has no name is one row. */
int render_top(const struct profiler_shares *host, const struct render_profile *guests,
	       size_t count, const struct render_when *when, struct buf *out);

int render_profile(const struct guest *guest, const struct profile *profile,
		   const struct render_when *when, struct buf *out);

/* now against before, which is of a snapshot. */
int render_diff(const struct guest *guest, const struct profile *before, const struct profile *now,
		const struct render_when *when, struct buf *out);

/* The same as `guest;object;symbol SAMPLES` lines, as flamegraph.pl, inferno and speedscope
 * read them. */
int render_folded(const struct guest *guest, const struct profile *profile, struct buf *out);

/* As one JSON object; kvmprofs(8) describes it. */
int render_json(const struct guest *guest, const struct profile *profile,
		const struct render_when *when, struct buf *out);

/* The same for pprof: a gzipped profile.proto. symbols: of the current epoch, whose build-ids and
 * addresses the objects get, or NULL. */
int render_pprof(const struct guest *guest, const struct profile *profile,
		 const struct symbols *symbols, const struct render_when *when, struct buf *out);

/* The same as a picture: SVG with all that it needs in it. */
int render_flamegraph(const struct guest *guest, const struct profile *profile,
		      const struct render_when *when, struct buf *out);

/* VM exits: the table and its sections, the same as JSON with the histograms, and the count of
 * each kvm:* tracepoint. Where they are not counted, one line that says why. */
int render_exits(const struct guest *guest, const struct exits *e, const struct render_when *when,
		 struct buf *out);
int render_exits_json(const struct guest *guest, const struct exits *e,
		      const struct render_when *when, struct buf *out);
int render_events(const struct guest *guest, const struct exits *e, const struct render_when *when,
		  struct buf *out);

/* symbols: of the current epoch, or NULL. */
int render_info(const struct guest_entry *entry, const struct symsrc_status *status,
		const struct symbols *symbols, bool paused, const struct render_when *when,
		struct buf *out);

int render_buildids(const struct symbols *symbols, struct buf *out);
/* The same of a recording, which knows them itself; false: it has none of this guest. */
bool render_recorded_buildids(const struct recording_guest *guest, struct buf *out);

/* stats: of profiler_stats(). */
int render_stats(const struct guest *guest, const struct profiler_stats *stats,
		 const struct render_when *when, struct buf *out);

/* What the host's kernel says of a vCPU's thread. */
struct render_thread {
	int cpu;    /* where it runs or ran last; -1: not known */
	char state; /* as in proc_pid_stat(5), 'R', 'S', ...; 0: not known */
};
/* threads: one for each of vcpus. */
int render_vcpus(const struct profiler_vcpu *vcpus, const struct render_thread *threads,
		 size_t count, bool paused, struct buf *out);

#endif
