#include "fs/content.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "fs/render.h"
#include "profiler/perfdata/recording.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"

static struct render_when when_now(void)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct render_when){.now_ns = clock_now_ns(),
				    .wall_ns = (uint64_t)wall.tv_sec * NSEC_PER_SEC +
					       (uint64_t)wall.tv_nsec};
}

static void put_guest_set(const struct guest_set **set)
{
	guest_set_put(*set);
}
#define CLEANUP_GUEST_SET CLEANUP(put_guest_set)

static void put_symbols(const struct symbols **s)
{
	symbols_put(*s);
}
#define CLEANUP_SYMBOLS CLEANUP(put_symbols)

static void put_profile(struct profile **p)
{
	profile_free(*p);
}
#define CLEANUP_PROFILE CLEANUP(put_profile)

static void put_exits(struct exits **e)
{
	exits_free(*e);
}
#define CLEANUP_EXITS CLEANUP(put_exits)

/* -- the daemon -------------------------------------------------------------------------- */

static uint64_t timeval_ns(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * NSEC_PER_SEC + (uint64_t)tv->tv_usec * NSEC_PER_USEC;
}

/* The second number of /proc/self/statm: resident pages (proc(5)). */
static uint64_t resident_bytes(void)
{
	CLEANUP_BUF struct buf b;
	unsigned long long total, resident;

	buf_init(&b, 256);
	if (io_read_file(AT_FDCWD, "/proc/self/statm", &b) < 0 ||
	    sscanf(b.data, "%20llu %20llu", &total, &resident) != 2)
		return 0;
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool is_paused(const struct rooms *rooms, uint64_t serial)
{
	struct profiler_counts counts;

	return profiler_counts(rooms->profiler, serial, &counts) == 0 && counts.paused;
}

static void get_status(const struct rooms *rooms, const struct guest_set *set,
		       struct render_status *s)
{
	struct rusage usage;

	*s = (struct render_status){.version = KVMPROFS_VERSION,
				    .pid = getpid(),
				    .sampler = rooms->sampler,
				    .guests = set->count,
				    .rss_bytes = resident_bytes()};
	profiler_totals(rooms->profiler, &s->totals);
	for (size_t i = 0; i < set->count; i++)
		s->guests_paused += is_paused(rooms, set->entries[i].guest->serial);
	if (getrusage(RUSAGE_SELF, &usage) == 0) {
		s->cpu_user_ns = timeval_ns(&usage.ru_utime);
		s->cpu_system_ns = timeval_ns(&usage.ru_stime);
		s->rss_peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
	}
	/* The kernel looks for the peak only now and then. */
	if (s->rss_peak_bytes < s->rss_bytes)
		s->rss_peak_bytes = s->rss_bytes;
}

static int make_status(const struct rooms *rooms, const struct guest_set *set, struct buf *out)
{
	struct render_when when = when_now();
	struct render_status s;

	get_status(rooms, set, &s);
	return render_status(&s, &when, out);
}

/* -- all guests -------------------------------------------------------------------------- */

static int make_utilization(const struct rooms *rooms, const struct guest_set *set, struct buf *out)
{
	CLEANUP_FREE struct render_share *list = calloc(set->count + 1, sizeof(*list));
	struct profiler_shares host = {0};
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	profiler_shares(rooms->profiler, 0, &host);
	for (size_t i = 0; i < set->count; i++) {
		list[n].guest = set->entries[i].guest;
		/* A guest that the profiler does not know yet has no samples. */
		if (profiler_shares(rooms->profiler, list[n].guest->serial, &list[n].shares) < 0)
			list[n].shares = (struct profiler_shares){.total = host.total,
								  .no_perf = host.no_perf};
		list[n].paused = is_paused(rooms, list[n].guest->serial);
		n++;
	}
	return render_utilization(&host, list, n, out);
}

static bool has_symbols(const struct rooms *rooms, uint64_t serial)
{
	struct symsrc_status status = {0};

	symsrc_status(rooms->symsrc, serial, &status);
	return status.state == SYMSRC_READY;
}

static void get_metrics(const struct rooms *rooms, const struct guest_entry *e,
			struct render_metrics_guest *ret)
{
	static const struct slice all;
	uint64_t serial = e->guest->serial;
	struct exits *exits;

	*ret = (struct render_metrics_guest){.entry = e, .has_symbols = has_symbols(rooms, serial)};
	/* A guest that the profiler does not know yet has no samples. */
	if (profiler_counts(rooms->profiler, serial, &ret->counts) < 0)
		ret->counts = (struct profiler_counts){0};
	if (profiler_exits(rooms->profiler, serial, &all, &exits) == 0)
		ret->exits = exits;
}

static int make_metrics(const struct rooms *rooms, const struct guest_set *set, struct buf *out)
{
	CLEANUP_FREE struct render_metrics_guest *list = calloc(set->count + 1, sizeof(*list));
	struct render_when when = when_now();
	struct render_status s;
	int r;

	if (!list)
		return -ENOMEM;
	get_status(rooms, set, &s);
	for (size_t i = 0; i < set->count; i++)
		get_metrics(rooms, &set->entries[i], &list[i]);
	r = render_metrics(&s, list, set->count, &when, out);
	for (size_t i = 0; i < set->count; i++)
		exits_free((struct exits *)list[i].exits);
	return r;
}

static void free_profiles(struct render_profile *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		profile_free((struct profile *)list[i].profile);
	free(list);
}

static int make_top(const struct rooms *rooms, const struct guest_set *set, struct buf *out)
{
	struct render_profile *list = calloc(set->count + 1, sizeof(*list));
	struct render_when when = when_now();
	struct profiler_shares host = {0};
	const struct slice all = {0};
	size_t n = 0;
	int r;

	if (!list)
		return -ENOMEM;
	profiler_shares(rooms->profiler, 0, &host);
	for (size_t i = 0; i < set->count; i++) {
		struct profile *p;

		if (profiler_profile(rooms->profiler, set->entries[i].guest->serial, &all, &p) < 0)
			continue;
		/* There may be hundreds of guests with tens of thousands of rows each. Without
		 * memory it only stays long. */
		profile_shorten(p, RENDER_TOP_ROWS);
		list[n++] = (struct render_profile){set->entries[i].guest, p};
	}
	r = render_top(&host, list, n, &when, out);
	free_profiles(list, n);
	return r;
}

/* -- one guest --------------------------------------------------------------------------- */

/* Whether the guest runs is said as it was when its VMM was asked last; who looks again soon wants
 * to know it as it is now. */
static int make_info(const struct rooms *rooms, const struct guest_entry *e, struct buf *out)
{
	CLEANUP_SYMBOLS const struct symbols *symbols =
		symsrc_symbols(rooms->symsrc, e->guest->serial, 0);
	struct render_when when = when_now();
	struct symsrc_status status = {0};

	guests_doubt(symsrc_guests(rooms->symsrc), e->guest->serial);
	symsrc_status(rooms->symsrc, e->guest->serial, &status);
	return render_info(e, &status, symbols, is_paused(rooms, e->guest->serial), &when, out);
}

/* An empty profile for a guest that the profiler does not know yet: a file in a format is one
 * also when nothing is in it. */
static int get_profile(const struct rooms *rooms, const struct guest *g, const struct slice *slice,
		       struct profile **ret)
{
	static const char note[] = "the profiler does not know this guest yet";
	int r = profiler_profile(rooms->profiler, g->serial, slice, ret);

	if (r != -ESRCH)
		return r;
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	(*ret)->slice = *slice;
	(*ret)->since_ns = (*ret)->taken_ns = clock_now_ns();
	memcpy((*ret)->sampler_note, note, sizeof(note));
	return 0;
}

static int make_profile(const struct rooms *rooms, const struct place *place,
			const struct guest_entry *e, struct buf *out)
{
	CLEANUP_SYMBOLS const struct symbols *symbols = NULL;
	CLEANUP_PROFILE struct profile *p = NULL;
	struct render_when when = when_now();
	int r = get_profile(rooms, e->guest, &place->slice, &p);

	if (r < 0)
		return r;
	switch (place->node) {
	case NODE_PROFILE: return render_profile(e->guest, p, &when, out);
	case NODE_PROFILE_FOLDED: return render_folded(e->guest, p, out);
	case NODE_PROFILE_JSON: return render_json(e->guest, p, &when, out);
	case NODE_PROFILE_PPROF:
		symbols = symsrc_symbols(rooms->symsrc, e->guest->serial, 0);
		return render_pprof(e->guest, p, symbols, &when, out);
	case NODE_FLAMEGRAPH: return render_flamegraph(e->guest, p, &when, out);
	default: return -ENOENT;
	}
}

static int make_diff(const struct rooms *rooms, const struct place *place,
		     const struct guest_entry *e, struct buf *out)
{
	CLEANUP_PROFILE struct profile *before = NULL;
	CLEANUP_PROFILE struct profile *now = NULL;
	const struct slice all = {0};
	struct render_when when = when_now();
	int r = get_profile(rooms, e->guest, &place->slice, &before);

	if (r == 0)
		r = get_profile(rooms, e->guest, &all, &now);
	return r < 0 ? r : render_diff(e->guest, before, now, &when, out);
}

static int get_exits(const struct rooms *rooms, const struct guest *g, const struct slice *slice,
		     struct exits **ret)
{
	static const char note[] = "the profiler does not know this guest yet";
	int r = profiler_exits(rooms->profiler, g->serial, slice, ret);

	if (r != -ESRCH)
		return r;
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	memcpy((*ret)->note, note, sizeof(note));
	return 0;
}

static int make_exits(const struct rooms *rooms, const struct place *place,
		      const struct guest_entry *e, struct buf *out)
{
	CLEANUP_EXITS struct exits *exits = NULL;
	int r = get_exits(rooms, e->guest, &place->slice, &exits);
	struct render_when when = when_now();

	if (r < 0)
		return r;
	switch (place->node) {
	case NODE_EXITS: return render_exits(e->guest, exits, &when, out);
	case NODE_EXITS_JSON: return render_exits_json(e->guest, exits, &when, out);
	case NODE_EVENTS: return render_events(e->guest, exits, &when, out);
	default: return -ENOENT;
	}
}

/* State and last CPU: fields 3 and 39 of /proc/PID/task/TID/stat (proc_pid_stat(5)). The second
 * field is the name in parentheses, which may hold anything. */
static struct render_thread thread_now(pid_t pid, pid_t tid)
{
	struct render_thread t = {.cpu = -1};
	CLEANUP_BUF struct buf b;
	char path[64];
	const char *at;

	buf_init(&b, 4096);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
	if (io_read_file(AT_FDCWD, path, &b) < 0)
		return t;
	at = strrchr(b.data, ')');
	if (!at || at[1] != ' ' || !at[2])
		return t;
	at += 2;
	t.state = *at;
	for (int field = 3; at && field < 39; field++)
		at = strchr(at + 1, ' ');
	if (at)
		t.cpu = (int)strtol(at, NULL, 10);
	return t;
}

/* The threads of a recording are gone, and others may have their numbers. */
static struct render_thread thread_of(const struct rooms *rooms, pid_t pid, pid_t tid)
{
	if (profiler_recording(rooms->profiler))
		return (struct render_thread){.cpu = -1};
	return thread_now(pid, tid);
}

static int make_vcpus(const struct rooms *rooms, const struct guest_entry *e, struct buf *out)
{
	CLEANUP_FREE struct profiler_vcpu *vcpus = NULL;
	CLEANUP_FREE struct render_thread *threads = NULL;
	int n = profiler_vcpus(rooms->profiler, e->guest->serial, &vcpus);

	if (n == -ESRCH)
		return buf_append_str(out, "# the profiler does not know this guest yet\n");
	if (n < 0)
		return n;
	threads = calloc((size_t)n + 1, sizeof(*threads));
	if (!threads)
		return -ENOMEM;
	for (int i = 0; i < n; i++)
		threads[i] = thread_of(rooms, e->guest->pid, vcpus[i].tid);
	return render_vcpus(vcpus, threads, (size_t)n, is_paused(rooms, e->guest->serial), out);
}

static int make_guest_utilization(const struct rooms *rooms, const struct guest_entry *e,
				  struct buf *out)
{
	struct render_share s = {.guest = e->guest, .paused = is_paused(rooms, e->guest->serial)};

	profiler_shares(rooms->profiler, e->guest->serial, &s.shares);
	return render_utilization(NULL, &s, 1, out);
}

static int make_stats(const struct rooms *rooms, const struct guest_entry *e, struct buf *out)
{
	CLEANUP_FREE struct profiler_stats *stats = NULL;
	struct render_when when = when_now();
	struct errmsg why;
	int r = profiler_stats(rooms->profiler, e->guest->serial, &stats, &why);

	if (r == 0)
		return render_stats(e->guest, stats, &when, out);
	if (r == -ENOMEM)
		return r;
	return buf_printf(out, "# %s\n", why.text);
}

/* -- from snapshots ---------------------------------------------------------------------- */

static int make_of_guest(const struct rooms *rooms, const struct place *place,
			 const struct guest_entry *e, struct buf *out)
{
	if (!e)
		return -ENOENT;
	switch (place->node) {
	case NODE_INFO: return make_info(rooms, e, out);
	case NODE_PROFILE:
	case NODE_PROFILE_FOLDED:
	case NODE_PROFILE_JSON:
	case NODE_PROFILE_PPROF:
	case NODE_FLAMEGRAPH: return make_profile(rooms, place, e, out);
	case NODE_STATS: return make_stats(rooms, e, out);
	case NODE_DIFF_FILE: return make_diff(rooms, place, e, out);
	case NODE_EXITS:
	case NODE_EXITS_JSON:
	case NODE_EVENTS: return make_exits(rooms, place, e, out);
	case NODE_VCPUS: return make_vcpus(rooms, e, out);
	case NODE_GUEST_UTILIZATION: return make_guest_utilization(rooms, e, out);
	default: return -ENOENT;
	}
}

static int make_text(const struct rooms *rooms, const struct place *p, struct buf *out)
{
	CLEANUP_GUEST_SET const struct guest_set *set =
		guests_acquire(symsrc_guests(rooms->symsrc));

	switch (p->node) {
	case NODE_STATUS: return make_status(rooms, set, out);
	case NODE_TOP: return make_top(rooms, set, out);
	case NODE_UTILIZATION: return make_utilization(rooms, set, out);
	case NODE_METRICS: return make_metrics(rooms, set, out);
	default: return make_of_guest(rooms, p, guest_set_find_serial(set, p->serial), out);
	}
}

static int blob_of(struct buf *b, struct blob **ret)
{
	struct blob *blob = b->err ? NULL : blob_from_buf(b);

	if (!blob)
		return b->err ? b->err : -ENOMEM;
	*ret = blob;
	return 0;
}

static int snapshot(const struct rooms *rooms, const struct place *p, struct blob **ret)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, CONTENT_MAX);
	r = make_text(rooms, p, &b);
	return r < 0 ? r : blob_of(&b, ret);
}

