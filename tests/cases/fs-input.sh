#!/bin/bash
# --input: recordings in the place of live guests, beside what perf kvm report says of the same file. They are perf's own of
# this machine's KVM, in all formats, and kvmprofs' own of guests under TCG, which have names.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
command -v perf >/dev/null || { echo "skip fs-input: no perf here"; exit 0; }
command -v objcopy >/dev/null || { echo "skip fs-input: no binutils here"; exit 0; }
# shellcheck source=tests/cases/loops-lib.sh
. "$(dirname "$(readlink -f "$0")")/loops-lib.sh"
# shellcheck source=tests/cases/input-lib.sh
. "$(dirname "$(readlink -f "$0")")/input-lib.sh"

export HOME=$work/home
mkdir -p "$HOME" "$work/guests"

# perf makes one row of one address that has no name in several guests.
of_several() { nameless=0x same_rows "$@"; }

# ---- kvmprofs' own recordings, with names ----------------------------------------------------------------------

make_loop_files "$work/loop.files"
start_loops one -accel tcg
one=$vmm
start_loops two -accel tcg
two=$vmm
start_daemon "$mnt" --sampler auto -p "$one" -p "$two" -s "*=dir:$work/loop.files"
within "a guest with names" $patience has_symbols "$mnt/$one"
timeout 600 cat "$mnt/record" >"$work/both.data" 2>/dev/null &
reader=$!
timeout 600 cat "$mnt/$one/record" >"$work/one.data" 2>/dev/null &
reader="$reader $!"
within "samples of one" $patience has_samples "$mnt/$one" 150
within "samples of the other" $patience has_samples "$mnt/$two" 150
# The recordings began a little later than the guests were counted, so that they have some samples less.
for p in $one $two; do cp -r "$work/loop.files" "$work/guests/$p"; done
# shellcheck disable=SC2086
{ kill $reader; wait $reader; } 2>/dev/null
end_vmm "$one"
end_vmm "$two"
stop_daemon "$mnt"

check "a recording is served" serve "$work/one.data" -s "*=dir:$work/loop.files"
check "the first read has names" grep -q ' hot_loop \[guest.kernel.kallsyms\]$' "$in/$one/profile"
same_rows "names" "$work/one.data" --guestmount="$work/guests"
check "the loops are among them" grep -q ' hot_loop$' "$work/our.rows"
head -n 16 "$in/$one/profile" | sed 's/^/# /'
check "only that guest is there" test "$(echo "$in"/[0-9]*)" = "$in/$one"
check "by its name, too" test "$(readlink "$in/by-name/one")" = "../$one"
check "all samples are counted" test "$(sed -n 's/^# samples: //p' "$in/$one/profile")" = \
	"$(awk '!/^#/ { n += $2 } END { print n }' "$in/$one/profile")"
check "no time passes in it" test "$(sed -n 's/^# since: //p' "$in/$one/profile")" = \
	"$(sleep 1.1; sed -n 's/^# since: //p' "$in/$one/profile")"
for f in exits events stats trace record; do
	check "$f says why there is nothing" grep -q '^# no .*: .*' <(timeout $patience head -n 1 "$in/$one/$f")
done
check "so does recent" grep -qx '# no last 10 s: .*' "$in/$one/recent/profile"
check "in that line alone" test "$(wc -l <"$in/$one/recent/profile")" = 1
check "reset is refused" bash -c "! echo reset 2>/dev/null >'$in/$one/control'"
check "and control says why" grep -q '^# refused: a recording ' "$in/$one/control"
check "reset is refused behind refresh, too" bash -c "! printf 'refresh\nreset\n' 2>/dev/null >'$in/$one/control'"
check "events are refused" bash -c "! echo trace kvm_exit 2>/dev/null >'$in/$one/control'"
check "and all is still there" test -s "$in/status"
check "a snapshot holds the same" bash -c "mkdir '$in/$one/snapshots/s' && cmp -s <(grep -v '^#' '$in/$one/profile') <(grep -v '^#' '$in/$one/snapshots/s/profile')"
if have "all files" tar; then
	check "all files can be read" timeout $patience tar cf /dev/null -C "$in" --exclude trace --exclude record .
fi
unserve

