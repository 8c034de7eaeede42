#!/bin/bash
# A guest that the host kernel cannot see into (TCG): its registers come over QMP.
# shellcheck source=tests/lab/case.sh
. "$(dirname "$(readlink -f "$0")")/../lab/case.sh"
# shellcheck source=tests/cases/input-lib.sh
. "$(dirname "$(readlink -f "$0")")/input-lib.sh"

"$LAB/setup" cloud && guest start one --kaslr on --workload crypto || give_up "a guest starts"
pid=$(pid_of one) g=$mnt/$(pid_of one)
start_daemon "$mnt" -p "$pid" -s "*=$(uri_of one)"
within "samples come" $patience has_samples "$g" 300
within "symbols come" $patience has_symbols "$g"
echo reset >"$g/control"
has_samples "$g" 300 && not_ok "reset forgets the samples"
wait_for $patience has_samples "$g" 300
cat "$g/profile"
check "profile: the sampler is qmp" grep -q '^# sampler: qmp' "$g/profile"
check "profile: the hash function leads" hottest_is "$g" "$HOT_CRYPTO [rmd160]"
# Not half of them: beside twenty others the guest is late for its interrupts, and 49% were seen. The next row has 7% at most.
check "profile: it has a good part of the samples" test "$(symbol_share "$g" $HOT_CRYPTO | cut -d. -f1)" -ge 30
check "top: the hash function is there" grep -q "$HOT_CRYPTO" "$mnt/top"
check "utilization: a line of the guest" grep -q " $pid one" "$mnt/utilization"
check "status: samples of qmp" test "$(sed -n 's/^samples_qmp //p' "$mnt/status")" -ge 300

# The same in the formats that others read: one moment each, so that only what leads is compared.
check "profile.folded: the hash function leads" test "$(head -n 1 "$g/profile.folded" | cut -d' ' -f1)" = "one;[rmd160];$HOT_CRYPTO"
check "profile.folded: all samples are there" test "$(awk '{ n += $NF } END { print n }' "$g/profile.folded")" -ge 300
# Debian has FlameGraph's flamegraph.pl in a package of another profiler.
flamegraph=$(command -v flamegraph.pl || echo /usr/share/perl5/Devel/NYTProf/flamegraph.pl)
if [ -r "$flamegraph" ]; then
	cp "$g/profile.folded" "$work/folded"
	perl "$flamegraph" --hash "$work/folded" >"$work/folded.svg" 2>"$work/said"
	check "profile.folded: flamegraph.pl takes each line" test ! -s "$work/said"
	check "profile.folded: its picture has our frames, as wide as their samples" python3 -c '
import re, sys, xml.etree.ElementTree as t
from collections import Counter
want, have = Counter(), {}
for line in open(sys.argv[1]):
    stack, count = line.rsplit(" ", 1)
    for name in ["all"] + stack.split(";"):
        want[name] += int(count)
for g in t.parse(sys.argv[2]).iterfind(".//{*}g"):
    name, count = re.fullmatch("(.*) \\(([0-9,]+) samples, [0-9.]+%\\)", g.findtext("{*}title")).groups()
    n, width = have.get(name, (0, 0))
    have[name] = n + int(count.replace(",", "")), width + float(g.find("{*}rect").get("width"))
assert have["all"][0] == want["all"] >= 300
for name, (count, width) in have.items():
    # [guest.user] is an object and a symbol.
    assert count == want[name] and abs(width - count * have["all"][1] / want["all"]) < 0.3, name
assert sum(want[n] for n in have) > 0.99 * want.total(), "frames are missing"
' "$work/folded" "$work/folded.svg"
else
	echo "skip profile.folded: flamegraph.pl takes each line: no libdevel-nytprof-perl here"
fi
"$(dirname "$0")/read-pprof" "$g/profile.pb.gz" >"$work/pprof"
check "profile.pb.gz: it is as pprof, Parca and Pyroscope want it" test -s "$work/pprof"
"$(dirname "$0")/read-pprof" "$g/recent/profile.pb.gz" >"$work/pprof.recent"
check "profile.pb.gz: so are the last ten seconds" test -s "$work/pprof.recent"
check "profile.pb.gz: the hash function leads, with its place and its module's build-id" \
	grep -q "^[0-9]* $HOT_CRYPTO \[rmd160\] $(sed -n 's/ \[rmd160\]$//p' "$g/buildids") 0x$(
		awk -v s=$HOT_CRYPTO '$3 == s { print $1 }' "$g/kallsyms")\$" "$work/pprof"
check "profile.pb.gz: the kernel's build-id" \
	grep -q " \[guest.kernel.kallsyms\] $(sed -n '1s/ .*//p' "$g/buildids") 0xffffffff" "$work/pprof"