/* -- from symbols ------------------------------------------------------------------------ */

static struct blob *module_note(const struct symbols *s, const char *module)
{
	for (size_t i = 0; i < s->module_count; i++) {
		if (strcmp(s->module_list[i].name, module) == 0)
			return s->module_list[i].note;
	}
	return NULL;
}

static struct blob *held(const struct symbols *s, const struct place *p)
{
	switch (p->node) {
	case NODE_KALLSYMS:
	case NODE_PROC_KALLSYMS: return s->kallsyms;
	case NODE_MODULES:
	case NODE_PROC_MODULES: return s->modules;
	case NODE_PROC_VERSION: return s->version;
	case NODE_SYS_KERNEL_NOTES: return s->notes;
	case NODE_SYS_KERNEL_BTF_VMLINUX: return s->btf;
	case NODE_SYS_MODULE_BUILD_ID: return module_note(s, p->module);
	default: return NULL;
	}
}

static int buildids(const struct symbols *s, struct blob **ret)
{
	CLEANUP_BUF struct buf b;

	buf_init(&b, CONTENT_MAX);
	render_buildids(s, &b);
	return blob_of(&b, ret);
}

/* Those that stand in the recording, whatever the symbols came from. False: there are none. */
static bool recorded_buildids(const struct rooms *rooms, const struct place *p, struct buf *out)
{
	CLEANUP_GUEST_SET const struct guest_set *set =
		guests_acquire(symsrc_guests(rooms->symsrc));
	const struct recording *r = profiler_recording(rooms->profiler);
	const struct guest_entry *e = guest_set_find_serial(set, p->serial);
	const struct recording_guest *g = r && e ? recording_find(r, e->guest->pid) : NULL;

	return g && render_recorded_buildids(g, out);
}