check "guests of two pids" serve "$work/both.data" -s "*=dir:$work/loop.files"
check "names of one" has_symbols "$in/$one"
check "names of the other" has_symbols "$in/$two"
of_several "two guests" "$work/both.data" --guestmount="$work/guests"
unserve
check "--pid shows some of them" serve "$work/both.data" -p "$two"
check "and no others" test "$(echo "$in"/[0-9]*)" = "$in/$two"
check "without symbols info says what to do" grep -q '^source_error .* -s ' "$in/$two/info"
check "and no URI that nobody gave" grep -q '^source -$' "$in/$two/info"
check "build-ids are those of the recording" grep -q "^$(hex_of 1) \[guest.kernel.kallsyms\]$" "$in/$two/buildids"
check "addresses are told by where they lie" grep -q '\[g\] 0xffffffff8.* \[guest.kernel.kallsyms\]$' "$in/$two/profile"
check "which top does not tell" bash -c "! grep -q 0xffffffff '$in/top'"
unserve

size=$(stat -c %s "$work/both.data")
if have "progress" script; then
	mkfifo "$work/slow"
	{ head -c 1000 "$work/both.data"; sleep 1; tail -c +1001 "$work/both.data"; } >"$work/slow" &
	script -qec "'$KVMPROFS' --input '$work/slow' '$in'" "$work/typescript" >/dev/null </dev/null
	check "a terminal is told what it waits for" grep -q 'kvmprofs: waiting for data from .*/slow' "$work/typescript"
	check "it is mounted when that ends" has_state whole
	unserve
fi
printf 'event instructions\npid 1\n' >"$work/live.conf"
check "what the configuration says of live guests does not count" serve "$work/one.data" --config "$work/live.conf"
check "its guest is there" test -e "$in/$one/profile"
unserve
serve "$work/one.data" -p 1 -p "$one" -F 99 --exits perf
check "options for live guests: that they have no effect" grep -q '^kvmprofs: no effect of --freq, --exits: ' "$work/served"
check "how many CPUs there were is not known" grep -q '^cpus -$' "$in/status"
check "a pid that is not in it is told" grep -q '^kvmprofs: -p 1: .*one.data has no such guest$' "$work/served"
unserve
beside() { cd "$work" && serve one.data; }
(beside)
check "status has a path that is one from everywhere" grep -qx "recording $work/one.data" "$in/status"
unserve
serve "$work/both.data" -e cpu-clock
check "an event without guests: which has some" grep -q -- '--event qmp-registers shows' "$work/served"
unserve
# by_another_event FILE TO PID: as if the samples of this guest were of task-clock
by_another_event() {
	perl -e '
		my ($from, $to, $pid) = @ARGV;
		open(my $in, "<:raw", $from) or die;
		open(my $out, ">:raw", $to) or die;
		local $/;
		my $all = <$in>;
		print $out substr($all, 0, 16);
		for (my $at = 16; $at + 8 <= length $all;) {
			my ($type, undef, $size) = unpack("LSS", substr($all, $at, 8));
			my $record = substr($all, $at, $size);
			last if length($record) < $size;
			$at += $size;
			print $out $record if $type == 64;
			substr($record, 16, 8) = pack("Q", 1), substr($record, -8) = pack("Q", 2) if $type == 64;
			substr($record, 8, 8) = pack("Q", 2) if $type == 9 && unpack("L", substr($record, 24, 4)) == $pid;
			print $out $record;
		}' "$@"
}
by_another_event "$work/both.data" "$work/events.data" "$two"
serve "$work/events.data" -e task-clock
check "a guest with samples of another event alone: the mount says so" grep -q \
	"^kvmprofs: .*has no samples of task-clock, which is shown, of $one (one): --event qmp-registers has some" "$work/served"
check "and its profile" grep -q '^# sampler: recording (no sample of task-clock; --event qmp-registers shows the [1-9][0-9]* it has)$' "$in/$one/profile"
check "the other one has its own" has_samples "$in/$two" 100
unserve
serve "$work/events.data" -p "$one"
check "without --event the event is that of the guest that is asked for" has_samples "$in/$one" 100
unserve
serve "$work/events.data" -p "$two"
check "whichever that is" has_samples "$in/$two" 100
unserve
refuse "a guest that is not in it: those of all events are listed" 1 "it has no guest 1; it has $one (one), $two (two)" \
	"$KVMPROFS" --input "$work/events.data" -e task-clock -p 1 "$in"
