/* workload KIND   one guest workload whose samples and exits are known beforehand, for ever
 *
 *	user		user mode only
 *	syscall		read(2) of /dev/zero, 4 KB each
 *	crypto		AF_ALG rmd160 (modules algif_hash and rmd160)
 *	cpuid msr hlt	one kind of VM exit: instructions
 *	io		port 0x80, which the VMM answers; needs /dev/port, which the cloud kernel
 *lacks kio		port 0x21, which KVM itself answers; likewise mmio		QEMU's
 *pci-testdev
 */
#include <fcntl.h>
#include <glob.h>
#include <linux/if_alg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char page[4096];
static char block[65536];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int must_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

static void do_user(int fd)
{
	static volatile uint64_t x = 1;

	(void)fd;
	for (int i = 0; i < 1 << 20; i++)
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
}

static int open_zero(void)
{
	return must_open("/dev/zero", O_RDONLY);
}

static void do_syscall(int fd)
{
	if (read(fd, page, sizeof(page)) != sizeof(page))
		die("/dev/zero");
}

static int open_crypto(void)
{
	struct sockaddr_alg sa = {
		.salg_family = AF_ALG, .salg_type = "hash", .salg_name = "rmd160"};
	int s = socket(AF_ALG, SOCK_SEQPACKET, 0);
	int fd;

	if (s < 0 || bind(s, (void *)&sa, sizeof(sa)) < 0)
		die("AF_ALG rmd160");
	fd = accept(s, NULL, NULL);
	if (fd < 0)
		die("AF_ALG accept");
	return fd;
}

static void do_crypto(int fd)
{
	char digest[20];

	if (send(fd, block, sizeof(block), 0) < 0 || read(fd, digest, sizeof(digest)) < 0)
		die("AF_ALG");
}

static void do_cpuid(int fd)
{
	uint32_t a = 0, b, c = 0, d;

	(void)fd;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
}

/* Port I/O by way of the kernel: in from user space, with iopl, faults when QEMU emulates the
 * KVM host. KVM hands a busy TSS back (type 11), and QEMU's helper_check_io takes type 9 only. */
static int open_port(void)
{
	return must_open("/dev/port", O_RDWR);
}

static void do_io(int fd)
{
	if (pwrite(fd, "", 1, 0x80) != 1)
		die("port 0x80");
}

static void do_kio(int fd)
{
	char b;

	if (pread(fd, &b, 1, 0x21) != 1)
		die("port 0x21");
}

static int open_msr(void)
{
	return must_open("/dev/cpu/0/msr", O_RDONLY);
}

static void do_msr(int fd)
{
	uint64_t v;

	if (pread(fd, &v, sizeof(v), 0x1b) != sizeof(v)) /* the APIC's base */
		die("rdmsr");
}

static void do_hlt(int fd)
{
	struct timespec t = {.tv_nsec = 50000};

	(void)fd;
	nanosleep(&t, NULL);
}

static volatile uint32_t *testdev;

static int is(const char *dir, const char *file, const char *value)
{
	char path[300], have[16] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, have, sizeof(have) - 1) < 0)
		have[0] = 0;
	close(fd);
	return strncmp(have, value, strlen(value)) == 0;
}

/* BAR 0 of pci-testdev (1b36:0005) is plain MMIO, and no driver wants it. */
static int open_testdev(void)
{
	char path[300];
	glob_t g;
	int fd;

	if (glob("/sys/bus/pci/devices/*", 0, NULL, &g) != 0)
		die("PCI");
	for (size_t i = 0; i < g.gl_pathc; i++) {
		if (!is(g.gl_pathv[i], "vendor", "0x1b36") ||
		    !is(g.gl_pathv[i], "device", "0x0005"))
			continue;
		snprintf(path, sizeof(path), "%s/enable", g.gl_pathv[i]);
		fd = must_open(path, O_WRONLY);
		if (write(fd, "1", 1) != 1)
			die(path);
		close(fd);
		snprintf(path, sizeof(path), "%s/resource0", g.gl_pathv[i]);
		fd = must_open(path, O_RDWR);
		testdev = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (testdev == MAP_FAILED)
			die(path);
		return fd;
	}
	fprintf(stderr, "no pci-testdev\n");
	exit(1);
}

static void do_mmio(int fd)
{
	(void)fd;
	testdev[256] = 1;
}

static const struct {
	const char *kind;
	int (*open)(void);
	void (*once)(int fd);
} workloads[] = {
	{"user", NULL, do_user},
	{"syscall", open_zero, do_syscall},
	{"crypto", open_crypto, do_crypto},
	{"cpuid", NULL, do_cpuid},
	{"io", open_port, do_io},
	{"kio", open_port, do_kio},
	{"msr", open_msr, do_msr},
	{"mmio", open_testdev, do_mmio},
	{"hlt", NULL, do_hlt},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < sizeof(workloads) / sizeof(*workloads); i++) {
		int fd = -1;

		if (strcmp(argv[1], workloads[i].kind) != 0)
			continue;
		if (workloads[i].open)
			fd = workloads[i].open();
		for (;;)
			workloads[i].once(fd);
	}
	fprintf(stderr, "usage: workload KIND\n");
	return 2;
}
