/* Reading another process's memory as a guest's: a child with mappings as VMMs make them, through
 * the real /proc. What must not happen is as important as what is read: nothing gets allocated. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/capability.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/base/log.h"
#include "symsrc/vmmram_impl.h"
#include "symsrc/vmmscan.h"
#include "tests/unit/lib/fakeproc.h"
#include "tests/unit/lib/wait.h"

#define PAGE		4096ULL
#define MIB		(1ULL << 20)
#define GIB		(1ULL << 30)
#define RAM		(77 * MIB) /* of most children: a size that nothing else has */
#define NOBODY		65534
#define SNAPSHOT_HEADER MIB
#define GUARDED		PAGE /* behind each block */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* What the test and its child share. */
struct shared {
	char *ram;
	int fd;
	atomic_bool stop;
};

struct vm {
	struct shared *shared;
	uint64_t bytes;
	char path[64];
	/* In the child. */
	void (*make)(struct vm *vm);
	void (*on_command)(struct vm *vm);
	pid_t pid;
	int to, from;
	/* In the test. */
	struct guest *guest;
	struct vmmram *ram;
	struct vmmram_reader reader;
	struct errmsg why;
};

/* -- the child ------------------------------------------------------------------------------ */

/* At an address of its own, with a page behind it that nobody may touch, as QEMU does it. */
static char *map_block(uint64_t bytes, int flags, int fd, uint64_t offset)
{
	char *at = mmap(NULL, bytes + 2 * GUARDED, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	at += GUARDED;
	if (mmap(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED | MAP_NORESERVE, fd,
		 (off_t)offset) != at)
		_exit(3);
	return at;
}

static void fill(char *page, uint64_t seed)
{
	for (size_t i = 0; i < PAGE; i += 8)
		memcpy(page + i, &(uint64_t){seed * 1000003 + i + 1}, 8);
}

static void make_anonymous(struct vm *vm)
{
	vm->shared->ram = map_block(vm->bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(vm->shared->ram, vm->bytes, MADV_NOHUGEPAGE);
}

static void make_memfd(struct vm *vm)
{
	vm->shared->fd = memfd_create("test-ram", MFD_CLOEXEC);
	if (vm->shared->fd < 0 || ftruncate(vm->shared->fd, (off_t)vm->bytes) < 0)
		_exit(3);
	vm->shared->ram = map_block(vm->bytes, MAP_SHARED, vm->shared->fd, 0);
}

static void run_child(struct vm *vm, int commands, int answers)
{
	char c;

	vm->make(vm);
	while (write(answers, "", 1) == 1 && read(commands, &c, 1) == 1) {
		if (vm->on_command)
			vm->on_command(vm);
	}
	_exit(0);
}

/* -- the test ------------------------------------------------------------------------------- */

static void wait_for_child(struct vm *vm)
{
	char c;

	assert_int_equal(read(vm->from, &c, 1), 1);
}

static void command(struct vm *vm)
{
	assert_int_equal(write(vm->to, "", 1), 1);
	wait_for_child(vm);
}

static struct guest *make_guest(pid_t pid, uint64_t bytes)
{
	struct vmmscan scan;
	struct vmm_stat stat;
	struct guest *g = guest_create();

	assert_non_null(g);
	assert_int_equal(vmmscan_init(&scan, "/proc", "/nonexistent"), 0);
	assert_int_equal(vmmscan_stat(&scan, pid, &stat), 0);
	vmmscan_deinit(&scan);
	g->pid = pid;
	g->start = stat.start;
	g->ram.base_bytes = bytes;
	g->ram.machine = GUEST_MACHINE_PC;
	snprintf(g->vmm, sizeof(g->vmm), "qemu-system-x86_64");
	return g;
}

static void start(struct vm *vm, void (*make)(struct vm *vm), uint64_t bytes)
{
	int to[2];
	int from[2];

	vm->make = make;
	vm->bytes = bytes;
	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	vm->pid = fork();
	assert_true(vm->pid >= 0);
	if (vm->pid == 0) {
		close(to[1]);
		close(from[0]);
		run_child(vm, to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	vm->to = to[1];
	vm->from = from[0];
	wait_for_child(vm);
	vm->guest = make_guest(vm->pid, bytes);
}

static void open_ram(struct vm *vm)
{
	assert_int_equal(vmmram_open("/proc", vm->guest, &vm->ram, &vm->why), 0);
	vmmram_reader_init(&vm->reader, vm->ram);
}

static void end_child(struct vm *vm)
{
	if (vm->pid <= 0)
		return;
	kill(vm->pid, SIGKILL);
	waitpid(vm->pid, NULL, 0);
	vm->pid = 0;
}

static int set_up(void **state)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return -1;
	vm->to = vm->from = -1;
	vm->shared = mmap(NULL, sizeof(*vm->shared), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*state = vm;
	return vm->shared == MAP_FAILED ? -1 : 0;
}

static int tear_down(void **state)
{
	struct vm *vm = *state;

	end_child(vm);
	vmmram_put(vm->ram);
	guest_put(vm->guest);
	close(vm->to);
	close(vm->from);
	if (vm->path[0])
		unlink(vm->path);
	munmap(vm->shared, sizeof(*vm->shared));
	free(vm);
	return 0;
}

static int read_at(struct vm *vm, uint64_t gpa, void *buf, size_t n)
{
	return vmmram_ops.read(&vm->reader, gpa, buf, n);
}

static int next_at(struct vm *vm, uint64_t gpa, struct ram_extent *ret)
{
	return vmmram_ops.next(&vm->reader, gpa, ret);
}

static void assert_page(struct vm *vm, uint64_t gpa, uint64_t seed)
{
	char expected[PAGE];
	char page[PAGE];

	fill(expected, seed);
	assert_int_equal(read_at(vm, gpa, page, sizeof(page)), 0);
	assert_memory_equal(page, expected, sizeof(page));
}

static void assert_zeros(struct vm *vm, uint64_t gpa, size_t n)
{
	char *buf = malloc(n);

	memset(buf, 1, n);
	assert_int_equal(read_at(vm, gpa, buf, n), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

static void assert_next(struct vm *vm, uint64_t gpa, uint64_t from, uint64_t len)
{
	struct ram_extent e = {0};

	assert_int_equal(next_at(vm, gpa, &e), 0);
	assert_int_equal(e.gpa, from);
	assert_int_equal(e.len, len);
}

static uint64_t status_kb(pid_t pid, const char *key)
{
	char path[64];
	char line[256];
	unsigned long v = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)) == 0)
			v = strtoul(line + strlen(key) + 1, NULL, 10);
	}
	fclose(f);
	return v;
}

/* What is there of the mappings that RAM is in, in kB. VmRSS is no more than an estimate: each CPU
 * keeps a share of the count to itself (kernel: mm_counter, percpu_counter_read_positive()). */
static uint64_t ram_kb(const struct vm *vm, const char *key)
{
	unsigned long from = 0, to = 0, kb, ram = (unsigned long)vm->shared->ram;
	char path[64];
	char line[512];
	uint64_t sum = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)vm->pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "%lx-%lx ", &from, &to);
		if (from < ram + vm->bytes && to > ram && strncmp(line, key, strlen(key)) == 0 &&
		    sscanf(line + strlen(key), ": %lu kB", &kb) == 1)
			sum += kb;
	}
	fclose(f);
	return sum;
}

