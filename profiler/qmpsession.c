#include "profiler/qmpsession.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "profiler/perfdata/write.h"
#include "profiler/qmpsampler.h"
#include "profiler/registers.h"
#include "symsrc/base/log.h"
#include "symsrc/base/text.h"

#define RESET_ONCE_NS (1 * NSEC_PER_SEC)

/* Requests that are due so soon are sent now, so that many guests share a wake-up. */
#define SLACK_NS (2 * NSEC_PER_MSEC)

struct qmpsession *qmpsession_create(const struct qmpsession_owner *owner,
				     const struct guest_entry *entry, struct tally *tally)
{
	struct qmpsession *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->owner = owner;
	s->serial = entry->guest->serial;
	s->random = s->serial * 0x9e3779b97f4a7c15ULL ^ clock_now_ns();
	s->tally = tally_get(tally);
	qmpsession_update(s, entry);
	return s;
}

static void disconnect(struct qmpsession *s, uint64_t next_ns)
{
	/* Closing alone would not do while a child that was just forked has it open, too. */
	if (s->qmp)
		epoll_ctl(s->owner->epoll_fd, EPOLL_CTL_DEL, qmp_fd(s->qmp), NULL);
	qmp_destroy(s->qmp);
	s->qmp = NULL;
	s->asked_ns = 0;
	s->next_ns = next_ns;
}

void qmpsession_destroy(struct qmpsession *s)
{
	if (!s)
		return;
	disconnect(s, 0);
	tally_put(s->tally);
	guest_put(s->guest);
	free(s);
}

void qmpsession_update(struct qmpsession *s, const struct guest_entry *entry)
{
	unsigned hz = qmpsampler_hz(entry->guest->vcpu_count, s->owner->freq);

	guest_get(entry->guest);
	guest_put(s->guest);
	s->guest = entry->guest;
	s->epoch = entry->epoch;
	s->period_ns = NSEC_PER_SEC / hz;
	tally_set_rate(s->tally, hz);
}

static void clear_trouble(struct qmpsession *s)
{
	if (!s->troubled)
		return;
	s->troubled = false;
	tally_set_trouble(s->tally, "");
	log_info("guest %d: QMP answers again", (int)s->guest->pid);
	if (s->owner->recovered)
		s->owner->recovered(s->owner->ctx, s->serial);
}

/* Ends the session and says why; tries again later. */
static void give_up(struct qmpsession *s, uint64_t now, const char *why)
{
	char note[160];
	char safe[160];

	text_escape(safe, sizeof(safe), why, strlen(why));
	snprintf(note, sizeof(note), "%.110s; trying again every %d s", safe,
		 (int)(QMPSAMPLER_BACKOFF_NS / NSEC_PER_SEC));
	log_debug("guest %d: %s", (int)s->guest->pid, note);
	tally_set_trouble(s->tally, note);
	s->troubled = true;
	disconnect(s, now + QMPSAMPLER_BACKOFF_NS);
}

/* ---- what the VMM says ------------------------------------------------------------------- */

/* QEMU says it several times for one reset: machine, then its devices. */
static void on_reset(struct qmpsession *s)
{
	uint64_t now = clock_now_ns();
	bool again = s->reset_ns && now - s->reset_ns < RESET_ONCE_NS;

	s->stale = true;
	s->reset_ns = now;
	if (!again)
		guests_new_epoch(s->owner->guests, s->serial, s->epoch, "QMP RESET");
}

/* Discovery, which publishes the state, asks rarely. */
static void set_running(struct qmpsession *s, bool running)
{
	s->running = running;
	if (s->guest->state[0] && running != (strcmp(s->guest->state, "running") == 0))
		guests_doubt(s->owner->guests, s->serial);
}

/* Which port it is does not matter: what comes of it is a look. */
static void on_port_change(const struct qmpsession *s, struct json_object *data)
{
	const struct qmpsession_owner *o = s->owner;
	struct json_object *open;

	if (o->port_opened && json_object_is_type(data, json_type_object) &&
	    json_object_object_get_ex(data, "open", &open) && json_object_get_boolean(open))
		o->port_opened(o->ctx, s->serial);
}

static void on_event(void *ctx, const char *event, struct json_object *data)
{
	struct qmpsession *s = ctx;

	if (strcmp(event, "STOP") == 0) {
		set_running(s, false);
	} else if (strcmp(event, "RESUME") == 0) {
		set_running(s, true);
	} else if (strcmp(event, "RESET") == 0) {
		on_reset(s);
	} else if (strcmp(event, "VSERPORT_CHANGE") == 0) {
		on_port_change(s, data);
	}
}

