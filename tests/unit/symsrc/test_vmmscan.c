/* What /proc and debugfs tell of VMMs, on made-up trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/vmmscan.h"
#include "tests/unit/lib/fakeproc.h"
#include "tests/unit/lib/fakeqmp.h"
#include "tests/unit/lib/wait.h"

#define QEMU "/usr/bin/qemu-system-x86_64"

static const struct vmm_dir no_dir;

struct fixture {
	struct fakeproc f;
	struct vmmscan s;
};

static int set_up(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	fakeproc_init(&x->f);
	*state = x;
	return vmmscan_init(&x->s, x->f.proc, x->f.debug);
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	vmmscan_deinit(&x->s);
	fakeproc_deinit(&x->f);
	free(x);
	return 0;
}

static enum vmm_kind look(struct fixture *x, pid_t pid, struct vmm_facts *facts)
{
	return vmmscan_look(&x->s, pid, no_dir, facts);
}

/* A QEMU with KVM, its VM made by one of its threads, and two vCPUs. */
static void make_kvm_guest(struct fixture *x)
{
	fakeproc_process(&x->f, 202, QEMU, "qemu-system-x86_64 -name a -accel kvm -m 384");
	fakeproc_stat(&x->f, 202, 1, 5, 4711);
	fakeproc_task(&x->f, 202, 203, "worker");
	fakeproc_task(&x->f, 202, 206, "CPU 0/KVM");
	fakeproc_task(&x->f, 202, 207, "CPU 1/KVM");
	fakeproc_link(&x->f, 202, "fd/3", "socket:[77]");
	fakeproc_link(&x->f, 202, "fd/12", "/dev/kvm");
	fakeproc_link(&x->f, 202, "fd/13", "anon_inode:kvm-vm");
	fakeproc_link(&x->f, 202, "fd/15", "anon_inode:kvm-vcpu:0");
	fakeproc_vm(&x->f, 203, 13);
	fakeproc_vcpu(&x->f, 203, 13, 1, 207, -100);
	fakeproc_vcpu(&x->f, 203, 13, 0, 206, -100);
}

static void test_kvm_guest(void **state)
{
	struct fixture *x = *state;
	struct guest_vcpu *v = NULL;
	struct vmm_facts facts;

	make_kvm_guest(x);
	assert_int_equal(look(x, 202, &facts), VMM_GUEST);
	assert_int_equal(facts.accel, GUEST_ACCEL_KVM);
	assert_int_equal(facts.stat.start, 4711);
	assert_int_equal(facts.vm_fd, 13);
	assert_int_equal(facts.dir.pid, 203); /* the thread that made it */
	assert_string_equal(facts.args.name, "a");
	assert_int_equal(vmmscan_vcpus(&x->s, 202, facts.dir, &v), 2);
	assert_int_equal(v[0].index, 0);
	assert_int_equal(v[0].tid, 206);
	assert_int_equal(v[1].tid, 207);
	free(v);
	assert_int_equal(vmmscan_dir_links(&x->s, facts.dir), 4);
}

static void test_kvm_guest_known_from_debugfs(void **state)
{
	struct fixture *x = *state;
	struct vmm_facts facts;

	make_kvm_guest(x);
	assert_int_equal(vmmscan_tgid(&x->s, 203), 202);
	assert_int_equal(vmmscan_look(&x->s, 202, (struct vmm_dir){203, 13}, &facts), VMM_GUEST);
	assert_int_equal(facts.dir.pid, 203);
	/* What debugfs said may be over: another file has the number now. */
	fakeproc_link(&x->f, 202, "fd/13", "socket:[1]");
	assert_int_equal(vmmscan_look(&x->s, 202, (struct vmm_dir){203, 13}, &facts), VMM_SUSPECT);
}

