#include "fs/input.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/signals.h"
#include "profiler/perfdata/cached.h"
#include "profiler/recorded.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/base/text.h"
#include "symsrc/source.h"
#include "symsrc/symload.h"

#define PROGRESS_NS   (100 * NSEC_PER_MSEC)
#define SHOW_AFTER_MS 250
#define FAILURES_SAID 5 /* reasons why guests have no symbols */

/* ---- progress ------------------------------------------------------------------------------ */

struct progress {
	const char *path;
	bool shown; /* there is a line to be wiped */
	uint64_t next_ns;
};

/* One line, written over again and again. It is there from the start where nobody knows how much
 * there is: a pipe may stall at any time. */
static void show_progress(void *ctx, uint64_t bytes, uint64_t of)
{
	struct progress *p = ctx;
	uint64_t now = clock_now_ns();

	if (now < p->next_ns && (of || p->shown))
		return;
	p->next_ns = now + PROGRESS_NS;
	p->shown = true;
	if (!of && !bytes)
		fprintf(stderr, "\rkvmprofs: waiting for data from %s ", p->path);
	else if (of)
		fprintf(stderr, "\rkvmprofs: reading %s: %3" PRIu64 "%% of %" PRIu64 " MB ",
			p->path, bytes >= of ? 100 : bytes * 100 / of, of / 1000000);
	else
		fprintf(stderr, "\r\033[Kkvmprofs: reading %s: %" PRIu64 " MB ", p->path,
			bytes / 1000000);
}

static void end_progress(const struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
}

static int read_recording(const struct options *o, struct input *in, struct errmsg *why)
{
	/* Nothing for what is there at once. */
	struct progress p = {.path = strcmp(o->input, "-") == 0 ? "standard input" : o->input,
			     .next_ns = clock_now_ns() + 2 * PROGRESS_NS};
	const struct recording_config config = {
		.path = o->input,
		.event = o->event_of_command ? o->event : NULL,
		.only = o->pids,
		.only_count = o->pids_of_command ? o->pid_count : 0,
		.progress = isatty(STDERR_FILENO) ? show_progress : NULL,
		.ctx = &p,
	};
	int r = recording_read(&config, &in->recording, why);

	end_progress(&p);
	return r;
}

static void say_how_it_ends(const struct recording *r)
{
	switch (r->facts.end) {
	case PERFDATA_WHOLE: break;
	case PERFDATA_UNFINISHED:
		log_warn("%s was not finished: perf was killed; all that is whole in it counts",
			 r->path);
		break;
	case PERFDATA_CUT:
		log_warn("%s is cut off at byte %" PRIu64 "; all that is whole before counts",
			 r->path, r->facts.read);
		break;
	case PERFDATA_CUT_BEHIND:
		log_warn("%s is cut off behind its records: all of them count, but build-ids and "
			 "names of events may be missing",
			 r->path);
		break;
	case PERFDATA_DAMAGED:
		log_warn("%s is damaged at byte %" PRIu64 " (%s); what stands before counts",
			 r->path, r->facts.read, r->facts.why);
		break;
	}
}

/* Guests in a message, as many as there is room for. */
struct names {
	char text[200];
	size_t more;
};

static void add_name(struct names *to, pid_t pid, const char *name)
{
	size_t n = strlen(to->text);
	char clean[64], one[100];

	text_clean(clean, sizeof(clean), name, strlen(name));
	snprintf(one, sizeof(one), "%s%d%s%s%s", n ? ", " : "", (int)pid, *clean ? " (" : "", clean,
		 *clean ? ")" : "");
	if (to->more || n + strlen(one) + sizeof(" and 4096 more") > sizeof(to->text))
		to->more++;
	else
		memcpy(to->text + n, one, strlen(one) + 1);
}

static const char *all_names(struct names *of)
{
	size_t n = strlen(of->text);

	if (of->more)
		snprintf(of->text + n, sizeof(of->text) - n, " and %zu more", of->more);
	of->more = 0;
	return of->text;
}

/* That with most samples of the guests that are served; NULL: none has any. */
static const struct recording_event *event_with_guests(const struct recording *r)
{
	const struct recording_event *best = NULL;

	for (size_t i = 0; i < r->events.count; i++) {
		const struct recording_event *e = &r->events.list[i];

		if (e->served_samples > (best ? best->served_samples : 0))
			best = e;
	}
	return best;
}

