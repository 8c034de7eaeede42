/* The memory of real QEMUs, as discovery describes them, against what they save of it themselves.
 * Their guests never run: firmware and data are loaded, and nothing changes meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <json-c/json.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/log.h"
#include "symsrc/qmp.h"
#include "symsrc/vmm.h"
#include "symsrc/vmmram_impl.h"
#include "tests/unit/lib/wait.h"

#define QEMU	  "/usr/bin/qemu-system-x86_64"
#define MIB	  (1ULL << 20)
#define GIB	  (1ULL << 30)
#define DATA_SIZE (3 * MIB / 2)
#define MARGIN	  (MIB / 2) /* around the data, which is compared too */
#define ARGS_MAX  96
#define WAIT_NS	  (PATIENCE_S * NSEC_PER_SEC)

struct fixture {
	char dir[64];
	char data[128]; /* what is loaded */
	char sock[128];
	char saved[128];
	pid_t pid;
	struct vmmscan scan;
	struct vmm *vmm;
	struct vmmram *ram;
	struct vmmram_reader reader;
	unsigned seed;
};

static void path_in(char *dst, size_t size, const struct fixture *x, const char *name)
{
	assert_true((size_t)snprintf(dst, size, "%s/%s", x->dir, name) < size);
}

static void write_data(struct fixture *x)
{
	FILE *f = fopen(x->data, "we");

	assert_non_null(f);
	for (uint64_t i = 0; i < DATA_SIZE / 4; i++) {
		uint32_t v = (uint32_t)rand_r(&x->seed) * 2654435761u;

		assert_int_equal(fwrite(&v, 4, 1, f), 1);
	}
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	if (!x)
		return -1;
	*state = x;
	x->seed = 1;
	snprintf(x->dir, sizeof(x->dir), "/tmp/kp-test-ram-XXXXXX");
	if (!mkdtemp(x->dir) || vmmscan_init(&x->scan, "/proc", "/nonexistent") < 0)
		return -1;
	path_in(x->data, sizeof(x->data), x, "data");
	path_in(x->sock, sizeof(x->sock), x, "qmp.sock");
	path_in(x->saved, sizeof(x->saved), x, "saved");
	write_data(x);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *x = *state;
	char path[128];

	if (x->pid > 0) {
		kill(x->pid, SIGKILL);
		waitpid(x->pid, NULL, 0);
	}
	vmmram_put(x->ram);
	vmm_destroy(x->vmm);
	vmmscan_deinit(&x->scan);
	unlink(x->data);
	unlink(x->sock);
	unlink(x->saved);
	path_in(path, sizeof(path), x, "ram");
	unlink(path);
	rmdir(x->dir);
	free(x);
	return 0;
}

/* -- QEMU ----------------------------------------------------------------------------------- */

