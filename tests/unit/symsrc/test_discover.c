/* Discovery on made-up /proc trees whose processes are real children, so that their pids and
 * their ends are real; and once on a real QEMU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/io.h"
#include "symsrc/base/log.h"
#include "symsrc/discover.h"
#include "tests/unit/lib/fakeproc.h"
#include "tests/unit/lib/fakeqmp.h"
#include "tests/unit/lib/wait.h"

#define QEMU	     "/usr/bin/qemu-system-x86_64"
#define CHILDREN_MAX 64
#define VM_FD	     13

struct fixture {
	struct fakeproc f;
	struct guests *gs;
	struct discover *d;
	int wake;
	pid_t children[CHILDREN_MAX];
	size_t child_count;
};

static void no_log(enum log_level level, const char *line)
{
	if (getenv("VERBOSE"))
		fprintf(stderr, "%d %s\n", level, line);
}

static int set_up(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	fakeproc_init(&x->f);
	x->gs = guests_create();
	x->wake = io_wake_create();
	*state = x;
	return guests_subscribe(x->gs, x->wake);
}

static void end_child(struct fixture *x, pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (size_t i = 0; i < x->child_count; i++) {
		if (x->children[i] == pid)
			x->children[i] = x->children[--x->child_count];
	}
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	if (x->d)
		discover_stop(x->d);
	discover_destroy(x->d);
	while (x->child_count > 0)
		end_child(x, x->children[0]);
	guests_unsubscribe(x->gs, x->wake);
	guests_destroy(x->gs);
	close(x->wake);
	fakeproc_deinit(&x->f);
	free(x);
	return 0;
}

static pid_t add_child(struct fixture *x, pid_t pid)
{
	assert_true(pid > 0);
	assert_true(x->child_count < CHILDREN_MAX);
	x->children[x->child_count++] = pid;
	return pid;
}

static void wait_for_the_end(void)
{
	for (;;)
		pause();
}

static pid_t make_child(struct fixture *x)
{
	pid_t pid = fork();

	if (pid == 0)
		wait_for_the_end();
	return add_child(x, pid);
}

static void start_with(struct fixture *x, const pid_t *only, size_t n, unsigned tick_ms)
{
	struct discover_config config = {.proc_root = x->f.proc,
					 .debugfs_root = x->f.debug,
					 .only = only,
					 .only_count = n,
					 .tick_ms = tick_ms};

	assert_int_equal(discover_create(&config, x->gs, &x->d, NULL), 0);
	assert_int_equal(discover_start(x->d, NULL), 0);
}

static void start(struct fixture *x)
{
	start_with(x, NULL, 0, 0);
}

/* Fast ticks, for tests that do not measure time. */
static void start_fast(struct fixture *x)
{
	start_with(x, NULL, 0, 20);
}

/* -- looking at what is published --------------------------------------------------------- */

struct seen {
	size_t count; /* guests in all */
	bool found;
	struct guest guest; /* a copy; its pointers are not to be used */
	struct guest_vcpu vcpus[4];
	uint32_t epoch;
	char reason[48];
	uint64_t generation;
};

static struct seen look_at(struct fixture *x, pid_t pid)
{
	const struct guest_set *set = guests_acquire(x->gs);
	const struct guest_entry *e = guest_set_find_pid(set, pid);
	struct seen s = {.count = set->count, .found = e != NULL, .generation = set->generation};

	if (e) {
		memcpy((void *)&s.guest, (const void *)e->guest, sizeof(s.guest));
		for (size_t i = 0; i < 4 && i < e->guest->vcpu_count; i++)
			s.vcpus[i] = e->guest->vcpus[i];
		s.epoch = e->epoch;
		snprintf(s.reason, sizeof(s.reason), "%s", e->epoch_reason);
	}
	guest_set_put(set);
	return s;
}

typedef bool condition_fn(const struct seen *s);

static bool is_found(const struct seen *s)
{
	return s->found;
}

static uint64_t ticks_of(struct fixture *x)
{
	struct discover_stats stats;

	discover_stats(x->d, &stats);
	return stats.ticks;
}