static int line(const char *text, struct blob **ret)
{
	*ret = blob_from_bytes(text, strlen(text));
	return *ret ? 0 : -ENOMEM;
}

/* s may be NULL for CLASS_SYMBOLS_OR_EMPTY. */
static int from_symbols(const struct symbols *s, const struct place *p, struct blob **ret)
{
	struct blob *blob = s ? held(s, p) : NULL;

	if (p->node == NODE_BUILDIDS)
		return buildids(s, ret);
	if (blob) {
		*ret = blob_get(blob);
		return 0;
	}
	if (p->node == NODE_SYS_KERNEL_BTF_VMLINUX)
		return -ENOENT; /* it was there a moment ago */
	if (p->node == NODE_MODULES)
		return line("# no modules: the symbol source has no list of them\n", ret);
	return line("", ret);
}

/* Why there are no symbols, as open(2) says it. */
static int why_not(const struct rooms *rooms, uint64_t serial)
{
	struct symsrc_status status = {0};

	symsrc_status(rooms->symsrc, serial, &status);
	switch (status.state) {
	case SYMSRC_FAILED:
		/* It is booting: soon. */
		if (status.error.code == -EAGAIN)
			break;
		return content_open_errno(status.error.code);
	case SYMSRC_GONE: return -ENOENT;
	/* READY: they came between the two questions; asked again, they are there. */
	case SYMSRC_READY:
	case SYMSRC_WAITING: break;
	}
	return -EINPROGRESS;
}

