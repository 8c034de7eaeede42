#include "symsrc/discover.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/base/thread.h"
#include "symsrc/vmm.h"
#include "symsrc/vmmscan.h"

#define YOUNG_MAX      1024		  /* more new processes at once: the next sweep has them */
#define YOUNG_NS       (5 * NSEC_PER_SEC) /* a new process is looked at that long */
#define YOUNG_SHARE_NS (50 * NSEC_PER_MSEC) /* of each tick */
#define NEW_PIDS_MAX   512		    /* more at once: all of /proc is listed instead */
#define LOST_DIRS_MAX  256		    /* VMs in debugfs that belong to no known guest */
#define FIRST_LOOK_MS  1000		    /* that long at most the start waits for it */

/* Looking at all processes may take this share of one CPU, within these times. */
#define SWEEP_SHARE	1000
#define SWEEP_MIN_NS	(1 * NSEC_PER_SEC)
#define SWEEP_MAX_NS	(30 * NSEC_PER_SEC)
#define DEEP_SWEEP_NS	(30 * NSEC_PER_SEC)  /* descriptors too; without debugfs */
#define DEEP_SWEEP_RARE (300 * NSEC_PER_SEC) /* with it */
#define DEEP_SWEEP_MAX	(600 * NSEC_PER_SEC)
#define UEVENT_MAX	8192
#define UEVENT_REST_NS	(50 * NSEC_PER_MSEC) /* after a tick, before a uevent makes the next */
#define EVENTS_AT_ONCE	64
#define PID_BITS	32

/* What an event of epoll is about: the kind above, a pid below. */
enum event_kind { EVENT_WAKE, EVENT_TICK, EVENT_UEVENT, EVENT_EXIT, EVENT_QMP };

/* A process that is no guest but may become one. */
struct young {
	pid_t pid;
	uint64_t until_ns; /* UINT64_MAX: as long as it lives */
};

/* A VM of debugfs whose process could not be told, or is no guest. */
struct lost_dir {
	struct vmm_dir dir;
	uint64_t first_ns;
	bool listed;
};

struct discover {
	struct guests *guests;
	struct vmmscan scan;
	pid_t *only;
	size_t only_count;
	unsigned tick_ms;
	bool real_proc;

	int epoll_fd;
	int wake_fd;
	int timer_fd;
	int uevent_fd; /* -1: there is none */
	pthread_t thread;
	bool running;
	int looked_fd; /* woken by the thread after its first look */
	atomic_bool stop;

	/* The thread's own from here on. */
	struct vmm **vmms; /* by pid, ascending */
	size_t vmm_count;
	size_t vmm_size;
	uint64_t next_serial;
	bool dirty; /* what is published differs from vmms */
	bool full_was_said;
	uint64_t noted_generation; /* of the set that the VMMs' seen_epoch is from */
	size_t session_count;

	struct young young[YOUNG_MAX];
	size_t young_count;
	struct lost_dir lost[LOST_DIRS_MAX];
	size_t lost_count;
	pid_t last_pid; /* 0: not known */
	bool has_debugfs;
	uint64_t ticked_ns;
	uint64_t sweep_due_ns;
	uint64_t deep_sweep_due_ns;

	/* Written by the thread, read by anyone. */
	_Atomic uint64_t ticks, looks, sweeps, publications, sessions, failed_sessions, cpu_ns;
};

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* -- the table of VMMs -------------------------------------------------------------------- */

