/* What is counted, and by what names, on kernels whose format files are given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "profiler/exits/plan.h"
#include "tests/unit/lib/tmptree.h"

static struct tmptree tree;
static struct exits_plan *plan;
static struct errmsg why;
static unsigned next_id;

static int setup(void **state)
{
	(void)state;
	tmptree_init(&tree);
	plan = NULL;
	next_id = 100;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	exits_plan_free(plan);
	tmptree_deinit(&tree);
	return 0;
}

#define FIELD(type, name, offset, size, sign) \
	"\tfield:" type " " name ";\toffset:" #offset ";\tsize:" #size ";\tsigned:" #sign ";\n"

/* As Linux writes it, with the common fields in front. */
static void put_event(const char *system, const char *event, const char *fields, const char *print)
{
	char name[128], text[4096];

	snprintf(name, sizeof(name), "events/%s/%s/id", system, event);
	snprintf(text, sizeof(text), "%u\n", next_id);
	tmptree_put(&tree, name, text);
	snprintf(name, sizeof(name), "events/%s/%s/format", system, event);
	snprintf(text, sizeof(text),
		 "name: %s\nID: %u\nformat:\n" FIELD("unsigned short", "common_type", 0, 2, 0)
			 FIELD("unsigned char", "common_flags", 2, 1,
			       0) FIELD("unsigned char", "common_preempt_count", 3, 1, 0)
				 FIELD("int", "common_pid", 4, 4, 1) "\n%s\nprint fmt: %s\n",
		 event, next_id++, fields, print);
	tmptree_put(&tree, name, text);
}

static void make(void)
{
	assert_int_equal(exits_plan_make(tree.path, &plan, &why), 0);
}

static const char *name_of(uint32_t kind, uint64_t what, uint32_t more)
{
	static char name[EXITS_NAME_MAX];
	struct exits_key key = {.kind = kind, .what = what, .more = more};

	exits_plan_name(plan, &key, name);
	return name;
}

static bool is_hooked(const char *program, uint32_t id)
{
	for (size_t i = 0; i < plan->hook_count; i++) {
		if (strcmp(plan->hooks[i].program, program) == 0 && plan->hooks[i].id == id)
			return true;
	}
	return false;
}

/* arch/x86/kvm/trace.h, Linux 6.18, with fewer reasons */
static void put_x86(void)
{
	put_event("kvm", "kvm_exit",
		  FIELD("unsigned int", "exit_reason", 8, 4, 0)
			  FIELD("unsigned long", "guest_rip", 16, 8, 0)
				  FIELD("u32", "isa", 24, 4, 0) FIELD("u64", "info1", 32, 8, 0),
		  "\"vcpu %u reason %s%s%s rip 0x%lx\", 0, (REC->isa == 1) ? "
		  "__print_symbolic(REC->exit_reason & 0xffff, { 10, \"CPUID\" }, { 30, "
		  "\"IO_INSTRUCTION\" }) : __print_symbolic(REC->exit_reason, { 0x040 + 6, "
		  "\"UD excp\" }, { 0x07b, \"io\" }, { 0x400, \"npf\" }), (REC->isa == 1 && "
		  "REC->exit_reason & ~0xffff) ? \" \" : \"\", (REC->isa == 1) ? "
		  "__print_flags(REC->exit_reason & ~0xffff, \" \", { 0x80000000, "
		  "\"FAILED_VMENTRY\" }) : \"\", REC->guest_rip");
	put_event("kvm", "kvm_entry", FIELD("unsigned int", "vcpu_id", 8, 4, 0),
		  "\"vcpu %u\", REC->vcpu_id");
	put_event("kvm", "kvm_userspace_exit",
		  FIELD("__u32", "reason", 8, 4, 0) FIELD("int", "errno", 12, 4, 1),
		  "\"reason %s (%d)\", REC->errno < 0 ? (REC->errno == -4 ? \"restart\" : "
		  "\"error\") : "
		  "__print_symbolic(REC->reason, { 2, \"KVM_EXIT_\" \"IO\" }, { 5, \"KVM_EXIT_\" "
		  "\"HLT\" }), REC->errno < 0 ? -REC->errno : REC->reason");
	put_event("kvm", "kvm_pio",
		  FIELD("unsigned int", "rw", 8, 4, 0) FIELD("unsigned int", "port", 12, 4, 0),
		  "\"pio_%s at 0x%x\", REC->rw ? \"write\" : \"read\", REC->port");
	put_event("kvm", "kvm_cpuid", FIELD("unsigned int", "function", 8, 4, 0),
		  "\"func %x\", REC->function");
	put_event("sched", "sched_switch",
		  FIELD("pid_t", "prev_pid", 24, 4, 1) FIELD("long", "prev_state", 32, 8, 1)
			  FIELD("pid_t", "next_pid", 56, 4, 1),
		  "\"%d\", REC->prev_pid");
}