/* What the VMM takes of the host. */
struct footprint {
	uint64_t rss, swap, tables, blocks;
};

static struct footprint footprint(const struct vm *vm)
{
	struct footprint f = {ram_kb(vm, "Rss"), ram_kb(vm, "Swap"), status_kb(vm->pid, "VmPTE"),
			      0};
	struct stat st;

	for (size_t i = 0; i < vm->ram->file_count; i++) {
		assert_int_equal(fstat(vm->ram->files[i].fd, &st), 0);
		f.blocks += (uint64_t)st.st_blocks;
	}
	return f;
}

/* Reads all of RAM, whether it holds something or not. */
static void read_all(struct vm *vm)
{
	const struct ram_layout *l = &vm->ram->plan.layouts[0];
	const size_t chunk = 8 * MIB;
	char *buf = malloc(chunk);

	for (size_t i = 0; i < l->count; i++) {
		const struct ram_segment *s = &l->segments[i];

		for (uint64_t at = 0; at < s->len; at += chunk)
			assert_int_equal(read_at(vm, s->gpa + at, buf,
						 s->len - at < chunk ? s->len - at : chunk),
					 0);
	}
	free(buf);
}

static void assert_leaves_no_trace(struct vm *vm)
{
	struct footprint before = footprint(vm);
	struct footprint after;

	read_all(vm);
	after = footprint(vm);
	/* A sanitizer has a thread of its own in the child. */
	assert_in_range(after.rss, SANITIZED ? 0 : before.rss, before.rss + (SANITIZED ? 64 : 0));
	assert_int_equal(after.swap, before.swap);
	assert_int_equal(after.tables, before.tables);
	assert_int_equal(after.blocks, before.blocks);
}

/* -- anonymous memory ----------------------------------------------------------------------- */

static void make_6g(struct vm *vm)
{
	make_anonymous(vm);
	fill(vm->shared->ram + MIB, 1);
	fill(vm->shared->ram + MIB + PAGE, 2);
	fill(vm->shared->ram + 3 * GIB - PAGE, 3);
	fill(vm->shared->ram + 3 * GIB, 4); /* the first above the hole */
	fill(vm->shared->ram + 6 * GIB - PAGE, 5);
}

static void check_6g(struct vm *vm)
{
	struct ram_extent e;

	assert_page(vm, MIB, 1);
	assert_page(vm, MIB + PAGE, 2);
	assert_page(vm, 3 * GIB - PAGE, 3);
	assert_page(vm, 4 * GIB, 4);
	assert_page(vm, 7 * GIB - PAGE, 5);
	assert_zeros(vm, 0, MIB);
	assert_zeros(vm, 2 * GIB, 8 * MIB);
	assert_next(vm, 0, MIB, 2 * PAGE);
	assert_next(vm, MIB + PAGE + 5, MIB + PAGE + 5, PAGE - 5);
	assert_next(vm, MIB + 2 * PAGE, 3 * GIB - PAGE, PAGE);
	assert_next(vm, 3 * GIB, 4 * GIB, PAGE);
	assert_next(vm, 4 * GIB + PAGE, 7 * GIB - PAGE, PAGE);
	assert_int_equal(next_at(vm, 7 * GIB, &e), -ENOENT);
	assert_int_equal(next_at(vm, UINT64_MAX, &e), -ENOENT);
}