/* Where a VMM of this pid is, or would be. */
static size_t slot_of(const struct discover *d, pid_t pid)
{
	size_t from = 0;
	size_t to = d->vmm_count;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (d->vmms[mid]->pid < pid)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static struct vmm *find_vmm(const struct discover *d, pid_t pid)
{
	size_t at = slot_of(d, pid);

	return at < d->vmm_count && d->vmms[at]->pid == pid ? d->vmms[at] : NULL;
}

static int grow_vmms(struct discover *d)
{
	size_t size = d->vmm_size ? 2 * d->vmm_size : 16;
	struct vmm **more;

	if (d->vmm_count < d->vmm_size)
		return 0;
	more = realloc(d->vmms, size * sizeof(struct vmm *));
	if (!more)
		return -ENOMEM;
	d->vmms = more;
	d->vmm_size = size;
	return 0;
}

static int watch(const struct discover *d, int fd, uint32_t events, enum event_kind kind, pid_t pid)
{
	struct epoll_event e = {.events = events,
				.data.u64 = (uint64_t)kind << PID_BITS | (uint32_t)pid};

	if (epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0)
		return 0;
	if (errno == EEXIST && epoll_ctl(d->epoll_fd, EPOLL_CTL_MOD, fd, &e) == 0)
		return 0;
	return -errno;
}

static bool is_full(struct discover *d)
{
	if (d->vmm_count < GUESTS_MAX && grow_vmms(d) == 0)
		return false;
	if (!d->full_was_said)
		log_warn("more than %d guests, or no memory: further ones are not shown",
			 GUESTS_MAX);
	d->full_was_said = true;
	return true;
}

static void add_vmm(struct discover *d, pid_t pid, const struct vmm_facts *facts, uint64_t now)
{
	size_t at = slot_of(d, pid);
	struct vmm *v;

	if (is_full(d))
		return;
	v = vmm_create(&d->scan, pid, facts, d->next_serial, now);
	if (!v)
		return;
	d->next_serial++;
	memmove(&d->vmms[at + 1], &d->vmms[at], (d->vmm_count - at) * sizeof(struct vmm *));
	d->vmms[at] = v;
	d->vmm_count++;
	d->dirty = true;
	v->listed = true;
	if (v->pidfd >= 0)
		watch(d, v->pidfd, EPOLLIN, EVENT_EXIT, pid);
	/* Not how many vCPUs: who has just begun makes them later. */
	log_info("guest %d: found: %s, %s", (int)pid, v->guest->name,
		 guest_accel_name(v->guest->accel));
}

static void remove_vmm(struct discover *d, struct vmm *v)
{
	size_t at = slot_of(d, v->pid);

	log_info("guest %d: gone: %s", (int)v->pid, v->guest->name);
	d->session_count -= v->session != NULL;
	d->vmm_count--;
	memmove(&d->vmms[at], &d->vmms[at + 1], (d->vmm_count - at) * sizeof(struct vmm *));
	vmm_destroy(v); /* closes its descriptors, which takes them out of epoll */
	d->dirty = true;
}

/* -- publishing --------------------------------------------------------------------------- */

static void publish(struct discover *d)
{
	const struct guest **list;

	if (!d->dirty)
		return;
	list = calloc(d->vmm_count + 1, sizeof(const struct guest *));
	if (!list)
		return; /* stays dirty: the next tick tries again */
	for (size_t i = 0; i < d->vmm_count; i++)
		list[i] = d->vmms[i]->guest;
	if (guests_publish(d->guests, list, d->vmm_count) == 0) {
		d->dirty = false;
		count(&d->publications);
	}
	free(list);
}

/* Others notice reboots too. Whoever is second is told by the epoch that was current when all
 * was still well, and changes nothing. */
static void reboot(struct discover *d, const struct vmm *v, const char *reason)
{
	publish(d);
	log_info("guest %d: rebooted (%s)", (int)v->pid, reason);
	guests_new_epoch(d->guests, v->serial, v->seen_epoch, reason);
}

static void take_changes(struct discover *d, const struct vmm *v, unsigned changes,
			 const char *reason)
{
	if (changes & VMM_CHANGED)
		d->dirty = true;
	if (changes & VMM_REBOOTED)
		reboot(d, v, reason);
}

static void note_epochs(struct discover *d)
{
	const struct guest_set *set;

	if (guests_generation(d->guests) == d->noted_generation)
		return;
	set = guests_acquire(d->guests);
	d->noted_generation = set->generation;
	for (size_t i = 0; i < d->vmm_count; i++) {
		const struct guest_entry *e = guest_set_find_pid(set, d->vmms[i]->pid);

		if (e && e->guest->serial == d->vmms[i]->serial)
			d->vmms[i]->seen_epoch = e->epoch;
	}
	guest_set_put(set);
}

/* -- candidates --------------------------------------------------------------------------- */

static bool is_wanted(const struct discover *d, pid_t pid)
{
	for (size_t i = 0; i < d->only_count; i++) {
		if (d->only[i] == pid)
			return true;
	}
	return d->only_count == 0;
}

static bool same_dir(struct vmm_dir a, struct vmm_dir b)
{
	return a.pid == b.pid && a.fd == b.fd;
}

static void update_vmm(struct discover *d, struct vmm *v, const struct vmm_facts *facts,
		       uint64_t now)
{
	take_changes(d, v, vmm_update(v, &d->scan, facts, now), NULL);
	v->listed = true;
}

/* dir: as vmmscan_look(). */
static enum vmm_kind look(struct discover *d, pid_t pid, struct vmm_dir dir, uint64_t now)
{
	struct vmm_facts facts;
	struct vmm *v = find_vmm(d, pid);
	enum vmm_kind kind;

	count(&d->looks);
	kind = vmmscan_look(&d->scan, pid, dir, &facts);
	if (kind != VMM_GUEST)
		return kind;
	if (v && v->facts.stat.start != facts.stat.start) {
		remove_vmm(d, v); /* its pid was given to another VMM */
		v = NULL;
	}
	if (!v)
		add_vmm(d, pid, &facts, now);
	else if (!same_dir(v->facts.dir, facts.dir))
		update_vmm(d, v, &facts, now);
	return kind;
}

static struct young *find_young(struct discover *d, pid_t pid)
{
	for (size_t i = 0; i < d->young_count; i++) {
		if (d->young[i].pid == pid)
			return &d->young[i];
	}
	return NULL;
}

static void add_young(struct discover *d, pid_t pid, uint64_t until_ns)
{
	if (!is_wanted(d, pid) || find_vmm(d, pid) || find_young(d, pid) ||
	    d->young_count == YOUNG_MAX)
		return;
	d->young[d->young_count++] = (struct young){pid, until_ns};
}

/* With debugfs a new process need not be searched for VMs: KVM lists them. */
static enum vmm_kind look_at_young(struct discover *d, pid_t pid, uint64_t now)
{
	if (find_vmm(d, pid))
		return VMM_GUEST;
	if (d->has_debugfs && !vmmscan_is_qemu(&d->scan, pid))
		return VMM_NONE;
	return look(d, pid, (struct vmm_dir){0}, now);
}

static bool is_there(const struct discover *d, pid_t pid)
{
	struct vmm_stat stat;

	return vmmscan_stat(&d->scan, pid, &stat) == 0;
}

/* A QEMU whose machine takes long to come stays a suspect while it lives; others are given up
 * after a while. */
static bool stays_young(struct discover *d, struct young *y, uint64_t now)
{
	enum vmm_kind kind = look_at_young(d, y->pid, now);

	if (kind == VMM_GUEST)
		return false;
	if (kind == VMM_SUSPECT)
		return true;
	return now < y->until_ns && is_there(d, y->pid);
}

/* For as long as a tick can afford: whoever wants to keep us busy may run a thousand programs
 * named as QEMU, with a thousand descriptors each. Those that had no turn are the first ones next
 * time. */
static void look_at_all_young(struct discover *d, uint64_t now)
{
	uint64_t until = clock_now_ns() + YOUNG_SHARE_NS;
	struct young stay[YOUNG_MAX];
	size_t staying = 0;
	size_t looked;
	size_t left;

	for (looked = 0; looked < d->young_count && clock_now_ns() < until; looked++) {
		if (stays_young(d, &d->young[looked], now))
			stay[staying++] = d->young[looked];
	}
	left = d->young_count - looked;
	memmove(d->young, &d->young[looked], left * sizeof(*d->young));
	for (size_t i = 0; i < staying; i++)
		d->young[left + i] = stay[i];
	d->young_count = left + staying;
}

/* -- new processes ------------------------------------------------------------------------ */

struct sweep {
	struct discover *d;
	uint64_t now;
	pid_t after; /* only pids above this one; 0: all */
};

static void note_new(void *ctx, pid_t pid)
{
	struct sweep *sw = ctx;

	if (pid > sw->after)
		add_young(sw->d, pid, sw->now + YOUNG_NS);
}

/* A number that was given out since may be a process's or a thread's. */
static void note_if_process(struct discover *d, pid_t pid, uint64_t now)
{
	if (is_wanted(d, pid) && vmmscan_tgid(&d->scan, pid) == pid)
		add_young(d, pid, now + YOUNG_NS);
}

/* Pids are given out in order, and begin anew after the highest. */
static void find_new_processes(struct discover *d, uint64_t now)
{
	struct sweep all = {.d = d, .now = now};
	pid_t last = 0;
	int r = vmmscan_last_pid(&d->scan, &last);

	if (r == 0 && last == d->last_pid)
		return;
	if (r < 0 || d->last_pid == 0 || last < d->last_pid || last - d->last_pid > NEW_PIDS_MAX) {
		vmmscan_processes(&d->scan, note_new, &all);
	} else {
		for (pid_t pid = d->last_pid + 1; pid <= last; pid++)
			note_if_process(d, pid, now);
	}
	d->last_pid = r == 0 ? last : 0;
}

/* -- KVM's own list ----------------------------------------------------------------------- */

/* The guest of a VM: mostly the process that made it, else one of whose threads did. */
static struct vmm *find_by_dir(const struct discover *d, struct vmm_dir dir)
{
	struct vmm *v = find_vmm(d, dir.pid);

	if (v && same_dir(v->facts.dir, dir))
		return v;
	for (size_t i = 0; i < d->vmm_count; i++) {
		if (same_dir(d->vmms[i]->facts.dir, dir))
			return d->vmms[i];
	}
	return NULL;
}

/* True while a VM that belongs to no guest is to be looked at again. */
static bool is_lost_for_long(struct discover *d, struct vmm_dir dir, uint64_t now)
{
	for (size_t i = 0; i < d->lost_count; i++) {
		if (!same_dir(d->lost[i].dir, dir))
			continue;
		d->lost[i].listed = true;
		return now - d->lost[i].first_ns > YOUNG_NS;
	}
	if (d->lost_count < LOST_DIRS_MAX)
		d->lost[d->lost_count++] = (struct lost_dir){dir, now, true};
	return false;
}

static void take_dir(void *ctx, struct vmm_dir dir)
{
	const struct sweep *sw = ctx;
	struct discover *d = sw->d;
	struct vmm *v = find_by_dir(d, dir);
	pid_t pid;

	if (v) {
		v->listed = true;
		return;
	}
	if (is_lost_for_long(d, dir, sw->now))
		return;
	pid = vmmscan_tgid(&d->scan, dir.pid);
	/* A VMM's second VM changes nothing. */
	v = find_vmm(d, pid);
	if (pid > 0 && is_wanted(d, pid) && (!v || v->facts.dir.pid == 0))
		look(d, pid, dir, sw->now);
}

static void forget_lost_dirs(struct discover *d)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->lost_count; i++) {
		if (d->lost[i].listed)
			d->lost[kept++] = d->lost[i];
	}
	d->lost_count = kept;
}