static void test_x86(void **state)
{
	(void)state;
	put_x86();
	make();
	assert_true(plan->has_exits);
	assert_int_equal(plan->fields.reason.offset, 8);
	assert_int_equal(plan->fields.isa.offset, 24);
	assert_int_equal(plan->fields.pio_port.offset, 12);
	assert_int_equal(plan->fields.prev_state.size, 8);
	assert_int_equal(plan->fields.mmio_gpa.offset, -1); /* no such event here */
	assert_string_equal(name_of(EXITS_REASON, 10, 1), "CPUID");
	assert_string_equal(name_of(EXITS_REASON, 30 | 0x80000000, 1),
			    "IO_INSTRUCTION_FAILED_VMENTRY");
	assert_string_equal(name_of(EXITS_REASON, 0x7b, 2), "io");
	assert_string_equal(name_of(EXITS_REASON, 0x46, 2), "UD_excp");
	assert_string_equal(name_of(EXITS_REASON, 0x77777, 2), "0x77777");
	assert_string_equal(name_of(EXITS_VMM, 2, 0), "IO");
	assert_string_equal(name_of(EXITS_VMM, 99, 0), "0x63");
	assert_string_equal(name_of(EXITS_VMM, EINTR, 1), "restart");
	assert_string_equal(name_of(EXITS_VMM, EFAULT, 1), "error:EFAULT");
}

static void test_each_event_has_one_program(void **state)
{
	(void)state;
	put_x86();
	make();
	assert_int_equal(plan->event_count, 5);
	/* By name: kvm_cpuid is the first. */
	assert_string_equal(plan->events[0], "kvm_cpuid");
	assert_int_equal(plan->fields.exit, 2);
	assert_int_equal(plan->hook_count, 6);
	assert_true(is_hooked("event_000", 104));
	assert_true(is_hooked("on_exit", 100));
	assert_true(is_hooked("on_entry", 101));
	assert_true(is_hooked("on_userspace", 102));
	assert_true(is_hooked("on_pio", 103));
	assert_true(is_hooked("on_switch", 105));
}

/* arch/arm64/kvm/trace_arm.h */
static void test_arm64(void **state)
{
	(void)state;
	put_event("kvm", "kvm_exit",
		  FIELD("int", "ret", 8, 4, 1) FIELD("unsigned int", "esr_ec", 12, 4, 0)
			  FIELD("unsigned long", "vcpu_pc", 16, 8, 0),
		  "\"%s: HSR_EC: 0x%04x (%s), PC: 0x%016lx\", __print_symbolic(REC->ret, { 0, "
		  "\"IRQ\" }, "
		  "{ 2, \"TRAP\" }), REC->esr_ec, __print_symbolic(REC->esr_ec, { 0x01, \"WFx\" }, "
		  "{ 0x16, \"HVC64\" }), REC->vcpu_pc");
	put_event("kvm", "kvm_entry", FIELD("unsigned long", "vcpu_pc", 8, 8, 0),
		  "\"PC: 0x%016lx\", REC->vcpu_pc");
	make();
	assert_int_equal(plan->fields.reason.offset, 12);
	assert_int_equal(plan->fields.isa.offset, 8);
	assert_string_equal(name_of(EXITS_REASON, 0x16, 2), "HVC64");
	assert_string_equal(name_of(EXITS_REASON, 1, 2), "WFx");
	assert_string_equal(name_of(EXITS_REASON, 0, 0), "IRQ");
}