/* So many whole ticks. The one that is counted now has begun; it may not have ended. */
static void let_pass(struct fixture *x, unsigned ticks)
{
	uint64_t until = ticks_of(x) + ticks + 1;

	wait_until(ticks_of(x) >= until);
}

static bool is_gone(const struct seen *s)
{
	return !s->found;
}

static bool has_two_vcpus(const struct seen *s)
{
	return s->found && s->guest.vcpu_count == 2;
}

static bool has_state(const struct seen *s)
{
	return s->found && s->guest.state[0];
}

static bool has_no_monitor(const struct seen *s)
{
	return s->found && !s->guest.links.qmp_path[0];
}

static bool is_second_epoch(const struct seen *s)
{
	return s->epoch == 2;
}

/* How long it took, in ms. */
static uint64_t wait_for(struct fixture *x, pid_t pid, condition_fn *is_true, struct seen *ret)
{
	uint64_t begin = clock_now_ns();

	wait_until((*ret = look_at(x, pid), is_true(ret)));
	return (clock_now_ns() - begin) / NSEC_PER_MSEC;
}

/* Not within so many ticks. */
static void never(struct fixture *x, pid_t pid, condition_fn *is_true, unsigned ticks)
{
	uint64_t until = ticks_of(x) + ticks + 1;
	uint64_t now;
	struct seen s;

	do {
		usleep(5000);
		now = ticks_of(x);
		s = look_at(x, pid);
		assert_false(is_true(&s));
	} while (now < until);
}

/* -- guests ------------------------------------------------------------------------------- */

static pid_t make_kvm_guest_at(struct fixture *x, pid_t pid, const char *options)
{
	char cmdline[512];

	snprintf(cmdline, sizeof(cmdline), "qemu-system-x86_64 -accel kvm %s", options);
	fakeproc_vm(&x->f, pid, VM_FD);
	fakeproc_vcpu(&x->f, pid, VM_FD, 0, pid, -5000000000);
	fakeproc_process(&x->f, pid, QEMU, cmdline);
	fakeproc_link(&x->f, pid, "fd/13", "anon_inode:kvm-vm");
	return pid;
}

static pid_t make_kvm_guest(struct fixture *x, const char *options)
{
	return make_kvm_guest_at(x, make_child(x), options);
}

static void test_is_there_at_the_start(void **state)
{
	struct fixture *x = *state;
	pid_t pid =
		make_kvm_guest(x, "-name web -m 512 -uuid 6f5e3a94-1111-2222-3333-0123456789ab "
				  "-device vhost-vsock-pci,guest-cid=7 "
				  "-chardev socket,id=a,path=/run/a.sock,server=on "
				  "-chardev socket,id=p,path=/run/p.sock,server=on "
				  "-device virtserialport,chardev=a,name=org.qemu.guest_agent.0 "
				  "-device virtserialport,chardev=p,name=org.kvmprofs.0 "
				  "-netdev user,id=n,hostfwd=tcp::2222-:22");
	struct seen s;

	start(x);
	wait_for(x, pid, is_found, &s);
	assert_int_equal(s.count, 1);
	assert_string_equal(s.guest.name, "web");
	assert_string_equal(s.guest.uuid, "6f5e3a94-1111-2222-3333-0123456789ab");
	assert_string_equal(s.guest.vmm, "qemu-system-x86_64");
	assert_string_equal(s.guest.state, "");
	assert_int_equal(s.guest.accel, GUEST_ACCEL_KVM);
	assert_int_equal(s.guest.memory_bytes, 512 << 20);
	assert_int_equal(s.guest.start, 1000 + pid);
	assert_int_equal(s.guest.vcpu_count, 1);
	assert_int_equal(s.vcpus[0].tid, pid);
	assert_string_equal(s.guest.links.ssh_host, "127.0.0.1");
	assert_int_equal(s.guest.links.ssh_port, 2222);
	assert_int_equal(s.guest.links.vsock_cid, 7);
	assert_string_equal(s.guest.links.agent_path, "/run/a.sock");
	assert_string_equal(s.guest.links.port_path, "/run/p.sock");
	assert_int_equal(s.epoch, 1);
}