int content_make(const struct rooms *rooms, const struct place *p, struct blob **ret)
{
	CLEANUP_SYMBOLS const struct symbols *symbols = NULL;
	CLEANUP_BUF struct buf b;
	enum node_class class = tree_node(p->node)->class;

	buf_init(&b, CONTENT_MAX);
	if (class == CLASS_SNAPSHOT)
		return snapshot(rooms, p, ret);
	if (p->node == NODE_BUILDIDS && recorded_buildids(rooms, p, &b))
		return blob_of(&b, ret);
	symbols = symsrc_symbols(rooms->symsrc, p->serial, 0);
	if (class == CLASS_SYMBOLS && !symbols)
		return why_not(rooms, p->serial);
	return from_symbols(symbols, p, ret);
}

static bool is_there(const struct rooms *rooms, const struct place *p)
{
	CLEANUP_GUEST_SET const struct guest_set *set =
		guests_acquire(symsrc_guests(rooms->symsrc));

	return p->serial == 0 || guest_set_find_serial(set, p->serial);
}

bool content_has_news(const struct rooms *rooms, const struct place *p, uint64_t made_ns,
		      uint64_t stale_ns)
{
	switch (p->node) {
	case NODE_INFO: return stale_ns > made_ns;
	/* KVM's counters tell nobody that they have changed. */
	case NODE_STATS: return true;
	case NODE_EXITS:
	case NODE_EXITS_JSON:
	case NODE_EVENTS:
		if (p->slice.time == SLICE_RECENT) /* they go as they come */
			return true;
		return !is_there(rooms, p) ||
		       (p->slice.time < SLICE_SNAPSHOT &&
			profiler_exits_have_news(rooms->profiler, p->serial, made_ns));
	default: break;
	}
	if (p->slice.time >= SLICE_SNAPSHOT && p->node != NODE_DIFF_FILE)
		return !is_there(rooms, p);
	if (p->slice.time == SLICE_RECENT) /* its samples go as they come */
		return true;
	return (p->serial == 0 && stale_ns > made_ns) || !is_there(rooms, p) ||
	       profiler_has_news(rooms->profiler, p->serial, made_ns);
}