/* Where the recording is not cut, perf has seen no guest. */
static const char *why_no_guests(const struct recording *r)
{
	const struct recording_event *e = &r->events.list[r->shown];

	if (e->of_host)
		return "it happens in the host (perf script shows it); perf kvm record without -e "
		       "samples guests";
	if (e->no_guests)
		return "it was not to count in guests: record with perf kvm record";
	return "no guest ran on those CPUs, or the event cannot sample guests there: -e cpu-clock "
	       "may";
}

static void say_who_is_missing(const struct options *o, const struct recording *r)
{
	const struct recording_event *other = event_with_guests(r);

	for (size_t i = 0; o->pids_of_command && i < o->pid_count; i++) {
		if (!recording_find(r, o->pids[i]))
			log_warn("-p %d: %s has no such guest", (int)o->pids[i], r->path);
	}
	if (r->guest_kernel + r->guest_user)
		return;
	if (other)
		log_warn("%s has no samples of guests among the %" PRIu64
			 " of %s: --event %s shows those that it has",
			 r->path, r->samples, r->events.list[r->shown].name, other->name);
	else
		log_warn("%s has no samples of guests among the %" PRIu64 " of %s: %s", r->path,
			 r->samples, r->events.list[r->shown].name, why_no_guests(r));
}

/* Their profiles look empty, while those of others do not. */
static void say_who_is_elsewhere(const struct recording *r)
{
	const struct recording_event *first = NULL;
	struct names names = {0};

	for (size_t i = 0; i < r->guest_count; i++) {
		const struct recording_elsewhere *e = recording_elsewhere(r->guests[i]);

		if (!e)
			continue;
		add_name(&names, r->guests[i]->pid, r->guests[i]->name);
		if (!first)
			first = &r->events.list[e->event];
	}
	if (first && r->guest_kernel + r->guest_user)
		log_warn("%s has no samples of %s, which is shown, of %s: --event %s has some",
			 r->path, r->events.list[r->shown].name, all_names(&names), first->name);
}

static void say_what_has_no_effect(const struct options *o, const struct recording *r)
{
	if (o->live_only[0])
		log_warn("no effect of %s: for live guests alone, and %s is as it was recorded",
			 o->live_only, r->path);
}

/* A mount without any guest, while there are others, is not what anybody wants. */
static int check_pids(const struct options *o, const struct recording *r, struct errmsg *why)
{
	size_t listed =
		r->other_count < RECORDING_OTHERS_MAX ? r->other_count : RECORDING_OTHERS_MAX;
	struct names there = {.more = 0};

	if (r->guest_count || !r->other_count)
		return 0;
	for (size_t i = 0; i < listed; i++)
		add_name(&there, r->others[i].pid, r->others[i].name);
	there.more += r->other_count - listed;
	return errmsg_set(why, -ESRCH, "cannot serve %s: it has no guest %d; it has %s", r->path,
			  (int)o->pids[0], all_names(&there));
}

/* What is not as it should be, once more in the log: status says it, too. */
static void say_how_it_went(const struct options *o, const struct recording *r)
{
	say_how_it_ends(r);
	say_who_is_missing(o, r);
	say_who_is_elsewhere(r);
	say_what_has_no_effect(o, r);
}

/* ---- symbols ------------------------------------------------------------------------------- */

/* Live guests are another matter: what the configuration file says of them does not count here. */
static int check_rules(const struct options *o, struct errmsg *why)
{
	for (size_t i = 0; i < o->rules_of_command; i++) {
		if (!source_is_saved(o->rules[i].uri))
			return errmsg_set(why, -EINVAL,
					  "-s %s=%s: the guests of a recording do not run; their "
					  "symbols come from dir:, kallsyms: or vmlinux:",
					  o->rules[i].pattern, o->rules[i].uri);
	}
	return 0;
}

static bool rule_matches(const struct source_rule *rule, const struct guest *g)
{
	return symload_uri_for(rule, 1, g) == rule->uri;
}

static bool matches_any(const struct source_rule *rule, const struct input *in)
{
	int i = 0;

	while (i < in->guest_count && !rule_matches(rule, in->guests[i]))
		i++;
	return i < in->guest_count;
}