static void test_without_debugfs(void **state)
{
	struct fixture *x = *state;
	struct guest_vcpu *v = NULL;
	struct vmm_facts facts;
	int64_t tsc;

	make_kvm_guest(x);
	fakeproc_remove_vm(&x->f, 203, 13);
	assert_int_equal(look(x, 202, &facts), VMM_GUEST);
	assert_int_equal(facts.vm_fd, 13);
	assert_int_equal(facts.dir.pid, 0);
	assert_int_equal(vmmscan_vcpus(&x->s, 202, facts.dir, &v), 2);
	assert_int_equal(v[0].tid, 206);
	assert_int_equal(v[1].tid, 207);
	free(v);
	assert_int_equal(vmmscan_dir_links(&x->s, facts.dir), 0);
	assert_int_equal(vmmscan_tsc_offset(&x->s, facts.dir, &tsc), -ENOENT);
}

static void test_vcpu_that_has_not_run(void **state)
{
	struct fixture *x = *state;
	struct guest_vcpu *v = NULL;

	make_kvm_guest(x);
	fakeproc_vcpu(&x->f, 203, 13, 1, 0, 0);
	assert_int_equal(vmmscan_vcpus(&x->s, 202, (struct vmm_dir){203, 13}, &v), 1);
	assert_int_equal(v[0].index, 0);
	free(v);
}

static void test_names_of_vcpu_threads(void **state)
{
	static const char *const comms[] = {"CPU 0/TCG",    "fc_vcpu 1",    "vcpu2",
					    "crosvm_vcpu3", "kvm-vcpu-4",   "vcpux",
					    "CPU /KVM",	    "vcpu-manager", "kvm-nx-lpage-re"};
	struct fixture *x = *state;
	struct guest_vcpu *v = NULL;

	fakeproc_process(&x->f, 300, "/usr/bin/vmm", "vmm");
	for (int i = 0; i < 9; i++)
		fakeproc_task(&x->f, 300, 310 + i, comms[i]);
	assert_int_equal(vmmscan_vcpus(&x->s, 300, no_dir, &v), 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(v[i].index, i);
		assert_int_equal(v[i].tid, 310 + i);
	}
	free(v);
	assert_int_equal(vmmscan_vcpus(&x->s, 999, no_dir, &v), 0);
	assert_null(v);
}

static void test_one_thread_for_all(void **state)
{
	struct fixture *x = *state;
	struct guest_vcpu *v = NULL;

	fakeproc_process(&x->f, 300, QEMU, "q");
	fakeproc_task(&x->f, 300, 301, "ALL CPUs/TCG");
	assert_int_equal(vmmscan_vcpus(&x->s, 300, no_dir, &v), 1);
	assert_int_equal(v[0].tid, 301);
	free(v);
}

static void test_other_vmm(void **state)
{
	struct fixture *x = *state;
	struct vmm_facts facts;

	fakeproc_process(&x->f, 9, "/usr/bin/firecracker", "/firecracker --id web --api-sock /a");
	fakeproc_link(&x->f, 9, "fd/20", "/dev/kvm");
	assert_int_equal(look(x, 9, &facts), VMM_NONE); /* its VM comes later */
	fakeproc_link(&x->f, 9, "fd/21", "anon_inode:kvm-vm");
	assert_int_equal(look(x, 9, &facts), VMM_GUEST);
	assert_string_equal(facts.args.name, "web");
	assert_int_equal(facts.accel, GUEST_ACCEL_KVM);
}

static void test_tcg_guest(void **state)
{
	struct fixture *x = *state;
	struct vmm_facts facts;

	fakeproc_process(&x->f, 50, QEMU, "qemu-system-x86_64 -name t -accel tcg");
	fakeproc_stat(&x->f, 50, 1, 2, 1);
	/* The parent of -daemonize, or a machine that is not there yet. */
	assert_int_equal(look(x, 50, &facts), VMM_SUSPECT);
	fakeproc_stat(&x->f, 50, 1, 3, 1);
	assert_int_equal(look(x, 50, &facts), VMM_GUEST);
	assert_int_equal(facts.accel, GUEST_ACCEL_TCG);
	assert_int_equal(facts.vm_fd, -1);
}

