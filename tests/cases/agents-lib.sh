# shellcheck shell=bash
# Sourced by tests/cases/guest-* whose guests have the real qemu-guest-agent and kvmprofs-guest in them.
# shellcheck source=tests/lab/case.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lab/case.sh"

# make_agents_initrd: $work/initrd, for the cloud kernel; ends the case where there is no agent
make_agents_initrd() {
	local agent=$KVMPROFS_CACHE/qemu-guest-agent/usr/sbin/qemu-ga
	[ -x "$agent" ] || agent=/usr/sbin/qemu-ga
	[ -x "$agent" ] || { echo "skip ${0##*/}: no qemu-ga (tests/install-deps gets it)"; exit 0; }
	"$LAB/setup" cloud || give_up "a kernel for the guest"
	# For the guest it is static, also when all else is built for a sanitizer.
	(unset MAKEFLAGS MFLAGS MAKEOVERRIDES && make -s -C "$LAB/../.." guest-helper >"$work/make.log" 2>&1) || give_up "make guest-helper"
	"$LAB/agents-initrd" "$work/initrd" || give_up "an initrd with both programs"
}

# For QEMU: a disk that is an overlay of its own making (qcow2), into which a snapshot goes; and a port with an agent.
truncate -s 1M "$work/disk"
# shellcheck disable=SC2034
DISK=(-drive "if=none,id=disk,file=$work/disk,format=raw,snapshot=on")
# shellcheck disable=SC2034
AGENT=(-chardev "socket,id=agent,path=$work/agent.sock,server=on,wait=off"
	-device "virtserialport,chardev=agent,name=org.qemu.guest_agent.0")

# hmp COMMAND: by QMP; fails when the monitor complains
hmp() { ! guest qmp one human-monitor-command "{\"command-line\": \"$*\"}" | grep -i error; }

# In the guest: ends the agent and waits for its end, since a port has one opener: the next agent would find it busy, and
# give up.
# shellcheck disable=SC2016,SC2034
END_AGENT='all=$(pidof qemu-ga); kill -9 $all; for p in $all; do while grep -qs "^State:[[:space:]]*[^ZX]" /proc/$p/status; do sleep 0.1; done; done'
