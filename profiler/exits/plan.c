#include "profiler/exits/plan.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/exits/names.h"
#include "symsrc/base/cleanup.h"

#define ARM_EXCEPTION_TRAP 2 /* arch/arm64/include/asm/kvm_asm.h */

/* How an architecture's KVM tells an exit: arch/.../kvm/trace.h (x86, arm64, riscv, loongarch,
 * s390, powerpc's HV), Linux 5.10 to 7.2. The first form whose reason field is there counts. The
 * name of a reason stands between `after` and `before` when the event is printed. */
static const struct exit_form {
	const char *system, *exit;
	const char *reason;
	const char *isa; /* what else tells reasons apart; or NULL */
	const char *entries[2];
	const char *after, *before;
	const char *untrapped; /* arm64: what follows the name when isa is not ARM_EXCEPTION_TRAP */
} forms[] = {
	{"kvm", "kvm_exit", "exit_reason", "isa", {"kvm_entry"}, "reason ", " rip", NULL},
	{"kvm", "kvm_exit", "esr_ec", "ret", {"kvm_entry"}, "(", ")", ":"},
	{"kvm", "kvm_exit", "scause", NULL, {"kvm_entry"}, "no name", "", NULL},
	{"kvm", "kvm_exit", "reason", NULL, {"kvm_enter", "kvm_reenter"}, "[", "]", NULL},
	{"kvm",
	 "kvm_s390_sie_exit",
	 "icptcode",
	 NULL,
	 {"kvm_s390_sie_enter"},
	 "icptcode ",
	 "",
	 NULL},
	{"kvm_hv", "kvm_guest_exit", "trap", NULL, {"kvm_guest_enter"}, "trap=", " pc", NULL},
};

/* Every other event that a program of its own counts, with where its index goes. */
static const struct {
	const char *event, *program;
	size_t index; /* in struct exits_fields */
} own[] = {
	{"kvm_userspace_exit", "on_userspace", offsetof(struct exits_fields, vmm)},
	{"kvm_mmio", "on_mmio", offsetof(struct exits_fields, mmio)},
	{"kvm_pio", "on_pio", offsetof(struct exits_fields, pio)},
	{"kvm_msr", "on_msr", offsetof(struct exits_fields, msr)},
	{"kvm_fast_mmio", "on_fast_mmio", offsetof(struct exits_fields, fast)},
	{"kvm_msi_set_irq", "on_msi", offsetof(struct exits_fields, msi)},
	{"kvm_set_irq", "on_irq", offsetof(struct exits_fields, irq)},
};

static const struct {
	size_t to; /* in struct exits_fields */
	const char *system, *event, *field;
} wanted[] = {
#define WANT(name, system, event, field)                                  \
	{                                                                 \
		offsetof(struct exits_fields, name), system, event, field \
	}
	WANT(vmm_reason, "kvm", "kvm_userspace_exit", "reason"),
	WANT(vmm_errno, "kvm", "kvm_userspace_exit", "errno"),
	WANT(mmio_type, "kvm", "kvm_mmio", "type"),
	WANT(mmio_gpa, "kvm", "kvm_mmio", "gpa"),
	WANT(pio_rw, "kvm", "kvm_pio", "rw"),
	WANT(pio_port, "kvm", "kvm_pio", "port"),
	WANT(msr_write, "kvm", "kvm_msr", "write"),
	WANT(msr_ecx, "kvm", "kvm_msr", "ecx"),
	WANT(fast_gpa, "kvm", "kvm_fast_mmio", "gpa"),
	WANT(msi_address, "kvm", "kvm_msi_set_irq", "address"),
	WANT(msi_data, "kvm", "kvm_msi_set_irq", "data"),
	WANT(irq_gsi, "kvm", "kvm_set_irq", "gsi"),
	WANT(irq_level, "kvm", "kvm_set_irq", "level"),
	WANT(prev_pid, "sched", "sched_switch", "prev_pid"),
	WANT(prev_state, "sched", "sched_switch", "prev_state"),
	WANT(next_pid, "sched", "sched_switch", "next_pid"),
	WANT(wakeup_pid, "sched", "sched_wakeup", "pid"),
};

struct making {
	const char *root;
	struct exits_plan *plan;
	const struct exit_form *form; /* NULL: this kernel's exits are unknown */
};

static int add_format(const struct making *m, const char *system, const char *event)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, TRACEFS_FORMAT_MAX);
	r = tracefs_format(m->root, system, event, &b);
	return r < 0 ? r : exits_names_add(m->plan->names, system, b.data, b.len);
}

