#include "symsrc/vmm.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/log.h"

#define BACK_OFF_MAX 7 /* doublings: two seconds to about five minutes */
#define NEVER	     UINT64_MAX

/* -- the guest that is published ---------------------------------------------------------- */

/* QMP may name a vCPU's thread before it has run for the first time; debugfs cannot. */
static void choose_vcpus(const struct vmm *v, const struct guest_vcpu **ret, size_t *count)
{
	bool qmp = v->info.vcpu_count > v->vcpu_count;

	*ret = qmp ? v->info.vcpus : v->vcpus;
	*count = qmp ? v->info.vcpu_count : v->vcpu_count;
}

static int copy_vcpus(const struct vmm *v, struct guest *g)
{
	const struct guest_vcpu *from;
	size_t n;

	choose_vcpus(v, &from, &n);
	if (n == 0)
		return 0;
	g->vcpus = malloc(n * sizeof(*g->vcpus));
	if (!g->vcpus)
		return -ENOMEM;
	memcpy(g->vcpus, from, n * sizeof(*g->vcpus));
	g->vcpu_count = n;
	return 0;
}

static const char *first_of(const char *a, const char *b)
{
	return a[0] ? a : b;
}

static void fill_ram(const struct vmm *v, struct guest_ram *ram)
{
	*ram = v->facts.args.ram;
	if (v->info.base_bytes)
		ram->base_bytes = v->info.base_bytes;
	ram->block_count = v->info.block_count;
	memcpy(ram->blocks, v->info.blocks, sizeof(ram->blocks));
}

static void fill_guest(const struct vmm *v, struct guest *g)
{
	const struct vmm_args *args = &v->facts.args;
	const char *name = args->has_name ? args->name : first_of(v->info.name, args->name);

	g->serial = v->serial;
	g->pid = v->pid;
	g->start = v->facts.stat.start;
	snprintf(g->name, sizeof(g->name), "%s", name);
	snprintf(g->uuid, sizeof(g->uuid), "%s", first_of(args->uuid, v->info.uuid));
	snprintf(g->vmm, sizeof(g->vmm), "%s", args->vmm);
	snprintf(g->state, sizeof(g->state), "%s", v->info.state);
	g->accel = v->facts.accel;
	g->memory_bytes = v->info.memory_bytes ? v->info.memory_bytes : args->memory_bytes;
	fill_ram(v, &g->ram);
	g->links = v->links;
}

static bool same_vcpus(const struct guest *a, const struct guest *b)
{
	if (a->vcpu_count != b->vcpu_count)
		return false;
	for (size_t i = 0; i < a->vcpu_count; i++) {
		if (a->vcpus[i].index != b->vcpus[i].index || a->vcpus[i].tid != b->vcpus[i].tid)
			return false;
	}
	return true;
}

static bool same_guest(const struct guest *a, const struct guest *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->uuid, b->uuid) == 0 &&
	       strcmp(a->vmm, b->vmm) == 0 && strcmp(a->state, b->state) == 0 &&
	       a->accel == b->accel && a->memory_bytes == b->memory_bytes &&
	       guest_ram_equals(&a->ram, &b->ram) && guest_links_equal(&a->links, &b->links) &&
	       same_vcpus(a, b);
}

/* Makes the guest anew; keeps the one that there is when nothing differs, or there is no
 * memory for another. */
static unsigned rebuild(struct vmm *v)
{
	struct guest *g = guest_create();

	if (!g)
		return 0;
	fill_guest(v, g);
	if (copy_vcpus(v, g) < 0 || (v->guest && same_guest(v->guest, g))) {
		guest_put(g);
		return 0;
	}
	guest_put(v->guest);
	v->guest = g;
	return VMM_CHANGED;
}

/* -- what /proc and debugfs tell ---------------------------------------------------------- */

/* The first monitor from v->monitor on that is not foreign and has a path. */
static bool find_monitor(struct vmm *v, const struct vmmscan *s, char *path, size_t size)
{
	const struct vmm_args *args = &v->facts.args;

	for (size_t i = 0; i < args->qmp_count; i++) {
		size_t at = (v->monitor + i) % args->qmp_count;

		if (v->foreign & (1u << at))
			continue;
		if (!vmmscan_socket_path(s, v->pid, &args->qmp[at], path, size))
			continue;
		v->monitor = at;
		return true;
	}
	return false;
}