by_a_pipe() { cat "$work/both.data" | serve - -p "$two"; }
check "by a pipe" by_a_pipe
check "it is all there" has_state whole
check "with the samples of the event that has some" has_samples "$in/$two" 100
unserve
serve "$work/both.data" -s "*=dir:$work/nowhere"
check "one line for guests of one reason" test "$(grep -c '^kvmprofs: no symbols of ' "$work/served")" = 1
check "which has both" grep -q "^kvmprofs: no symbols of $one (one), $two (two): dir:$work/nowhere" "$work/served"
unserve
serve "$work/one.data" -s "web*=dir:$work/loop.files"
check "a pattern that is nobody's is told, and who there is" grep -q "^kvmprofs: -s web\*: no guest of .*one.data is called so; it has $one (one)" "$work/served"
check "the guest's own info, too" grep -q "^source_error no -s is for $one or one, and " "$in/$one/info"
unserve
serve "$work/one.data" -s '*=kallsyms:/etc/passwd'
check "a source that fails: the mount says whose and why" grep -q \
	"^kvmprofs: no symbols of $one (one): .*line 1: no address of" "$work/served"
check "a file that is no kallsyms: what is wrong with it" grep -q '^source_error kallsyms:/etc/passwd: line 1: no address of' "$in/$one/info"
unserve
head -c $((size - 11)) "$work/both.data" >"$work/cut.data"
serve "$work/cut.data" -s "*=dir:$work/loop.files"
check "one that is cut off says so when it is mounted" grep -q '^kvmprofs: .*is cut off at byte' "$work/served"
check "and in status" has_state 'cut off'
check "names of both" has_symbols "$in/$one"
check "and of the other" has_symbols "$in/$two"
of_several "cut off" "$work/cut.data" --guestmount="$work/guests"
unserve

