#!/bin/bash
# VM exits, counted in the kernel, and by a second daemon out of perf's rings: a guest under this machine's own KVM, of
# whatever kind, does a known number of things; perf stat counts the same.
# A machine without tracefs gets one for perf alone, in a mount namespace of its own.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
WRITES=5000
# shellcheck source=tests/cases/exits-lib.sh
. "$(dirname "$(readlink -f "$0")")/exits-lib.sh"

start_daemon "$mnt" -F 49 -d
start_vmm tcg
within "a guest under TCG is there" $patience test -e "$mnt/$vmm/exits"
wait_for $patience grep -q '^accelerator tcg' "$mnt/$vmm/info"
for f in exits events; do
	check "a guest under TCG: $f says why there is nothing" test "$(cat "$mnt/$vmm/$f")" = \
		"# no VM exits: the guest runs under TCG, not KVM"
done
end_vmm "$vmm"

if [ ! -w /dev/kvm ]; then
	skip "VM exits" "no /dev/kvm here"
	exit
fi
make_counted_rom "$work/rom" || give_up "a ROM is made" "as or ld failed"
start_counted counted "$work/rom"
g=$mnt/$vmm
wait_for $patience test -e "$g/exits" || give_up "the guest is there" "$(tail -n 3 "$work/vmm.log")"
engine_runs() { grep -qE '^# engine: (bpf|perf)$' "$g/exits"; }
if ! wait_for $patience engine_runs && grep -q '^exits_engine none' "$mnt/status"; then
	check "exits says why nothing is counted" grep -q '^# no VM exits: ' "$g/exits"
	skip "VM exits" "$(grep '^exits_engine' "$mnt/status")"
	exit
fi

# Before it runs.
nothing_yet() { [ "$(grep -cE '^# (missing: no vCPU has had an event.*|exits: -|in the guest: -|halted: -)$' "$g/exits")" = 4 ]; }
check "a guest that has not begun has no times, and exits says so" nothing_yet
# CAP_PERFMON and CAP_BPF (38, 39), and no lockdown: what the kernel has to say of a program then is about the program.
may_bpf() {
	[ $((0x$(awk '/^CapEff/ { print $2 }' /proc/self/status) >> 38 & 3)) = 3 ] &&
		{ [ ! -e /sys/kernel/security/lockdown ] || grep -qF '[none]' /sys/kernel/security/lockdown; }
}
none_is_refused() { ! grep 'BEGIN PROG LOAD LOG' "$work/daemon.log"; }
if may_bpf; then check "no program is one that the verifier refuses" none_is_refused; fi
grep -q '^exits_engine bpf$' "$mnt/status" || skip "BPF" "$(grep '^exits_engine' "$mnt/status")"

# What a guest on this machine does beside ours is what the rings may lose: so no row may be missing without being told.
bpf=$daemon
with=$KVMPROFS why='the kernel refuses BPF programs'
if [ "$(uname -m)" = x86_64 ] && have "a host without BPF" python3; then
	printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$LAB/without-bpf" "$(readlink -f "$KVMPROFS")" >"$work/without"
	chmod +x "$work/without"
	KVMPROFS=$work/without
	start_daemon "$work/rings" -F 49
else
	why='asked for'
	start_daemon "$work/rings" -F 49 --exits perf
fi
KVMPROFS=$with
rings=$work/rings/$vmm
check "while counting begins, exits does not say that there is no guest" bash -c '! grep "no guest" "$1"' - "$rings/exits"
rings_run() { grep -q '^# engine: perf$' "$rings/exits"; }
within "perf's rings are the other engine" $patience rings_run
check "status says which engine, and why" grep -q "^exits_engine perf: $why" "$work/rings/status"

choose() { echo "trace $*" >"$g/control"; }
check "events can be chosen, tracefs mounted or not" choose kvm_pio
if [ ! -d /sys/kernel/tracing/events ] && [ ! -d /sys/kernel/debug/tracing/events ]; then
	choose kvm_nonsense 2>/dev/null
	check "where tracefs is not mounted, who looks for events is told how" grep -q '^# refused: .*mount -t tracefs' "$g/control"
fi

# perf has its own mount namespace, where our files are not: so it counts from one word of ours to the next.
mkfifo "$work/begin" "$work/end"
# shellcheck disable=SC2016
"$LAB/apart" perf stat -x, -o "$work/stat" -e kvm:kvm_pio,kvm:kvm_mmio,kvm:kvm_userspace_exit,kvm:kvm_cpuid,kvm:kvm_exit -p "$vmm" -- \
	sh -c 'echo >"$1"; read -r _ <"$2"' sh "$work/begin" "$work/end" 2>"$work/stat.err" &
