#!/bin/bash
# Runs in L1 (tests/lab/run), where kvm_exit and kvm_entry fire: two guests at once do a known number of things, each
# beside perf stat, one of them beside perf kvm stat, too.
# shellcheck source=tests/lab/case.sh
. "$(dirname "$(readlink -f "$0")")/../../lab/case.sh"
[ -n "${IN_L1-}" ] || give_up "lab" "this is for tests/lab/run"
export HOME=$work
WRITES=4000 # everything is emulated here
# shellcheck source=tests/cases/exits-lib.sh
. "$(dirname "$(readlink -f "$0")")/../exits-lib.sh"
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing

MORE_CPUIDS=100 # that the other one does
make_counted_rom "$work/rom" && CPUIDS=$((CPUIDS + MORE_CPUIDS)) make_counted_rom "$work/rom2" ||
	give_up "a ROM is made" "as or ld failed"
start_daemon "$mnt" -F 49
start_counted one "$work/rom"
one=$vmm
start_counted two "$work/rom2"
two=$vmm
for g in "$one" "$two"; do
	wait_for $patience test -e "$mnt/$g/exits" || give_up "the guests are there" "$(tail -n 3 "$work/vmm.log")"
done
within "the BPF engine runs" $patience grep -q '^# engine: bpf$' "$mnt/$two/exits"
# The other engine at the same time.
bpf=$daemon
start_daemon "$work/rings" -F 49 --exits perf
within "perf's rings are there, too" $patience grep -q '^# engine: perf$' "$work/rings/$two/exits"

# Its last port write is the last thing that a guest does.
cat >"$work/window" <<-'END'
	echo reset >"$1/control"
	echo reset >"$3/control"
	echo cont >"$2"
	for i in $(seq 300); do
		grep -q '^0x009b:W ' "$1/exits" && break
		sleep 0.5
	done
END
events=kvm:kvm_exit,kvm:kvm_entry,kvm:kvm_pio,kvm:kvm_mmio,kvm:kvm_msr,kvm:kvm_userspace_exit
stat_beside() { perf stat -x, -o "$work/$1.stat" -e $events -p "${!1}" -- "${@:2}"; }
stat_beside one bash "$work/window" "$mnt/$one" "$work/one.monitor" "$work/rings/$one" >"$work/stat.log" 2>&1 &
stat=$!
stat_beside two perf kvm stat record -p "$two" -o "$work/kvm.data" -- \
	bash "$work/window" "$mnt/$two" "$work/two.monitor" "$work/rings/$two" >"$work/perf.log" 2>&1 ||
	not_ok "perf kvm stat record" "$(tail -n 1 "$work/perf.log")"
wait $stat || not_ok "perf stat" "$(tail -n 1 "$work/stat.log")"
# So soon after its beginning, which vCPUs it has may not be known yet.
has_vcpus() { awk '!/^#/ { n++ } END { exit !n }' "$mnt/$1/vcpus"; }
within "the vCPUs are found" $patience eval 'has_vcpus "$one" && has_vcpus "$two"'
for n in one two; do # one moment of each; a read takes long here
	mkdir "$work/$n.files" "$work/$n.rings"
	cp "$mnt/${!n}"/{exits,events,vcpus} "$work/$n.files/"
	cp "$work/rings/${!n}"/{exits,events} "$work/$n.rings/"
done
# The last seconds: one of the guests has done all; it does it again.
r=$mnt/$one/recent
done_long_ago() { row_is "$r" 0x0099:W 0 && row_is "$r" 0x009b:W 0; }
within "recent/exits forgets" $patience done_long_ago
cp "$r/exits" "$work/recent.idle"
echo system_reset >"$work/one.monitor"
mkdir "$work/recent.busy"
busy_again() {
	cp "$r/exits" "$work/recent.busy/exits"
	row_is "$work/recent.busy" 0x009b:W 1
}
within "recent/exits has what comes" $patience busy_again