/* An answer has come: the next question may be asked, in the rhythm of the period. Its length
 * varies by a quarter, or a guest whose own timer has a period that divides ours would always
 * be seen at the same place. */
static void answered(struct qmpsession *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	s->next_ns = s->asked_ns + s->period_ns * 3 / 4 + s->random % (s->period_ns / 2);
	s->asked_ns = 0;
}

static void on_status(void *ctx, const struct qmp_reply *reply)
{
	struct qmpsession *s = ctx;
	struct json_object *running;

	if (reply->code < 0) {
		s->failed = reply->code == -EREMOTEIO;
		snprintf(s->failure, sizeof(s->failure), "QMP query-status: %s", reply->text);
		return;
	}
	set_running(s, json_object_object_get_ex(reply->value, "running", &running) &&
			       json_object_get_boolean(running));
	s->asked_ns = 0;
	s->next_ns = 0;
	clear_trouble(s);
}

static uint32_t tid_of(const struct guest *g, unsigned vcpu)
{
	for (size_t i = 0; i < g->vcpu_count; i++) {
		if (g->vcpus[i].index == vcpu)
			return (uint32_t)g->vcpus[i].tid;
	}
	return (uint32_t)g->pid;
}

static void hand_on(struct qmpsession *s)
{
	livedata_add(s->owner->livedata, s->batch, s->batch_count);
	s->batch_count = 0;
}

/* The tally's lock, which is a leaf, is let go of for a moment when the batch is full. */
static void record(struct qmpsession *s, const struct tally_observation *o)
	LOCK_ATTR(no_thread_safety_analysis)
{
	s->batch[s->batch_count++] = (struct livedata_sample){
		.serial = s->serial,
		.ip = o->ip,
		.time = s->seen_ns,
		.period = s->period_ns,
		.pid = (uint32_t)s->guest->pid,
		.tid = tid_of(s->guest, o->vcpu),
		.cpu = PERFDATA_CPU_NONE,
		.kernel = o->kernel,
		.registers = true,
	};
	if (s->batch_count < LIVEDATA_BATCH)
		return;
	mutex_unlock(&s->tally->lock);
	hand_on(s);
	mutex_lock(&s->tally->lock);
}

/* with the tally's lock: registers_parse() below */
static void on_registers(void *ctx, const struct registers *regs)
	LOCK_ATTR(no_thread_safety_analysis)
{
	struct qmpsession *s = ctx;
	struct tally_observation o = {
		.vcpu = regs->cpu, .ip = regs->ip, .kernel = regs->kernel, .halted = regs->halted};

	if (with_lock__tally_observation(s->tally, &o, s->seen_ns) && s->is_recorded && !o.halted)
		record(s, &o);
	s->samples += !o.halted;
	s->boot.samples += !o.halted;
	s->boot.low_kernel += !o.halted && o.kernel && !address_is_upper(o.ip);
	if (!o.halted && o.kernel && address_is_upper(o.ip))
		stalewatch_add(&s->names, o.ip);
}

static void read_registers(struct qmpsession *s, struct json_object *value)
{
	const char *text = json_object_get_string(value);
	int r;

	s->seen_ns = clock_now_ns();
	s->is_recorded = livedata_is_wanted(s->owner->livedata);
	mutex_lock(&s->tally->lock);
	r = registers_parse(text, (size_t)json_object_get_string_len(value), on_registers, s);
	mutex_unlock(&s->tally->lock);
	if (s->batch_count)
		hand_on(s);
	if (r >= 0)
		return;
	s->failed = true;
	snprintf(s->failure, sizeof(s->failure), "%s",
		 r == -EOPNOTSUPP ? "the registers of this guest's architecture are not known"
				  : "QMP answered \"info registers\" with something else");
}

static void on_answer(void *ctx, const struct qmp_reply *reply)
{
	struct qmpsession *s = ctx;

	if (reply->code == -EREMOTEIO ||
	    (reply->code == 0 && !json_object_is_type(reply->value, json_type_string))) {
		s->failed = true;
		snprintf(s->failure, sizeof(s->failure), "QMP \"info registers\": %s",
			 reply->code ? reply->text : "not a text");
	}
	if (s->failed || reply->code < 0)
		return;
	/* One that was asked before a reset, or a stop, tells of another time. */
	if (!s->stale && s->running)
		read_registers(s, reply->value);
	s->stale = false;
	answered(s);
}