/* Its VM is gone, while the process lives: it may have another one, or none. */
static void look_again(struct discover *d, struct vmm *v, uint64_t now)
{
	pid_t pid = v->pid;

	remove_vmm(d, v);
	if (look(d, pid, (struct vmm_dir){0}, now) != VMM_GUEST)
		add_young(d, pid, now + YOUNG_NS);
}

static void compare_with_debugfs(struct discover *d, uint64_t now)
{
	struct sweep sw = {.d = d, .now = now};

	for (size_t i = 0; i < d->vmm_count; i++)
		d->vmms[i]->listed = false;
	for (size_t i = 0; i < d->lost_count; i++)
		d->lost[i].listed = false;
	d->has_debugfs = vmmscan_vms(&d->scan, take_dir, &sw) == 0;
	forget_lost_dirs(d);
	/* From the end: looking again may move what follows, and that has had its turn. */
	for (size_t i = d->vmm_count; i > 0 && d->has_debugfs; i--) {
		struct vmm *v = d->vmms[i - 1];

		if (v->facts.dir.pid != 0 && !v->listed)
			look_again(d, v, now);
	}
}

/* -- all processes ------------------------------------------------------------------------ */

static uint64_t thread_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static uint64_t clamp(uint64_t v, uint64_t min, uint64_t max)
{
	return v < min ? min : v > max ? max : v;
}