stat=$!
timeout $patience head -n 1 "$work/begin" >/dev/null || give_up "perf stat" "$(tail -n 1 "$work/stat.err")"
echo reset >"$g/control"
echo reset >"$rings/control"
go counted
done_once() { grep -q '^0x009b:W ' "$g/exits"; }
within "it does a number of things" $patience done_once
timeout $patience sh -c 'echo >"$1"' sh "$work/end"
wait $stat || give_up "perf stat" "$(tail -n 1 "$work/stat.err")"
cp "$g/exits" "$work/exits.text"
cp "$g/events" "$work/events.text"
mkdir "$work/perf.files"
cp "$rings/exits" "$rings/events" "$work/perf.files/"
sed 's/^/# /' "$work/exits.text" | head -n 40
check "known port writes" row_is "$g" 0x0099:W "$WRITES"
# It has no QMP, and names of threads only where its QEMU gives them without being asked.
if [ -z "$(ls "$g/vcpu")" ]; then
	check "vcpus says why its vCPU has no index" grep -q '^# missing: which thread is which vCPU' "$g/vcpus"
	thread=$(awk '!/^#/ && $1 == "-" && NF == 6 { print $2; exit }' "$g/vcpus")
	check "and has its thread" test -n "$thread" -a -d "/proc/$vmm/task/$thread"
fi
check "all of them reached the VMM" test "$(row "$g" 0x0099:W 10)" = "$WRITES"
check "known port reads" row_is "$g" 0x009a:R $READS
check "all of them reached the VMM, too" test "$(row "$g" 0x009a:R 10)" = $READS
mmio_is '' "$g"
for e in kvm_pio kvm_mmio kvm_userspace_exit kvm_cpuid; do
	near "$e is what perf stat counts" "$(event "$g" $e)" "$(stat_of "$work/stat" $e)"
done
check "exits to the VMM are named by the kernel's own names" test "$(row "$g" IO 2)" -ge $((WRITES + READS))

lost=$(sed -n 's/^# lost: //p' "$work/perf.files/exits")
lost_events=$(sed -n 's/^# lost: //p' "$work/perf.files/events")
all_of "rings: known port writes" "$(row "$work/perf.files" 0x0099:W 2)" "$WRITES" "$lost"
all_of "rings: all of them reached the VMM" "$(row "$work/perf.files" 0x0099:W 10)" "$WRITES" "$lost"
all_of "rings: known port reads" "$(row "$work/perf.files" 0x009a:R 2)" $READS "$lost"
all_of "rings: known writes to MMIO" "$(row "$work/perf.files" 0x101230:W 2)" $MMIOS "$lost"
for e in kvm_pio kvm_mmio kvm_userspace_exit kvm_cpuid; do
	all_of "rings: $e is what BPF counts" "$(event "$work/perf.files" $e)" "$(event "$g" $e)" "$lost_events"
done
echo "# lost by the rings: $lost, with the events that are only counted: $lost_events"
end_rings() {
	local other=$daemon
	stop_daemon "$work/rings"
	daemon=$1
	[ "$other" != "$1" ]
}
check "both end" end_rings "$bpf"

if [ "$(stat_of "$work/stat" kvm_exit)" = 0 ]; then
	# Such hosts have their own ways with memory and the CPU.
	check "without kvm_exit, what is missing is said" grep -q '^# missing: kvm_exit' "$g/exits"
	check "and nothing looks as if it had been measured" test "$(grep -cE '^# (exits|in the guest|in the VMM): -$' "$g/exits")" = 3
fi
if have "exits.json" python3; then
	check "exits.json is JSON and says the same" python3 - "$g/exits.json" "$WRITES" <<-'END'
		import json, sys
		d = json.load(open(sys.argv[1]))
		sys.exit({r["name"]: r["count"] for r in d["pio"]}["0x0099:W"] != int(sys.argv[2]))
	END
fi
if have "poll" python3; then
	check "poll tells that there is something new" timeout $patience python3 - "$g/exits" "$work/counted.monitor" <<-'END'
		import os, select, sys
		p = select.poll()
		p.register(os.open(sys.argv[1], os.O_RDONLY), select.POLLPRI)
		open(sys.argv[2], "w").write("system_reset\n")
		sys.exit(not p.poll(50000))
	END
fi
again() { [ "$(row "$g" 0x009b:W 2)" = 2 ]; }
within "it does the same after a reset of the machine" $patience again
check "which adds up" row_is "$g" 0x0099:W $((2 * WRITES))
check "recent/exits says which time it is of" grep -q '^# window: the last 10 s$' "$g/recent/exits"
no_more() { row_is "$g/recent" 0x009b:W 0 && row_is "$g/recent" 0x0099:W 0; }
within "what was long ago is not in recent/exits any more" $patience no_more
check "but in exits" row_is "$g" 0x009b:W 2
echo system_reset >"$work/counted.monitor"
mkdir "$work/recent"
once_more() {
	cp "$g/recent/exits" "$work/recent/exits"
	row_is "$work/recent" 0x009b:W 1
}
within "recent/exits has what comes now" $patience once_more
sed 's/^/# /' "$work/recent/exits" | head -n 20
check "of some ten seconds" awk '/^# since:/ { exit !($5 >= 10 && $5 < 40) }' "$work/recent/exits"
check "with its VMM's part" test "$(row "$work/recent" 0x009b:W 10)" = 1
check "and no more than was done" awk -v n="$(row "$work/recent" 0x0099:W 2)" -v w="$WRITES" 'BEGIN { exit !(n > 0 && n <= w) }'
echo reset >"$g/control"
check "reset counts from zero" row_is "$g" 0x0099:W 0
end_vmm "$vmm"
stop_daemon "$mnt"