static void test_anonymous(void **state)
{
	struct vm *vm = *state;

	start(vm, make_6g, 6 * GIB);
	open_ram(vm);
	check_6g(vm);
	assert_true(vmmram_is_current(vm->ram));
	assert_leaves_no_trace(vm);
}

/* Kernels before 6.7. */
static void test_without_pagemap_scan(void **state)
{
	struct vm *vm = *state;
	uint64_t from;
	struct ram_extent e;

	start(vm, make_6g, 6 * GIB);
	open_ram(vm);
	if (!vm->ram->can_scan)
		print_message("this kernel has no PAGEMAP_SCAN\n");
	vm->ram->can_scan = false;
	check_6g(vm);
	from = cpu_now_ns();
	assert_int_equal(next_at(vm, 7 * GIB, &e), -ENOENT);
	assert_next(vm, 4 * GIB + PAGE, 7 * GIB - PAGE, PAGE);
	assert_true(cpu_now_ns() - from < SLOWER * NSEC_PER_SEC);
}

static void test_ranges(void **state)
{
	struct vm *vm = *state;
	char buf[2 * PAGE];
	char expected[2 * PAGE];

	start(vm, make_6g, 6 * GIB);
	open_ram(vm);
	/* Any alignment, and over the border of pages. */
	fill(expected, 1);
	fill(expected + PAGE, 2);
	for (size_t at = 0; at < 2 * PAGE - 16; at += 509) {
		assert_int_equal(read_at(vm, MIB + at, buf, 16), 0);
		assert_memory_equal(buf, expected + at, 16);
	}
	assert_int_equal(read_at(vm, MIB + 1, buf, 2 * PAGE - 1), 0);
	assert_memory_equal(buf, expected + 1, 2 * PAGE - 1);
	assert_int_equal(read_at(vm, MIB, buf, 0), 0);
	/* From untouched into touched memory, and back. */
	assert_int_equal(read_at(vm, MIB - 8, buf, 16), 0);
	assert_memory_equal(buf, "\0\0\0\0\0\0\0\0", 8);
	assert_memory_equal(buf + 8, expected, 8);
	/* The hole, the end, and what wraps. */
	assert_int_equal(read_at(vm, 3 * GIB - 8, buf, 16), -ENXIO);
	assert_int_equal(read_at(vm, 3 * GIB, buf, 1), -ENXIO);
	assert_int_equal(read_at(vm, 4 * GIB - 1, buf, 1), -ENXIO);
	assert_int_equal(read_at(vm, 7 * GIB, buf, 1), -ENXIO);
	assert_int_equal(read_at(vm, UINT64_MAX - 3, buf, 8), -ENXIO);
}

static void test_layouts(void **state)
{
	struct vm *vm = *state;

	start(vm, make_6g, 6 * GIB);
	vm->guest->ram.machine = GUEST_MACHINE_UNKNOWN;
	open_ram(vm);
	assert_page(vm, 4 * GIB, 4);
	assert_int_equal(vmmram_ops.use_layout(&vm->reader, 1), 0); /* q35's */
	assert_page(vm, 5 * GIB, 4);
	assert_int_equal(vmmram_ops.use_layout(&vm->reader, VMMRAM_LAYOUTS_MAX), -ENOENT);
	assert_page(vm, 5 * GIB, 4);
	assert_int_equal(vmmram_ops.use_layout(&vm->reader, 0), 0);
	assert_page(vm, 4 * GIB, 4);
}

static void make_split(struct vm *vm)
{
	make_anonymous(vm);
	fill(vm->shared->ram + 10 * MIB, 1);
	fill(vm->shared->ram + 20 * MIB, 2);
	/* Not MADV_HUGEPAGE: khugepaged may make a large page of one just then. */
	madvise(vm->shared->ram + 8 * MIB, 4 * MIB, MADV_DONTFORK);
	madvise(vm->shared->ram + 30 * MIB, MIB, MADV_DONTDUMP);
	mprotect(vm->shared->ram + 20 * MIB, PAGE, PROT_READ);
}

static void test_split_mapping(void **state)
{
	struct vm *vm = *state;

	start(vm, make_split, RAM);
	open_ram(vm);
	assert_int_equal(vm->ram->plan.layouts[0].count, 1);
	assert_ptr_equal(vm->ram->plan.blocks[0].hva, vm->shared->ram);
	assert_page(vm, 10 * MIB, 1);
	assert_page(vm, 20 * MIB, 2);
	assert_leaves_no_trace(vm);
}

/* -- files ---------------------------------------------------------------------------------- */

static void make_sparse_memfd(struct vm *vm)
{
	make_memfd(vm);
	fill(vm->shared->ram + 4 * MIB, 1);
	fill(vm->shared->ram + 9 * MIB, 2);
	fill(vm->shared->ram + 63 * MIB, 3);
}

static void check_sparse(struct vm *vm)
{
	struct ram_extent e;
	uint64_t found = 0;
	uint64_t gpa = 0;

	assert_page(vm, 4 * MIB, 1);
	assert_page(vm, 9 * MIB, 2);
	assert_page(vm, 63 * MIB, 3);
	assert_zeros(vm, 0, MIB);
	assert_zeros(vm, 40 * MIB, MIB);
	for (; next_at(vm, gpa, &e) == 0; gpa = e.gpa + e.len) {
		assert_true(e.gpa >= gpa && e.len > 0 && e.len <= 16 * MIB);
		found |= (uint64_t)(e.gpa <= 4 * MIB && 4 * MIB < e.gpa + e.len);
		found |= (uint64_t)(e.gpa <= 9 * MIB && 9 * MIB < e.gpa + e.len) << 1;
		found |= (uint64_t)(e.gpa <= 63 * MIB && 63 * MIB < e.gpa + e.len) << 2;
	}
	assert_int_equal(found, 7);
	assert_int_equal(next_at(vm, gpa, &e), -ENOENT);
}

