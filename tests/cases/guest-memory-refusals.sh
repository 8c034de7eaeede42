#!/bin/bash
# Guests whose memory yields no symbols: each is told apart, and said in one line of `info`.
# shellcheck source=tests/cases/memory-lib.sh
. "$(dirname "$(readlink -f "$0")")/memory-lib.sh"

# refused NAME WHAT PATTERN: kvmprofs says why there are no symbols
refused() {
	local name=$1 what=$2 pattern=$3 g said
	g=$mnt/$(pid_of "$name")
	start_daemon "$mnt" -p "$(pid_of "$name")" -s '*=memory'
	wait_for $patience has_reason "$g" "$pattern"
	said=$(info "$g" source_error)
	echo "# $what: $(info "$g" source_state): $said"
	check "$what: info says why" grep -qiE "$pattern" <<<"$said"
	check "$what: no symbols" test "$(cat "$g/proc/kallsyms" | wc -c)" = 0
	stop_daemon "$mnt"
}
has_reason() { info "$1" source_error | grep -qiE "$2"; }

# screen NAME: the text on it (a character and its colour, 80 x 25 times)
screen() {
	guest qmp "$1" pmemsave "{\"val\":$((0xb8000)),\"size\":4000,\"filename\":\"$work/screen\"}" >/dev/null
	perl -0777 -ne 's/(.)./$1/gs; s/[^ -~]/ /g; print' "$work/screen"
}
shows() { screen "$1" | grep -q "$2"; }

# without_linux NAME PATTERN TEXT OPTIONS...: a guest that shows the text on its screen
without_linux() {
	local name=$1 pattern=$2 text=$3
	shift 3
	guest start "$name" --kernel none --no-net -- -vga std "$@" || { not_ok "$name: it starts"; return; }
	within "$name: it is there" $patience shows "$name" "$text"
	refused "$name" "$name" "$pattern"
	guest stop "$name"
}

# ---- before Linux, and instead of it ------------------------------------------------------------------------
boot=$KVMPROFS_CACHE/boot
without_linux firmware 'firmware|boot loader|nothing|no kernel' 'No bootable device'
if made boot "other programs than Linux"; then
	without_linux grub 'firmware|boot loader|no kernel' 'GNU GRUB' -drive "file=$boot/grub,format=raw,if=floppy,readonly=on"
	without_linux memtest 'not a|no kernel|no Linux|not Linux' 'Memtest86' -kernel "$boot/memtest"
	without_linux ipxe 'not a|no kernel|no Linux|not Linux|boot loader' 'iPXE' -kernel "$boot/ipxe"
fi

# ---- guests that the host cannot read ---------------------------------------------------------------------
# As far as a command line tells it: without such a processor no guest is encrypted, and QEMU does not start.
gcc -O2 -pthread -D_GNU_SOURCE -Wall -Wextra -o "$work/qemu-system-x86_64" "$LAB/fake-vmm.c" || give_up "a VMM is made up"
# encrypted NAME PATTERN QEMU-ARGUMENTS...
encrypted() {
	local name=$1 pattern=$2
	shift 2
	mkdir -p "$GUESTS/$name"
	"$work/qemu-system-x86_64" -name "$name" -accel tcg -m 256 -machine q35,confidential-guest-support=x "$@" &
	echo $! >"$GUESTS/$name/pid"
	refused "$name" "$name" "$pattern"
	kill "$(pid_of "$name")"
}
encrypted SEV 'encrypted \(AMD SEV\)' -object sev-guest,id=x,cbitpos=47,reduced-phys-bits=1
encrypted SEV-ES 'encrypted \(AMD SEV-ES\)' -object sev-guest,id=x,cbitpos=47,reduced-phys-bits=1,policy=0x5
encrypted SEV-SNP 'encrypted \(AMD SEV-SNP\)' -object sev-snp-guest,id=x,cbitpos=51,reduced-phys-bits=1
encrypted TDX 'encrypted \(Intel TDX\)' -object tdx-guest,id=x

# ---- a daemon that may not --------------------------------------------------------------------------------
# Other processes' links are hidden from it, too: the guest is there all the same.
make_may_not
guest start closed --kernel none --no-net && KVMPROFS=$work/may-not refused closed "no permission" 'CAP_SYS_PTRACE'

# A VM is hidden with its process's descriptors: that its guest runs under KVM must not make it come and go.
if [ -w /dev/kvm ]; then
	mkdir -p "$GUESTS/hidden"
	qemu-system-x86_64 -name hidden,debug-threads=on -machine pc -accel kvm -m 16 -nodefaults -display none -daemonize \
		-pidfile "$GUESTS/hidden/pid" 2>"$work/hidden.log" || give_up "a guest under KVM starts" "$(cat "$work/hidden.log")"
	: >"$work/daemon.log"
	KVMPROFS=$work/may-not start_daemon "$mnt" -p "$(pid_of hidden)"
	sleep 2 # a few looks
	check "no permission, KVM: the guest stays" test "$(grep -c ' gone: hidden$' "$work/daemon.log")" = 0
	within "no permission, KVM: info says why there are no symbols" $patience grep -q 'CAP_SYS_PTRACE' "$mnt/$(pid_of hidden)/info"
	stop_daemon "$mnt"
else
	echo "skip memory, no permission, KVM: /dev/kvm cannot be opened"
fi