static bool comes_and_goes_within_a_second(struct fixture *x)
{
	pid_t pid = make_kvm_guest(x, "-name late");
	uint64_t came_ms;
	uint64_t went_ms;
	struct seen s;

	came_ms = wait_for(x, pid, is_found, &s);
	/* Killed, and nobody reaps it. */
	kill(pid, SIGKILL);
	went_ms = wait_for(x, pid, is_gone, &s);
	never(x, pid, is_found, 2);
	return came_ms < 1000 && went_ms < 1000;
}

static void test_comes_and_goes_within_a_second(void **state)
{
	struct fixture *x = *state;

	start(x);
	let_pass(x, 1);
	try_until(comes_and_goes_within_a_second(x));
}

/* New processes are told by the last pid; here one execs QEMU a while later. */
static bool tcg_guest_is_found_within_a_second(struct fixture *x, pid_t pid)
{
	uint64_t took_ms;
	struct seen s;

	fakeproc_process(&x->f, pid, "/bin/sh", "sh start-vm");
	fakeproc_last_pid(&x->f, pid);
	let_pass(x, 2);
	fakeproc_process(&x->f, pid, QEMU, "qemu-system-x86_64 -accel tcg");
	fakeproc_stat(&x->f, pid, 1, 2, 99);
	never(x, pid, is_found, 1);
	fakeproc_task(&x->f, pid, pid, "CPU 0/TCG");
	fakeproc_stat(&x->f, pid, 1, 3, 99);
	took_ms = wait_for(x, pid, is_found, &s);
	assert_int_equal(s.guest.accel, GUEST_ACCEL_TCG);
	assert_string_equal(s.guest.name, "qemu-system-x86_64");
	assert_int_equal(s.vcpus[0].tid, pid);
	return took_ms < 1000;
}

static void test_tcg_guest_by_last_pid(void **state)
{
	struct fixture *x = *state;
	pid_t pid = make_child(x);

	fakeproc_last_pid(&x->f, pid - 1);
	start(x);
	let_pass(x, 1);
	try_until(tcg_guest_is_found_within_a_second(x, pid) || (pid = make_child(x), false));
}

/* An old process that becomes a VMM: no new pid tells of it. */
/* The one of them at the next tick, the other by looking at all processes, which is done as often
 * as the machine can take it. */
static bool old_processes_become_guests(struct fixture *x, pid_t tcg, pid_t kvm)
{
	uint64_t kvm_ms;
	struct seen s;

	fakeproc_process(&x->f, tcg, QEMU, "qemu-system-x86_64 -name t");
	fakeproc_stat(&x->f, tcg, 1, 3, 1);
	fakeproc_link(&x->f, kvm, "fd/13", "anon_inode:kvm-vm");
	fakeproc_vm(&x->f, kvm, VM_FD);
	kvm_ms = wait_for(x, kvm, is_found, &s);
	assert_string_equal(s.guest.name, "fc");
	wait_for(x, tcg, is_found, &s);
	assert_string_equal(s.guest.name, "t");
	return kvm_ms < 1000;
}

static void test_old_process_becomes_a_guest(void **state)
{
	struct fixture *x = *state;
	pid_t tcg[TRIES];
	pid_t kvm[TRIES];
	int i = 0;

	for (; i < TRIES; i++) {
		tcg[i] = make_child(x);
		kvm[i] = make_child(x);
		fakeproc_process(&x->f, tcg[i], "/bin/sh", "sh");
		fakeproc_process(&x->f, kvm[i], "/usr/bin/firecracker", "firecracker --id fc");
		fakeproc_last_pid(&x->f, kvm[i]);
	}
	start(x);
	usleep(5700000); /* so long that nobody takes them for new */
	try_until(--i >= 0 && old_processes_become_guests(x, tcg[i], kvm[i]));
}