static void test_memfd(void **state)
{
	struct vm *vm = *state;
	struct ram_extent e;

	start(vm, make_sparse_memfd, RAM);
	open_ram(vm);
	assert_true(vm->ram->plan.blocks[0].shared);
	assert_non_null(vm->ram->file_of[0]);
	assert_true(vm->ram->files[0].is_tmpfs);
	check_sparse(vm);
	assert_int_equal(next_at(vm, 0, &e), 0);
	assert_int_equal(e.gpa, 4 * MIB);
	assert_int_equal(next_at(vm, 12 * MIB, &e), 0);
	assert_true(e.gpa > 32 * MIB); /* what is not there is skipped */
	assert_leaves_no_trace(vm);
}

/* QEMU's memory-backend-ram with share=on: a file that nobody has a descriptor of. */
static void make_shared_anonymous(struct vm *vm)
{
	vm->shared->ram = map_block(vm->bytes, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fill(vm->shared->ram + 4 * MIB, 1);
	fill(vm->shared->ram + 9 * MIB, 2);
	fill(vm->shared->ram + 63 * MIB, 3);
}

static void test_shared_anonymous(void **state)
{
	struct vm *vm = *state;

	start(vm, make_shared_anonymous, RAM);
	open_ram(vm);
	if (!vm->ram->file_of[0]) {
		print_message("skipped: mappings may not be followed here\n");
		skip();
	}
	check_sparse(vm);
	assert_leaves_no_trace(vm);
}

/* The second half of a memfd, as crosvm does it: offsets count. */
static void make_half(struct vm *vm)
{
	vm->bytes *= 2;
	make_memfd(vm);
	vm->bytes /= 2;
	munmap(vm->shared->ram, 2 * vm->bytes);
	vm->shared->ram = map_block(vm->bytes, MAP_SHARED, vm->shared->fd, vm->bytes);
	fill(vm->shared->ram + 4 * MIB, 1);
	fill(vm->shared->ram + 9 * MIB, 2);
	fill(vm->shared->ram + 63 * MIB, 3);
}

static void test_offset_in_file(void **state)
{
	struct vm *vm = *state;

	start(vm, make_half, RAM);
	open_ram(vm);
	check_sparse(vm);
}

static void truncate_file(struct vm *vm)
{
	if (ftruncate(vm->shared->fd, 32 * MIB) < 0)
		_exit(3);
}

static void test_truncated_file(void **state)
{
	struct vm *vm = *state;
	struct ram_extent e;
	char page[PAGE];

	vm->on_command = truncate_file;
	start(vm, make_sparse_memfd, RAM);
	open_ram(vm);
	command(vm);
	assert_page(vm, 9 * MIB, 2);
	assert_int_equal(read_at(vm, 63 * MIB, page, PAGE), -ENXIO);
	assert_int_equal(next_at(vm, 32 * MIB, &e), -ENOENT);
}

static int open_temporary(struct vm *vm)
{
	int fd = open(vm->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)(vm->bytes + SNAPSHOT_HEADER)) < 0)
		_exit(3);
	return fd;
}

static void make_disk_file(struct vm *vm)
{
	vm->shared->ram = map_block(vm->bytes, MAP_SHARED, open_temporary(vm), 0);
	fill(vm->shared->ram + 4 * MIB, 1);
	fill(vm->shared->ram + 9 * MIB, 2);
	fill(vm->shared->ram + 63 * MIB, 3);
}

static void test_file(void **state)
{
	struct vm *vm = *state;

	snprintf(vm->path, sizeof(vm->path), "/var/tmp/kp-test-ram-%d", (int)getpid());
	start(vm, make_disk_file, RAM);
	open_ram(vm);
	check_sparse(vm);
	assert_leaves_no_trace(vm);
}

/* A snapshot: some of it in the file, some of it changed since. */
static void make_private_file(struct vm *vm)
{
	char page[PAGE];
	int fd = open_temporary(vm);

	for (uint64_t i = 0; i < 3; i++) {
		static const uint64_t at[] = {4 * MIB, 9 * MIB, 20 * MIB};

		fill(page, 10 + i);
		if (pwrite(fd, page, PAGE, (off_t)(at[i] + SNAPSHOT_HEADER)) != PAGE)
			_exit(3);
	}
	vm->shared->ram = map_block(vm->bytes, MAP_PRIVATE, fd, SNAPSHOT_HEADER);
	fill(vm->shared->ram + 4 * MIB, 1);
	fill(vm->shared->ram + 9 * MIB, 2);
	fill(vm->shared->ram + 63 * MIB, 3);
}

static void check_private_file(struct vm *vm)
{
	struct ram_extent e;

	check_sparse(vm);
	assert_page(vm, 20 * MIB, 12); /* never touched: the file's */
	assert_int_equal(next_at(vm, 12 * MIB, &e), 0);
	assert_true(e.gpa <= 20 * MIB && e.gpa + e.len > 20 * MIB);
	assert_leaves_no_trace(vm);
}