check "profile.pb.gz: time, too" grep -qx "types samples/count cpu/nanoseconds" "$work/pprof"
check "profile.pb.gz: whose it is" grep -qx "label guest=one" "$work/pprof"
check "metrics: the parsers of OpenMetrics and of Prometheus text read it" /usr/bin/python3 -c '
import sys
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics
text = open(sys.argv[1]).read()
for read in openmetrics, parser:
    samples = {}
    for family in read.text_string_to_metric_families(text):
        for s in family.samples:
            if s.labels.get("pid") == sys.argv[2]:
                assert s.labels["name"] == "one"
                samples[s.name, s.labels.get("mode")] = s.value
    assert sum(samples["kvmprofs_guest_samples_total", m] for m in ("guest_kernel", "guest_user")) >= 300
    assert samples["kvmprofs_guest_sampling_frequency_hertz", None] > 0
    assert samples["kvmprofs_guest_symbols", None] == 1
' "$mnt/metrics" "$pid"
cp "$g/flamegraph.svg" "$work/flames.svg"
check "flamegraph.svg: an XML parser reads it, and finds the hash function" python3 -c '
import sys, xml.etree.ElementTree as t
titles = [e.findtext("{*}title") for e in t.parse(sys.argv[1]).iterfind(".//{*}svg")]
assert sum(x.startswith(sys.argv[2] + " [rmd160]\n") for x in titles) == 1, titles
' "$work/flames.svg" "$HOT_CRYPTO"
# The browser runs the script of the picture, as somebody would who searches and zooms.
sed 's|^</svg>$|<script>q.value="'"$HOT_CRYPTO"'"; search(); zoom(0, 500)</script></svg>|' "$work/flames.svg" >"$work/search.svg"
# dom: what the picture is after that, into $work/dom. A browser now and then ends without a word: three attempts.
dom() {
	local i
	for i in 1 2 3; do
		HOME=$work timeout 60 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
			--disable-background-networking --disable-component-update --disable-sync \
			--user-data-dir="$work/browser$i" --dump-dom "file://$work/search.svg" >"$work/dom" 2>"$work/chromium$i"
		echo "# chromium: exit status $?, $(wc -c <"$work/dom") bytes"
		! grep -q '</svg>' "$work/dom" || return 0
		tail -n 5 "$work/chromium$i" | sed 's/^/# /'
	done
	return 1
}
if ! command -v chromium >/dev/null; then
	echo "skip flamegraph.svg: a browser searches it: no chromium here"
elif ! dom; then
	echo "skip flamegraph.svg: a browser searches it: chromium shows nothing here, of any picture"
else
	grep -o '<text[^>]* id="say".*' "$work/dom" | cut -c1-200 | sed 's/^/# /'
	check "flamegraph.svg: a browser searches it" grep -q "id=\"say\".*$HOT_CRYPTO.*: [1-9][0-9.]*%, [0-9]* samples" "$work/dom"
fi
check "profile.json: a JSON parser reads it" python3 -c '
import json, sys
p = json.load(open(sys.argv[1]))
assert p["format"] == "kvmprofs profile" and p["version"] == 1 and p["guest"] == "one" and p["sampler"] == "qmp"
assert p["frequency"] > 0 and p["duration"] > 1 and p["samples"] >= 300
assert p["samples"] == p["guest_kernel"] + p["guest_user"] == sum(r["samples"] for r in p["rows"])
top = p["rows"][0]
assert (top["symbol"], top["object"], top["type"]) == (sys.argv[2], "[rmd160]", "kernel")
assert int(top["address"], 16) == int(sys.argv[3], 16)
' "$g/profile.json" "$HOT_CRYPTO" "$(awk -v s=$HOT_CRYPTO '$3 == s { print $1 }' "$g/kallsyms")"

# A recording, in which the first sample may well be the module's: see profiler/liveguest.c.
if command -v perf >/dev/null; then
	timeout 5 cat "$g/record" >"$work/record.data"
	HOME=$work perf kvm --guestmount="$mnt" report --stdio --sort dso,sym -i "$work/record.data" >"$work/report" 2>&1
	grep -m 5 '[0-9]%' "$work/report" | sed 's/^/# /'
	check "record: perf kvm report has the hash function first" grep -q "\[rmd160\] .* $HOT_CRYPTO\$" <(grep -m 1 '[0-9]%' "$work/report")
	check "record: which has a good part of them" test "$(awk -v s=$HOT_CRYPTO '$NF == s { print int($1) }' "$work/report")" -ge 30
	check "record: perf has nothing to complain of" test "$(grep -cE '^Warning|^Error|no symbols' "$work/report")" = 0
else
	echo "skip record: no perf here"
fi

# snapshots: what is frozen now stays, and has its names.
check "snapshot: mkdir" mkdir "$g/snapshots/crypto"
check "snapshot: the hash function leads" hottest_is "$g/snapshots/crypto" "$HOT_CRYPTO [rmd160]"
check "snapshot: as JSON, too" grep -q "\"$HOT_CRYPTO\"" "$g/snapshots/crypto/profile.json"
cp "$g/snapshots/crypto/profile" "$work/crypto"