/* By the command line, else by QMP: it may have been plugged in since. */
static void find_port(const struct vmm *v, const struct vmmscan *s, const struct vmm_socket *given,
		      const struct vmm_socket *told, char path[static GUEST_PATH_MAX])
{
	struct vmm_socket later = {.fd = -1};

	if (vmmscan_socket_path(s, v->pid, given, path, GUEST_PATH_MAX))
		return;
	memcpy(later.path, told->path, sizeof(later.path));
	if (!vmmscan_socket_path(s, v->pid, &later, path, GUEST_PATH_MAX))
		path[0] = '\0';
}

/* Whether the command line tells of both. */
static bool ports_are_given(const struct vmm *v, const struct vmmscan *s)
{
	const struct vmm_args *args = &v->facts.args;
	char unused[GUEST_PATH_MAX];

	return vmmscan_socket_path(s, v->pid, &args->agent, unused, sizeof(unused)) &&
	       vmmscan_socket_path(s, v->pid, &args->port, unused, sizeof(unused));
}

static void find_links(struct vmm *v, const struct vmmscan *s)
{
	const struct vmm_args *args = &v->facts.args;
	struct guest_links *l = &v->links;

	memset(l, 0, sizeof(*l));
	if (!find_monitor(v, s, l->qmp_path, sizeof(l->qmp_path)))
		l->qmp_path[0] = '\0';
	find_port(v, s, &args->agent, &v->info.agent, l->agent_path);
	find_port(v, s, &args->port, &v->info.port, l->port_path);
	l->vsock_cid = args->vsock_cid;
	if (args->ssh_port == 0 || !vmmscan_shares_network(s, v->pid))
		return;
	l->ssh_port = args->ssh_port;
	snprintf(l->ssh_host, sizeof(l->ssh_host), "%s", args->ssh_host);
}

static void find_vcpus(struct vmm *v, const struct vmmscan *s)
{
	free(v->vcpus);
	v->vcpu_count = vmmscan_vcpus(s, v->pid, v->facts.dir, &v->vcpus);
}

static void adopt_facts(struct vmm *v, const struct vmmscan *s, const struct vmm_facts *facts,
			uint64_t now_ns)
{
	v->facts = *facts;
	v->dir_links = vmmscan_dir_links(s, facts->dir);
	v->settle_until_ns = now_ns + VMM_SETTLE_NS;
	v->vcpus_due_ns = now_ns;
	v->has_tsc = false;
	v->has_run = false;
	find_links(v, s);
	find_vcpus(v, s);
}

static bool is_same_process(const struct vmm *v, const struct vmmscan *s)
{
	struct vmm_stat stat;

	return vmmscan_stat(s, v->pid, &stat) == 0 && stat.start == v->facts.stat.start;
}

bool vmm_is_alive(const struct vmm *v, const struct vmmscan *s)
{
	struct pollfd p = {.fd = v->pidfd, .events = POLLIN};

	if (v->pidfd < 0)
		return is_same_process(v, s);
	return poll(&p, 1, 0) == 0;
}

static bool init(struct vmm *v, const struct vmmscan *s, const struct vmm_facts *facts,
		 uint64_t now_ns)
{
	v->pidfd = pidfd_open(v->pid, 0);
	if (v->pidfd < 0 && errno == ESRCH)
		return false;
	v->facts.stat = facts->stat;
	/* The descriptor may be of a process that got the pid after the facts were read. */
	if (!vmm_is_alive(v, s) || !is_same_process(v, s))
		return false;
	adopt_facts(v, s, facts, now_ns);
	v->session_due_ns = facts->args.qmp_count ? now_ns : NEVER;
	return rebuild(v) != 0;
}