static void add_hook(struct exits_plan *plan, const struct tracefs_event *e, const char *program,
		     bool raw)
{
	struct exits_hook *h = &plan->hooks[plan->hook_count];

	if (plan->hook_count == ARRAY_SIZE(plan->hooks))
		return;
	h->id = e->id;
	h->raw = raw;
	snprintf(h->event, sizeof(h->event), "%s", e->name);
	snprintf(h->program, sizeof(h->program), "%s", program);
	plan->hook_count++;
}

static bool is_entry(const struct exit_form *form, const char *event)
{
	return form && (strcmp(event, form->entries[0]) == 0 ||
			(form->entries[1] && strcmp(event, form->entries[1]) == 0));
}

static void find_form(struct making *m)
{
	struct exits_plan *plan = m->plan;

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct exit_form *f = &forms[i];

		if (add_format(m, f->system, f->exit) < 0)
			continue;
		plan->fields.reason = exits_names_field(plan->names, f->system, f->exit, f->reason);
		if (plan->fields.reason.offset < 0)
			continue;
		if (f->isa)
			plan->fields.isa =
				exits_names_field(plan->names, f->system, f->exit, f->isa);
		m->form = f;
		plan->has_exits = true;
		return;
	}
}

static void find_fields(const struct making *m)
{
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		struct exits_field *to =
			(struct exits_field *)(void *)((char *)&m->plan->fields + wanted[i].to);

		if (add_format(m, wanted[i].system, wanted[i].event) == 0)
			*to = exits_names_field(m->plan->names, wanted[i].system, wanted[i].event,
						wanted[i].field);
	}
}

/* Its program, and whether that one counts it in `events` too. */
static const char *program_of(const struct making *m, const char *event, int32_t index)
{
	struct exits_fields *f = &m->plan->fields;

	if (m->form && strcmp(event, m->form->exit) == 0) {
		f->exit = index;
		return "on_exit";
	}
	/* One program for two events cannot tell which one it counts. */
	if (is_entry(m->form, event) && !m->form->entries[1]) {
		f->entry = index;
		return "on_entry";
	}
	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		if (strcmp(event, own[i].event) != 0)
			continue;
		*(int32_t *)(void *)((char *)f + own[i].index) = index;
		return own[i].program;
	}
	return NULL;
}

static void add_event(const struct making *m, const struct tracefs_event *e)
{
	struct exits_plan *plan = m->plan;
	int32_t index = (int32_t)plan->event_count;
	const char *program;
	char generic[16];

	if (index == EXITS_EVENTS)
		return;
	snprintf(plan->events[index], sizeof(plan->events[index]), "%s", e->name);
	plan->event_count++;
	program = program_of(m, e->name, index);
	if (!program) {
		snprintf(generic, sizeof(generic), "event_%03o", (unsigned)index);
		program = generic;
	}
	add_hook(plan, e, program, program == generic || strcmp(program, "on_entry") == 0);
}

/* Events that are no kvm:* ones, or that two programs count. */
static void add_hooks_of(const struct making *m, const char *system, const char *const *events,
			 const char *const *programs, size_t count)
{
	struct tracefs_events list = {0};

	if (tracefs_list(m->root, system, &list, NULL) < 0)
		return;
	for (size_t i = 0; i < list.count; i++) {
		for (size_t k = 0; k < count; k++) {
			if (events[k] && strcmp(list.list[i].name, events[k]) == 0)
				add_hook(m->plan, &list.list[i], programs[k],
					 strcmp(programs[k], "on_entry") == 0);
		}
	}
	tracefs_events_deinit(&list);
}

static void add_others(const struct making *m)
{
	static const char *const sched[] = {"sched_switch", "sched_wakeup"};
	static const char *const on_sched[] = {"on_switch", "on_wakeup"};
	static const char *const on_entries[] = {"on_entry", "on_entry"};

	add_hooks_of(m, "sched", sched, on_sched, 2);
	if (m->form && m->form->entries[1])
		add_hooks_of(m, m->form->system, m->form->entries, on_entries, 2);
	if (m->form && strcmp(m->form->system, "kvm") != 0) {
		const char *const events[] = {m->form->exit, m->form->entries[0]};
		static const char *const programs[] = {"on_exit", "on_entry"};

		add_hooks_of(m, m->form->system, events, programs, 2);
	}
}

static void no_fields(struct exits_fields *f)
{
	static const struct exits_field none = {.offset = -1};

	f->reason = f->isa = none;
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		*(struct exits_field *)(void *)((char *)f + wanted[i].to) = none;
	f->exit = f->entry = -1;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		*(int32_t *)(void *)((char *)f + own[i].index) = -1;
}