static void glance(void *ctx, pid_t pid)
{
	const struct sweep *sw = ctx;

	if (is_wanted(sw->d, pid) && !find_vmm(sw->d, pid) && vmmscan_is_qemu(&sw->d->scan, pid))
		add_young(sw->d, pid, sw->now + YOUNG_NS);
}

static void search(void *ctx, pid_t pid)
{
	const struct sweep *sw = ctx;

	if (is_wanted(sw->d, pid) && !find_vmm(sw->d, pid) &&
	    look(sw->d, pid, (struct vmm_dir){0}, sw->now) == VMM_SUSPECT)
		add_young(sw->d, pid, sw->now + YOUNG_NS);
}

static uint64_t sweep(struct discover *d, uint64_t now, void (*fn)(void *ctx, pid_t pid))
{
	struct sweep sw = {.d = d, .now = now};
	uint64_t before = thread_cpu_ns();

	count(&d->sweeps);
	vmmscan_processes(&d->scan, fn, &sw);
	return SWEEP_SHARE * (thread_cpu_ns() - before);
}

static void sweep_if_due(struct discover *d, uint64_t now)
{
	uint64_t rest;

	if (now >= d->deep_sweep_due_ns) {
		rest = sweep(d, now, search);
		d->deep_sweep_due_ns =
			now + clamp(rest, d->has_debugfs ? DEEP_SWEEP_RARE : DEEP_SWEEP_NS,
				    DEEP_SWEEP_MAX);
		d->sweep_due_ns = now + clamp(rest, SWEEP_MIN_NS, SWEEP_MAX_NS);
	} else if (now >= d->sweep_due_ns) {
		rest = sweep(d, now, glance);
		d->sweep_due_ns = now + clamp(rest, SWEEP_MIN_NS, SWEEP_MAX_NS);
	}
}

