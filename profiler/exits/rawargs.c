#include "profiler/exits/rawargs.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <bpf/btf.h>

#include "symsrc/base/cleanup.h"

#define ARGS_MOST 4

/* TP_PROTO of include/trace/events/kvm.h and arch/x86/kvm/trace.h, the same from Linux 5.10 to
 * 7.2: how large the first arguments are, and which of them the fields are. */
static const struct event {
	const char *name;
	struct {
		size_t to; /* in struct exits_fields */
		int arg;
	} fields[2];
	int field_count;
	uint8_t sizes[ARGS_MOST]; /* 0: of no interest, as are more of them */
} events[] = {
#define TO(field) offsetof(struct exits_fields, field)
	{"kvm_userspace_exit", {{TO(vmm_reason), 0}, {TO(vmm_errno), 1}}, 2, {4, 4}},
	{"kvm_mmio", {{TO(mmio_type), 0}, {TO(mmio_gpa), 2}}, 2, {4, 4, 8}},
	{"kvm_pio", {{TO(pio_rw), 0}, {TO(pio_port), 1}}, 2, {4, 4, 4, 4}},
	{"kvm_msr", {{TO(msr_write), 0}, {TO(msr_ecx), 1}}, 2, {4, 4, 8, 1}},
	{"kvm_fast_mmio", {{TO(fast_gpa), 0}}, 1, {8}},
	{"kvm_msi_set_irq", {{TO(msi_address), 0}, {TO(msi_data), 1}}, 2, {8, 8}},
	{"kvm_set_irq", {{TO(irq_gsi), 0}, {TO(irq_level), 1}}, 2, {4, 4}},
};

static const struct event *event_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		if (strcmp(events[i].name, name) == 0)
			return &events[i];
	}
	return NULL;
}

/* Its arguments: `typedef void (*btf_trace_NAME)(void *, ...)` (include/trace/bpf_probe.h). */
static const struct btf_type *prototype_of(const struct btf *btf, const char *event)
{
	const struct btf_type *t;
	char name[128];
	int32_t id;

	snprintf(name, sizeof(name), "btf_trace_%s", event);
	id = btf__find_by_name_kind(btf, name, BTF_KIND_TYPEDEF);
	t = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;
	t = t ? btf__type_by_id(btf, t->type) : NULL;
	if (!t || !btf_is_ptr(t))
		return NULL;
	t = btf__type_by_id(btf, t->type);
	return t && btf_is_func_proto(t) ? t : NULL;
}

static bool fits(const struct btf *btf, const struct btf_type *prototype, const struct event *e)
{
	const struct btf_param *p = btf_params(prototype);

	for (uint16_t i = 0; i < ARGS_MOST && e->sizes[i]; i++) {
		int32_t id;

		if (i + 1 >= btf_vlen(prototype))
			return false;
		id = btf__resolve_type(btf, p[i + 1].type);
		if (id < 0 || !btf_is_int(btf__type_by_id(btf, (uint32_t)id)) ||
		    btf__resolve_size(btf, (uint32_t)id) != e->sizes[i])
			return false;
	}
	return true;
}

bool exits_rawargs_find(const struct btf *btf, const char *event, struct exits_fields *fields)
{
	const struct event *e = event_of(event);
	const struct btf_type *prototype = btf && e ? prototype_of(btf, event) : NULL;

	if (!prototype || !fits(btf, prototype, e))
		return false;
	for (int i = 0; i < e->field_count; i++) {
		struct exits_field *to =
			(struct exits_field *)(void *)((char *)fields + e->fields[i].to);

		/* Each is a 64-bit word of the program's context. */
		*to = (struct exits_field){.offset = e->fields[i].arg * 8, .size = 8};
	}
	return true;
}