# A CPU goes and comes back: its events are opened again when the next guest comes, at the latest.
cpu=/sys/devices/system/cpu/cpu2/online
ticks() { awk '$2 == "(kp-exits)" { print $14 + $15 }' /proc/"$daemon"/task/*/stat; }
if echo 0 >$cpu; then
	before=$(ticks)
	sleep 3
	check "nobody waits busily for a CPU that is gone" test $(($(ticks) - before)) -lt 150
	echo 1 >$cpu
	start_counted three "$work/rom"
	taskset -acp 2 "$vmm" >/dev/null
	three=$work/rings/$vmm
	within "the third guest is there" $patience grep -q '^# engine: perf$' "$three/exits"
	go three
	within "it does what it does, on that CPU" $patience grep -q '^0x009b:W ' "$three/exits"
	all_of "what happens there counts" "$(row "$three" 0x0099:W 2)" "$WRITES" "$(sed -n 's/^# lost: //p' "$three/exits")"
	sed -n '1,6s/^/# three, rings: /p' "$three/exits"
else
	echo "skip a CPU goes and comes back: it cannot be taken offline"
fi
stop_daemon "$work/rings"
daemon=$bpf
stop_daemon "$mnt"

for n in one two; do
	g=$work/$n.files cpuids=$CPUIDS
	[ $n = one ] || cpuids=$((CPUIDS + MORE_CPUIDS))
	head -n 24 "$g/exits" | sed "s/^/# $n: /"
	for e in kvm_exit kvm_entry kvm_pio kvm_mmio kvm_msr kvm_userspace_exit; do
		near "guest $n: $e as perf stat counts it" "$(event "$g" $e)" "$(stat_of "$work/$n.stat" $e)"
	done
	near "guest $n: the rows add up to the exits" "$(awk '/^# VMM_REASON/ { exit } !/^#/ { n += $2 } END { print n }' "$g/exits")" \
		"$(stat_of "$work/$n.stat" kvm_exit)"
	mmio_is "guest $n: " "$g"
	check "guest $n: known port writes" row_is "$g" 0x0099:W "$WRITES"
	check "guest $n: all reached the VMM" test "$(row "$g" 0x0099:W 10)" = "$WRITES"
	check "guest $n: known port reads" row_is "$g" 0x009a:R $READS
	check "guest $n: all reached the VMM, too" test "$(row "$g" 0x009a:R 10)" = $READS
	check "guest $n: known MSR reads" row_is "$g" 0x2a:R $MSRS
	check "guest $n: known CPUIDs by name" row_is "$g" cpuid $cpuids
	check "guest $n: port accesses by name" row_is "$g" io $((WRITES + READS + 1))
	check "guest $n: vcpus tells the exits" test "$(awk '!/^#/ { n += $6 } END { print n }' "$g/vcpus")" = "$(event "$g" kvm_exit)"
	check "guest $n: nothing is missing" test "$(grep -c '^# missing' "$g/exits")" = 0
	# shellcheck disable=SC2016
	check "guest $n: it halts in the end, and that counts" \
		awk '/^# halted: / { sub(/%/, "", $3); h = $3 } END { exit !(h > 0) }' "$g/exits"
done

head -n 24 "$work/recent.idle" "$work/recent.busy/exits" | sed 's/^/# recent: /'
check "recent: the guest was halted" awk '/^# halted: / { exit !($3 + 0 > 90) }' "$work/recent.idle"
for f in recent.idle recent.busy/exits; do
	check "$f: its vCPU's time is the window's" awk '/^# since: / { all = $5 }
		/^# [a-z A-Z]*: [0-9.]*% \([0-9.]* s\)$/ { sub(/.*\(/, ""); sum += $1 }
		END { exit !(all >= 10 && sum > all * 0.95 && sum < all * 1.05) }' "$work/$f"
done
check "recent: times are in their order" awk '!/^#/ && $5 != "-" && ($5 > $7 || $7 > $8 || $8 > $9) { bad = 1 }
	!/^#/ { n++ } END { exit bad || !n }' "$work/recent.busy/exits"
check "recent: no more than was done" test "$(row "$work/recent.busy" 0x0099:W 2)" -le "$WRITES"

# Perf's rings have the same, but for what they say that they have lost.
for n in one two; do
	r=$work/$n.rings
	lost=$(sed -n 's/^# lost: //p' "$r/exits")
	head -n 16 "$r/exits" | sed "s/^/# $n, rings: /"
	all_of "guest $n, rings: VM exits" "$(event "$r" kvm_exit)" "$(event "$work/$n.files" kvm_exit)" "$lost"
	all_of "guest $n, rings: known port writes" "$(row "$r" 0x0099:W 2)" "$WRITES" "$lost"
	all_of "guest $n, rings: all reached the VMM" "$(row "$r" 0x0099:W 10)" "$WRITES" "$lost"
	all_of "guest $n, rings: known writes to MMIO" "$(row "$r" 0x101230:W 2)" $MMIOS "$lost"
	all_of "guest $n, rings: known MSR reads" "$(row "$r" 0x2a:R 2)" $MSRS "$lost"
	if [ "$lost" = 0 ]; then
		check "guest $n, rings: the time of port accesses is BPF's" \
			awk -v a="$(row "$r" io 6)" -v b="$(row "$work/$n.files" io 6)" 'BEGIN { exit !(b > 0 && a / b < 1.6 && b / a < 1.6) }'
	fi
done

# Times as well. perf's are from event to event and so are ours, but what each costs is in the other's: hence the bound.
perf kvm -i "$work/kvm.data" stat report --event=vmexit >"$work/report" 2>&1
grep -v '^$' "$work/report" | sed 's/^/# perf: /'
for r in io cpuid; do
	# VM-EXIT Samples Samples% Time% Min Max Avg, with % and us behind the numbers
	read -r n avg < <(awk -v r=$r '$1 == r { sub(/us$/, "", $7); print $2, $7 }' "$work/report")
	near "perf kvm stat counts $r" "$(row "$work/two.files" $r 2)" "${n:-0}"
	check "its average time of $r is ours" awk -v a="$(row "$work/two.files" $r 6)" -v b="${avg:-0}" \
		'BEGIN { exit !(b > 0 && a / b < 1.6 && b / a < 1.6) }'
	echo "# $r: $(row "$work/two.files" $r 6) us on average, perf: ${avg:-none}"
done
# An exit counts from its beginning here, and from its end for perf: the HLT that nothing ends is one that perf has not.
# How long HLTs sleep is handling time for perf, and in the row for hlt; vcpus and the lines above say it apart.
hlts=$(row "$work/two.files" hlt 2)
read -r n avg < <(awk '$1 == "hlt" { sub(/us$/, "", $7); print $2, $7 }' "$work/report")
check "perf has every HLT but the last one" test "$hlts" = $((${n:-0} + 1))
echo "# hlt: $hlts, $(row "$work/two.files" hlt 6) us on average; perf: ${n:-none}, ${avg:-no} us"