/* ---- what is to be done ------------------------------------------------------------------ */

/* Tells epoll what the connection waits for. */
static void poll_for(struct qmpsession *s, int op)
{
	struct epoll_event ev = {.events = (uint32_t)qmp_events(s->qmp), .data.ptr = s};

	if (op == EPOLL_CTL_MOD && s->polled == qmp_events(s->qmp))
		return;
	s->polled = qmp_events(s->qmp);
	epoll_ctl(s->owner->epoll_fd, op, qmp_fd(s->qmp), &ev);
}

/* Sends and receives; ends the session when that fails. */
static void process(struct qmpsession *s, uint64_t now)
{
	char why[sizeof(s->failure) + 8];

	if (qmp_process(s->qmp) < 0) {
		snprintf(why, sizeof(why), "QMP: %.140s", qmp_error(s->qmp)->text);
		give_up(s, now, why);
	} else if (s->failed) {
		give_up(s, now, s->failure);
	} else {
		poll_for(s, EPOLL_CTL_MOD);
	}
}

static void connect_now(struct qmpsession *s, uint64_t now)
{
	struct errmsg why;
	int r = qmp_connect(s->guest->links.qmp_path, on_event, s, &s->qmp, &why);

	s->failed = false;
	s->running = false;
	s->stale = false;
	if (r == 0)
		r = qmp_execute(s->qmp, "query-status", NULL, on_status, s);
	if (r < 0) {
		give_up(s, now, s->qmp ? "QMP: out of memory" : why.text);
		return;
	}
	s->opened_ns = now;
	s->asked_ns = now;
	poll_for(s, EPOLL_CTL_ADD);
	process(s, now);
}

static void ask(struct qmpsession *s, uint64_t now)
{
	if (qmp_execute_hmp(s->qmp, "info registers -a", on_answer, s) < 0) {
		give_up(s, now, "QMP: the request could not be sent");
		return;
	}
	s->asked_ns = now;
	process(s, now);
}

/* Between sessions, so that an epoch begins but once for a phase. */
static void look_for_boot(struct qmpsession *s)
{
	const struct qmpsession_owner *o = s->owner;
	bool is_new = bootwatch_is_new(&s->boot, s->epoch) && o->has_symbols &&
		      o->has_symbols(o->ctx, s->serial, s->epoch);

	bootwatch_next(&s->boot, is_new);
	if (is_new)
		guests_new_epoch(o->guests, s->serial, s->epoch, BOOTWATCH_REASON);
}

static void look_for_names(struct qmpsession *s)
{
	const struct qmpsession_owner *o = s->owner;

	if (o->look_for_names && stalewatch_is_full(&s->names, s->epoch))
		o->look_for_names(o->ctx, s->serial, s->epoch, &s->names);
}

/* Connected and waiting for nothing. */
static void go_on(struct qmpsession *s, uint64_t now)
{
	if (!s->running || !tally_wants_registers(s->tally)) {
		disconnect(s, now + QMPSAMPLER_IDLE_NS);
	} else if (now - s->opened_ns >= QMPSAMPLER_SESSION_NS) {
		look_for_boot(s);
		look_for_names(s);
		disconnect(s, now + QMPSAMPLER_PAUSE_NS);
	} else if (now + SLACK_NS >= s->next_ns) {
		ask(s, now);
	}
}

static void check_deadline(struct qmpsession *s, uint64_t now)
{
	if (now - s->asked_ns < QMPSAMPLER_ANSWER_NS)
		return;
	give_up(s, now,
		qmp_is_ready(s->qmp) ? "QMP: the monitor does not answer"
				     : "QMP monitor is busy: another client holds it");
}

void qmpsession_ready(struct qmpsession *s, uint64_t now)
{
	if (s->qmp)
		process(s, now);
}

uint64_t qmpsession_tick(struct qmpsession *s, uint64_t now)
{
	uint64_t session_end;

	if (!s->qmp && now + SLACK_NS >= s->next_ns)
		connect_now(s, now);
	else if (s->qmp && s->asked_ns)
		check_deadline(s, now);
	else if (s->qmp)
		go_on(s, now);
	if (!s->qmp)
		return s->next_ns;
	if (s->asked_ns)
		return s->asked_ns + QMPSAMPLER_ANSWER_NS;
	session_end = s->opened_ns + QMPSAMPLER_SESSION_NS;
	return s->next_ns < session_end ? s->next_ns : session_end;
}
