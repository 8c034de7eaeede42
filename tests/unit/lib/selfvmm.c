#include "tests/unit/lib/selfvmm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"

#define GUARD 4096u

/* proc_pid_stat(5), field 22. */
static uint64_t own_start(void)
{
	CLEANUP_FILE FILE *f = fopen("/proc/self/stat", "re");
	unsigned long long start = 0;
	char text[1024] = "";
	const char *at;

	assert_non_null(f);
	assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
	at = strrchr(text, ')') + 2;
	for (int field = 3; field < 22; field++)
		at = strchr(at, ' ') + 1;
	assert_int_equal(sscanf(at, "%llu", &start), 1);
	return start;
}

/* Guards keep the kernel from making it one with a neighbour. */
void selfvmm_init(struct selfvmm *v, size_t size)
{
	uint8_t *area = mmap(NULL, size + 2 * GUARD, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(area != MAP_FAILED);
	assert_int_equal(mprotect(area + GUARD, size, PROT_READ | PROT_WRITE), 0);
	*v = (struct selfvmm){.ram = area + GUARD, .size = size, .guest = guest_create()};
	assert_non_null(v->guest);
	v->guest->serial = 1;
	v->guest->pid = getpid();
	v->guest->start = own_start();
	v->guest->memory_bytes = v->guest->ram.base_bytes = size;
	v->guest->ram.machine = GUEST_MACHINE_PC;
	snprintf(v->guest->vmm, sizeof(v->guest->vmm), "qemu-system-x86_64");
	snprintf(v->guest->name, sizeof(v->guest->name), "selfvmm");
}

void selfvmm_deinit(struct selfvmm *v)
{
	guest_put(v->guest);
	munmap(v->ram - GUARD, v->size + 2 * GUARD);
}