static void test_no_debugfs(void **state)
{
	struct fixture *x = *state;
	struct seen s;
	pid_t pid;

	strcat(x->f.debug, "/none");
	start(x);
	pid = make_child(x);
	fakeproc_process(&x->f, pid, "/usr/bin/firecracker", "firecracker --id fc");
	fakeproc_link(&x->f, pid, "fd/13", "anon_inode:kvm-vm");
	wait_for(x, pid, is_found, &s);
	assert_int_equal(s.guest.accel, GUEST_ACCEL_KVM);
	/* Its VM is closed; the process lives on. */
	fakeproc_unlink(&x->f, pid, "fd/13");
	wait_for(x, pid, is_gone, &s);
}

static void test_vm_is_closed(void **state)
{
	struct fixture *x = *state;
	pid_t pid = make_kvm_guest(x, "-name x");
	uint64_t serial;
	struct seen s;

	start_fast(x);
	wait_for(x, pid, is_found, &s);
	serial = s.guest.serial;
	fakeproc_unlink(&x->f, pid, "fd/13");
	fakeproc_remove_vm(&x->f, pid, VM_FD);
	wait_for(x, pid, is_gone, &s);
	/* The next one in the same process is another guest. */
	fakeproc_link(&x->f, pid, "fd/14", "anon_inode:kvm-vm");
	fakeproc_vm(&x->f, pid, 14);
	wait_for(x, pid, is_found, &s);
	assert_true(s.guest.serial != serial);
}

static pid_t make_child_with_pid(struct fixture *x, pid_t wanted)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&wanted, .set_tid_size = 1};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		wait_for_the_end();
	return pid < 0 ? -errno : add_child(x, (pid_t)pid);
}

static void test_reused_pid_is_a_new_guest(void **state)
{
	struct fixture *x = *state;
	pid_t pid = make_kvm_guest(x, "-name first");
	struct seen first;
	struct seen s;
	pid_t again;

	start_fast(x);
	wait_for(x, pid, is_found, &first);
	assert_int_equal(guests_new_epoch(x->gs, first.guest.serial, 1, "test"), 0);
	fakeproc_remove(&x->f, pid);
	fakeproc_remove_vm(&x->f, pid, VM_FD);
	end_child(x, pid);
	again = make_child_with_pid(x, pid);
	if (again == -EPERM || again == -EINVAL || again == -ENOSYS || again == -EEXIST) {
		print_message("skipped: clone3() cannot choose the pid here: %s\n",
			      strerrordesc_np(-again));
		skip();
	}
	assert_int_equal(again, pid);
	make_kvm_guest_at(x, pid, "-name second");
	fakeproc_stat(&x->f, pid, 1, 5, 777777);
	wait_until(look_at(x, pid).guest.serial != first.guest.serial);
	wait_for(x, pid, is_found, &s);
	assert_true(s.guest.serial != first.guest.serial);
	assert_string_equal(s.guest.name, "second");
	assert_int_equal(s.epoch, 1);
}

static void test_no_guests(void **state)
{
	struct fixture *x = *state;
	pid_t helper = make_child(x);
	pid_t none = make_child(x);
	pid_t pid = make_kvm_guest(x, "-name real");
	struct seen s;

	fakeproc_process(&x->f, helper, QEMU, "qemu-system-x86_64 -accel kvm -name real");
	fakeproc_link(&x->f, helper, "fd/13", "anon_inode:kvm-vm");
	fakeproc_stat(&x->f, helper, pid, 1, 5);
	make_kvm_guest_at(x, none, "-machine none");
	start_fast(x);
	wait_for(x, pid, is_found, &s);
	never(x, helper, is_found, 40);
	assert_int_equal(look_at(x, none).count, 1);
}

static void test_only(void **state)
{
	struct fixture *x = *state;
	pid_t other = make_kvm_guest(x, "-name other");
	pid_t wanted = make_child(x);
	struct seen s;

	start_with(x, &wanted, 1, 20);
	let_pass(x, 2);
	make_kvm_guest_at(x, wanted, "-name wanted");
	wait_for(x, wanted, is_found, &s);
	never(x, other, is_found, 40);
	assert_int_equal(look_at(x, wanted).count, 1);
}

