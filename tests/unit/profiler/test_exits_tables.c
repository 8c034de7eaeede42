/* What becomes of events, one after the other, as both engines count them: times, who gets a row,
 * whose interrupts they are, and what is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "profiler/exits/tables.h"

#define GUEST 7
#define VCPU  10

/* The events' own bytes: as no kernel has them, each in its place. */
struct event {
	uint16_t type, pad;
	uint32_t reason, isa;
	int32_t err;
	uint32_t vmm_reason;
	uint32_t write;
	uint64_t what;
	uint32_t level;
	uint32_t prev_pid, next_pid, wakeup_pid;
	uint64_t prev_state;
};

#define AT(field)                                                                    \
	{                                                                            \
		offsetof(struct event, field), sizeof(((struct event *)NULL)->field) \
	}
static const struct exits_fields fields = {
	.reason = AT(reason),
	.isa = AT(isa),
	.vmm_reason = AT(vmm_reason),
	.vmm_errno = AT(err),
	.mmio_type = AT(write),
	.mmio_gpa = AT(what),
	.pio_rw = AT(write),
	.pio_port = AT(what),
	.msr_write = AT(write),
	.msr_ecx = AT(what),
	.fast_gpa = AT(what),
	.msi_address = AT(what),
	.msi_data = AT(level),
	.irq_gsi = AT(what),
	.irq_level = AT(level),
	.prev_pid = AT(prev_pid),
	.prev_state = AT(prev_state),
	.next_pid = AT(next_pid),
	.wakeup_pid = AT(wakeup_pid),
	.exit = 0,
	.entry = 1,
	.vmm = 2,
	.pio = 3,
	.irq = 4,
	.mmio = -1,
	.msr = -1,
	.fast = -1,
	.msi = -1,
};

static struct exits_tables t;
static struct exits_raw raw;
static struct exits shown;
static struct exits_plan plan = {.events = {"kvm_exit", "kvm_entry", "kvm_userspace_exit",
					    "kvm_pio", "kvm_set_irq", "kvm_fpu"},
				 .event_count = 6};
static uint64_t now;
static uint32_t tgid, tid;
static char proc[] = "/tmp/exits-tables-XXXXXX";

static int setup(void **state)
{
	struct exits_sizes sizes;

	(void)state;
	exits_sizes_of(1, &sizes);
	plan.fields = fields;
	now = 1000;
	tgid = GUEST;
	tid = VCPU;
	return exits_tables_init(&t, &fields, &sizes, proc);
}

static int teardown(void **state)
{
	(void)state;
	exits_tables_deinit(&t);
	exits_raw_deinit(&raw);
	exits_deinit(&shown);
	return 0;
}

/* One event, `after` ns later. */
static void happens(const char *program, uint64_t after, struct event e)
{
	struct exits_counting counting;
	struct trace_sample s = {.pid = tgid, .tid = tid, .size = sizeof(e), .raw = &e};

	now += after;
	s.time = now;
	assert_int_equal(exits_counting_find(program, &counting), 0);
	exits_tables_count(&t, &counting, &s);
}

static void show(uint32_t of)
{
	exits_raw_deinit(&raw);
	exits_deinit(&shown);
	assert_int_equal(exits_tables_read(&t, of, &raw), 0);
	raw.taken_ns = now;
	assert_int_equal(exits_raw_show(&raw, NULL, 0, &plan, &shown), 0);
}

static uint64_t count_of(enum exits_kind kind, const char *name)
{
	for (size_t i = 0; i < shown.lists[kind].count; i++) {
		if (strcmp(shown.lists[kind].lines[i].name, name) == 0)
			return shown.lists[kind].lines[i].row.sums.count;
	}
	return 0;
}

static uint64_t event_count(const char *name)
{
	for (size_t i = 0; i < shown.event_count; i++) {
		if (strcmp(shown.events[i].name, name) == 0)
			return shown.events[i].count;
	}
	return 0;
}

static bool keep_none(void *ctx, uint32_t of)
{
	(void)ctx;
	(void)of;
	return false;
}

