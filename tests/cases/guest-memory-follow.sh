#!/bin/bash
# A guest with no network and no agent has its symbols under `auto`, and keeps the right ones: through modules that are
# loaded and unloaded, BPF and tracers, a balloon, kexec and a reset.
# shellcheck source=tests/cases/memory-lib.sh
. "$(dirname "$(readlink -f "$0")")/memory-lib.sh"

has_module() { grep -q "^$1 " "$g/modules"; }
has_no_module() { ! has_module "$1"; }

made cloud follow || exit
version=$(cat "$KVMPROFS_CACHE/cloud/version")
# The kernel that it boots by kexec lies in its initrd.
mkdir -p "$work/initrd/boot"
cp "$KVMPROFS_CACHE/cloud/vmlinuz" "$KVMPROFS_CACHE/cloud/initrd.cpio" "$work/initrd/boot/"
{
	cat "$KVMPROFS_CACHE/cloud/initrd.cpio"
	(cd "$work/initrd" && find . | cpio --quiet -o -H newc -R 0:0)
} >"$work/initrd.cpio"

# ---- from before its first instruction -----------------------------------------------------------------
start_daemon "$mnt"
boots one --reboot --kaslr on --mem 512 -- -initrd "$work/initrd.cpio" -device virtio-balloon-pci || exit
g=$mnt/$(pid_of one)
within "auto: a guest with no network and no agent has symbols" $patience has_symbols "$g"
check "auto: info says that they are from memory" grep -q '^memory' <<<"$(info "$g" source_used)"
check "auto: info tells the guest's kernel" test "$(info "$g" kernel)" = "$version"
is_true one "auto"

# ---- modules ---------------------------------------------------------------------------------------------
ask 'modprobe msr'
within "a module that is loaded is there by itself" $patience has_module msr
is_true one "loaded"
ask 'rmmod msr'
within "a module that is unloaded is gone by itself" $patience has_no_module msr
is_true one "unloaded"
# All the while: nothing that is read is anything but this kernel's.
core "$work/one.truth/kallsyms" >"$work/core"
ask '(n=0; while [ $n -lt 80 ]; do modprobe msr; modprobe virtio_balloon; rmmod msr; rmmod virtio_balloon; n=$((n + 1)); done; echo >/run/done) & echo'
readings=0 torn=0
while [ $readings -lt 30 ]; do
	echo refresh >"$g/control"
	sleep 0.1
	core "$g/kallsyms" | cmp -s "$work/core" - || torn=$((torn + 1))
	readings=$((readings + 1))
	sed -n 's/.*\[\(msr\|virtio_balloon\)\]$/\1/p' "$g/kallsyms" | sort | uniq -c | sed 's/^ */# lines seen while they come and go: /' >>"$work/seen"
done
sort "$work/seen" | uniq -c
check "while modules come and go, the kernel's symbols stay" test $torn = 0
ask 'while [ ! -e /run/done ]; do sleep 0.1; done'
is_true one "after 160 loads"

# ---- BPF -------------------------------------------------------------------------------------------------
ask 'guest-call bpf & sleep 0.3'
# Not watched, since each service that systemd starts loads such programs.
echo refresh >"$g/control"
is_true one "BPF"
check "BPF: its program is there" grep -q 'bpf_prog_[0-9a-f]*_kvmprofs_test.*\[bpf\]$' "$g/kallsyms"
ask 'killall guest-call'

# ---- a balloon -----------------------------------------------------------------------------------------------
use() { awk '$1 ~ /^[0-9a-f]+-[0-9a-f]+$/ { size = 0 } $1 == "Size:" { size = $2 } size >= 65536 && $1 == "Rss:" { n += $2 } END { print n }' "/proc/$(pid_of one)/smaps"; }
ask 'modprobe virtio_balloon'
guest qmp one balloon "{\"value\":$((300 << 20))}" >/dev/null
ballooned() { [ "$(guest ask one 'grep MemTotal /proc/meminfo' | tr -dc 0-9)" -lt 300000 ]; }
within "the balloon takes memory" $patience ballooned
guest qmp one stop >/dev/null
# Not a minute later, when its VMM is asked anyway.
within "info says that it was stopped" $patience grep -qx 'state paused' "$g/info"
before=$(use)
attempts=$(info "$g" source_attempts)
echo refresh >"$g/control"
read_again() { [ "$(info "$g" source_attempts)" != "$attempts" ] && has_symbols "$g"; }
within "its memory is read again" $patience read_again
check "what the balloon took is not given back by reading" test "$(use)" -le "$before"
echo "# of the guest's memory $before kB are there, after reading $(use)"
guest qmp one cont '' balloon "{\"value\":$((512 << 20))}" >/dev/null
within "info says that it goes on" $patience grep -qx 'state running' "$g/info"
ask 'sleep 1; rmmod virtio_balloon'
is_true one "balloon"

# ---- tracers ------------------------------------------------------------------------------------------------
# The kernel lists what its tracers have made: ftrace's trampolines and kprobes' pages.
ask 'mount -t tracefs t /sys/kernel/tracing && cd /sys/kernel/tracing && echo schedule >set_ftrace_filter && echo function >current_tracer'
ask 'cd /sys/kernel/tracing && echo "p:x do_sys_openat2+5" >kprobe_events && echo 1 >events/kprobes/x/enable'
guest truth one "$work/traced"
echo refresh >"$g/control"
check "tracers: the kernel lists what they have made" grep -q '\[__builtin__' "$work/traced/kallsyms"
within "tracers: that is there, too" $patience cmp -s "$work/traced/kallsyms" "$g/kallsyms"

# ---- other boots ----------------------------------------------------------------------------------------------
# booted_again N HOW: up for the Nth time; then the new kernel's symbols are there, and no others
booted_again() {
	cp "$work/one.truth/kallsyms" "$work/last"
	guest wait one $patience "$1" >/dev/null || give_up "$2: the guest boots again"
	is_true one "$2"
	check "$2: the kernel moved" bash -c '! cmp -s "$1" "$2"' - "$work/last" "$work/one.truth/kallsyms"
	# At least: boot code that is sampled late begins another one, which costs nothing but a reading.
	check "$2: a new epoch" test "$(info "$g" epoch)" -ge "$1"
}
# shellcheck disable=SC2016
ask '(sleep 0.2; guest-call kexec /boot/vmlinuz /boot/initrd.cpio "$(cat /proc/cmdline)" >/dev/ttyS0 2>&1) & echo'
booted_again 2 kexec
guest qmp one system_reset >/dev/null
booted_again 3 reset
stop_daemon "$mnt"