static void test_no_guests(void **state)
{
	static const struct {
		const char *exe, *cmdline;
		enum vmm_kind kind;
	} cases[] = {
		{"/usr/bin/qemu-img", "qemu-img convert a b", VMM_NONE},
		{"/usr/bin/qemu-x86_64", "qemu-x86_64 prog", VMM_NONE},
		{"/bin/sleep", "sleep 1", VMM_NONE},
		{QEMU, "q -S -machine none,accel=kvm:tcg -nodefaults", VMM_NONE},
		{QEMU, "q -device help", VMM_NONE},
		{QEMU, "q -accel qtest", VMM_SUSPECT},
		{QEMU, "q -enable-kvm", VMM_SUSPECT},
	};
	struct fixture *x = *state;
	struct vmm_facts facts;

	for (int i = 0; i < (int)(sizeof(cases) / sizeof(cases[0])); i++) {
		fakeproc_process(&x->f, 60 + i, cases[i].exe, cases[i].cmdline);
		fakeproc_stat(&x->f, 60 + i, 1, 7, 1);
		assert_int_equal(look(x, 60 + i, &facts), cases[i].kind);
	}
	/* Also when it holds a VM, as libvirt's probes do. */
	fakeproc_link(&x->f, 63, "fd/9", "anon_inode:kvm-vm");
	assert_int_equal(look(x, 63, &facts), VMM_NONE);
	assert_int_equal(look(x, 999, &facts), VMM_NONE);
}

static void test_zombie(void **state)
{
	struct fixture *x = *state;
	struct vmm_facts facts;

	make_kvm_guest(x);
	fakeproc_file(&x->f, 202, "stat",
		      "202 (q) Z 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2 3\n");
	assert_int_equal(look(x, 202, &facts), VMM_NONE);
}

static void test_forked_helper(void **state)
{
	struct fixture *x = *state;
	struct vmm_facts facts;

	make_kvm_guest(x);
	fakeproc_process(&x->f, 220, QEMU, "qemu-system-x86_64 -name a -accel kvm -m 384");
	fakeproc_stat(&x->f, 220, 202, 1, 5000);
	fakeproc_link(&x->f, 220, "fd/13", "anon_inode:kvm-vm");
	assert_int_equal(look(x, 220, &facts), VMM_NONE);
	/* One that made a VM of its own is no helper. */
	fakeproc_vm(&x->f, 220, 13);
	assert_int_equal(look(x, 220, &facts), VMM_GUEST);
	assert_int_equal(look(x, 202, &facts), VMM_GUEST);
}

static void test_child_of_another_program(void **state)
{
	struct fixture *x = *state;
	struct vmm_facts facts;

	make_kvm_guest(x);
	fakeproc_process(&x->f, 100, "/usr/bin/manager", "manager");
	fakeproc_link(&x->f, 100, "fd/3", "anon_inode:kvm-vm");
	fakeproc_stat(&x->f, 202, 100, 5, 1);
	fakeproc_remove_vm(&x->f, 203, 13);
	assert_int_equal(look(x, 202, &facts), VMM_GUEST);
}

static void socket_path(struct fixture *x, const char *path, int fd, const char *expected)
{
	struct vmm_socket sock = {.fd = fd};
	char got[GUEST_PATH_MAX] = "";

	snprintf(sock.path, sizeof(sock.path), "%s", path);
	assert_int_equal(vmmscan_socket_path(&x->s, 202, &sock, got, sizeof(got)),
			 expected != NULL);
	assert_string_equal(got, expected ? expected : got);
}

