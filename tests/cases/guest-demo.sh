#!/bin/bash
# `make demo` shows what it should, and leaves nothing behind, however it ends.
# shellcheck source=tests/lab/case.sh
. "$(dirname "$(readlink -f "$0")")/../lab/case.sh"

# Where L1 has KVM (lab-demo.sh), the demo has to use it.
accel=TCG sampler=qmp
[ -z "${IN_L1-}" ] || accel=KVM sampler=perf
if [ $accel = TCG ] && grep -qw -m1 'svm\|vmx' /proc/cpuinfo && [ -w /dev/kvm ]; then
	accel='KVM\|TCG' sampler='perf\|qmp' # whatever boots here
fi
export TMPDIR=$work/demo
mkdir "$TMPDIR"
nothing_left() { none_of "$TMPDIR" && [ -z "$(ls -A "$TMPDIR")" ]; }
demo() { timeout 600 "$LAB/../demo" "$KVMPROFS" >"$work/demo.log" 2>&1; }
shows() { check "demo: it shows $1" grep -q "$2" "$work/demo.log"; }

check "demo: all is as it should be" demo
sed 's/^/# /' "$work/demo.log"
shows "which accelerator it took" "start it under.*\($accel\)"
shows "the sampler" "^# sampler: \($sampler\)"
shows "the guest's directory" '^-r--r--r--.* info$'
shows "the kernel's build-id" '^[0-9a-f]\{40\} \[guest.kernel.kallsyms\]$'
shows "the guest's kernel" "^kernel $(cat "$KVMPROFS_CACHE/cloud/version")\$"
shows "the hot function" "\[g\] $HOT_CRYPTO \[rmd160\]"
shows "no failure" 'All was unmounted and ended'
within "demo: nothing is left" $patience nothing_left
[ -z "${IN_L1-}" ] || exit 0

# killed SIGNAL WHEN: with this signal once it is at that step
killed() {
	local pid
	"$LAB/../demo" "$KVMPROFS" >"$work/demo.log" 2>&1 &
	pid=$!
	wait_for $patience grep -q "$2" "$work/demo.log"
	kill "-$1" $pid
	wait $pid 2>/dev/null
	within "demo: nothing is left after SIG$1 at '$2'" $patience nothing_left
}
killed TERM 'start it'
killed TERM 'samples'
killed KILL 'start it'
killed KILL 'samples'