static void one_port_write(uint64_t port)
{
	happens("on_exit", 100, (struct event){.reason = 0x7b});
	happens("on_pio", 10, (struct event){.write = 1, .what = port});
	happens("on_userspace", 20, (struct event){.vmm_reason = 2});
	happens("on_entry", 270, (struct event){0});
}

static void test_from_exit_to_entry(void **state)
{
	const struct exits_row *row;

	(void)state;
	happens("on_entry", 0, (struct event){0});
	for (int i = 0; i < 3; i++)
		one_port_write(0x80);
	show(GUEST);
	assert_int_equal(shown.exits, 3);
	row = &shown.lists[EXITS_REASON].lines[0].row;
	assert_string_equal(shown.lists[EXITS_REASON].lines[0].name, "0x7b");
	assert_int_equal(row->sums.count, 3);
	assert_int_equal(row->sums.userspace, 3);
	assert_int_equal(row->sums.total, 900);
	assert_int_equal(row->sums.min, 300);
	assert_int_equal(row->sums.max, 300);
	assert_int_equal(row->buckets[8], 3); /* [256, 512) */
	row = &shown.lists[EXITS_PIO].lines[0].row;
	assert_string_equal(shown.lists[EXITS_PIO].lines[0].name, "0x0080:W");
	assert_int_equal(row->sums.count, 3);
	assert_int_equal(row->sums.userspace, 3);
	assert_int_equal(row->sums.total, 900);
	assert_int_equal(shown.lists[EXITS_VMM].lines[0].row.sums.total, 3 * 270);
	assert_int_equal(shown.times[EXITS_IN_GUEST], 300);
	assert_int_equal(shown.times[EXITS_IN_KERNEL], 3 * 30);
	assert_int_equal(shown.times[EXITS_IN_VMM], 3 * 270);
	assert_int_equal(event_count("kvm_pio"), 3);
	assert_int_equal(event_count("kvm_entry"), 4);
}

/* What is read while an exit is being handled has its accesses, once. */
static void test_accesses_of_an_unfinished_exit(void **state)
{
	(void)state;
	happens("on_entry", 0, (struct event){0});
	happens("on_exit", 100, (struct event){.reason = 0x7b});
	happens("on_pio", 10, (struct event){.write = 1, .what = 0x80});
	happens("on_pio", 10, (struct event){.write = 1, .what = 0x81});
	happens("on_userspace", 20, (struct event){.vmm_reason = 2});
	for (int i = 0; i < 2; i++) {
		show(GUEST);
		assert_int_equal(count_of(EXITS_PIO, "0x0080:W"), 1);
		assert_int_equal(count_of(EXITS_PIO, "0x0081:W"), 1);
		assert_int_equal(shown.lists[EXITS_PIO].lines[0].row.sums.userspace, 0);
		assert_int_equal(shown.lists[EXITS_PIO].lines[1].row.sums.userspace, 1);
		happens("on_entry", 270, (struct event){0});
	}
}

static void test_sleep_and_waiting(void **state)
{
	(void)state;
	happens("on_entry", 0, (struct event){0});
	happens("on_exit", 50, (struct event){.reason = 0x78});
	happens("on_switch", 5, (struct event){.prev_pid = VCPU, .prev_state = 1, .next_pid = 1});
	happens("on_wakeup", 1000, (struct event){.wakeup_pid = VCPU});
	happens("on_switch", 200, (struct event){.prev_pid = 1, .next_pid = VCPU});
	happens("on_entry", 15, (struct event){0});
	show(GUEST);
	assert_int_equal(shown.times[EXITS_IN_GUEST], 50);
	assert_int_equal(shown.times[EXITS_IN_KERNEL], 20);
	assert_int_equal(shown.times[EXITS_HALTED], 1000);
	assert_int_equal(shown.times[EXITS_WAITING], 200);
}

