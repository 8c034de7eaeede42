# shellcheck shell=bash
# Sourced by the cases about recordings: guests whose kernel is two loops, by whose names perf and we tell them.
# shellcheck disable=SC2154,SC2034 # work, mnt, vmms, vmm: of the cases that source it

# Three quarters of the time are hot_loop's.
cat >"$work/loops.s" <<'END'
		.code16
		.globl _start
	_start:	cli
		xor %ax, %ax
		mov %ax, %ds
		mov %ax, %es
		mov $0x1000, %edi
		mov %edi, %cr3
		xor %eax, %eax
		mov $0xc00, %ecx
		cld
		rep stosl
		movl $0x2003, 0x1000	# the same 2 MB at 0 and at -2 GB
		movl $0x2003, 0x1ff8
		movl $0x3003, 0x2000
		movl $0x3003, 0x2ff0
		movl $0x83, 0x3000
		mov $0x20, %eax
		mov %eax, %cr4
		mov $0xc0000080, %ecx
		rdmsr
		or $0x100, %eax
		wrmsr
		lgdt gdtr
		mov $0x80000001, %eax
		mov %eax, %cr0
		ljmpl $8, $long_mode
		.balign 8
	gdt:	.quad 0, 0x00af9b000000ffff
	gdtr:	.word 15
		.long gdt
		.code64
	long_mode:
		mov $upper, %eax
		or $0xffffffff80000000, %rax
		jmp *%rax
	upper:	mov $300000, %ecx
	hot_loop:
		nop
		nop
		dec %ecx
		jnz hot_loop
		mov $100000, %ecx
	cool_loop:
		nop
		nop
		dec %ecx
		jnz cool_loop
		jmp upper
END
as --64 -o "$work/loops.o" "$work/loops.s" && ld -m elf_x86_64 -Ttext 0x7c00 -o "$work/loops.elf" "$work/loops.o" &&
	objcopy -O binary -j .text "$work/loops.elf" "$work/disk"
[ -s "$work/disk" ] || give_up "a boot sector is made" "as, ld or objcopy failed"
truncate -s 510 "$work/disk"
printf '\125\252' >>"$work/disk"
truncate -s 64K "$work/disk"

# make_loop_files DIR: what `dir:DIR` reads
make_loop_files() {
	make_guest_files "$1.new" 0
	{
		nm "$work/loops.elf" | awk '$3 ~ /_loop$|^upper$/ { print "ffffffff8" substr($1, 10), "t", $3 }'
		printf '%s\n' 'ffffffff80007c00 T _text' 'ffffffff80007e00 T _etext' 'ffffffff80009000 B _end'
	} >"$1.new/proc/kallsyms"
	mv "$1.new" "$1"
}
# start_loops NAME [QEMU OPTIONS...]: sets $vmm
start_loops() {
	local name=$1
	shift
	vmms=$((vmms + 1))
	qemu-system-x86_64 -machine pc -m 16 -nodefaults -display none -name "$name" \
		-qmp "unix:$work/vmm$vmms.qmp,server=on,wait=off" \
		-drive file="$work/disk",format=raw,if=ide,snapshot=on "$@" >>"$work/vmm.log" 2>&1 </dev/null &
	vmm=$!
}