static bool nothing_is_published(struct fixture *x, unsigned ticks)
{
	uint64_t generation = guests_generation(x->gs);

	let_pass(x, ticks);
	return guests_generation(x->gs) == generation;
}

static void test_nothing_new_nothing_published(void **state)
{
	struct fixture *x = *state;
	pid_t pid = make_kvm_guest(x, "-name x");
	struct discover_stats stats;
	struct seen s;

	start_fast(x);
	wait_for(x, pid, is_found, &s);
	wait_until(nothing_is_published(x, 10));
	assert_true(nothing_is_published(x, 60));
	discover_stats(x->d, &stats);
	assert_true(stats.ticks > 20);
	assert_int_equal(stats.publications, guests_generation(x->gs));
	assert_true(stats.cpu_ns > 0);
}

static void test_vcpu_hotplug(void **state)
{
	struct fixture *x = *state;
	pid_t pid = make_kvm_guest(x, "-name x");
	pid_t tid = make_child(x);
	uint64_t generation;
	struct seen s;

	start_fast(x);
	wait_for(x, pid, is_found, &s);
	assert_int_equal(s.guest.vcpu_count, 1);
	/* It has not run yet; then it has. */
	fakeproc_vcpu(&x->f, pid, VM_FD, 1, 0, -5000000000);
	wait_until(nothing_is_published(x, 10));
	generation = guests_generation(x->gs);
	never(x, pid, has_two_vcpus, 40);
	assert_int_equal(guests_generation(x->gs), generation);
	fakeproc_vcpu(&x->f, pid, VM_FD, 1, tid, -5000000000);
	wait_for(x, pid, has_two_vcpus, &s);
	assert_int_equal(s.vcpus[1].tid, tid);
}

static void test_reset_moves_the_tsc(void **state)
{
	struct fixture *x = *state;
	pid_t pid = make_kvm_guest(x, "-name x");
	struct seen s;

	fakeproc_vcpu(&x->f, pid, VM_FD, 0, 0, -5000000000);
	start_fast(x);
	wait_for(x, pid, is_found, &s);
	let_pass(x, 2);
	/* The first reset, before it runs. */
	fakeproc_vcpu(&x->f, pid, VM_FD, 0, 0, -7000000000);
	let_pass(x, 1);
	fakeproc_vcpu(&x->f, pid, VM_FD, 0, pid, -7000000000);
	never(x, pid, is_second_epoch, 40);
	/* The guest's own adjustments are small. */
	fakeproc_vcpu(&x->f, pid, VM_FD, 0, pid, -7000010000);
	never(x, pid, is_second_epoch, 40);
	fakeproc_vcpu(&x->f, pid, VM_FD, 0, pid, -9000000000);
	wait_for(x, pid, is_second_epoch, &s);
	assert_string_equal(s.reason, "TSC was reset");
	let_pass(x, 20);
	assert_int_equal(look_at(x, pid).epoch, 2);
}

static void test_reset_that_another_noticed_first(void **state)
{
	struct fixture *x = *state;
	pid_t pid = make_kvm_guest(x, "-name x");
	struct seen s;

	start(x);
	wait_for(x, pid, is_found, &s);
	let_pass(x, 2);
	/* Both between two ticks. */
	fakeproc_vcpu(&x->f, pid, VM_FD, 0, pid, -9000000000);
	guests_new_epoch(x->gs, s.guest.serial, 1, "QMP RESET");
	let_pass(x, 2);
	assert_int_equal(look_at(x, pid).epoch, 2);
}

/* -- QMP ---------------------------------------------------------------------------------- */

struct script {
	pid_t tids[2];
	const char *status;
};

