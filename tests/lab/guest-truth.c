/*
 * guest-truth: hands its input over to the host, without any device.
 *
 * Keeps what it reads from stdin in huge pages, prints where in physical memory they lie:
 *   TRUTH SIZE ADDRESS...      SIZE in bytes, addresses of 2 MiB each, hexadecimal
 * and leaves a child behind that holds them while the host reads them (QMP pmemsave), for a minute
 * at most or until the next one. A serial port would take seconds for what this does at once, and
 * works wherever Linux boots.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_SIZE (2ul << 20)
#define PAGES_MAX 24ul
#define POOL	  "/proc/sys/vm/nr_hugepages"
#define HOLDER	  "/run/truth.pid"

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* The one before us gives its pages back. */
static void end_last_holder(void)
{
	FILE *f = fopen(HOLDER, "r");
	int pid;

	if (!f)
		return;
	if (fscanf(f, "%d", &pid) == 1 && pid > 1)
		kill(pid, SIGKILL);
	fclose(f);
	unlink(HOLDER);
}

static void set_pool(unsigned long pages)
{
	FILE *f = fopen(POOL, "w");

	if (!f || fprintf(f, "%lu\n", pages) < 0 || fclose(f))
		fail(POOL);
}

static size_t read_all(char *to, size_t max)
{
	size_t size = 0;
	ssize_t n;

	while (size < max && (n = read(STDIN_FILENO, to + size, max - size)) > 0)
		size += (size_t)n;
	if (size == max) {
		fprintf(stderr, "guest-truth: more than %zu bytes\n", max);
		exit(1);
	}
	return size;
}

/* Documentation/admin-guide/mm/pagemap.rst: bits 0-54 are the frame when bit 63, present, is set.
 */
static uint64_t physical(const char *address)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;

	if (fd < 0 || pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)address / 4096 * 8)) !=
			      sizeof(entry))
		fail("pagemap");
	close(fd);
	return (entry & ((1ull << 55) - 1)) * 4096;
}

static void hold(void)
{
	pid_t pid = fork();
	FILE *f;

	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		for (int fd = 0; fd <= 2; fd++)
			dup2(null, fd);
		setsid();
		sleep(60);
		set_pool(0); /* what we hold goes back when we end */
		_exit(0);
	}
	f = fopen(HOLDER, "w");
	if (!f || fprintf(f, "%d\n", (int)pid) < 0 || fclose(f))
		fail(HOLDER);
}

int main(void)
{
	char *buf;
	size_t size;

	end_last_holder();
	set_pool(PAGES_MAX);
	buf = mmap(NULL, PAGES_MAX * HUGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	if (buf == MAP_FAILED)
		fail("huge pages");
	size = read_all(buf, PAGES_MAX * HUGE_SIZE);
	printf("TRUTH %zu", size);
	for (size_t i = 0; i * HUGE_SIZE < size; i++)
		printf(" %llx", (unsigned long long)physical(buf + i * HUGE_SIZE));
	printf("\n");
	fflush(stdout);
	hold();
	return 0;
}