# A filesystem that does not answer: a mount of ours that is stopped. Nobody waits for it for long, nor for one guest
# because of another.
hung=$work/hung
mkdir "$hung"
"$KVMPROFS" -f --config "$work/empty.conf" --input "$work/one.data" -s "*=dir:$work/loop.files" "$hung" >>"$work/hung.log" 2>&1 &
stopped=$!
within "a mount to be stopped" $patience test -s "$hung/$one/kallsyms"
kill -STOP $stopped
check "with a source that hangs it is mounted" serve "$work/both.data" -s "$one=dir:$hung/$one" -s "*=dir:$work/loop.files"
check "and says who is without names" grep -q '^kvmprofs: symbols of 1 guests take long' "$work/served"
check "the other guest has its own" has_symbols "$in/$two"
kill -CONT $stopped
within "they come once it answers" $patience has_symbols "$in/$one"
unserve
kill -STOP $stopped
"$KVMPROFS" -f --config "$work/empty.conf" --input "$work/one.data" -s "*=dir:$hung/$one" "$in" >"$work/served" 2>&1 &
waiting=$!
is_loading() { grep -qs '^kp-load$' /proc/$waiting/task/*/comm; }
within "symbols are loaded" $patience is_loading
kill -TERM $waiting
within "a signal ends the wait" $patience grep -q 'ended while it waited for symbols' "$work/served"
check "and nothing is mounted" not_mounted
kill -CONT $stopped
wait $waiting
check "that is a failure" test $? = 1
umount "$hung"
wait $stopped

# Names out of perf's cache of build-ids: only what can be that kernel's.
hex=$(hex_of 1)
cached=$HOME/.debug/.build-id/${hex:0:2}/${hex:2}
mkdir -p "$cached"
cp /proc/kallsyms "$cached/kallsyms"
serve "$work/one.data"
check "the host's symbols, which perf stores there, are refused" grep -q \
	'^source_error .*of another kernel, most likely the host' "$in/$one/info"
unserve
cp "$work/loop.files/proc/kallsyms" "$cached/kallsyms"
serve "$work/one.data"
check "the guest's own are taken" has_symbols "$in/$one"
same_rows "by build-id" "$work/one.data" --guestmount="$work/guests"
unserve

# ---- what is refused -------------------------------------------------------------------------------------------

: >"$work/empty"
echo hello >"$work/hello"
refuse "no such file" 1 "cannot be opened" "$KVMPROFS" --input "$work/nothing" "$in"
refuse "a guest that is not in it" 1 "it has no guest 1; it has $one (one)" "$KVMPROFS" --input "$work/one.data" -p 1 "$in"
refuse "two recordings" 2 "one recording is served" "$KVMPROFS" -i "$work/one.data" -i "$work/both.data" "$in"
refuse "a directory" 1 "it is a directory" "$KVMPROFS" --input "$work/guests" "$in"
refuse "a mount point that is none, before it reads" 1 "does not exist" "$KVMPROFS" --input "$work/empty" "$work/nowhere"
refuse "an empty file" 1 "is empty" "$KVMPROFS" --input "$work/empty" "$in"
refuse "another file" 1 "is no perf.data" "$KVMPROFS" --input "$work/hello" "$in"
gzip -c "$work/one.data" >"$work/one.data.gz"
refuse "a packed file" 1 '`zcat FILE >perf.data`' "$KVMPROFS" --input "$work/one.data.gz" "$in"
refuse "an event that is not in it" 1 "has no event cycles; it has " "$KVMPROFS" --input "$work/one.data" -e cycles "$in"
refuse "a name of no event" 2 "'' is no event" "$KVMPROFS" --input "$work/one.data" -e '' "$in"
refuse "no name at all" 2 "'' is no recording" "$KVMPROFS" --input '' "$in"
mkdir "$work/threads"
: >"$work/threads/data.0"
refuse "perf record --threads" 1 "recorded with --threads, which is not read here: record without" "$KVMPROFS" --input "$work/threads" "$in"
refuse "a source of live guests" 2 "dir:, kallsyms: or vmlinux:" "$KVMPROFS" --input "$work/one.data" -s '*=memory' "$in"

# ---- perf's own recordings --------------------------------------------------------------------------------------

[ -w /dev/kvm ] || { skip "recordings of perf's" "no /dev/kvm here"; exit; }
start_loops fast -accel kvm -cpu host,-arch-capabilities
fast=$vmm
# Without names, which perf has only for guests that were sampled in their kernel.
# record OPTIONS...: a second of that guest, into perf.data
record() { perf kvm "$@" -e cpu-clock -p "$fast" -o "$work/perf.data" -- sleep 1 >"$work/perf.log" 2>&1; }
has_guest() { perf_rows "$work/perf.data" | grep -q .; }
got_guest() { record --guest record && has_guest; }
got_guest || wait_for $patience got_guest || give_up "perf samples a guest" "$(tail -n 3 "$work/perf.log")"

# A second may pass without a sample of the guest, which is no reason to fail.
some_tries() {
	local try
	for try in 1 2 3 4 5; do "$@" && has_guest && return; done
	echo "# no sample of the guest in $try seconds"
}
# both_say NAME: of perf.data
both_say() {
	if ! serve "$work/perf.data"; then
		not_ok "$1 is served" "$(tail -n 1 "$work/served")"
		return
	fi
	same_rows "$1" "$work/perf.data"
	check "$1: as many samples as perf has" test "$(sed -n 's/^samples //p' "$in/status")" = \
		"$(perf report --stats -i "$work/perf.data" 2>/dev/null | awk '$1 == "SAMPLE" && $2 == "events:" { print $3; exit }')"
	sed -n '/^recording_/s/^/# /p' "$in/status"
	unserve
}
both_say "a file"
if have "the other byte order" python3; then
	cp "$work/perf.data" "$work/plain.data"
	"$(dirname "$0")/swap-recording" "$work/plain.data" "$work/perf.data" || give_up "the file is swapped"
	both_say "the other byte order"
fi
some_tries record --guest --host record
both_say "host and guest"
some_tries record --guest record -z -F 4000
both_say "compressed"
into_pipe() { perf kvm --guest record -e cpu-clock -p "$fast" -o - -- sleep 1 >"$work/perf.data" 2>"$work/perf.log"; }
some_tries into_pipe
both_say "a pipe"
# perf has been seen to end by itself, without a word, on a loaded machine.
go_on_recording() {
	rm -f "$work/perf.data"
	perf kvm --guest record -e cpu-clock -F 20000 -p "$fast" -o "$work/perf.data" >"$work/perf.log" 2>&1 &
	recorder=$!
}
goes_on() {
	kill -0 $recorder 2>/dev/null || go_on_recording
	[ "$(stat -c %s "$work/perf.data" 2>/dev/null || echo 0)" -gt 300000 ]
}
go_on_recording
within "one that goes on" $patience goes_on
kill -KILL $recorder
wait $recorder 2>/dev/null
serve "$work/perf.data" -p "$fast"
check "which status says" has_state '\(unfinished\|cut off\)'
bytes=$(sed -n 's/^recording_bytes //p' "$in/status")
unserve
complete "$work/perf.data" "$bytes"
both_say "killed"
end_vmm "$fast"
perf kvm record -e page-faults -o "$work/perf.data" -- true >"$work/perf.log" 2>&1
serve "$work/perf.data"
check "what the host does samples no guest, and another event would" grep -q 'page-faults: it happens in the host' "$work/served"
unserve