# Another workload: the window follows, the profile is as long as it was.
check "recent: the hash function leads" hottest_is "$g/recent" "$HOT_CRYPTO [rmd160]"
check "vcpu/0: all samples are its" test "$(samples "$g/vcpu/0")" -ge 300
check "the guest gets another workload" guest ssh one "wl syscall"
within "recent: what it does now leads" $patience hottest_is "$g/recent" "$HOT_SYSCALL [guest.kernel.kallsyms]"
no_more() { [ "$(symbol_share "$g/recent" $HOT_CRYPTO)" = 0 ]; }
within "recent: what it did before has left" $patience no_more
check "recent: it says its window" grep -q '^# window: the last 10 s$' "$g/recent/profile"
check "profile: what it did before is there" test "$(symbol_share "$g" $HOT_CRYPTO | cut -d. -f1)" -ge 5

# diff_of SYMBOL: baseline and delta of its row
diff_of() { awk -v s="$1" '$3 == s { print $1, $2 }' "$g/diff/crypto"; }
echo reset >"$g/control"
within "reset: samples of what it does now" $patience has_samples "$g" 200
check "snapshot: it is as it was" cmp "$work/crypto" "$g/snapshots/crypto/profile"
grep -v '^#' "$g/diff/crypto" | head -n 4
# Which of the two comes first depends on how much each of them was.
check "diff: of the two biggest changes one is the hash function, which is gone" \
	grep -q " -[0-9.]*% $HOT_CRYPTO \[rmd160\]$" <<<"$(grep -v '^#' "$g/diff/crypto" | head -n 2)"
check "diff: its baseline" test "$(diff_of $HOT_CRYPTO | cut -d. -f1)" -ge 30
check "diff: what is new has grown" grep -q "^- +[1-9]\|^[0-9.]*% +[1-9]" <<<"$(diff_of $HOT_SYSCALL)"
check "snapshot: rmdir" rmdir "$g/snapshots/crypto"
check "snapshot: gone" test ! -e "$g/diff/crypto"

# A recording, mounted. perf names what a module did only after it has seen a sample of the kernel's own
# (tools/perf/util/symbol.c, maps__split_kallsyms()), which now are nearly all.
if command -v perf >/dev/null; then
	timeout 5 cat "$g/record" >"$work/record.data"
	check "--input: it is mounted" serve "$work/record.data" -s "$pid=dir:$g"
	check "--input: names" has_symbols "$in/$pid"
	names=$g/kallsyms HOME=$work same_rows "--input" "$work/record.data" --guestmount="$mnt"
	check "--input: the hottest function is among them" grep -q " $HOT_SYSCALL " "$in/$pid/profile"
	unserve
	# A copy of another boot, in which KASLR had chosen another place: perf moves its symbols, too.
	mkdir -p "$work/copies/$pid/proc" "$work/copies/$pid/sys/kernel"
	cp "$g/modules" "$work/copies/$pid/proc/"
	cp "$g/sys/kernel/notes" "$work/copies/$pid/sys/kernel/"
	perl -pe 's/^(ffffffff[0-9a-f]{8})/sprintf("%016x", hex($1) - 0x1000000)/e' "$g/kallsyms" >"$work/copies/$pid/proc/kallsyms"
	serve "$work/record.data" -s "$pid=dir:$work/copies/$pid"
	within "--input, symbols of another boot: names" $patience has_symbols "$in/$pid"
	# Of modules there are none; perf shows addresses there by where they are in the module.
	names=$g/kallsyms nameless=0x same_rows "--input, symbols of another boot" "$work/record.data" --guestmount="$work/copies"
	check "--input, symbols of another boot: the hottest function is among them" grep -q " $HOT_SYSCALL " "$in/$pid/profile"
	check "--input, symbols of another boot: info says so" grep -q '^source_note of another boot: moved by 0x1000000 ' "$in/$pid/info"
	unserve
	serve "$work/record.data" -s "$pid=dir:/"
	within "--input, symbols of this machine: info says so" $patience grep -q \
		'^source_error dir:/: is of another kernel: its build-id is ' "$in/$pid/info"
	check "--input, symbols of this machine: none are taken" test "$(grep -c '\[g\] [a-z_]' "$in/$pid/profile")" = 0
	unserve
fi

echo pause >"$g/control"
before=$(samples "$g")
sleep 1 # nothing to wait for: that nothing comes is what is tested
after=$(samples "$g")
check "pause: no more than the sample under way" test $((after - before)) -le 2
echo resume >"$g/control"
within "resume: samples come again" $patience has_samples "$g" $((after + 50))
stop_daemon "$mnt"
