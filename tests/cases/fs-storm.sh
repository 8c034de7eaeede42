#!/bin/bash
# A boot storm: two hundred guests start at once, with agents in them of which some never answer. All others get
# their symbols, by a bounded number of threads and connections, and what is alike in them is held once.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
have "a boot storm" gcc python3 || exit 0

GUESTS_COUNT=200 SILENT=20 KINDS=4 SYMBOLS=30000

gcc -O2 -pthread -D_GNU_SOURCE -Wall -Wextra -o "$work/qemu-system-x86_64" "$LAB/fake-vmm.c" || give_up "a VMM is made up"
for ((k = 0; k < KINDS; k++)); do make_guest_files "$work/kind$k" $((SYMBOLS + k)); done
for ((i = 0; i < GUESTS_COUNT; i++)); do
	pairs+=("$work/agent$i=$work/kind$((i % KINDS))")
	echo "source storm$i=virtio-serial:$work/agent$i"
done >"$work/storm.conf"
echo 'source *=kallsyms:/nothing' >>"$work/storm.conf" # others that run here are not of this test
python3 "$LAB/agents" $SILENT "${pairs[@]}" >"$work/agents.log" &
agents=$!
wait_for $patience grep -q listening "$work/agents.log" || give_up "agents listen"

mkdir -p "$mnt"
"$KVMPROFS" -f --config "$work/storm.conf" "$mnt" >>"$work/daemon.log" 2>&1 &
daemon=$!
wait_for $patience mountpoint -q "$mnt" || give_up "kvmprofs starts" "$(tail -n 3 "$work/daemon.log")"
status_of() { sed -n "s/^$1:[[:space:]]*\([0-9]*\).*/\1/p" "/proc/$daemon/status"; }
threads_before=$(status_of Threads)

start=$EPOCHREALTIME
for ((i = 0; i < GUESTS_COUNT; i++)); do
	"$work/qemu-system-x86_64" -name "storm$i" -accel tcg -m 256 -machine pc &
	storm+=($!)
done
since() { awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'; }
ready() { cat "$mnt"/by-name/storm*/info 2>/dev/null | grep -c '^source_state ready'; }

first='' threads=0 now=0
while [ "$now" -lt $((GUESTS_COUNT - SILENT)) ] && awk -v s="$(since)" -v m=$((slow * 60)) 'BEGIN { exit s > m }'; do
	now=$(ready)
	[ -n "$first" ] || [ "$now" = 0 ] || first=$(since)
	t=$(status_of Threads)
	[ "$t" -le $threads ] || threads=$t
	sleep 0.1
done
last=$(since)
check "all guests whose agents answer have symbols" test "$now" = $((GUESTS_COUNT - SILENT))
check "every one its own" test "$(cat "$mnt"/by-name/storm{21,22,23,24}/kallsyms | cksum)" = \
	"$(cat "$work"/kind{1,2,3,0}/proc/kallsyms | cksum)"
silence_is_said() { [ "$(grep -l '^source_error .*nobody answers' "$mnt"/by-name/storm{0..19}/info | wc -l)" = $SILENT ]; }
within "info says what is wrong with the others" $patience silence_is_said
if /usr/bin/python3 -c 'import prometheus_client' 2>/dev/null; then
	check "metrics: a parser of OpenMetrics reads it, with every guest and every series once" /usr/bin/python3 -c '
import sys
from prometheus_client.openmetrics import parser
seen, guests = set(), set()
for family in parser.text_string_to_metric_families(open(sys.argv[1]).read()):
    for s in family.samples:
        series = s.name, *sorted(s.labels.items())
        assert series not in seen, series
        seen.add(series)
        if s.name == "kvmprofs_guest_info" and s.labels["name"].startswith("storm"):
            guests.add(s.labels["pid"])
assert len(guests) == int(sys.argv[2]), len(guests)
' "$mnt/metrics" $GUESTS_COUNT
else
	skip "metrics: a parser of OpenMetrics reads it" "no python3-prometheus-client here"
fi
# The filesystem's own workers come by themselves; the fetchers do not become more.
check "threads do not grow with guests" test "$threads" -lt 64
check "nor do those that fetch" test "$(cat "/proc/$daemon/task"/*/comm | grep -c kp-fetch)" -le 16
rss=$(status_of VmRSS)
# Each for itself they would take 300 MB besides; here $KINDS of them are held.
[ -n "${KVMPROFS_SANITIZE-}" ] || check "what is alike is held once" test "$rss" -lt 300000
kill -TERM $agents
wait $agents
read -r most total < <(tail -n 1 "$work/agents.log")
check "connections do not grow with guests" test "$most" -le 32
echo "# $GUESTS_COUNT guests, $SILENT of them silent, $SYMBOLS symbols each: first after $first s, last after $last s"
echo "# threads $threads (before $threads_before), connections $most at a time of $total, VmRSS $rss kB, VmHWM $(status_of VmHWM) kB," \
	"CPU $(awk '{ print ($14 + $15) * 10 }' "/proc/$daemon/stat") ms"
kill "${storm[@]}"
stop_daemon "$mnt"