/* -- QMP ---------------------------------------------------------------------------------- */

static void process_session(struct discover *d, struct vmm *v, uint64_t now)
{
	const char *reason = NULL;
	unsigned failures = v->failures;
	unsigned changes = vmm_session_process(v, &d->scan, now, &reason);

	if (v->session) {
		watch(d, vmm_query_fd(v->session), (uint32_t)vmm_query_events(v->session),
		      EVENT_QMP, v->pid);
		return;
	}
	d->session_count--;
	if (v->failures > failures)
		count(&d->failed_sessions);
	take_changes(d, v, changes, reason);
}

static void start_session(struct discover *d, struct vmm *v, uint64_t now)
{
	count(&d->sessions);
	if (!vmm_session_start(v, &d->scan, now)) {
		count(&d->failed_sessions);
		return;
	}
	d->session_count++;
	process_session(d, v, now);
}

static void run_session(struct discover *d, struct vmm *v, uint64_t now)
{
	if (v->session)
		process_session(d, v, now);
	if (d->session_count < DISCOVER_SESSIONS_MAX && vmm_session_is_due(v, now))
		start_session(d, v, now);
}

static void hasten_doubted(struct discover *d, uint64_t now)
{
	uint64_t serial;

	while (guests_next_doubt(d->guests, &serial)) {
		for (size_t i = 0; i < d->vmm_count; i++) {
			if (d->vmms[i]->serial == serial)
				vmm_session_hasten(d->vmms[i], now);
		}
	}
}

/* -- ticks -------------------------------------------------------------------------------- */

/* Where no list tells it: a VM may be closed, and a process may exec(2) something else. A VM that
 * was never seen, since this process's descriptors are hidden from us, is no sign of that. */
static bool has_lost_its_machine(const struct discover *d, const struct vmm *v)
{
	if (v->facts.accel != GUEST_ACCEL_KVM || v->facts.vm_fd < 0)
		return !vmmscan_is_qemu(&d->scan, v->pid);
	if (d->has_debugfs && v->facts.dir.pid != 0)
		return false;
	return !vmmscan_holds_vm(&d->scan, v->pid, v->facts.vm_fd);
}

static void tick_guest(struct discover *d, struct vmm *v, uint64_t now)
{
	const char *reason = NULL;
	unsigned changes;

	if (v->pidfd < 0 && !vmm_is_alive(v, &d->scan))
		return remove_vmm(d, v);
	if (has_lost_its_machine(d, v))
		return look_again(d, v, now);
	changes = vmm_tick(v, &d->scan, now, &reason);
	take_changes(d, v, changes, reason);
	run_session(d, v, now);
}

/* By pid, since guests may go meanwhile. */
static void tick_guests(struct discover *d, uint64_t now)
{
	pid_t pid = 0;
	size_t at;

	while ((at = slot_of(d, pid + 1)) < d->vmm_count) {
		pid = d->vmms[at]->pid;
		tick_guest(d, d->vmms[at], now);
	}
}

/* `-p`: nothing but these is looked at. */
static void look_for_wanted(struct discover *d, uint64_t now)
{
	for (size_t i = 0; i < d->only_count; i++) {
		if (!find_vmm(d, d->only[i]))
			look(d, d->only[i], (struct vmm_dir){0}, now);
	}
}