/* -- from the guest's disk --------------------------------------------------------------- */

int content_file_facts(const struct rooms *rooms, const struct place *p, uint64_t *ret_size,
		       uint64_t *ret_stamp)
{
	const struct modtree *tree = symsrc_module_tree(rooms->symsrc, p->serial);
	const struct modtree_entry *e = tree ? modtree_find(tree, p->file) : NULL;

	if (e) {
		*ret_size = e->size;
		*ret_stamp = e->stamp;
	}
	modtree_put(tree);
	return e ? 0 : -ENOENT;
}

int content_file(const struct rooms *rooms, const struct place *p, uint64_t stamp,
		 struct blob **ret)
{
	int r = symsrc_module_file(rooms->symsrc, p->serial, p->file, stamp, ret);

	if (r == 0 || r == -EINPROGRESS || r == -ESTALE)
		return r;
	return content_open_errno(r);
}

/* As it would be written; nothing without a choice. */
static void chosen_events(const struct rooms *rooms, uint64_t serial, struct buf *out)
{
	CLEANUP_BUF struct buf b;

	buf_init(&b, CONTENT_MAX);
	profiler_trace_selected(rooms->profiler, serial, &b);
	if (b.len)
		buf_printf(out, "# chosen: trace%s\n", b.data);
}