struct vmm *vmm_create(const struct vmmscan *s, pid_t pid, const struct vmm_facts *facts,
		       uint64_t serial, uint64_t now_ns)
{
	struct vmm *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->pid = pid;
	v->serial = serial;
	v->seen_epoch = 1;
	v->pidfd = -1;
	if (init(v, s, facts, now_ns))
		return v;
	vmm_destroy(v);
	return NULL;
}

void vmm_destroy(struct vmm *v)
{
	if (!v)
		return;
	vmm_query_destroy(v->session);
	vmm_answers_deinit(&v->info);
	guest_put(v->guest);
	free(v->vcpus);
	close_keep_errno(v->pidfd);
	free(v);
}

unsigned vmm_update(struct vmm *v, const struct vmmscan *s, const struct vmm_facts *facts,
		    uint64_t now_ns)
{
	v->foreign = 0;
	v->monitor = 0;
	adopt_facts(v, s, facts, now_ns);
	if (facts->args.qmp_count && !v->session)
		v->session_due_ns = now_ns;
	return rebuild(v);
}

/* -- ticks -------------------------------------------------------------------------------- */

/* A directory has two links and one more for each directory in it. */
static bool vcpus_are_missing(const struct vmm *v)
{
	const struct guest_vcpu *vcpus;
	size_t n;

	choose_vcpus(v, &vcpus, &n);
	return n == 0 || n + 2 < v->dir_links;
}

static bool vcpus_are_due(struct vmm *v, const struct vmmscan *s, uint64_t now_ns)
{
	unsigned links = vmmscan_dir_links(s, v->facts.dir);

	if (links != v->dir_links) {
		v->dir_links = links;
		v->settle_until_ns = now_ns + VMM_SETTLE_NS;
		return true;
	}
	return vcpus_are_missing(v) && now_ns >= v->vcpus_due_ns;
}

/* A reset moves the TSC far; pausing the guest does not, nor does its own clock. A guest's kernel
 * may write it, too: what that tells wrongly costs a fetch. The first reset, before it ran, does
 * not count, however long the VMM took to get there. */
static bool tsc_was_reset(struct vmm *v, const struct vmmscan *s)
{
	int64_t was = v->tsc;
	bool had_run = v->has_run;
	bool is_first = !v->has_tsc;
	uint64_t jump;

	if (vmmscan_tsc_offset(s, v->facts.dir, &v->tsc) < 0)
		return false;
	v->has_tsc = true;
	v->has_run = had_run || vmmscan_has_run(s, v->facts.dir);
	jump = v->tsc > was ? (uint64_t)v->tsc - (uint64_t)was : (uint64_t)was - (uint64_t)v->tsc;
	return !is_first && had_run && jump > VMM_TSC_JUMP;
}

unsigned vmm_tick(struct vmm *v, const struct vmmscan *s, uint64_t now_ns, const char **reason)
{
	bool reset = tsc_was_reset(v, s);
	unsigned r = 0;

	if (vcpus_are_due(v, s, now_ns)) {
		find_vcpus(v, s);
		v->vcpus_due_ns = now_ns < v->settle_until_ns ? now_ns : now_ns + VMM_RETRY_NS;
		r |= rebuild(v);
	}
	if (!reset)
		return r;
	*reason = "TSC was reset";
	return r | VMM_REBOOTED;
}

/* -- QMP ---------------------------------------------------------------------------------- */

static void plan_after_success(struct vmm *v, uint64_t now_ns)
{
	bool runs = strcmp(v->info.state, "running") == 0;

	v->failures = 0;
	v->session_ended_ns = now_ns;
	v->session_due_ns = now_ns + (runs ? VMM_SESSION_EVERY_NS : VMM_SESSION_SOON_NS);
}

/* The next monitor, if there is one, has its turn at once. */
static void plan_after_failure(struct vmm *v, uint64_t now_ns)
{
	size_t n = v->facts.args.qmp_count;
	unsigned rounds;

	v->failures++;
	v->monitor = n ? (v->monitor + 1) % n : 0;
	rounds = n ? (unsigned)((v->failures - 1) / n) : 0;
	if (n && v->failures % n)
		v->session_due_ns = now_ns;
	else
		v->session_due_ns = now_ns + (VMM_SESSION_BACK_OFF
					      << (rounds < BACK_OFF_MAX ? rounds : BACK_OFF_MAX));
}