static void tick(struct discover *d)
{
	uint64_t now = clock_now_ns();

	count(&d->ticks);
	d->ticked_ns = now;
	compare_with_debugfs(d, now);
	if (d->only_count) {
		look_for_wanted(d, now);
	} else {
		find_new_processes(d, now);
		sweep_if_due(d, now);
		look_at_all_young(d, now);
	}
	publish(d); /* before anything of QMP: found is found */
	hasten_doubted(d, now);
	tick_guests(d, now);
	publish(d);
	note_epochs(d);
	atomic_store_explicit(&d->cpu_ns, thread_cpu_ns(), memory_order_relaxed);
}

/* -- the thread --------------------------------------------------------------------------- */

/* True for a message of the kernel that tells of a VM; negative when there is none at all. */
static int receive_uevent(struct discover *d)
{
	char bytes[UEVENT_MAX];
	struct sockaddr_nl from = {0};
	socklen_t from_len = sizeof(from);
	ssize_t n = recvfrom(d->uevent_fd, bytes, sizeof(bytes), MSG_DONTWAIT,
			     (struct sockaddr *)&from, &from_len);
	pid_t task;
	pid_t pid;

	if (n < 0)
		return errno == ENOBUFS || errno == EINTR ? 0 : -errno;
	if (from.nl_pid != 0 || !vmmscan_parse_uevent(bytes, (size_t)n, &task))
		return 0;
	pid = vmmscan_tgid(&d->scan, task);
	if (pid > 0)
		add_young(d, pid, clock_now_ns() + YOUNG_NS);
	return 1;
}

static bool receive_uevents(struct discover *d)
{
	bool kvm = false;
	int r = 0;

	for (int i = 0; i < EVENTS_AT_ONCE && r >= 0; i++) {
		r = receive_uevent(d);
		kvm |= r > 0;
	}
	return kvm;
}

static void on_exit_event(struct discover *d, pid_t pid)
{
	struct vmm *v = find_vmm(d, pid);

	/* The event may be an older process's of the same pid. */
	if (v && !vmm_is_alive(v, &d->scan))
		remove_vmm(d, v);
}

static void on_qmp_event(struct discover *d, pid_t pid)
{
	struct vmm *v = find_vmm(d, pid);

	if (v)
		run_session(d, v, clock_now_ns());
}

/* True when a tick is due. */
static bool handle(struct discover *d, const struct epoll_event *e)
{
	pid_t pid = (pid_t)(uint32_t)e->data.u64;
	uint64_t expirations;

	switch ((enum event_kind)(e->data.u64 >> PID_BITS)) {
	case EVENT_WAKE: return false;
	case EVENT_TICK: return read(d->timer_fd, &expirations, sizeof(expirations)) > 0;
	case EVENT_UEVENT:
		/* Somebody may make VMs all day long: the clock's tick comes soon anyway. */
		return receive_uevents(d) && clock_now_ns() - d->ticked_ns > UEVENT_REST_NS;
	case EVENT_EXIT: on_exit_event(d, pid); return false;
	case EVENT_QMP: on_qmp_event(d, pid); return false;
	}
	return false;
}

static void *run(void *arg)
{
	struct discover *d = arg;
	struct epoll_event events[EVENTS_AT_ONCE];
	bool due = true;

	while (!atomic_load(&d->stop)) {
		if (due)
			tick(d);
		if (due)
			io_wake(d->looked_fd);
		due = false;
		publish(d);
		int n = epoll_wait(d->epoll_fd, events, EVENTS_AT_ONCE, -1);

		for (int i = 0; i < n; i++)
			due |= handle(d, &events[i]);
	}
	return NULL;
}

/* -- life --------------------------------------------------------------------------------- */

static int open_timer(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};
	struct itimerspec every = {.it_interval = t, .it_value = t};
	CLEANUP_FD int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

	if (fd < 0 || timerfd_settime(fd, 0, &every, NULL) < 0)
		return -errno;
	return take_fd(&fd);
}

/* The kernel's own messages, group 1; udev's are in group 2. None of it is needed. */
static int open_uevents(void)
{
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = 1};
	CLEANUP_FD int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	return take_fd(&fd);
}