static char *answer(void *ctx, const char *command, const char *line)
{
	const struct script *script = ctx;
	char *text = NULL;

	(void)line;
	if (strcmp(command, "query-name") == 0)
		return strdup("{\"name\": \"from-qmp\"}");
	if (strcmp(command, "query-uuid") == 0)
		return strdup("{\"UUID\": \"C7A5FDBD-EDAF-9455-926A-D65C16DB1809\"}");
	if (strcmp(command, "query-memory-size-summary") == 0)
		return strdup("{\"base-memory\": 1073741824, \"plugged-memory\": 268435456}");
	if (strcmp(command, "query-status") == 0 &&
	    asprintf(&text, "{\"status\": \"%s\", \"running\": true}", script->status) < 0)
		abort();
	if (strcmp(command, "query-cpus-fast") == 0 &&
	    asprintf(&text,
		     "[{\"cpu-index\": 1, \"thread-id\": %d}, {\"cpu-index\": 0, \"thread-id\": "
		     "%d}]",
		     (int)script->tids[1], (int)script->tids[0]) < 0)
		abort();
	return text;
}

/* A TCG guest with two threads for its vCPUs, whose names do not tell that. */
static pid_t make_tcg_guest(struct fixture *x, const char *options, struct script *script)
{
	char cmdline[1024];
	pid_t pid = make_child(x);

	*script = (struct script){{pid, make_child(x)}, "running"};
	snprintf(cmdline, sizeof(cmdline), "qemu-system-x86_64 %s", options);
	fakeproc_process(&x->f, pid, QEMU, cmdline);
	fakeproc_task(&x->f, pid, script->tids[1], "qemu-system-x86");
	fakeproc_stat(&x->f, pid, 1, 4, 1);
	return pid;
}

static void socket_path(struct fixture *x, const char *name, char *path)
{
	snprintf(path, 128, "%s/%s", x->f.root, name);
}

/* The same with a monitor, at this path. */
static pid_t make_monitored(struct fixture *x, const char *options, struct script *script,
			    char path[static 128])
{
	char all[300];

	socket_path(x, "q", path);
	snprintf(all, sizeof(all), "%s -qmp unix:%s,server=on,wait=off", options, path);
	return make_tcg_guest(x, all, script);
}