static void test_socket_paths(void **state)
{
	struct fixture *x = *state;
	struct fakeqmp *server;
	char path[256];
	char environ[300];

	make_kvm_guest(x);
	socket_path(x, "/run/q.sock", -1, "/run/q.sock");
	socket_path(x, "", -1, NULL);
	snprintf(path, sizeof(path), "%s/q.sock", x->f.root);
	socket_path(x, "q.sock", -1, NULL);
	fakeproc_link(&x->f, 202, "cwd", x->f.root);
	socket_path(x, "q.sock", -1, NULL); /* nothing there */
	server = fakeqmp_start(path, FAKEQMP_SILENT, NULL, NULL);
	socket_path(x, "q.sock", -1, path);
	/* -daemonize has moved it to "/". */
	fakeproc_link(&x->f, 202, "cwd", "/");
	socket_path(x, "q.sock", -1, NULL);
	snprintf(environ, sizeof(environ), "PWD=%s", x->f.root);
	fakeproc_file(&x->f, 202, "environ", environ);
	socket_path(x, "q.sock", -1, path);
	fakeqmp_stop(server);
}

/* What was on the stack is no part of the next call's variables. */
static __attribute__((noinline)) void leave_traces(void)
{
	volatile char traces[16384];

	for (size_t i = 0; i < sizeof(traces); i++)
		traces[i] = 0x5a;
}

static void test_passed_socket(void **state)
{
	struct fixture *x = *state;

	make_kvm_guest(x);
	fakeproc_link(&x->f, 202, "fd/23", "socket:[12345]");
	fakeproc_link(&x->f, 202, "fd/24", "socket:[999]");
	fakeproc_file(&x->f, 202, "net/unix",
		      "Num       RefCount Protocol Flags    Type St Inode Path\n"
		      "0000000000000000: 00000002 00000000 00010000 0001 01 12346 /run/other.sock\n"
		      "0000000000000000: 00000003 00000000 00000000 0001 03 12345\n"
		      "0000000000000000: 00000002 00000000 00010000 0001 01 12345 "
		      "/var/lib/libvirt/qemu/domain-1-a b/monitor.sock\n"
		      "0000000000000000: 00000002 00000000 00010000 0001 01 999 @abstract\n");
	socket_path(x, "", 23, "/var/lib/libvirt/qemu/domain-1-a b/monitor.sock");
	socket_path(x, "", 24, NULL);
	socket_path(x, "", 13, NULL);
	leave_traces();
	socket_path(x, "", 99, NULL); /* not to be seen: without CAP_SYS_PTRACE none is */
}

static pid_t host_tid(const struct fixture *x, pid_t tid)
{
	struct guest_vcpu v = {0, tid};

	return vmmscan_host_tids(&x->s, 202, &v, 1) ? v.tid : 0;
}

static void test_other_namespaces(void **state)
{
	struct fixture *x = *state;
	char expected[256];

	make_kvm_guest(x);
	assert_true(vmmscan_shares_network(&x->s, 202));
	snprintf(x->s.mnt_ns, sizeof(x->s.mnt_ns), "mnt:[1]");
	snprintf(x->s.net_ns, sizeof(x->s.net_ns), "net:[1]");
	snprintf(x->s.pid_ns, sizeof(x->s.pid_ns), "pid:[1]");
	fakeproc_file(&x->f, 202, "ns/x", "");
	fakeproc_link(&x->f, 202, "ns/mnt", "mnt:[1]");
	fakeproc_link(&x->f, 202, "ns/net", "net:[1]");
	fakeproc_link(&x->f, 202, "ns/pid", "pid:[1]");
	socket_path(x, "/run/q.sock", -1, "/run/q.sock");
	assert_true(vmmscan_shares_network(&x->s, 202));
	assert_int_equal(host_tid(x, 206), 206);
	assert_int_equal(host_tid(x, 7), 0);
	assert_int_equal(host_tid(x, -1), 0);
	fakeproc_link(&x->f, 202, "ns/mnt", "mnt:[2]");
	fakeproc_link(&x->f, 202, "ns/net", "net:[2]");
	fakeproc_link(&x->f, 202, "ns/pid", "pid:[2]");
	snprintf(expected, sizeof(expected), "%s/202/root/run/q.sock", x->f.proc);
	socket_path(x, "/run/q.sock", -1, expected);
	assert_false(vmmscan_shares_network(&x->s, 202));
	fakeproc_file(&x->f, 202, "task/206/status",
		      "Name:\tNSpid:\\n7\nTgid:\t202\nNSpid:\t206\t7\n");
	assert_int_equal(host_tid(x, 7), 206);
	assert_int_equal(host_tid(x, 8), 0);
}