static int open_descriptors(struct discover *d)
{
	int r = 0;

	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (d->epoll_fd < 0)
		return -errno;
	d->wake_fd = io_wake_create();
	d->timer_fd = open_timer(d->tick_ms);
	if (d->wake_fd < 0 || d->timer_fd < 0)
		return d->wake_fd < 0 ? d->wake_fd : d->timer_fd;
	d->looked_fd = io_wake_create();
	if (d->looked_fd < 0)
		return d->looked_fd;
	if (d->real_proc)
		d->uevent_fd = open_uevents();
	r = watch(d, d->wake_fd, EPOLLIN, EVENT_WAKE, 0);
	if (r == 0)
		r = watch(d, d->timer_fd, EPOLLIN, EVENT_TICK, 0);
	if (r == 0 && d->uevent_fd >= 0)
		r = watch(d, d->uevent_fd, EPOLLIN, EVENT_UEVENT, 0);
	return r;
}

static int copy_only(struct discover *d, const struct discover_config *config)
{
	if (config->only_count == 0)
		return 0;
	d->only = calloc(config->only_count, sizeof(*d->only));
	if (!d->only)
		return -ENOMEM;
	memcpy(d->only, config->only, config->only_count * sizeof(*d->only));
	d->only_count = config->only_count;
	return 0;
}

static int init(struct discover *d, const struct discover_config *config, struct errmsg *why)
{
	int r = vmmscan_init(&d->scan, config->proc_root, config->debugfs_root);

	if (r < 0)
		return errmsg_set(why, r, "cannot look for guests in %s: %s", config->proc_root,
				  strerrordesc_np(-r));
	r = copy_only(d, config);
	if (r == 0)
		r = open_descriptors(d);
	if (r < 0)
		return errmsg_set(why, r, "cannot set up the search for guests: %s",
				  strerrordesc_np(-r));
	return 0;
}

int discover_create(const struct discover_config *config, struct guests *gs, struct discover **ret,
		    struct errmsg *why)
{
	struct discover *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return errmsg_set(why, -ENOMEM, "cannot look for guests: out of memory");
	d->guests = gs;
	d->tick_ms = config->tick_ms ? config->tick_ms : DISCOVER_TICK_MS;
	d->real_proc = strcmp(config->proc_root, "/proc") == 0;
	d->next_serial = 1;
	d->scan.proc_fd = d->epoll_fd = d->wake_fd = d->timer_fd = d->uevent_fd = -1;
	d->looked_fd = -1;
	r = init(d, config, why);
	if (r < 0) {
		discover_destroy(d);
		return r;
	}
	*ret = d;
	return 0;
}

int discover_start(struct discover *d, struct errmsg *why)
{
	int r = thread_start(&d->thread, "kp-discover", run, d);

	if (r < 0)
		return errmsg_set(why, r, "cannot start the search for guests: %s",
				  strerrordesc_np(-r));
	d->running = true;
	return 0;
}

void discover_await_first_look(const struct discover *d)
{
	struct pollfd p = {.fd = d->looked_fd, .events = POLLIN};

	poll(&p, 1, FIRST_LOOK_MS);
}

void discover_stop(struct discover *d)
{
	if (!d->running)
		return;
	atomic_store(&d->stop, true);
	io_wake(d->wake_fd);
	pthread_join(d->thread, NULL);
	d->running = false;
}

void discover_destroy(struct discover *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->vmm_count; i++)
		vmm_destroy(d->vmms[i]);
	free(d->vmms);
	free(d->only);
	close_keep_errno(d->uevent_fd);
	close_keep_errno(d->timer_fd);
	close_keep_errno(d->wake_fd);
	close_keep_errno(d->looked_fd);
	close_keep_errno(d->epoll_fd);
	vmmscan_deinit(&d->scan);
	free(d);
}

void discover_stats(const struct discover *d, struct discover_stats *ret)
{
	ret->ticks = atomic_load_explicit(&d->ticks, memory_order_relaxed);
	ret->looks = atomic_load_explicit(&d->looks, memory_order_relaxed);
	ret->sweeps = atomic_load_explicit(&d->sweeps, memory_order_relaxed);
	ret->publications = atomic_load_explicit(&d->publications, memory_order_relaxed);
	ret->sessions = atomic_load_explicit(&d->sessions, memory_order_relaxed);
	ret->failed_sessions = atomic_load_explicit(&d->failed_sessions, memory_order_relaxed);
	ret->cpu_ns = atomic_load_explicit(&d->cpu_ns, memory_order_relaxed);
}
