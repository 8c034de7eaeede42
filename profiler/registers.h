/* Parser of what QEMU's monitor says to "info registers -a" on x86 (QEMU: target/i386/
 * cpu-dump.c, x86_cpu_dump_state()): for each CPU a line "CPU#3", then
 *
 *	RIP=ffffffff81a01234 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
 *
 * or, outside of 64-bit code, "EIP=0000e05b EFL=..." and the segment it counts from,
 * "CS =f000 000f0000 ...". The text is a stranger's and no stable format: lines that are not
 * known are skipped, what is known is checked. Pure.
 *
 * A vCPU that QEMU emulates goes on while its registers are printed, and on its way into the kernel
 * and back its mode changes first, RIP then (target/i386/tcg: helper_syscall(), helper_sysret(),
 * do_interrupt64()). So there are samples, few, in kernel mode at an address of user space;
 * firmware runs at such addresses, too, so that they are taken as they are told.
 */
#ifndef KVMPROFS_REGISTERS_H
#define KVMPROFS_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct registers {
	unsigned cpu;
	uint64_t ip; /* linear address */
	bool kernel; /* CPL 0: in the guest's kernel or its firmware */
	bool halted;
};

#define REGISTERS_CPUS_MAX 4096

/* Calls fn for each CPU of the text, in its order. Returns their number; -EBADMSG when it is
 * not of this form, or -EOPNOTSUPP when it holds CPUs but no x86 ones. fn may have been called
 * by then. */
int registers_parse(const char *text, size_t n, void (*fn)(void *ctx, const struct registers *regs),
		    void *ctx);

#endif
