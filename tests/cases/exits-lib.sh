# shellcheck shell=bash
# Sourced by the cases about VM exits: a guest that does a known number of things and then halts.
# shellcheck disable=SC2154,SC2034 # work, vmm: of the cases that source it

WRITES=${WRITES:-20000} READS=500 CPUIDS=250 MSRS=200 MMIOS=300 MMIO_READS=150
# make_counted_rom FILE: instead of a firmware, which would do this and that as well, and slowly. Ports 0x99 to 0x9b and MSR
# 0x2a are used by nobody else, and nothing is at what lies above its 1 MiB of memory.
make_counted_rom() {
	cat >"$work/counted.s" <<-END
		.code16
		.globl _start
		_start:	cli
			mov \$$WRITES, %ecx
			mov \$0x99, %dx
		1:	out %al, %dx
			dec %ecx
			jnz 1b
			mov \$$READS, %ecx
			mov \$0x9a, %dx
		2:	in %dx, %al
			dec %ecx
			jnz 2b
			mov \$$CPUIDS, %esi
		4:	xor %eax, %eax
			cpuid
			dec %esi
			jnz 4b
			mov \$$MSRS, %esi
		5:	mov \$0x2a, %ecx
			rdmsr
			dec %esi
			jnz 5b
			mov \$0xffff, %ax
			mov %ax, %es
			mov \$$MMIOS, %ecx
		7:	mov %al, %es:0x1240
			dec %ecx
			jnz 7b
			mov \$$MMIO_READS, %ecx
		8:	mov %es:0x1244, %al
			dec %ecx
			jnz 8b
			mov \$0x9b, %dx
			out %al, %dx
		6:	hlt
			jmp 6b
			.org 0xfff0 # where a CPU begins
			ljmp \$0xf000, \$_start
			.org 0x10000
	END
	as --32 -o "$work/counted.o" "$work/counted.s" &&
		ld -m elf_i386 -Ttext 0 --oformat binary -o "$1" "$work/counted.o" 2>/dev/null
}

# start_counted NAME ROM: sets $vmm; the guest waits for `go NAME`. Nested hosts of some kinds want the CPU without
# that bit.
start_counted() {
	mkfifo "$work/$1.monitor"
	qemu-system-x86_64 -machine pc -accel kvm -cpu host,-arch-capabilities -m 1 -nodefaults -display none -name "$1" -S \
		-bios "$2" -monitor stdio \
		<>"$work/$1.monitor" >>"$work/vmm.log" 2>&1 &
	vmm=$!
}
go() { echo cont >"$work/$1.monitor"; }

# row DIR NAME COLUMN: of the row of that name in exits; 0 when there is none
row() { awk -v n="$2" -v c="$3" '$1 == n { v = $c } END { print v + 0 }' "$1/exits"; }
row_is() { [ "$(row "$1" "$2" 2)" = "$3" ]; }
# event DIR NAME: its count in events
event() { awk -v n="kvm:$2" '$2 == n { v = $1 } END { print v + 0 }' "$1/events"; }
# stat_of FILE EVENT: what `perf stat -x,` has
stat_of() { awk -F, -v e="kvm:$2" '$3 == e { print $1 }' "$1"; }
# all_of NAME COUNTED WANTED LOST: nothing is missing but, at most, what is lost
all_of() { check "$1" test "$2" -le "$3" -a $(($2 + $4)) -ge "$3" || echo "# $2 of $3, $4 lost"; }
# mmio_is NAME DIR: what the guest did with memory that is none
mmio_is() {
	check "$1known writes to MMIO" row_is "$2" 0x101230:W $MMIOS
	check "$1known reads of MMIO" row_is "$2" 0x101234:R $MMIO_READS
	check "$1all of them reached the VMM" test "$(row "$2" 0x101230:W 10) $(row "$2" 0x101234:R 10)" = "$MMIOS $MMIO_READS"
}
# near NAME A B: within 1%, or one of few
near() {
	check "$1" awk -v a="$2" -v b="$3" 'BEGIN { d = a > b ? a - b : b - a; exit !(b > 0 && (d <= b / 100 || d <= 2)) }'
	echo "# $1: $2, perf stat: $3"
}