int content_control(const struct rooms *rooms, uint64_t serial, const struct errmsg *refused,
		    struct buf *out)
{
	if (refused) {
		buf_append_str(out, "# refused: ");
		/* Is clean already, and may have escapes that are not to be escaped again. */
		buf_append_str(out, refused->text);
		buf_append_char(out, '\n');
	}
	chosen_events(rooms, serial, out);
	return buf_append_str(
		out,
		"# words: reset refresh pause resume trace EVENT...\n"
		"# write one command a line:\n"
		"#   reset    count from zero\n"
		"#   refresh  fetch the symbols again\n"
		"#   pause    count no samples of this guest\n"
		"#   resume   count them again\n"
		"#   trace EVENT...  the events of trace: names or patterns; none: all of kvm:*\n");
}

int content_open_errno(int err)
{
	static const int shown[] = {EACCES,	 ECONNREFUSED, ECONNRESET, EHOSTUNREACH,
				    ENETUNREACH, EHOSTDOWN,    ETIMEDOUT,  EBADMSG,
				    EFBIG,	 EOPNOTSUPP,   ENOMEM,	   ENODATA};
	int e = err < 0 ? -err : err;

	for (size_t i = 0; i < ARRAY_SIZE(shown); i++) {
		if (shown[i] == e)
			return -e;
	}
	switch (e) {
	case EPERM:
	case EKEYREJECTED: return -EACCES; /* we do not trust it, or it does not trust us */
	case EPIPE:
	case ECONNABORTED: return -ECONNRESET;
	case EPROTO: return -EBADMSG;
	case ENOSYS: return -EOPNOTSUPP;
	case E2BIG: return -EFBIG;
	/* The name is there, so that "No such file" would puzzle: what it should hold is not. */
	case ENOENT:
	case ENOTDIR: return -ENODATA;
	}
	return -EIO;
}