int exits_plan_make(const char *root, struct exits_plan **ret, struct errmsg *why)
{
	struct exits_plan *plan = calloc(1, sizeof(*plan));
	struct making m = {.root = root, .plan = plan};
	struct tracefs_events list = {0};
	int r;

	if (plan)
		plan->names = exits_names_create();
	if (!plan || !plan->names) {
		exits_plan_free(plan);
		return errmsg_set(why, -ENOMEM, "no memory");
	}
	r = tracefs_list(root, "kvm", &list, why);
	if (r < 0) {
		exits_plan_free(plan);
		return r;
	}
	no_fields(&plan->fields);
	find_form(&m);
	find_fields(&m);
	for (size_t i = 0; i < list.count; i++)
		add_event(&m, &list.list[i]);
	add_others(&m);
	tracefs_events_deinit(&list);
	*ret = plan;
	return 0;
}

uint64_t *exits_plan_lost(const char *program, struct exits_lost *lost)
{
	if (strcmp(program, "on_switch") == 0 || strcmp(program, "on_wakeup") == 0)
		return &lost->switches;
	return strncmp(program, "event_", 6) == 0 ? &lost->others : &lost->rows;
}

void exits_plan_free(struct exits_plan *plan)
{
	if (!plan)
		return;
	exits_names_destroy(plan->names);
	free(plan);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* One column, so that awk finds the others: blanks become underscores. */
static void to_word(char *name)
{
	size_t n = strlen(name);

	while (n && isspace((unsigned char)name[n - 1]))
		name[--n] = '\0';
	for (; *name; name++) {
		if (!isgraph((unsigned char)*name))
			*name = '_';
	}
}

static size_t print_reason(const struct exits_plan *plan, const struct exits_key *key, char *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct exit_form *f = &forms[i];
		struct exits_value values[] = {{f->reason, key->what}, {f->isa, key->more}};

		bool trapped = !f->untrapped || key->more == ARM_EXCEPTION_TRAP;

		if (exits_names_field(plan->names, f->system, f->exit, f->reason).offset >= 0)
			return exits_names_print(plan->names, f->system, f->exit, values,
						 f->isa ? 2 : 1, trapped ? f->after : "",
						 trapped ? f->before : f->untrapped, ret,
						 EXITS_NAME_MAX);
	}
	return 0;
}

static size_t print_errno(int err, char *ret)
{
	const char *name = strerrorname_np(err);

	if (err == EINTR)
		return (size_t)snprintf(ret, EXITS_NAME_MAX, "restart");
	if (name)
		return (size_t)snprintf(ret, EXITS_NAME_MAX, "error:%s", name);
	return (size_t)snprintf(ret, EXITS_NAME_MAX, "error:%d", err);
}

static size_t print_vmm_reason(const struct exits_plan *plan, const struct exits_key *key,
			       char *ret)
{
	static const char prefix[] = "KVM_EXIT_";
	struct exits_value value = {"reason", key->what};
	size_t n;

	/* libtraceevent takes the errno for unsigned, and so never prints it. */
	if (key->more)
		return print_errno((int)key->what, ret);
	n = exits_names_print(plan->names, "kvm", "kvm_userspace_exit", &value, 1, "reason ", " (",
			      ret, EXITS_NAME_MAX);
	if (n > sizeof(prefix) && strncmp(ret, prefix, sizeof(prefix) - 1) == 0)
		memmove(ret, ret + sizeof(prefix) - 1, n - sizeof(prefix) + 2);
	return n;
}

static void access_name(const struct exits_key *key, int digits, char *ret)
{
	snprintf(ret, EXITS_NAME_MAX, "0x%0*" PRIx64 ":%c", digits, (uint64_t)key->what,
		 key->more ? 'W' : 'R');
}

void exits_plan_name(const struct exits_plan *plan, const struct exits_key *key, char *ret)
{
	size_t n = 0;

	switch (key->kind) {
	case EXITS_REASON: n = plan->names ? print_reason(plan, key, ret) : 0; break;
	case EXITS_VMM: n = plan->names ? print_vmm_reason(plan, key, ret) : 0; break;
	case EXITS_MMIO: access_name(key, 1, ret); return;
	case EXITS_PIO: access_name(key, 4, ret); return;
	case EXITS_MSR: access_name(key, 1, ret); return;
	case EXITS_FAST_MMIO:
		snprintf(ret, EXITS_NAME_MAX, "fast_mmio:0x%" PRIx64, (uint64_t)key->what);
		return;
	case EXITS_MSI:
		snprintf(ret, EXITS_NAME_MAX, "msi:vector_%" PRIu64 ":dest_%" PRIu32,
			 (uint64_t)key->what, (uint32_t)key->more);
		return;
	case EXITS_IRQ:
		snprintf(ret, EXITS_NAME_MAX, "irq:gsi_%" PRIu64 ":level_%" PRIu32,
			 (uint64_t)key->what, (uint32_t)key->more);
		return;
	default: break;
	}
	if (n == 0)
		snprintf(ret, EXITS_NAME_MAX, "0x%" PRIx64, (uint64_t)key->what);
	to_word(ret);
}