static void test_private_file(void **state)
{
	struct vm *vm = *state;

	snprintf(vm->path, sizeof(vm->path), "/var/tmp/kp-test-ram-%d", (int)getpid());
	start(vm, make_private_file, RAM);
	open_ram(vm);
	assert_false(vm->ram->plan.blocks[0].shared);
	check_private_file(vm);
	vm->ram->can_scan = false;
	check_private_file(vm);
}

static void test_private_file_in_tmpfs(void **state)
{
	struct vm *vm = *state;

	snprintf(vm->path, sizeof(vm->path), "/dev/shm/kp-test-ram-%d", (int)getpid());
	start(vm, make_private_file, RAM);
	open_ram(vm);
	check_private_file(vm);
}

static void make_huge(struct vm *vm)
{
	vm->shared->fd = memfd_create("test-huge", MFD_CLOEXEC | MFD_HUGETLB);
	if (vm->shared->fd < 0 || ftruncate(vm->shared->fd, (off_t)vm->bytes) < 0)
		_exit(3);
	/* Aligned as huge pages are; without a guard. */
	vm->shared->ram = mmap(NULL, vm->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			       vm->shared->fd, 0);
	if (vm->shared->ram == MAP_FAILED)
		_exit(3);
	fill(vm->shared->ram + 4 * MIB, 1);
	fill(vm->shared->ram + 9 * MIB, 2);
	fill(vm->shared->ram + 63 * MIB, 3);
}