/* Patterns that are nobody's: perf names a guest by its VMM's main thread. */
static void say_what_matches_nobody(const struct options *o, const struct input *in)
{
	struct names there = {0};
	char patterns[160] = "";
	size_t n = 0;

	for (size_t i = 0; i < o->rules_of_command && n < sizeof(patterns); i++) {
		if (!matches_any(&o->rules[i], in))
			n += (size_t)snprintf(patterns + n, sizeof(patterns) - n, "%s%s",
					      n ? ", " : "", o->rules[i].pattern);
	}
	for (int i = 0; i < in->guest_count; i++)
		add_name(&there, in->guests[i]->pid, in->guests[i]->name);
	if (n && in->guest_count)
		log_warn("-s %s: no guest of %s is called so; it has %s", patterns,
			 in->recording->path, all_names(&there));
}

static bool has_rule(const struct options *o, const struct guest *g)
{
	size_t i = 0;

	while (i < o->rules_of_command && !rule_matches(&o->rules[i], g))
		i++;
	return i < o->rules_of_command;
}

/* Who has given sources is told that none of them is this guest's. */
static void say_no_rule(const struct options *o, const struct guest *g, char *uri, size_t size)
{
	char why[SOURCE_URI_MAX];

	if (!o->rules_of_command || has_rule(o, g) || !source_is_none(uri))
		return;
	snprintf(why, sizeof(why), "%s", uri + strlen("none:"));
	snprintf(uri, size, "none:no -s is for %d or %s, and %.1700s", (int)g->pid, g->name, why);
}

static void cached(const struct recording *r, const struct recording_guest *g, char *uri,
		   size_t size)
{
	/* Before there are threads. */
	const char *home = getenv("HOME"); /* NOLINT(concurrency-mt-unsafe) */
	char dir[GUEST_PATH_MAX / 4];

	snprintf(dir, sizeof(dir), "%s/.debug", home && *home == '/' ? home : "/root");
	cached_source(r, g, dir, uri, size);
}

static int make_rule(const struct options *o, const struct recording *r, const struct guest *guest,
		     struct source_rule *ret)
{
	const struct recording_guest *g = recording_find(r, guest->pid);
	const char *rule = symload_uri_for(o->rules, o->rule_count, guest);
	char uri[SOURCE_URI_MAX], pattern[16];

	if (source_is_saved(rule))
		snprintf(uri, sizeof(uri), "%s", rule);
	else
		cached(r, g, uri, sizeof(uri));
	say_no_rule(o, guest, uri, sizeof(uri));
	snprintf(pattern, sizeof(pattern), "%d", (int)guest->pid);
	ret->uri = strdup(uri);
	ret->pattern = strdup(pattern);
	return ret->uri && ret->pattern ? 0 : -ENOMEM;
}

static int make_rules(const struct options *o, struct input *in)
{
	int r = 0;

	in->rules = calloc((size_t)in->guest_count + 1, sizeof(in->rules[0]));
	if (!in->rules)
		return -ENOMEM;
	for (int i = 0; r == 0 && i < in->guest_count; i++) {
		in->rule_count++;
		r = make_rule(o, in->recording, in->guests[i], &in->rules[i]);
	}
	return r;
}

/* ---- waiting for them ---------------------------------------------------------------------- */

struct wait {
	struct symsrc *symsrc;
	int wake_fd, signal_fd;
	int caller_fd; /* has an error once nobody reads it any more; -1: none */
	size_t left;   /* guests without an outcome */
	uint64_t deadline_ns;
};

static void show_waiting(struct progress *p, size_t left, size_t of)
{
	uint64_t now = clock_now_ns();

	if (now < p->next_ns || !isatty(STDERR_FILENO))
		return;
	p->next_ns = now + PROGRESS_NS;
	p->shown = true;
	fprintf(stderr, "\r\033[Kkvmprofs: symbols of %zu guests: %zu still to come ", of, left);
}

/* Failures are news, too, again and again: only what one guest less is waited for counts. */
static void count_left(struct wait *w)
{
	size_t left = symsrc_waiting(w->symsrc);

	if (left != w->left)
		w->deadline_ns = clock_now_ns() + INPUT_WAIT_MS * NSEC_PER_MSEC;
	w->left = left;
}

/* -EINTR as input_await_symbols(). Wakes up now and then for the sake of the progress, too. */
static int wait_for_news(const struct wait *w)
{
	struct pollfd p[] = {{.fd = w->wake_fd, .events = POLLIN},
			     {.fd = w->signal_fd, .events = POLLIN},
			     {.fd = w->caller_fd}};
	int left_ms = clock_left_ms(w->deadline_ns);

	poll(p, ARRAY_SIZE(p), left_ms < SHOW_AFTER_MS ? left_ms : SHOW_AFTER_MS);
	io_wake_clear(w->wake_fd);
	return p[1].revents || p[2].revents ? -EINTR : 0;
}

