#!/bin/bash
# Recordings: what `record` gives is perf.data that perf itself reads, with names, while guests come, go and have no
# symbols yet. The guests are boot sectors in long mode at the upper end of addresses, under TCG, sampled over QMP; under
# this machine's own KVM there is one more.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

command -v perf >/dev/null || { echo "skip fs-record: no perf here"; exit 0; }
command -v objcopy >/dev/null || { echo "skip fs-record: no binutils here"; exit 0; }

# shellcheck source=tests/cases/loops-lib.sh
. "$(dirname "$(readlink -f "$0")")/loops-lib.sh"
# report FILE OPTIONS...: what perf kvm report says of it; its complaints on stdout, too
report() { perf kvm --guestmount="$mnt" report --stdio -i "$@" 2>&1; }
# share FILE PATTERN: per cent of the rows that match
share() { report "$1" --sort sym | awk -v p="$2" '$1 ~ /%$/ && $0 ~ p { s += $1 } END { printf "%.2f\n", s }'; }
# recorded FILE [PATTERN]: samples, as perf script lists them
recorded() { perf script --guestmount="$mnt" -i "$1" -F pid,ip,sym 2>/dev/null | grep -c "${2-.}"; }
# lines_of FILE PATTERN: of perf's dump of all records
lines_of() { perf script --guestmount="$mnt" -D -i "$1" 2>/dev/null | grep -c "$2"; }
# has_all FILE GUEST: as many as its profile has
has_all() { test "$(recorded "$1")" = "$(awk '!/^#/ { n += $2 } END { print n + 0 }' "$mnt/$2/profile")"; }
has_bytes() { [ "$(stat -c %s "$1")" -ge "$2" ]; }
near() { awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { exit !(a - b <= d && b - a <= d) }'; }

make_loop_files "$work/hot.files"
start_loops hot -accel tcg
hot=$vmm
start_daemon "$mnt" --sampler auto -s "hot=dir:$work/hot.files" -s "late=dir:$work/late.files" -s "more=dir:$work/hot.files"
within "a guest with names" $patience has_symbols "$mnt/$hot"
within "a guest with samples" $patience has_samples "$mnt/$hot" 5

# It begins and ends paused, so that what is recorded and what is counted are the same samples.
printf 'pause\nreset\n' >"$mnt/$hot/control"
# One reader of the guest, two of all guests; a second guest without any names, and never a build-id, and a third that comes now.
declare -A reads
for f in one all again; do
	path=$mnt/record
	[ $f != one ] || path=$mnt/$hot/record
	cat "$path" >"$work/$f.data" 2>/dev/null &
	reads[$f]=$!
done
within "a recording begins at once" $patience has_bytes "$work/all.data" 500
start_loops late -accel tcg
late=$vmm
wait_for $patience test -e "$mnt/$late/record" || give_up "the second guest is there"
cat "$mnt/$late/record" >"$work/late.data" &
reads[late]=$!
start_loops more -accel tcg
more=$vmm
echo resume >"$mnt/$hot/control"
within "samples of one without names" $patience has_samples "$mnt/$late" 20
make_loop_files "$work/late.files" no-build-id
echo refresh >"$mnt/$late/control"
within "its names come late" $patience has_symbols "$mnt/$late"
within "enough samples" $patience has_samples "$mnt/$hot" 150
within "of the third guest as well" $patience has_samples "$mnt/$more" 50
echo pause >"$mnt/$hot/control"
within "to the last sample what is recorded is what is counted" $patience has_all "$work/one.data" "$hot"
cp "$mnt/$hot/profile" "$work/profile"
for f in one again late; do
	kill "${reads[$f]}"
	wait "${reads[$f]}" 2>/dev/null
done

report "$work/one.data" --sort sym >"$work/report"
check "perf kvm report names the hottest" grep -qE '^ +[0-9.]+% +\[g\] hot_loop' <(grep -m1 '%' "$work/report")
check "it says nothing else" test "$(grep -vcE '^#|^ +[0-9.]+% |^ *$' "$work/report")" = 0
sed 's/^/# /' "$work/report" | grep '[0-9]%'
check "hot_loop's share is the profile's" near "$(share "$work/one.data" hot_loop)" \
	"$(awk '$4 == "hot_loop" { print $1 + 0 }' "$work/profile")" 5
check "perf report reads it" perf report --stdio -i "$work/one.data" >/dev/null 2>&1
check "perf script has the guest's pid" test "$(recorded "$work/one.data" "^ *$hot ")" = "$(recorded "$work/one.data")"
check "perf evlist reads it" test "$(perf evlist -i "$work/one.data" 2>/dev/null | wc -l)" = 1
check "perf inject passes it on" test "$(perf inject <"$work/one.data" 2>/dev/null | recorded -)" = "$(recorded "$work/one.data")"
check "the build-id is the guest's" grep -q "^$(hex_of 1) \[guest.kernel.kallsyms.$hot\]" \
	<(perf kvm --guestmount="$mnt" buildid-list -i "$work/one.data")

for f in all again; do
	check "all guests in one: $f" test "$(recorded "$work/$f.data" "^ *$hot .*_loop")" -gt 0 -a \
		"$(recorded "$work/$f.data" "^ *$more .*_loop")" -gt 0 -a "$(recorded "$work/$f.data" "^ *$late .*_loop")" -gt 0
done
check "Command is the VM's name" grep -qE '% +more ' <(report "$work/all.data" --sort comm)
check "names that came late are for all samples" test "$(report "$work/late.data" --sort sym | grep -cE '0x0*ffffffff8')" = 0
check "of which there are some" test "$(recorded "$work/late.data" hot_loop)" -gt 10
check "nothing was lost" test "$(lines_of "$work/all.data" 'PERF_RECORD_LOST\b')" = 0

size=$(stat -c %s "$work/one.data")
for cut in 17 100 $((size - 1)) $((size - 55)) $(seq 400 $((size / 19)) "$size"); do
	head -c "$cut" "$work/one.data" >"$work/cut.data"
	report "$work/cut.data" --sort sym >"$work/report" || not_ok "cut at byte $cut of $size" "$(tail -n 1 "$work/report")"
	grep -vE '^#|^ +[0-9.]+% |^ *$|unexpected end of event stream|^Error:$|has no samples' "$work/report" | sed "s/^/cut at $cut: /"
done >"$work/cuts"
check "cut off at any byte perf reads it" test ! -s "$work/cuts"
head "$work/cuts"

check "head -c ends by itself" test "$(timeout $patience head -c 16 "$mnt/$late/record" | head -c 8)" = PERFILE2
if have "poll of a recording" python3; then
	check "poll: there is something, then nothing, then samples" timeout $patience python3 - "$mnt/$hot/record" "$mnt/$hot/control" <<-'END'
		import os, select, sys
		fd = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
		p = select.poll()
		p.register(fd, select.POLLIN)
		seen = b""
		# The guest is paused: what it begins with, and no more.
		while p.poll(1000):
		    seen += os.read(fd, 65536)
		try:
		    os.read(fd, 1)
		    sys.exit("read something")
		except BlockingIOError:
		    pass
		open(sys.argv[2], "w").write("resume")
		sys.exit(not seen.startswith(b"PERFILE2") or not p.poll(50000))
	END
fi

end_vmm "$more"
cat "$mnt/$late/record" >"$work/end.data" &
reads_end=$!
within "another one begins" $patience has_bytes "$work/end.data" 500
end_vmm "$late"
within "a guest's recording ends with it" $patience ended "$reads_end"
check "it ends well" wait "$reads_end"
check "that of all guests does not" running "${reads[all]}"

if [ -w /dev/kvm ]; then
	start_loops fast -accel kvm -cpu host,-arch-capabilities
	within "a guest under KVM is there" $patience test -e "$mnt/$vmm/record"
	within "it has samples" $patience has_samples "$mnt/$vmm" 3
	fast_is_recorded() { [ "$(recorded "$work/all.data" "^ *$vmm ")" -ge 3 ]; }
	within "which are recorded" $patience fast_is_recorded
	printf 'pause\nreset\n' >"$mnt/$vmm/control"
	cat "$mnt/$vmm/record" >"$work/fast.data" 2>/dev/null &
	within "its own recording begins" $patience has_bytes "$work/fast.data" 500
	echo resume >"$mnt/$vmm/control"
	within "it has samples again" $patience has_samples "$mnt/$vmm" 50
	echo pause >"$mnt/$vmm/control"
	within "to the last sample what is recorded is what is counted, under KVM as well" $patience has_all "$work/fast.data" "$vmm"
	check "of which it lost none" test "$(lines_of "$work/fast.data" 'PERF_RECORD_LOST\b')" = 0
	end_vmm "$vmm"
else
	skip "a guest under KVM" "no /dev/kvm here"
fi
kill "${reads[all]}"
wait "${reads[all]}" 2>/dev/null
cat "$mnt/record" >"$work/end.data" 2>/dev/null &
reads_end=$!
within "the last one begins" $patience has_bytes "$work/end.data" 500
end_daemon TERM
within "it ends with the daemon" $patience ended "$reads_end"
