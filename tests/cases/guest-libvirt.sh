#!/bin/bash
# A guest of libvirt's, which holds the only connection to its agent and to its monitor: symbols come through virsh.
# shellcheck source=tests/cases/agents-lib.sh
. "$(dirname "$(readlink -f "$0")")/agents-lib.sh"

for p in libvirtd virsh; do
	command -v $p >/dev/null || { echo "skip ${0##*/}: no $p (the packages libvirt-daemon-system and libvirt-clients)"; exit 0; }
done
[ "$(id -u)" = 0 ] || { echo "skip ${0##*/}: only root is let in by the system's libvirt"; exit 0; }
virsh() { command virsh -q -c qemu:///system "$@" </dev/null; }

make_agents_initrd

# reaping COMMAND...: takes over the daemons that it leaves behind (prctl(2), PR_SET_CHILD_SUBREAPER), and reaps them:
# libvirt waits for the end of each QEMU that it has asked for what it can do, which a container's init may never see.
reaping() { perl -e 'syscall(157, 36, 1, 0, 0, 0); fork or exec(@ARGV) or die; 1 while wait() > 0' "$@"; }

# One at a time on this machine: who has started the daemons ends them, and virtlogd has the consoles of all.
exec {turn}>/run/lock/kvmprofs-libvirt && flock -w 600 "$turn" || { echo "skip ${0##*/}: another one is using libvirt"; exit 0; }

# The system's, if it runs; else one that ends with this test, and whose QEMUs, each in a mount namespace of its own,
# keep nothing of other tests mounted.
libvirt_is_up() { virsh list >"$work/virsh.log" 2>&1; }
if ! libvirt_is_up; then
	echo 'log_outputs="3:stderr"' | tee "$work/libvirtd.conf" >"$work/virtlogd.conf"
	[ -S /run/libvirt/virtlogd-sock ] || virtlogd --config "$work/virtlogd.conf" >"$work/virtlogd.log" 2>&1 {turn}>&- &
	reaping "$LAB/apart" libvirtd --config "$work/libvirtd.conf" >"$work/libvirtd.log" 2>&1 {turn}>&- &
	wait_for 60 libvirt_is_up || { echo "skip ${0##*/}: libvirtd does not run here: $(tail -n 1 "$work/libvirtd.log")"; exit 0; }
fi

name=kvmprofs$$ one=$GUESTS/one
mkdir -p "$one"
uptime_ms >"$one/started"
cat >"$work/domain.xml" <<-END
	<domain type='qemu'>
		<name>$name</name>
		<memory unit='MiB'>256</memory>
		<vcpu>1</vcpu>
		<os>
			<type arch='x86_64' machine='pc'>hvm</type>
			<kernel>$KVMPROFS_CACHE/cloud/vmlinux</kernel>
			<initrd>$work/initrd</initrd>
			<cmdline>nokaslr console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off cryptomgr.notests audit=0 apparmor=0 random.trust_cpu=on i8042.noaux i8042.nokbd 8250.nr_uarts=1 tsc=reliable no_timer_check rcupdate.rcu_expedited=1 test.name=$name test.workload=syscall test.ssh=off test.net=off</cmdline>
		</os>
		<features><acpi/><apic/></features>
		<cpu mode='maximum'><feature policy='disable' name='la57'/></cpu>
		<on_reboot>destroy</on_reboot>
		<seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>
		<devices>
			<emulator>$(command -v qemu-system-x86_64)</emulator>
			<serial type='unix'><source mode='bind' path='$one/console.sock'/><log file='$one/console.log' append='on'/></serial>
			<channel type='unix'>
				<source mode='bind' path='$work/agent.sock'/>
				<target type='virtio' name='org.qemu.guest_agent.0'/>
			</channel>
			<memballoon model='none'/>
		</devices>
	</domain>
END
virsh create "$work/domain.xml" >"$work/create.log" 2>&1 || { echo "skip ${0##*/}: libvirt starts no guest here: $(tail -n 1 "$work/create.log")"; exit 0; }
cp "/run/libvirt/qemu/$name.pid" "$one/pid"
guest wait one $patience >"$work/wait.log" 2>&1 || give_up "a guest of libvirt's is up" "$(tail -n 3 "$work/wait.log")"
guest ask one 'insmod /extra/virtio_console.ko*' || give_up "the guest has a port"
guest ask one '(/usr/sbin/qemu-ga -m virtio-serial -p /dev/vport0p1 -t /tmp >/dev/null 2>&1 &); sleep 1'
sum=$(guest ask one 'md5sum </proc/kallsyms' | cut -c1-32)
is_guests_own() { [ "$(md5sum <"$g/kallsyms" | cut -c1-32)" = "$sum" ]; }

g=$mnt/$(cat "$one/pid")
start_daemon "$mnt" -p "$(cat "$one/pid")" -s "*=virtio-serial:$work/agent.sock"
within "symbols come through virsh" $patience has_symbols "$g"
check "info says so" grep -q '^source_how qemu-guest-agent by virsh' "$g/info"
check "they are the guest's own" is_guests_own
stop_daemon "$mnt"

# Its sockets are passed to QEMU by libvirt, and only who may look into the process finds them.
make_may_not
KVMPROFS=$work/may-not
start_daemon "$mnt" -p "$(cat "$one/pid")" -s "*=auto"
within "without CAP_SYS_PTRACE: the guest is there, and info says why there are no symbols" $patience \
	grep -q '^source_error .*CAP_SYS_PTRACE' "$g/info"
stop_daemon "$mnt"
virsh destroy "$name" >/dev/null