/* options: separated by blanks; "DIR" in them stands for the test's folder. */
static size_t split(struct fixture *x, char *options, const char **args, size_t n)
{
	static char ram[160];
	char *save = NULL;

	for (char *w = strtok_r(options, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		char *at = strstr(w, "DIR");

		assert_true(n < ARGS_MAX - 1);
		if (at) {
			snprintf(ram, sizeof(ram), "%.*s%s%s", (int)(at - w), w, x->dir, at + 3);
			w = ram;
		}
		args[n++] = w;
	}
	return n;
}

static void run_qemu(struct fixture *x, const char *options, const uint64_t *addresses)
{
	static char loaders[8][256];
	char qmp[256];
	char copy[2048];
	const char *args[ARGS_MAX] = {QEMU,   "-S",	     "-accel",		"tcg",	"-display",
				      "none", "-nodefaults", "-no-user-config", "-qmp", qmp};
	size_t n = 10;

	snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", x->sock);
	snprintf(copy, sizeof(copy), "%s", options);
	n = split(x, copy, args, n);
	for (size_t i = 0; addresses[i]; i++) {
		snprintf(loaders[i], sizeof(loaders[i]), "loader,file=%s,addr=0x%llx,force-raw=on",
			 x->data, (unsigned long long)addresses[i]);
		args[n++] = "-device";
		args[n++] = loaders[i];
	}
	args[n] = NULL;
	x->pid = fork();
	assert_true(x->pid >= 0);
	if (x->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv(QEMU, (char *const *)args);
		_exit(127);
	}
}

static struct qmp *connect_qmp(struct fixture *x)
{
	uint64_t deadline = clock_now_ns() + WAIT_NS;
	struct qmp *q = NULL;

	while (qmp_connect(x->sock, NULL, NULL, &q, NULL) < 0) {
		assert_true(clock_now_ns() < deadline);
		assert_int_equal(waitpid(x->pid, NULL, WNOHANG), 0);
		usleep(10000);
	}
	/* It answers when its machine is there. */
	assert_int_equal(qmp_execute(q, "query-status", NULL, NULL, NULL), 0);
	assert_int_equal(qmp_wait_idle(q, deadline), 0);
	return q;
}

static void on_saved(void *ctx, const struct qmp_reply *reply)
{
	*(int *)ctx = reply->code;
	if (reply->code < 0)
		print_error("pmemsave: %s\n", reply->text);
}

/* What QEMU itself says is there. */
static void save(struct fixture *x, struct qmp *q, uint64_t gpa, char *buf, size_t n)
{
	struct json_object *args = json_object_new_object();
	int result = 1;
	int fd;

	json_object_object_add(args, "val", json_object_new_int64((int64_t)gpa));
	json_object_object_add(args, "size", json_object_new_int64((int64_t)n));
	json_object_object_add(args, "filename", json_object_new_string(x->saved));
	assert_int_equal(qmp_execute(q, "pmemsave", args, on_saved, &result), 0);
	assert_int_equal(qmp_wait_idle(q, clock_now_ns() + WAIT_NS), 0);
	assert_int_equal(result, 0);
	fd = open(x->saved, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, buf, n), n);
	close(fd);
}

/* -- what is compared ------------------------------------------------------------------------ */

/* Large and small pieces of [gpa - MARGIN, gpa + DATA_SIZE + MARGIN). */
static void compare_around(struct fixture *x, struct qmp *q, uint64_t gpa)
{
	const size_t n = DATA_SIZE + 2 * MARGIN;
	uint64_t from = gpa - MARGIN;
	char *expected = malloc(n);
	char *got = malloc(n);

	save(x, q, from, expected, n);
	assert_int_equal(vmmram_ops.read(&x->reader, from, got, n), 0);
	assert_memory_equal(got, expected, n);
	for (int i = 0; i < 2000; i++) {
		size_t at = (size_t)rand_r(&x->seed) % n;
		size_t len = (size_t)rand_r(&x->seed) % 9000;

		if (len > n - at)
			len = n - at;
		assert_int_equal(vmmram_ops.read(&x->reader, from + at, got, len), 0);
		assert_memory_equal(got, expected + at, len);
	}
	free(expected);
	free(got);
}

/* What RAM takes of the host, by /proc/PID/smaps and in its files. */
struct footprint {
	uint64_t rss, pss, swap, blocks;
};

static bool is_ram(const struct fixture *x, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < x->ram->plan.block_count; i++) {
		const struct ram_block *b = &x->ram->plan.blocks[i];

		if (from < b->hva + b->len && b->hva < to)
			return true;
	}
	return false;
}

static struct footprint footprint(const struct fixture *x)
{
	struct footprint f = {0};
	unsigned long long a;
	unsigned long long b;
	bool ram = false;
	char path[64];
	char line[1024];
	struct stat st;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)x->pid);
	in = fopen(path, "re");
	assert_non_null(in);
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%llx-%llx ", &a, &b) == 2)
			ram = is_ram(x, a, b);
		f.rss += ram && sscanf(line, "Rss: %llu", &a) == 1 ? a : 0;
		f.pss += ram && sscanf(line, "Pss: %llu", &a) == 1 ? a : 0;
		f.swap += ram && sscanf(line, "Swap: %llu", &a) == 1 ? a : 0;
	}
	fclose(in);
	for (size_t i = 0; i < x->ram->file_count; i++) {
		assert_int_equal(fstat(x->ram->files[i].fd, &st), 0);
		f.blocks += (uint64_t)st.st_blocks;
	}
	assert_true(f.rss > 0);
	return f;
}