static int wait_for_all(struct wait *w, size_t guests)
{
	struct progress p = {.next_ns = clock_now_ns() + 2 * PROGRESS_NS};
	int r = 0;

	count_left(w);
	while (r == 0 && w->left && clock_now_ns() < w->deadline_ns) {
		r = wait_for_news(w);
		count_left(w);
		show_waiting(&p, w->left, guests);
	}
	end_progress(&p);
	return r;
}

/* ---- what came of it ----------------------------------------------------------------------- */

/* Guests without symbols, by the reason. */
struct failures {
	size_t count;
	struct failure {
		struct errmsg why;
		struct names who;
	} list[FAILURES_SAID];
	size_t more; /* guests for other reasons */
};

static void add_failure(struct failures *f, const struct guest *g, const struct errmsg *why)
{
	size_t i = 0;

	while (i < f->count && strcmp(f->list[i].why.text, why->text) != 0)
		i++;
	if (i == FAILURES_SAID) {
		f->more++;
		return;
	}
	if (i == f->count)
		f->list[f->count++].why = *why;
	add_name(&f->list[i].who, g->pid, g->name);
}

/* Addresses alone are worth a mount, but nobody should wonder why there are no names. */
static void say_who_has_none(const struct input *in, struct symsrc *s)
{
	struct failures f = {.count = 0};

	for (int i = 0; i < in->guest_count; i++) {
		struct symsrc_status st = {0};

		symsrc_status(s, in->guests[i]->serial, &st);
		if (st.state == SYMSRC_FAILED)
			add_failure(&f, in->guests[i], &st.error);
	}
	for (size_t i = 0; i < f.count; i++)
		log_warn("no symbols of %s: %s", all_names(&f.list[i].who), f.list[i].why.text);
	if (f.more)
		log_warn("no symbols of %zu more guests: source_error in their info says why",
			 f.more);
}

static int await(struct wait *w, size_t guests, struct errmsg *why)
{
	int r = w->signal_fd < 0 ? w->signal_fd : w->wake_fd < 0 ? w->wake_fd : 0;

	if (r == 0)
		r = symsrc_subscribe(w->symsrc, w->wake_fd);
	if (r < 0)
		return errmsg_set(why, r, "cannot wait for symbols: %s", strerrordesc_np(-r));
	r = wait_for_all(w, guests);
	symsrc_unsubscribe(w->symsrc, w->wake_fd);
	if (r < 0)
		return errmsg_set(why, r, "ended while it waited for symbols");
	if (w->left)
		log_warn("symbols of %zu guests take long: mounted without; info says when they "
			 "have come",
			 w->left);
	return 0;
}

int input_await_symbols(const struct input *in, struct symsrc *s, int caller_fd, struct errmsg *why)
{
	struct wait w = {.symsrc = s,
			 .wake_fd = io_wake_create(),
			 .signal_fd = signals_open(),
			 .caller_fd = caller_fd};
	int r = await(&w, (size_t)in->guest_count, why);

	if (r == 0)
		say_who_has_none(in, s);
	close_keep_errno(w.signal_fd);
	close_keep_errno(w.wake_fd);
	return r;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static int read_all(const struct options *o, struct input *in, struct errmsg *why)
{
	int r = check_rules(o, why);

	if (r == 0)
		r = read_recording(o, in, why);
	if (r == 0)
		r = check_pids(o, in->recording, why);
	if (r < 0)
		return r;
	say_how_it_went(o, in->recording);
	r = recorded_guests(in->recording, &in->guests);
	if (r >= 0) {
		in->guest_count = r;
		say_what_matches_nobody(o, in);
		r = make_rules(o, in);
	}
	return r < 0 ? errmsg_set(why, r, "no memory for the guests of %s", o->input) : 0;
}

int input_read(const struct options *o, struct input *ret, struct errmsg *why)
{
	int r;

	*ret = (struct input){0};
	if (!o->input)
		return 0;
	r = read_all(o, ret, why);
	if (r < 0)
		input_deinit(ret);
	return r;
}

void input_deinit(struct input *in)
{
	for (size_t i = 0; i < in->rule_count; i++) {
		free(in->rules[i].pattern);
		free(in->rules[i].uri);
	}
	free(in->rules);
	if (in->guests)
		recorded_guests_put(in->guests, in->guest_count);
	recording_free(in->recording);
	*in = (struct input){0};
}