static void test_qmp_fills_in(void **state)
{
	struct fixture *x = *state;
	struct script script;
	char path[128];
	struct fakeqmp *server;
	unsigned clients;
	struct seen s;
	pid_t pid;

	pid = make_monitored(x, "", &script, path);
	server = fakeqmp_start(path, FAKEQMP_TORN, answer, &script);
	start(x);
	wait_for(x, pid, has_state, &s);
	assert_string_equal(s.guest.state, "running");
	assert_string_equal(s.guest.name, "from-qmp");
	assert_string_equal(s.guest.uuid, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
	assert_int_equal(s.guest.memory_bytes, 1280LL << 20);
	assert_string_equal(s.guest.links.qmp_path, path);
	assert_int_equal(s.guest.vcpu_count, 2);
	assert_int_equal(s.vcpus[0].tid, script.tids[0]);
	assert_int_equal(s.vcpus[1].tid, script.tids[1]);
	/* Then it hangs up, and does not come back soon. */
	clients = fakeqmp_clients(server);
	let_pass(x, 2);
	assert_int_equal(fakeqmp_clients(server), clients);
	fakeqmp_stop(server);
}

static void test_qmp_reset_event(void **state)
{
	struct fixture *x = *state;
	struct script script;
	char path[128];
	struct fakeqmp *server;
	struct seen s;
	pid_t pid;

	pid = make_monitored(x, "", &script, path);
	server = fakeqmp_start(path, FAKEQMP_OK, answer, &script);
	fakeqmp_send(server, "{\"event\": \"RESET\", \"data\": {\"guest\": true}}");
	start(x);
	wait_for(x, pid, is_second_epoch, &s);
	assert_string_equal(s.reason, "QMP RESET");
	fakeqmp_stop(server);
}

static void test_qmp_of_another_vmm(void **state)
{
	struct fixture *x = *state;
	struct script script;
	struct script lie = {{1, 2}, "running"};
	char path[128];
	struct fakeqmp *server;
	struct seen s;
	pid_t pid;

	pid = make_monitored(x, "-name mine", &script, path);
	server = fakeqmp_start(path, FAKEQMP_OK, answer, &lie);
	start(x);
	wait_for(x, pid, has_no_monitor, &s);
	assert_string_equal(s.guest.name, "mine");
	assert_string_equal(s.guest.uuid, "");
	assert_int_equal(s.guest.vcpu_count, 0);
	fakeqmp_stop(server);
}

static void test_second_monitor(void **state)
{
	struct fixture *x = *state;
	struct script script;
	char paths[2][128];
	char options[600];
	struct fakeqmp *servers[2];
	struct seen s;
	pid_t pid;

	socket_path(x, "q0", paths[0]);
	socket_path(x, "q1", paths[1]);
	snprintf(options, sizeof(options), "-qmp unix:%s,server=on -qmp unix:%s,server=on",
		 paths[0], paths[1]);
	pid = make_tcg_guest(x, options, &script);
	servers[0] = fakeqmp_start(paths[0], FAKEQMP_CLOSES, answer, &script);
	servers[1] = fakeqmp_start(paths[1], FAKEQMP_OK, answer, &script);
	start(x);
	wait_for(x, pid, has_state, &s);
	assert_string_equal(s.guest.links.qmp_path, paths[1]);
	fakeqmp_stop(servers[0]);
	fakeqmp_stop(servers[1]);
}

/* Monitors that say nothing, or never stop: nobody waits for them. */
static void test_bad_monitors_delay_nothing(void **state)
{
	static const enum fakeqmp_fault faults[] = {FAKEQMP_SILENT, FAKEQMP_BUSY,   FAKEQMP_MUTE,
						    FAKEQMP_HUGE,   FAKEQMP_BINARY, FAKEQMP_FLOOD,
						    FAKEQMP_DEEP,   FAKEQMP_CLOSES};
	struct fixture *x = *state;
	struct script script[8];
	struct fakeqmp *servers[8];
	struct discover_stats stats = {0};
	char path[128];
	char options[300];
	char name[16];
	struct seen s;
	int late = 0;

	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "q%d", i);
		socket_path(x, name, path);
		snprintf(options, sizeof(options), "-qmp unix:%s,server=on", path);
		servers[i] = fakeqmp_start(path, faults[i], answer, &script[i]);
		make_tcg_guest(x, options, &script[i]);
	}
	start(x);
	let_pass(x, 1);
	try_until(++late <= TRIES &&
		  wait_for(x, make_kvm_guest(x, "-name late"), is_found, &s) < 1000);
	assert_int_equal(s.count, 8 + late);
	wait_until((discover_stats(x->d, &stats), stats.failed_sessions >= 8));
	assert_int_equal(look_at(x, s.guest.pid).count, 8 + late);
	for (int i = 0; i < 8; i++)
		fakeqmp_stop(servers[i]);
}

static void test_silent_monitor_is_given_up(void **state)
{
	struct fixture *x = *state;
	struct discover_stats stats = {0};
	struct script script;
	char path[128];
	char options[300];
	struct fakeqmp *server;

	socket_path(x, "q", path);
	snprintf(options, sizeof(options), "-qmp unix:%s,server=on", path);
	make_tcg_guest(x, options, &script);
	server = fakeqmp_start(path, FAKEQMP_SILENT, answer, &script);
	start(x);
	wait_until((discover_stats(x->d, &stats), stats.failed_sessions > 0));
	assert_true(stats.sessions <= stats.failed_sessions + 1); /* one at a time */
	fakeqmp_stop(server);
}

/* -- life --------------------------------------------------------------------------------- */

/* While a monitor is silent. */
static bool stop_is_quick(struct fixture *x, pid_t pid, struct fakeqmp *server)
{
	unsigned clients = fakeqmp_clients(server);
	uint64_t begin;
	uint64_t took;
	struct seen s;

	start(x);
	wait_for(x, pid, is_found, &s);
	wait_until(fakeqmp_clients(server) > clients);
	begin = clock_now_ns();
	discover_stop(x->d);
	took = clock_now_ns() - begin;
	assert_true(look_at(x, pid).found);
	discover_stop(x->d);
	discover_destroy(x->d);
	x->d = NULL;
	return took < 300 * NSEC_PER_MSEC;
}