/* What holds something, and of the rest, which nobody has touched, a part. */
static void read_all(struct fixture *x, uint64_t bytes)
{
	const struct ram_layout *l = &x->ram->plan.layouts[0];
	char *buf = malloc(16 * MIB);
	struct ram_extent e;
	uint64_t gpa = 0;

	for (; vmmram_ops.next(&x->reader, gpa, &e) == 0; gpa = e.gpa + e.len)
		assert_int_equal(vmmram_ops.read(&x->reader, e.gpa, buf, e.len), 0);
	for (size_t i = 0; i < l->count; i++) {
		const struct ram_segment *s = &l->segments[i];

		for (uint64_t at = 0; at < s->len; at += 16 * MIB)
			assert_int_equal(vmmram_ops.read(&x->reader, s->gpa + at, buf, MIB), 0);
		bytes -= s->len;
	}
	assert_int_equal(bytes, 0);
	free(buf);
}

/* The host may take something away meanwhile: pages of a file that nobody has written to. */
static void assert_leaves_no_trace(struct fixture *x, uint64_t bytes)
{
	struct footprint before = footprint(x);
	struct footprint after;

	read_all(x, bytes);
	after = footprint(x);
	assert_in_range(after.rss, 0, before.rss);
	assert_in_range(after.pss, 0, before.pss);
	assert_in_range(after.swap, 0, before.swap);
	assert_in_range(after.blocks, 0, before.blocks);
}

static void open_ram(struct fixture *x)
{
	vmmram_put(x->ram);
	x->ram = NULL;
	assert_int_equal(vmmram_open("/proc", x->vmm->guest, &x->ram, NULL), 0);
	vmmram_reader_init(&x->reader, x->ram);
}

/* By the command line alone, as when QMP is somebody else's. */
static void look_at_process(struct fixture *x)
{
	struct vmm_facts facts;
	enum vmm_kind kind;

	wait_until((kind = vmmscan_look(&x->scan, x->pid, (struct vmm_dir){0}, &facts)) ==
		   VMM_GUEST);
	x->vmm = vmm_create(&x->scan, x->pid, &facts, 1, clock_now_ns());
	assert_non_null(x->vmm);
	assert_int_equal(x->vmm->guest->ram.block_count, 0);
}

/* False while somebody else has the monitor: another test's discovery finds this VMM, too. */
static bool ask_over_qmp(struct fixture *x)
{
	const char *reason;

	if (!vmm_session_start(x->vmm, &x->scan, clock_now_ns()))
		return false;
	while (x->vmm->session) {
		struct pollfd p = {.fd = vmm_query_fd(x->vmm->session),
				   .events = vmm_query_events(x->vmm->session)};

		poll(&p, 1, 100);
		vmm_session_process(x->vmm, &x->scan, clock_now_ns(), &reason);
	}
	return x->vmm->guest->ram.block_count > 0;
}

/* addresses: of data, ended by 0. bytes: of base memory; devices: of memory devices, which only
 * QMP tells about. */
static void check(void **state, const char *options, uint64_t bytes, uint64_t devices,
		  const uint64_t *addresses)
{
	struct fixture *x = *state;
	struct qmp *q;

	if (access(QEMU, X_OK) < 0) {
		print_message("skipped: no %s\n", QEMU);
		skip();
	}
	run_qemu(x, options, addresses);
	q = connect_qmp(x);
	look_at_process(x);
	open_ram(x);
	assert_leaves_no_trace(x, bytes);
	for (size_t i = 0; addresses[i]; i++)
		compare_around(x, q, addresses[i]);
	qmp_destroy(q);

	wait_until(ask_over_qmp(x));
	open_ram(x);
	assert_int_equal(x->ram->plan.layout_count, 1);
	q = connect_qmp(x);
	for (size_t i = 0; addresses[i]; i++)
		compare_around(x, q, addresses[i]);
	qmp_destroy(q);
	assert_leaves_no_trace(x, bytes + devices);
}

static void test_pc(void **state)
{
	check(state, "-machine pc -m 512", 512 * MIB, 0,
	      (const uint64_t[]){16 * MIB, 510 * MIB, 0});
}

static void test_pc_above_4g(void **state)
{
	check(state, "-machine pc -m 6G", 6 * GIB, 0,
	      (const uint64_t[]){16 * MIB, 3070 * MIB, 4 * GIB + MIB, 7 * GIB - 2 * MIB, 0});
}