static void end_session(struct vmm *v)
{
	vmm_query_destroy(v->session);
	v->session = NULL;
}

bool vmm_session_is_due(const struct vmm *v, uint64_t now_ns)
{
	return !v->session && v->session_due_ns <= now_ns;
}

void vmm_session_hasten(struct vmm *v, uint64_t now_ns)
{
	uint64_t soon = v->session_ended_ns + VMM_SESSION_HASTE_NS;

	if (soon < now_ns)
		soon = now_ns;
	if (v->session_due_ns != NEVER && v->failures == 0 && soon < v->session_due_ns)
		v->session_due_ns = soon;
}

bool vmm_session_start(struct vmm *v, const struct vmmscan *s, uint64_t now_ns)
{
	const struct vmm_wanted wanted = {.known_bytes =
						  v->info.block_count ? v->info.memory_bytes : 0,
					  .ports = !ports_are_given(v, s)};
	char path[GUEST_PATH_MAX];
	struct errmsg why;

	if (!find_monitor(v, s, path, sizeof(path))) {
		v->failures += BACK_OFF_MAX * VMM_QMP_MAX; /* no use in trying again soon */
		plan_after_failure(v, now_ns);
		return false;
	}
	if (vmm_query_start(path, &wanted, &v->session, &why) < 0) {
		log_debug("guest %d: %s", (int)v->pid, why.text);
		plan_after_failure(v, now_ns);
		return false;
	}
	v->session_deadline_ns = now_ns + VMM_SESSION_NS;
	return true;
}

/* Gives the vCPUs the host's thread ids; what is no thread of this process is left out. False
 * when all of them are somebody else's: the socket leads to another VMM. */
static bool translate_vcpus(const struct vmm *v, const struct vmmscan *s, struct vmm_answers *info)
{
	size_t told = info->vcpu_count;

	info->vcpu_count = vmmscan_host_tids(s, v->pid, info->vcpus, told);
	return info->vcpu_count > 0 || told == 0;
}

/* Where RAM lies is asked again only when there is more or less of it. */
static void keep_blocks(const struct vmm *v, struct vmm_answers *info)
{
	if (info->blocks_told || info->memory_bytes != v->info.memory_bytes)
		return;
	info->block_count = v->info.block_count;
	memcpy(info->blocks, v->info.blocks, sizeof(info->blocks));
}

static void reject_monitor(struct vmm *v, const struct vmmscan *s, uint64_t now_ns)
{
	log_warn("guest %d: its QMP socket %s answers for another VMM and is not used", (int)v->pid,
		 v->links.qmp_path);
	v->foreign |= 1u << v->monitor;
	plan_after_failure(v, now_ns);
	find_links(v, s);
}

static unsigned adopt_info(struct vmm *v, const struct vmmscan *s, uint64_t now_ns,
			   const char **reason)
{
	struct vmm_answers info = vmm_query_take(v->session);

	if (!translate_vcpus(v, s, &info)) {
		vmm_answers_deinit(&info);
		reject_monitor(v, s, now_ns);
		return rebuild(v);
	}
	keep_blocks(v, &info);
	vmm_answers_deinit(&v->info);
	v->info = info;
	plan_after_success(v, now_ns);
	find_links(v, s); /* this monitor answers: it is the one to show */
	if (!info.resets)
		return rebuild(v);
	*reason = "QMP RESET";
	return rebuild(v) | VMM_REBOOTED;
}

unsigned vmm_session_process(struct vmm *v, const struct vmmscan *s, uint64_t now_ns,
			     const char **reason)
{
	unsigned result = 0;
	int r;

	if (!v->session)
		return 0;
	r = vmm_query_process(v->session);
	if (r == 0 && now_ns < v->session_deadline_ns)
		return 0;
	if (r == 1) {
		result = adopt_info(v, s, now_ns, reason);
	} else {
		log_debug("guest %d: %s", (int)v->pid,
			  r < 0 ? vmm_query_error(v->session)->text : "QMP: no answer in time");
		plan_after_failure(v, now_ns);
	}
	end_session(v);
	return result;
}