/* As many vCPUs as a VMM may claim, of which it has two, in one thread: quick all the same. */
static void test_claimed_vcpus(void **state)
{
	struct fixture *x = *state;
	struct guest_vcpu v[GUEST_VCPUS_MAX];
	uint64_t before;

	make_kvm_guest(x);
	snprintf(x->s.pid_ns, sizeof(x->s.pid_ns), "pid:[1]");
	fakeproc_file(&x->f, 202, "ns/x", "");
	fakeproc_link(&x->f, 202, "ns/pid", "pid:[2]");
	for (pid_t tid = 300; tid < 500; tid++)
		fakeproc_task(&x->f, 202, tid, "worker");
	fakeproc_file(&x->f, 202, "task/206/status", "Name:\tq\nTgid:\t202\nNSpid:\t206\t7\n");
	for (unsigned i = 0; i < GUEST_VCPUS_MAX; i++)
		v[i] = (struct guest_vcpu){i, (pid_t)(100000 - i)};
	v[5].tid = v[4000].tid = 7;
	before = cpu_now_ns();
	assert_int_equal(vmmscan_host_tids(&x->s, 202, v, GUEST_VCPUS_MAX), 2);
	assert_true(cpu_now_ns() - before < SLOWER * 500 * NSEC_PER_MSEC);
	assert_int_equal(v[0].index, 5);
	assert_int_equal(v[1].index, 4000);
	assert_int_equal(v[0].tid, 206);
	assert_int_equal(v[1].tid, 206);
}

static void test_tsc(void **state)
{
	struct fixture *x = *state;
	struct vmm_dir dir = {203, 13};
	int64_t tsc = 0;

	make_kvm_guest(x);
	fakeproc_vcpu(&x->f, 203, 13, 0, 206, -21601858961);
	assert_int_equal(vmmscan_tsc_offset(&x->s, dir, &tsc), 0);
	assert_int_equal(tsc, -21601858961);
	fakeproc_vcpu(&x->f, 203, 13, 0, 206, 7);
	assert_int_equal(vmmscan_tsc_offset(&x->s, dir, &tsc), 0);
	assert_int_equal(tsc, 7);
	assert_int_equal(vmmscan_tsc_offset(&x->s, (struct vmm_dir){203, 14}, &tsc), -ENOENT);
}

struct list {
	pid_t pids[16];
	size_t count;
};

static void add_pid(void *ctx, pid_t pid)
{
	struct list *l = ctx;

	assert_true(l->count < 16);
	l->pids[l->count++] = pid;
}

static void add_vm(void *ctx, struct vmm_dir dir)
{
	add_pid(ctx, dir.pid);
	assert_int_equal(dir.fd, 13);
}