/* A vCPU is taken away, and the kernel gives its number to others, who are no vCPU at first. */
static void test_number_is_used_again(void **state)
{
	(void)state;
	happens("on_entry", 0, (struct event){0});
	one_port_write(0x80);
	happens("on_switch", 5, (struct event){.prev_pid = VCPU, .prev_state = 0x10});
	show(GUEST);
	assert_int_equal(shown.times[EXITS_IN_GUEST], 105);
	happens("on_switch", 1000, (struct event){.next_pid = VCPU});
	happens("on_switch", 1000, (struct event){.prev_pid = VCPU, .prev_state = 1});
	happens("on_wakeup", 1000, (struct event){.wakeup_pid = VCPU});
	happens("on_switch", 1000, (struct event){.next_pid = VCPU});
	tgid = 8;
	happens("on_entry", 1000, (struct event){0});
	one_port_write(0x90);
	one_port_write(0x90);
	show(8);
	assert_int_equal(count_of(EXITS_PIO, "0x0090:W"), 2);
	assert_int_equal(shown.exits, 2);
	show(GUEST);
	assert_int_equal(count_of(EXITS_PIO, "0x0080:W"), 1);
	assert_int_equal(count_of(EXITS_PIO, "0x0090:W"), 0);
	assert_int_equal(shown.exits, 1);
	assert_int_equal(shown.times[EXITS_IN_GUEST], 105);
	assert_int_equal(shown.times[EXITS_IN_VMM], 270);
	assert_int_equal(shown.times[EXITS_IN_KERNEL] + shown.times[EXITS_HALTED] +
				 shown.times[EXITS_WAITING],
			 30);

	/* The guest gets it back for another vCPU. */
	tgid = GUEST;
	happens("on_entry", 1000, (struct event){0});
	one_port_write(0x80);
	show(GUEST);
	assert_int_equal(count_of(EXITS_PIO, "0x0080:W"), 2);
	assert_int_equal(shown.exits, 2);
	assert_int_equal(shown.threads, 2);
	assert_int_equal(shown.times[EXITS_IN_GUEST], 205);
	show(8);
	assert_int_equal(shown.exits, 2);
	exits_tables_forget(&t, keep_none, NULL);
	assert_int_equal(t.threads.count, 0);
}

/* What was there at a reset is taken away once, from the same thread. */
static void test_reset_before_its_number_is_used_again(void **state)
{
	struct exits_raw before = {0};

	(void)state;
	happens("on_entry", 0, (struct event){0});
	one_port_write(0x80);
	one_port_write(0x80);
	assert_int_equal(exits_tables_read(&t, GUEST, &before), 0);
	before.taken_ns = now;
	tgid = 8;
	one_port_write(0x90);
	tgid = GUEST;
	one_port_write(0x80);
	show(GUEST);
	assert_int_equal(shown.exits, 3);
	exits_deinit(&shown);
	assert_int_equal(exits_raw_show(&raw, &before, 0, &plan, &shown), 0);
	assert_int_equal(shown.exits, 1);
	assert_int_equal(count_of(EXITS_PIO, "0x0080:W"), 1);
	exits_raw_deinit(&before);
}

/* A guest touches all that it can, on many vCPUs. */
static void fill(uint32_t of, uint32_t vcpus)
{
	tgid = of;
	for (tid = of * 1000; tid < of * 1000 + vcpus; tid++) {
		for (uint64_t port = 0; port < 200; port++) {
			happens("on_pio", 1, (struct event){.write = 1, .what = port});
			happens("on_msr", 1, (struct event){.write = 1, .what = port});
		}
	}
	tgid = GUEST;
	tid = VCPU;
}

static void test_nobody_takes_all_rows(void **state)
{
	const struct exits_limits *l = &t.constants.limits[EXITS_ACCESSES];

	(void)state;
	for (uint32_t greedy = 20; greedy < 26; greedy++)
		fill(greedy, 100);
	for (uint64_t port = 0; port < l->sure; port++)
		one_port_write(port);
	show(GUEST);
	assert_int_equal(shown.lists[EXITS_PIO].count, l->sure);
	assert_int_equal(count_of(EXITS_PIO, "[other]"), 0);
	show(20);
	assert_true(count_of(EXITS_PIO, "[other]") > 0);
	assert_true(raw.row_count <= l->most);
	assert_int_equal(event_count("kvm_pio"), 100 * 200);
}

static bool keep_guest(void *ctx, uint32_t of)
{
	(void)ctx;
	return of == GUEST;
}