static void test_q35_above_4g(void **state)
{
	check(state, "-machine q35 -m 6G", 6 * GIB, 0,
	      (const uint64_t[]){16 * MIB, 2046 * MIB, 4 * GIB + MIB, 8 * GIB - 2 * MIB, 0});
}

static void test_q35_max_below_4g(void **state)
{
	check(state, "-machine q35,max-ram-below-4g=1G -m 3G", 3 * GIB, 0,
	      (const uint64_t[]){16 * MIB, 1022 * MIB, 4 * GIB + MIB, 6 * GIB - 2 * MIB, 0});
}

static void test_microvm(void **state)
{
	check(state, "-machine microvm -m 4G", 4 * GIB, 0,
	      (const uint64_t[]){16 * MIB, 3070 * MIB, 4 * GIB + MIB, 0});
}

static void test_memfd(void **state)
{
	check(state,
	      "-machine q35,memory-backend=ram -m 3G -object "
	      "memory-backend-memfd,id=ram,size=3G,share=on",
	      3 * GIB, 0, (const uint64_t[]){16 * MIB, 2046 * MIB, 4 * GIB + MIB, 0});
}

static void test_private_memfd(void **state)
{
	check(state,
	      "-machine q35,memory-backend=ram -m 3G -object "
	      "memory-backend-memfd,id=ram,size=3G,share=off",
	      3 * GIB, 0, (const uint64_t[]){16 * MIB, 2046 * MIB, 4 * GIB + MIB, 0});
}

static void test_shared_ram(void **state)
{
	check(state,
	      "-machine pc,memory-backend=ram -m 4G -object "
	      "memory-backend-ram,id=ram,size=4G,share=on",
	      4 * GIB, 0, (const uint64_t[]){16 * MIB, 3070 * MIB, 4 * GIB + MIB, 0});
}

static void test_file(void **state)
{
	check(state,
	      "-machine pc,memory-backend=ram -m 4G "
	      "-object memory-backend-file,id=ram,size=4G,share=on,mem-path=DIR/ram",
	      4 * GIB, 0, (const uint64_t[]){16 * MIB, 3070 * MIB, 4 * GIB + MIB, 0});
}

static void test_private_file(void **state)
{
	check(state,
	      "-machine pc,memory-backend=ram -m 4G "
	      "-object memory-backend-file,id=ram,size=4G,share=off,mem-path=DIR/ram",
	      4 * GIB, 0, (const uint64_t[]){16 * MIB, 3070 * MIB, 4 * GIB + MIB, 0});
}

static void test_equal_nodes(void **state)
{
	check(state,
	      "-machine pc -m 4G -object memory-backend-ram,id=b,size=2G "
	      "-object memory-backend-ram,id=a,size=2G -numa node,memdev=a -numa node,memdev=b",
	      4 * GIB, 0,
	      (const uint64_t[]){16 * MIB, 2 * GIB - MIB, 3070 * MIB, 4 * GIB + MIB, 0});
}

static void test_nodes_and_devices(void **state)
{
	check(state,
	      "-machine q35 -m 3G,slots=2,maxmem=16G -object memory-backend-memfd,id=a,size=1G "
	      "-object memory-backend-ram,id=b,size=2G -numa node,memdev=a -numa node,memdev=b "
	      "-object memory-backend-ram,id=c,size=1G -device pc-dimm,memdev=c "
	      "-object memory-backend-ram,id=d,size=2G "
	      "-device virtio-mem-pci,memdev=d,requested-size=1G",
	      3 * GIB, 3 * GIB,
	      (const uint64_t[]){16 * MIB, GIB - MIB, 2046 * MIB, 4 * GIB + MIB, 0});
}

static void no_log(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_pc),
		TEST(test_pc_above_4g),
		TEST(test_q35_above_4g),
		TEST(test_q35_max_below_4g),
		TEST(test_microvm),
		TEST(test_memfd),
		TEST(test_private_memfd),
		TEST(test_shared_ram),
		TEST(test_file),
		TEST(test_private_file),
		TEST(test_equal_nodes),
		TEST(test_nodes_and_devices),
	};

	log_set_sink(no_log);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