static void test_lists(void **state)
{
	struct fixture *x = *state;
	struct list l = {.count = 0};
	char path[256];
	pid_t last = 0;

	assert_int_equal(vmmscan_last_pid(&x->s, &last), -ENOENT);
	fakeproc_last_pid(&x->f, 27000);
	assert_int_equal(vmmscan_last_pid(&x->s, &last), 0);
	assert_int_equal(last, 27000);
	fakeproc_process(&x->f, 7, "/bin/a", "a");
	fakeproc_process(&x->f, 8, "/bin/b", "b");
	snprintf(path, sizeof(path), "%s/12x", x->f.proc);
	mkdir(path, 0700);
	assert_int_equal(vmmscan_processes(&x->s, add_pid, &l), 0);
	assert_int_equal(l.count, 2);
	assert_int_equal(l.pids[0] + l.pids[1], 15);
	l.count = 0;
	fakeproc_vm(&x->f, 203, 13);
	snprintf(path, sizeof(path), "%s/kvm/exits-x", x->f.debug);
	mkdir(path, 0700);
	assert_int_equal(vmmscan_vms(&x->s, add_vm, &l), 0);
	assert_int_equal(l.count, 1);
	assert_int_equal(l.pids[0], 203);
	rmdir(path);
	fakeproc_remove_vm(&x->f, 203, 13);
	snprintf(path, sizeof(path), "%s/kvm", x->f.debug);
	rmdir(path);
	assert_int_equal(vmmscan_vms(&x->s, add_vm, &l), -ENOENT);
	assert_int_equal(vmmscan_tgid(&x->s, 4444), 0);
}

static bool uevent(const char *text, size_t n, pid_t *pid)
{
	return vmmscan_parse_uevent(text, n, pid);
}

static void test_uevents(void **state)
{
	static const char create[] =
		"change@/devices/virtual/misc/kvm\0ACTION=change\0"
		"DEVPATH=/devices/virtual/misc/kvm\0SUBSYSTEM=misc\0CREATED=2\0COUNT=1\0"
		"EVENT=create\0PID=4242\0STATS_PATH=/sys/kernel/debug/kvm/4242-13\0MAJOR=10\0"
		"MINOR=232\0DEVNAME=kvm\0SEQNUM=5213";
	static const char other[] = "add@/devices/x\0ACTION=add\0PID=1\0DEVNAME=sda";
	static const char odd[] = "DEVNAME=kvm\0PID=-1";
	pid_t pid = 0;

	(void)state;
	assert_true(uevent(create, sizeof(create), &pid));
	assert_int_equal(pid, 4242);
	assert_false(uevent(create, sizeof(create) - 1, &pid));
	assert_false(uevent(other, sizeof(other), &pid));
	assert_false(uevent(odd, sizeof(odd), &pid));
	assert_false(uevent("", 0, &pid));
	assert_int_equal(pid, 4242);
}

/* What a VMM can write into its own files. */
static void test_hostile_files(void **state)
{
	struct fixture *x = *state;
	struct vmm_facts facts;
	char big[20000];

	make_kvm_guest(x);
	memset(big, '(', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	fakeproc_file(&x->f, 202, "cmdline", "");
	assert_int_equal(look(x, 202, &facts), VMM_NONE);
	fakeproc_file(&x->f, 202, "cmdline", big);
	assert_int_equal(look(x, 202, &facts), VMM_GUEST);
	fakeproc_file(&x->f, 202, "stat", big);
	assert_int_equal(look(x, 202, &facts), VMM_NONE);
	fakeproc_file(&x->f, 203, "status", big);
	assert_int_equal(vmmscan_tgid(&x->s, 203), 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_kvm_guest),
		TEST(test_kvm_guest_known_from_debugfs),
		TEST(test_without_debugfs),
		TEST(test_vcpu_that_has_not_run),
		TEST(test_names_of_vcpu_threads),
		TEST(test_one_thread_for_all),
		TEST(test_other_vmm),
		TEST(test_tcg_guest),
		TEST(test_no_guests),
		TEST(test_zombie),
		TEST(test_forked_helper),
		TEST(test_child_of_another_program),
		TEST(test_socket_paths),
		TEST(test_passed_socket),
		TEST(test_other_namespaces),
		TEST(test_claimed_vcpus),
		TEST(test_tsc),
		TEST(test_lists),
		TEST(test_uevents),
		TEST(test_hostile_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