static void test_others_are_forgotten(void **state)
{
	(void)state;
	one_port_write(0x80);
	fill(20, 100);
	fill(21, 100);
	assert_true(t.pools[EXITS_ACCESSES] > 0);
	show(EXITS_EVERYBODY);
	assert_int_equal(raw.thread_count, t.threads.count);
	assert_int_equal(raw.row_count, t.rows[EXITS_REASONS].count + t.rows[EXITS_ACCESSES].count);
	exits_tables_forget(&t, keep_guest, NULL);
	assert_int_equal(t.pools[EXITS_ACCESSES], 0);
	assert_int_equal(t.threads.count, 1);
	assert_int_equal(t.processes.count, 1);
	assert_int_equal(t.rows[EXITS_ACCESSES].count, 1);
	show(GUEST);
	assert_int_equal(count_of(EXITS_PIO, "0x0080:W"), 1);
	/* What was given back is used again. */
	fill(20, 100);
	show(20);
	assert_true(raw.row_count > t.constants.limits[EXITS_ACCESSES].sure);
}

static void write_stat(uint32_t pid, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%u", proc, pid);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/%u/stat", proc, pid);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%u %s", pid, text);
	fclose(f);
}

static void injects(uint32_t process, uint32_t thread)
{
	tgid = process;
	tid = thread;
	happens("on_irq", 1, (struct event){.what = 5, .level = 1});
	tgid = GUEST;
	tid = VCPU;
}

static void test_whose_interrupts(void **state)
{
	(void)state;
	one_port_write(0x80);
	write_stat(300, "(kvm-pit/7) S 2 0 0 0 -1 2129984 0");
	write_stat(301, "(vhost-7) S 2 0 0 0 -1 2129984 0");
	write_stat(302, "(kworker/1:2-irq) I 2 0 0 0 -1 69238880 0");
	write_stat(303, "(kvm-pit/7) S 1 303 303 0 -1 4194304 0"); /* somebody's joke */
	injects(GUEST, 12);
	injects(300, 300);
	injects(301, 301);
	injects(302, 302);
	injects(302, 302);
	injects(303, 303);
	injects(0, 0);
	show(GUEST);
	assert_int_equal(count_of(EXITS_IRQ, "irq:gsi_5:level_1"), 3);
	assert_int_equal(shown.kernel_irqs, 3);
	show(303);
	assert_int_equal(count_of(EXITS_IRQ, "irq:gsi_5:level_1"), 1);
}

static void test_only_counted(void **state)
{
	(void)state;
	happens("event_005", 1, (struct event){0});
	happens("event_005", 1, (struct event){0});
	show(GUEST);
	assert_int_equal(event_count("kvm_fpu"), 2);
}

static void test_no_such_program(void **state)
{
	struct exits_counting c;

	(void)state;
	assert_int_equal(exits_counting_find("on_nothing", &c), -ENOENT);
	assert_int_equal(exits_counting_find("event_200", &c), -ENOENT);
	assert_int_equal(exits_counting_find("event_", &c), -ENOENT);
}

/* A field that does not lie in the event reads as 0. */
static void test_short_event(void **state)
{
	struct exits_counting pio;
	uint32_t bytes = 0;
	struct trace_sample s = {
		.time = 1, .pid = GUEST, .tid = VCPU, .size = sizeof(bytes), .raw = &bytes};

	(void)state;
	assert_int_equal(exits_counting_find("on_pio", &pio), 0);
	exits_tables_count(&t, &pio, &s);
	show(GUEST);
	assert_int_equal(count_of(EXITS_PIO, "0x0000:R"), 1);
}

static int make_proc(void **state)
{
	(void)state;
	return mkdtemp(proc) ? 0 : -1;
}

static int remove_proc(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", proc);
	return system(command);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_from_exit_to_entry),
		TEST(test_accesses_of_an_unfinished_exit),
		TEST(test_number_is_used_again),
		TEST(test_sleep_and_waiting),
		TEST(test_reset_before_its_number_is_used_again),
		TEST(test_nobody_takes_all_rows),
		TEST(test_others_are_forgotten),
		TEST(test_whose_interrupts),
		TEST(test_only_counted),
		TEST(test_no_such_program),
		TEST(test_short_event),
	};

	return cmocka_run_group_tests(tests, make_proc, remove_proc);
}