/* arch/riscv/kvm/trace.h: numbers alone */
static void test_riscv(void **state)
{
	(void)state;
	put_event("kvm", "kvm_exit",
		  FIELD("unsigned long", "sepc", 8, 8, 0)
			  FIELD("unsigned long", "scause", 16, 8, 0),
		  "\"SEPC:0x%lx, SCAUSE:0x%lx\", REC->sepc, REC->scause");
	put_event("kvm", "kvm_entry", FIELD("unsigned long", "pc", 8, 8, 0),
		  "\"PC: 0x%016lx\", REC->pc");
	make();
	assert_int_equal(plan->fields.reason.offset, 16);
	assert_int_equal(plan->fields.reason.size, 8);
	assert_string_equal(name_of(EXITS_REASON, 0x15, 0), "0x15");
}

/* arch/s390/kvm/trace.h */
static void test_s390(void **state)
{
	(void)state;
	put_event(
		"kvm", "kvm_s390_sie_exit",
		FIELD("int", "id", 8, 4, 1) FIELD("u8", "icptcode", 32, 1, 0),
		"\"%02d: exit sie icptcode %s\", REC->id, __print_symbolic(REC->icptcode, { 0x00, "
		"\"Host interruption\" }, { 0x04, \"Instruction\" })");
	put_event("kvm", "kvm_s390_sie_enter", FIELD("int", "id", 8, 4, 1), "\"%02d\", REC->id");
	make();
	assert_int_equal(plan->fields.reason.size, 1);
	assert_true(is_hooked("on_exit", 100));
	assert_true(is_hooked("on_entry", 101));
	assert_string_equal(name_of(EXITS_REASON, 0, 0), "Host_interruption");
}

/* arch/loongarch/kvm/trace.h: two ways into the guest, counted as events of their own */
static void test_loongarch(void **state)
{
	(void)state;
	put_event("kvm", "kvm_exit",
		  FIELD("unsigned int", "vcpu_id", 8, 4, 0) FIELD("unsigned long", "pc", 16, 8, 0)
			  FIELD("unsigned int", "reason", 24, 4, 0),
		  "\"vcpu %u [%s]PC: 0x%08lx\", REC->vcpu_id, __print_symbolic(REC->reason, { 1, "
		  "\"Idle\" }), REC->pc");
	put_event("kvm", "kvm_enter", FIELD("unsigned int", "vcpu_id", 8, 4, 0),
		  "\"%u\", REC->vcpu_id");
	put_event("kvm", "kvm_reenter", FIELD("unsigned int", "vcpu_id", 8, 4, 0),
		  "\"%u\", REC->vcpu_id");
	make();
	assert_true(is_hooked("on_entry", 101));
	assert_true(is_hooked("on_entry", 102));
	assert_true(is_hooked("event_000", 101));
	assert_int_equal(plan->fields.entry, -1);
	assert_string_equal(name_of(EXITS_REASON, 1, 0), "Idle");
}

/* A print format that libtraceevent cannot parse costs the names, not the counts. */
static void test_a_print_format_that_cannot_be_parsed(void **state)
{
	(void)state;
	put_event("kvm", "kvm_exit", FIELD("unsigned int", "exit_reason", 8, 4, 0),
		  "\"reason %s rip\", }{ broken(");
	make();
	assert_true(plan->has_exits);
	assert_string_equal(name_of(EXITS_REASON, 10, 1), "0xa");
}

static void test_without_kvm(void **state)
{
	(void)state;
	put_event("sched", "sched_switch", FIELD("pid_t", "prev_pid", 8, 4, 1),
		  "\"%d\", REC->prev_pid");
	assert_int_equal(exits_plan_make(tree.path, &plan, &why), -ENOENT);
	assert_true(why.text[0] != '\0');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_x86, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_event_has_one_program, setup, teardown),
		cmocka_unit_test_setup_teardown(test_arm64, setup, teardown),
		cmocka_unit_test_setup_teardown(test_riscv, setup, teardown),
		cmocka_unit_test_setup_teardown(test_s390, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loongarch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_print_format_that_cannot_be_parsed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_without_kvm, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