static uint64_t free_huge_pages(void)
{
	unsigned long n = 0;
	FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");

	if (f && fscanf(f, "%lu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

static void test_huge_pages(void **state)
{
	struct vm *vm = *state;
	uint64_t n = free_huge_pages();

	if (n < 3) {
		print_message("skipped: %d huge pages are free; sysctl vm.nr_hugepages=3\n",
			      (int)n);
		skip();
	}
	start(vm, make_huge, RAM);
	assert_int_equal(free_huge_pages(), n - 3);
	open_ram(vm);
	check_sparse(vm);
	assert_leaves_no_trace(vm);
	assert_int_equal(free_huge_pages(), n - 3);
}

/* -- memory that comes and goes -------------------------------------------------------------- */

/* A balloon that never rests, in a thread of the child. */
static void *inflate(void *arg)
{
	struct vm *vm = arg;

	while (!vm->shared->stop) {
		for (uint64_t at = 0; at < vm->bytes; at += PAGE)
			fill(vm->shared->ram + at, 7);
		madvise(vm->shared->ram, vm->bytes, MADV_DONTNEED);
	}
	madvise(vm->shared->ram, vm->bytes, MADV_DONTNEED);
	return NULL;
}

static void start_or_stop_balloon(struct vm *vm)
{
	static pthread_t thread;

	if (!thread) {
		pthread_create(&thread, NULL, inflate, vm);
		return;
	}
	vm->shared->stop = true;
	pthread_join(thread, NULL);
}

/* Each page is as it was written, or zeros, or on the way from one to the other. */
static void test_balloon(void **state)
{
	struct vm *vm = *state;
	char *buf = malloc(7 * MIB);
	char expected[PAGE];
	struct ram_extent e;
	uint64_t rss;

	fill(expected, 7);
	vm->on_command = start_or_stop_balloon;
	start(vm, make_anonymous, 7 * MIB);
	open_ram(vm);
	rss = status_kb(vm->pid, "VmRSS");
	command(vm);
	for (int i = 0; i < 300; i++) {
		assert_int_equal(read_at(vm, 0, buf, 7 * MIB), 0);
		for (size_t at = 0; at < 7 * MIB; at += 8) {
			if (memcmp(buf + at, expected + at % PAGE, 8) != 0)
				assert_memory_equal(buf + at, "\0\0\0\0\0\0\0\0", 8);
		}
		next_at(vm, 0, &e);
	}
	command(vm);
	/* The thread's own stack and the like, a sanitizer's too; not what was read. */
	assert_true(SANITIZED || status_kb(vm->pid, "VmRSS") < rss + 4096);
	assert_leaves_no_trace(vm);
	free(buf);
}

static void page_out(struct vm *vm)
{
	madvise(vm->shared->ram, vm->bytes, MADV_PAGEOUT);
}

static bool has_swap(void)
{
	struct sysinfo i;

	return sysinfo(&i) == 0 && i.freeswap > 8 * MIB;
}

/* What is swapped out stays there, and is no untouched memory. */
static void check_swapped(struct vm *vm)
{
	char page[PAGE];

	assert_int_equal(read_at(vm, 9 * MIB, page, PAGE), -EBUSY);
	assert_int_equal(read_at(vm, 9 * MIB + PAGE - 8, page, 16), -EBUSY);
	assert_int_equal(read_at(vm, 9 * MIB - PAGE, page, PAGE), 0);
	assert_int_equal(read_at(vm, 40 * MIB, page, PAGE), 0);
}

static void make_three_pages(struct vm *vm)
{
	make_anonymous(vm);
	fill(vm->shared->ram + 4 * MIB, 1);
	fill(vm->shared->ram + 9 * MIB, 2);
	fill(vm->shared->ram + 63 * MIB, 3);
}

static void test_swapped(void **state)
{
	struct vm *vm = *state;
	struct ram_extent e;
	uint64_t swapped;

	if (!has_swap()) {
		print_message("skipped: this machine has no swap\n");
		skip();
	}
	vm->on_command = page_out;
	start(vm, make_three_pages, RAM);
	open_ram(vm);
	assert_page(vm, 9 * MIB, 2);
	command(vm);
	swapped = status_kb(vm->pid, "VmSwap");
	assert_true(swapped >= 12);
	check_swapped(vm);
	assert_int_equal(next_at(vm, 0, &e), -ENOENT);
	assert_int_equal(status_kb(vm->pid, "VmSwap"), swapped);
}

/* mincore(2) tells it of tmpfs, whose pages stay in the swap cache for long: so what it says is
 * made up here, of memory that was never touched. */
static void test_swapped_memfd(void **state)
{
	struct vm *vm = *state;
	struct ram_file *f;

	start(vm, make_sparse_memfd, RAM);
	open_ram(vm);
	f = &vm->ram->files[0];
	assert_int_equal(f->shadow_len, RAM);
	assert_ptr_equal(mmap(f->shadow, RAM, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0),
			 f->shadow);
	assert_page(vm, 9 * MIB, 2); /* nothing is: mincore is not asked */
	vm->reader.host_has_swapped = true;
	check_swapped(vm);
}

static void unmap_half(struct vm *vm)
{
	munmap(vm->shared->ram + vm->bytes / 2, vm->bytes / 2);
}

static void test_unmapped_meanwhile(void **state)
{
	struct vm *vm = *state;
	struct ram_extent e;
	char page[PAGE];

	vm->on_command = unmap_half;
	start(vm, make_split, RAM);
	open_ram(vm);
	assert_true(vmmram_is_current(vm->ram));
	command(vm);
	assert_false(vmmram_is_current(vm->ram));
	assert_page(vm, 10 * MIB, 1);
	/* Nothing is there: no page, and none is made. */
	read_at(vm, 40 * MIB, page, PAGE);
	assert_int_equal(next_at(vm, 40 * MIB, &e), -ENOENT);
}

static void add_block(struct vm *vm)
{
	map_block(2 * vm->bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Where only the size of the mappings tells. */
static void test_hot_plug(void **state)
{
	struct vm *vm = *state;

	if (SANITIZED) {
		print_message("skipped: a sanitizer's own mappings are as large as a guest\n");
		skip();
	}
	vm->on_command = add_block;
	start(vm, make_anonymous, 512 * MIB);
	snprintf(vm->guest->vmm, sizeof(vm->guest->vmm), "firecracker");
	vm->guest->ram.base_bytes = 0;
	open_ram(vm);
	assert_true(vmmram_is_current(vm->ram));
	command(vm);
	assert_false(vmmram_is_current(vm->ram));
}

static void exec_another(struct vm *vm)
{
	(void)vm;
	execl("/bin/sleep", "sleep", "1000", (char *)NULL);
	_exit(3);
}

static void wait_for_exec(pid_t pid)
{
	char path[64];
	char name[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	for (int i = 0; i < PATIENCE_S * 200 && strncmp(name, "sleep", 5) != 0; i++) {
		usleep(5000);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0 && read(fd, name, sizeof(name) - 1) > 0);
		close(fd);
	}
}

/* exec(2) keeps pid and start time, but not the address space. */
static void test_another_program(void **state)
{
	struct vm *vm = *state;
	char page[PAGE];

	vm->on_command = exec_another;
	start(vm, make_6g, 6 * GIB);
	open_ram(vm);
	assert_int_equal(write(vm->to, "", 1), 1);
	wait_for_exec(vm->pid);
	assert_int_equal(read_at(vm, MIB, page, PAGE), -ESRCH);
	assert_false(vmmram_is_current(vm->ram));
}

static void assert_ended(struct vm *vm)
{
	struct ram_extent e;
	char page[PAGE];

	assert_int_equal(read_at(vm, 4 * MIB, page, PAGE), -ESRCH);
	assert_int_equal(read_at(vm, 0, page, 8), -ESRCH);
	assert_int_equal(next_at(vm, 0, &e), -ESRCH);
	assert_false(vmmram_is_current(vm->ram));
}

static void test_ended(void **state)
{
	struct vm *vm = *state;
	struct vmmram *again = NULL;

	start(vm, make_6g, 6 * GIB);
	open_ram(vm);
	kill(vm->pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)vm->pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	assert_ended(vm); /* a zombie */
	end_child(vm);
	assert_ended(vm);
	assert_int_equal(vmmram_open("/proc", vm->guest, &again, &vm->why), -ESRCH);
	assert_non_null(strstr(vm->why.text, "has ended"));
	assert_null(again);
}

/* The file is still there, held by its reader. */
static void test_ended_with_file(void **state)
{
	struct vm *vm = *state;

	start(vm, make_sparse_memfd, RAM);
	open_ram(vm);
	end_child(vm);
	assert_ended(vm);
}

static void test_another_process_with_its_pid(void **state)
{
	struct vm *vm = *state;

	start(vm, make_6g, 6 * GIB);
	vm->guest->start--;
	assert_int_equal(vmmram_open("/proc", vm->guest, &vm->ram, &vm->why), -ESRCH);
	assert_int_equal(vm->why.code, -ESRCH);
}

/* -- refusals ------------------------------------------------------------------------------- */

static void test_encrypted(void **state)
{
	static const struct {
		enum guest_encryption encryption;
		const char *name;
	} cases[] = {{GUEST_ENCRYPTED_SEV, "(AMD SEV)"},
		     {GUEST_ENCRYPTED_SEV_ES, "(AMD SEV-ES)"},
		     {GUEST_ENCRYPTED_SEV_SNP, "(AMD SEV-SNP)"},
		     {GUEST_ENCRYPTED_TDX, "(Intel TDX)"}};
	struct vm *vm = *state;

	vm->guest = make_guest(getpid(), GIB);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		vm->guest->ram.encryption = cases[i].encryption;
		assert_int_equal(vmmram_open("/proc", vm->guest, &vm->ram, &vm->why), -ENOTSUP);
		assert_non_null(strstr(vm->why.text, "encrypted"));
		assert_non_null(strstr(vm->why.text, cases[i].name));
		assert_non_null(strstr(vm->why.text, "ssh"));
	}
}

static void test_other_architectures(void **state)
{
	struct vm *vm = *state;

	vm->guest = make_guest(getpid(), GIB);
	snprintf(vm->guest->vmm, sizeof(vm->guest->vmm), "qemu-system-aarch64");
	assert_int_equal(vmmram_open("/proc", vm->guest, &vm->ram, &vm->why), -ENOTSUP);
	assert_non_null(strstr(vm->why.text, "qemu-system-aarch64"));
	snprintf(vm->guest->vmm, sizeof(vm->guest->vmm), "qemu-system-i386");
	assert_int_equal(vmmram_open("/proc", vm->guest, &vm->ram, &vm->why), -ENOTSUP);
}

static void test_nothing_fits(void **state)
{
	struct vm *vm = *state;
	struct errmsg why;

	if (SANITIZED) {
		print_message("skipped: a sanitizer's own mappings are as large as a guest\n");
		skip();
	}
	start(vm, make_anonymous, 7 * MIB);
	snprintf(vm->guest->vmm, sizeof(vm->guest->vmm), "firecracker");
	vm->guest->ram.base_bytes = 77 * GIB;
	assert_int_equal(vmmram_open("/proc", vm->guest, &vm->ram, &why), -ENOENT);
	assert_non_null(strstr(why.text, "78848 MiB"));
	assert_int_equal(vmmram_open("/proc", vm->guest, &vm->ram, NULL), -ENOENT);
}

static void make_device(struct vm *vm)
{
	vm->shared->ram =
		map_block(vm->bytes, MAP_PRIVATE, open("/dev/zero", O_RDWR | O_CLOEXEC), 0);
}

static void test_device(void **state)
{
	struct vm *vm = *state;

	start(vm, make_device, RAM);
	if (access("/proc/self/map_files", X_OK) < 0) {
		print_message("skipped: mappings may not be followed here\n");
		skip();
	}
	assert_int_equal(vmmram_open("/proc", vm->guest, &vm->ram, &vm->why), -ENOTSUP);
	assert_non_null(strstr(vm->why.text, "device"));
}

/* Opens as another user does, in a process of its own: 0 when the error is -EACCES and its line
 * has these words. */
static int open_as_nobody(const char *proc_root, const struct guest *g, const char *words)
{
	struct vmmram *ram;
	struct errmsg why;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (getuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
			_exit(2);
		if (vmmram_open(proc_root, g, &ram, &why) != -EACCES)
			_exit(3);
		if (strstr(why.text, words))
			_exit(0);
		fprintf(stderr, "%s\n", why.text);
		_exit(4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static void test_no_capability(void **state)
{
	struct vm *vm = *state;

	if (getuid() != 0) {
		print_message("skipped: not root, whose processes are out of others' reach\n");
		skip();
	}
	start(vm, make_anonymous, RAM);
	assert_int_equal(open_as_nobody("/proc", vm->guest, "not permitted without CAP_SYS_PTRACE"),
			 0);
}

#define CAPS(v) "Name:\tx\nCapInh:\t0\nCapEff:\t" v "\nCapBnd:\t0\n"

static void put(const struct fakeproc *f, const char *name, const char *text)
{
	char path[256];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s", f->proc, name);
	out = fopen(path, "we");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void put_dir(const struct fakeproc *f, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", f->proc, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static void make_denying_proc(struct fakeproc *f, struct vm *vm)
{
	char path[256];

	fakeproc_init(f);
	fakeproc_process(f, 300, "/usr/bin/qemu-system-x86_64", "qemu-system-x86_64 -m 1G");
	fakeproc_stat(f, 300, 1, 3, 4242);
	fakeproc_file(f, 300, "mem", "");
	snprintf(path, sizeof(path), "%s/300/mem", f->proc);
	assert_int_equal(chmod(path, 0), 0);
	assert_int_equal(chmod(f->root, 0755), 0);
	assert_int_equal(chmod(f->proc, 0755), 0);
	put_dir(f, "thread-self");
	put_dir(f, "sys");
	put_dir(f, "sys/kernel");
	put_dir(f, "sys/kernel/yama");
	vm->guest = make_guest(getpid(), GIB);
	vm->guest->pid = 300;
	vm->guest->start = 4242;
}

static void test_who_forbids_it(void **state)
{
	struct vm *vm = *state;
	struct fakeproc f;

	make_denying_proc(&f, vm);
	put(&f, "thread-self/status", CAPS("000001ffffffffff"));
	assert_int_equal(open_as_nobody(f.proc, vm->guest, "security module"), 0);
	put(&f, "sys/kernel/yama/ptrace_scope", "3\n");
	assert_int_equal(open_as_nobody(f.proc, vm->guest, "ptrace_scope=3"), 0);
	put(&f, "sys/kernel/yama/ptrace_scope", "2\n");
	assert_int_equal(open_as_nobody(f.proc, vm->guest, "security module"), 0);
	put(&f, "thread-self/status", CAPS("0000000000000000"));
	assert_int_equal(open_as_nobody(f.proc, vm->guest, "ptrace_scope=2"), 0);
	put(&f, "sys/kernel/yama/ptrace_scope", "1\n");
	assert_int_equal(open_as_nobody(f.proc, vm->guest, "without CAP_SYS_PTRACE:"), 0);
	/* All but that one. */
	put(&f, "thread-self/status", CAPS("000001fffff7ffff"));
	assert_int_equal(open_as_nobody(f.proc, vm->guest, "without CAP_SYS_PTRACE:"), 0);
	fakeproc_deinit(&f);
}

/* In the effective set alone: CAP_SYS_PTRACE for another user's process. */
static int keep_only(unsigned cap)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {{0}};

	d[0].effective = d[0].permitted = 1u << cap;
	return (int)syscall(SYS_capset, &h, d);
}

/* What a service may have: nothing but CAP_SYS_PTRACE, so that mappings cannot be followed, and
 * the file is found among the VMM's descriptors. */
static int read_with_little(struct vm *vm, bool expect_file)
{
	char expected[PAGE];
	char page[PAGE];
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		fill(expected, 1);
		if (keep_only(CAP_SYS_PTRACE) < 0)
			_exit(2);
		if (vmmram_open("/proc", vm->guest, &vm->ram, &vm->why) < 0)
			_exit(3);
		vmmram_reader_init(&vm->reader, vm->ram);
		if ((vm->ram->file_of[0] != NULL) != expect_file)
			_exit(4);
		if (read_at(vm, 4 * MIB, page, PAGE) < 0 || memcmp(page, expected, PAGE) != 0)
			_exit(5);
		/* Untouched: zeros where the file tells so; nobody knows where it does not. */
		_exit(read_at(vm, 40 * MIB, page, 8) == (expect_file ? 0 : -EBUSY) ? 0 : 6);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static void test_mappings_may_not_be_followed(void **state)
{
	struct vm *vm = *state;

	if (getuid() != 0) {
		print_message("skipped: not root\n");
		skip();
	}
	start(vm, make_sparse_memfd, RAM);
	assert_int_equal(read_with_little(vm, true), 0);
}

static void test_file_cannot_be_had(void **state)
{
	struct vm *vm = *state;

	if (getuid() != 0) {
		print_message("skipped: not root\n");
		skip();
	}
	start(vm, make_shared_anonymous, RAM);
	assert_int_equal(read_with_little(vm, false), 0);
}

/* -- many, and at once ----------------------------------------------------------------------- */

static size_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (d && readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_descriptors(void **state)
{
	struct vm *vm = *state;
	size_t before;

	start(vm, make_sparse_memfd, RAM);
	before = count_fds();
	open_ram(vm);
	assert_int_equal(count_fds(), before + 4);
	assert_ptr_equal(vmmram_get(vm->ram), vm->ram);
	vmmram_put(vm->ram);
	assert_int_equal(count_fds(), before + 4);
	vmmram_put(vm->ram);
	vm->ram = NULL;
	assert_int_equal(count_fds(), before);
	vmmram_put(NULL);
}

static void *read_in_a_thread(void *arg)
{
	struct vm vm = *(struct vm *)arg;
	char expected[PAGE];
	char page[PAGE];
	struct ram_extent e;

	vmmram_reader_init(&vm.reader, vm.ram);
	fill(expected, 3);
	for (int i = 0; i < 300; i++) {
		if (read_at(&vm, 63 * MIB, page, PAGE) < 0 || memcmp(page, expected, PAGE) != 0 ||
		    next_at(&vm, 12 * MIB, &e) < 0 || !vmmram_is_current(vm.ram))
			return arg;
	}
	return NULL;
}

static void test_readers_at_once(void **state)
{
	struct vm *vm = *state;
	pthread_t threads[4];
	void *failed;

	start(vm, make_sparse_memfd, RAM);
	open_ram(vm);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_in_a_thread, vm), 0);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
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
		TEST(test_anonymous),
		TEST(test_without_pagemap_scan),
		TEST(test_ranges),
		TEST(test_layouts),
		TEST(test_split_mapping),
		TEST(test_memfd),
		TEST(test_shared_anonymous),
		TEST(test_offset_in_file),
		TEST(test_truncated_file),
		TEST(test_file),
		TEST(test_private_file),
		TEST(test_private_file_in_tmpfs),
		TEST(test_huge_pages),
		TEST(test_balloon),
		TEST(test_swapped),
		TEST(test_swapped_memfd),
		TEST(test_unmapped_meanwhile),
		TEST(test_hot_plug),
		TEST(test_another_program),
		TEST(test_ended),
		TEST(test_ended_with_file),
		TEST(test_another_process_with_its_pid),
		TEST(test_encrypted),
		TEST(test_other_architectures),
		TEST(test_nothing_fits),
		TEST(test_device),
		TEST(test_no_capability),
		TEST(test_who_forbids_it),
		TEST(test_mappings_may_not_be_followed),
		TEST(test_file_cannot_be_had),
		TEST(test_descriptors),
		TEST(test_readers_at_once),
	};

	log_set_sink(no_log);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