static void test_stop_is_quick(void **state)
{
	struct fixture *x = *state;
	struct script script;
	char path[128];
	struct fakeqmp *server;
	pid_t pid;

	pid = make_monitored(x, "", &script, path);
	server = fakeqmp_start(path, FAKEQMP_SILENT, answer, &script);
	try_until(stop_is_quick(x, pid, server));
	fakeqmp_stop(server);
}

static void test_no_proc(void **state)
{
	struct fixture *x = *state;
	struct discover_config config = {.proc_root = "/nonesuch", .debugfs_root = "/nonesuch"};
	struct errmsg why = {0};

	assert_int_equal(discover_create(&config, x->gs, &x->d, &why), -ENOENT);
	assert_non_null(strstr(why.text, "/nonesuch"));
	assert_null(x->d);
	discover_destroy(NULL);
}

/* -- a real QEMU -------------------------------------------------------------------------- */

static pid_t start_qemu(struct fixture *x, const char *dir)
{
	char qmp[160];
	pid_t pid;

	snprintf(qmp, sizeof(qmp), "unix:%s/real.sock,server=on,wait=off", dir);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execlp("qemu-system-x86_64", "qemu-system-x86_64", "-machine", "pc", "-accel",
		       "tcg", "-nodefaults", "-display", "none", "-S", "-m", "16", "-smp", "2",
		       "-name", "real,debug-threads=on", "-uuid",
		       "6f5e3a94-1111-2222-3333-0123456789ab", "-qmp", qmp, NULL);
		_exit(127);
	}
	return add_child(x, pid);
}

static void test_real_qemu(void **state)
{
	struct fixture *x = *state;
	struct discover_config config = {.proc_root = "/proc", .debugfs_root = "/sys/kernel/debug"};
	char path[128];
	struct seen s;
	pid_t pid;

	if (access(QEMU, X_OK) < 0) {
		print_message("skipped: no %s\n", QEMU);
		skip();
	}
	assert_int_equal(discover_create(&config, x->gs, &x->d, NULL), 0);
	assert_int_equal(discover_start(x->d, NULL), 0);
	let_pass(x, 1);
	pid = start_qemu(x, x->f.root);
	/* QEMU itself takes a moment until its machine is there. */
	print_message("found after %d ms\n", (int)wait_for(x, pid, is_found, &s));
	assert_string_equal(s.guest.name, "real");
	assert_string_equal(s.guest.uuid, "6f5e3a94-1111-2222-3333-0123456789ab");
	assert_int_equal(s.guest.accel, GUEST_ACCEL_TCG);
	wait_for(x, pid, has_state, &s);
	assert_string_equal(s.guest.state, "prelaunch");
	assert_int_equal(s.guest.memory_bytes, 16 << 20);
	wait_for(x, pid, has_two_vcpus, &s);
	snprintf(path, sizeof(path), "/proc/%d/task/%d", (int)pid, (int)s.vcpus[1].tid);
	assert_int_equal(access(path, F_OK), 0);
	socket_path(x, "real.sock", path);
	assert_string_equal(s.guest.links.qmp_path, path);
	kill(pid, SIGKILL);
	wait_for(x, pid, is_gone, &s);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_is_there_at_the_start),
		TEST(test_comes_and_goes_within_a_second),
		TEST(test_tcg_guest_by_last_pid),
		TEST(test_old_process_becomes_a_guest),
		TEST(test_no_debugfs),
		TEST(test_vm_is_closed),
		TEST(test_reused_pid_is_a_new_guest),
		TEST(test_no_guests),
		TEST(test_only),
		TEST(test_nothing_new_nothing_published),
		TEST(test_vcpu_hotplug),
		TEST(test_reset_moves_the_tsc),
		TEST(test_reset_that_another_noticed_first),
		TEST(test_qmp_fills_in),
		TEST(test_qmp_reset_event),
		TEST(test_qmp_of_another_vmm),
		TEST(test_second_monitor),
		TEST(test_bad_monitors_delay_nothing),
		TEST(test_silent_monitor_is_given_up),
		TEST(test_stop_is_quick),
		TEST(test_no_proc),
		TEST(test_real_qemu),
	};

	log_set_sink(no_log);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
