/* storm vmm|kernel|mmio   the smallest guest there is: it does one kind of access, over and over
 *
 *	vmm	writes to a port that nobody answers, so that each reaches this program
 *	kernel	writes to a port that KVM itself answers (the mask of an interrupt controller)
 *	mmio	writes to an address where nothing is, which reach this program, too
 *
 * Says what the guest does, as `exits` names it. Then, for every number of milliseconds on stdin:
 * runs the guest for that long and says how often it did it, by its own count, and how many
 * nanoseconds of a CPU its vCPU took for it: with this other load on the machine counts little. A
 * signal interrupts the vCPU, and where it stands then tells whether the last access was done.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define RAM  0x10000
#define CODE 0x1000

/* The guest's program, in real mode: one of these, counted down in %ecx by a loopl to it. */
static const struct kind {
	const char *name, *row;
	uint8_t size;
	uint8_t once[4];
} kinds[] = {
	{"vmm", "0x0099:W", 2, {0xe6, 0x99}},		    /* out %al, $0x99 */
	{"kernel", "0x0021:W", 2, {0xe6, 0x21}},	    /* out %al, $0x21 */
	{"mmio", "0xa1230:W", 4, {0x26, 0xa2, 0x30, 0x12}}, /* mov %al, %es:0x1230 */
};
#define LOOP_SIZE 3

struct guest {
	int vcpu;
	uint64_t
		uncounted; /* where %rip stands when the last access is done, but not counted yet */
	pthread_t thread;  /* the vCPU's */
	pthread_barrier_t turn; /* it begins, and has ended */
};

/* For the signal's handler. */
static struct kvm_run *run;

static int must(int r, const char *what)
{
	if (r >= 0)
		return r;
	fprintf(stderr, "storm: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *map(int fd, size_t size)
{
	int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	must(p == MAP_FAILED ? -1 : 0, "mmap");
	return p;
}

static void write_code(uint8_t *at, const struct kind *k)
{
	const uint8_t loop[LOOP_SIZE] = {0x67, 0xe2, (uint8_t) - (k->size + LOOP_SIZE)};

	memcpy(at, k->once, k->size);
	memcpy(at + k->size, loop, sizeof(loop));
}

static void set_registers(int vcpu)
{
	struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rax = 0xff};
	struct kvm_sregs sregs;

	must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.es.base = 0xa0000;
	sregs.es.selector = 0xa000;
	must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void make_guest(struct guest *g, const struct kind *k)
{
	struct kvm_userspace_memory_region ram = {.memory_size = RAM};
	int kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	int vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	uint8_t *at = map(-1, RAM);

	write_code(at + CODE, k);
	g->uncounted = CODE + k->size;
	ram.userspace_addr = (uintptr_t)at;
	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &ram), "KVM_SET_USER_MEMORY_REGION");
	if (strcmp(k->name, "kernel") == 0)
		must(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	g->vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run = map(g->vcpu, (size_t)must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "its size"));
	set_registers(g->vcpu);
}

static void interrupt(int signal)
{
	(void)signal;
	run->immediate_exit = 1;
}

/* Until it is interrupted; then everything that the guest has begun is finished. */
static void run_guest(struct guest *g)
{
	while (ioctl(g->vcpu, KVM_RUN, 0) == 0) {
		if (run->exit_reason != KVM_EXIT_IO && run->exit_reason != KVM_EXIT_MMIO) {
			fprintf(stderr, "storm: the guest stopped: %u\n", run->exit_reason);
			exit(1);
		}
	}
	must(errno == EINTR ? 0 : -1, "KVM_RUN");
}

static void *vcpu(void *arg)
{
	struct guest *g = arg;

	for (;;) {
		pthread_barrier_wait(&g->turn);
		run_guest(g);
		pthread_barrier_wait(&g->turn);
	}
	return NULL;
}

static uint64_t cpu_ns(pthread_t thread)
{
	struct timespec t = {0};
	clockid_t clock;

	if (pthread_getcpuclockid(thread, &clock) == 0)
		clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Modulo 2^32; the guest stands still. */
static uint32_t accesses(const struct guest *g)
{
	struct kvm_regs regs;

	must(ioctl(g->vcpu, KVM_GET_REGS, &regs), "KVM_GET_REGS");
	return (uint32_t)-regs.rcx + (regs.rip == g->uncounted);
}

static void storm(struct guest *g, unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
	uint32_t before = accesses(g);
	uint64_t begin = cpu_ns(g->thread);

	run->immediate_exit = 0;
	pthread_barrier_wait(&g->turn);
	nanosleep(&t, NULL);
	pthread_kill(g->thread, SIGUSR1);
	pthread_barrier_wait(&g->turn);
	printf("%u %llu\n", accesses(g) - before, (unsigned long long)(cpu_ns(g->thread) - begin));
}

static void begin(struct guest *g, const struct kind *k)
{
	struct sigaction sa = {.sa_handler = interrupt};

	make_guest(g, k);
	sigaction(SIGUSR1, &sa, NULL);
	pthread_barrier_init(&g->turn, NULL, 2);
	must(pthread_create(&g->thread, NULL, vcpu, g) ? -1 : 0, "a thread");
	pthread_setname_np(g->thread, "CPU 0/KVM");
}

int main(int argc, char **argv)
{
	static struct guest g;
	unsigned ms;

	for (size_t i = 0; argc == 2 && i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strcmp(argv[1], kinds[i].name) != 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setvbuf(stdout, NULL, _IOLBF, 0);
		begin(&g, &kinds[i]);
		puts(kinds[i].row);
		while (scanf("%u", &ms) == 1)
			storm(&g, ms);
		return 0;
	}
	fprintf(stderr, "usage: storm vmm|kernel|mmio\n");
	return 2;
}
