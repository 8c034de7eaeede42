#!/bin/bash
# The stream of a guest's kvm events, as tools read it, and KVM's counters. The guest is a boot sector that writes to port 0x80 for
# ever: under KVM each write is a kvm_pio event.
# A machine without tracefs or debugfs gets them for this test alone, in a mount namespace of its own.
if { [ ! -d /sys/kernel/tracing/events ] || [ ! -d /sys/kernel/debug/kvm ]; } && [ -z "${OWN_TRACEFS-}" ]; then
	export OWN_TRACEFS=1
	lab=$(dirname "$(readlink -f "$0")")/../lab
	"$lab/apart" true && exec "$lab/apart" bash "$0" "$@"
fi
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

start_daemon "$mnt" -F 49
start_vmm tcg
within "a guest under TCG is there" $patience test -e "$mnt/$vmm/trace"
wait_for $patience grep -q '^accelerator tcg' "$mnt/$vmm/info"
timeout $patience cat "$mnt/$vmm/trace" >"$work/tcg"
check "a guest under TCG: one line says why there is nothing" test "$(cat "$work/tcg")" = \
	"# no events: under TCG the guest runs without KVM"
check "and none can be chosen" bash -c '! echo trace kvm_pio 2>/dev/null >"$1" && grep -q "^# refused: no events: under TCG" "$1"' - "$mnt/$vmm/control"
check "and none in stats" test "$(cat "$mnt/$vmm/stats")" = "# no counters: under TCG the guest runs without KVM"

# A text is one moment, and can always be read; that there is a newer one is told by POLLPRI, within its second.
if have "poll of a text" python3; then
	timeout $patience python3 - "$mnt/status" "$mnt/$vmm" >"$work/poll" 2>&1 <<-'END' || echo "status $?" >>"$work/poll"
		import os, select, sys, time
		status, guest = sys.argv[1:]
		profile, recent, control = (guest + f for f in ("/profile", "/recent/profile", "/control"))
		def ask(path, what, ms):
		    start = time.monotonic()
		    fd = os.open(path, os.O_RDONLY)
		    p = select.poll()
		    p.register(fd, what)
		    said = p.poll(ms)
		    took = time.monotonic() - start
		    os.close(fd)
		    return (said[0][1] if said else 0), took
		for path in status, profile, recent:
		    said, took = ask(path, select.POLLIN | select.POLLPRI, 0)
		    if not said & select.POLLIN:
		        print(path, "cannot be read at once")
		    if said & select.POLLPRI and took < 0.9:
		        print(path, "is old already")
		for path in status, status, recent:
		    said, took = ask(path, select.POLLPRI, 50000)
		    if said != select.POLLPRI or took < 0.9:
		        print(path, said, "after", took)
		with open(control, "w") as f:
		    f.write("reset")
		said, took = ask(profile, select.POLLPRI, 50000)
		if said != select.POLLPRI:
		    print("profile: the reset is no news")
	END
	check "poll of a text: at once for reading, POLLPRI when there is a newer one" test ! -s "$work/poll"
	cat "$work/poll"
fi
check "less reads a text" test "$(timeout $patience less -f "$mnt/status" </dev/null | grep -c '^version ')" = 1

# Who follows a text gets the moment when it was opened, and waits: it does not grow.
tail -n +1 -f "$mnt/status" >"$work/followed" 2>&1 &
follower=$!
within "tail -f shows a text" $patience grep -q '^own_memory_peak ' "$work/followed"
sleep 2.5 # there are newer moments of it now
check "and waits at its end" running $follower
check "it shows one moment, and all of that" test "$(grep -cE '^(version|own_memory_peak) ' "$work/followed")" = 2
kill $follower
wait $follower 2>/dev/null
# follows NAME PROGRAM PATTERN COMMAND: on a terminal of its own, until the screen has the pattern
follows() {
	local terminal
	have "$1" script "$2" || return
	rm -f "$work/screen"
	TERM=xterm script -qfc "stty rows 60 cols 160; $4" "$work/screen" </dev/null >/dev/null 2>&1 &
	terminal=$!
	within "$1" $patience grep -aqse "$3" "$work/screen"
	kill $terminal
	wait $terminal 2>/dev/null
}
follows "less +F of a text waits at its end" less 'Waiting for data' "less +F '$mnt/status'"
follows "watch shows a text" watch own_memory_peak "watch -n 0.2 cat '$mnt/status'"
end_vmm "$vmm"

if [ ! -w /dev/kvm ]; then
	skip "kvm events" "no /dev/kvm here"
	exit
fi
if [ ! -d /sys/kernel/tracing/events/kvm ]; then
	skip "kvm events" "no tracefs with kvm's events here"
	exit
fi

printf '\272\200\0\356\353\375' >"$work/disk" # mov $0x80,%dx; again: out %al,%dx; jmp again
truncate -s 510 "$work/disk"
printf '\125\252' >>"$work/disk"
truncate -s 64K "$work/disk"
# start_kvm NAME: sets $vmm. Nested hosts of some kinds want the CPU without this bit.
start_kvm() {
	vmms=$((vmms + 1))
	qemu-system-x86_64 -machine pc -accel kvm -cpu host,-arch-capabilities -m 16 -nodefaults -display none -name "$1" \
		-qmp "unix:$work/vmm$vmms.qmp,server=on,wait=off" \
		-drive file="$work/disk",format=raw,if=ide,snapshot=on >>"$work/vmm.log" 2>&1 </dev/null &
	vmm=$!
}
start_kvm storm
storm=$vmm g=$mnt/$vmm
wait_for $patience test -e "$g/trace" || give_up "the guest is there" "$(tail -n 3 "$work/vmm.log")"

# What counts exits has events open as well, from the first guest under KVM on, unless it may not.
exits_are_settled() { ! grep -q '^exits_engine none: no guest' "$mnt/status"; }
wait_for $patience exits_are_settled
events_open() { [ "$(readlink "/proc/$daemon/fd/"* | grep -c perf_event)" -gt "$1" ]; }
none_open() { ! events_open "$rings"; }
rings=$(readlink "/proc/$daemon/fd/"* | grep -c perf_event)

timeout $patience head -n 20 "$g/trace" >"$work/head"
check "head -n 20 ends by itself" test $? = 0
check "it has 20 lines" test "$(wc -l <"$work/head")" = 20
grep -Ev '^ *[^ ].*-[0-9]+ +\[[0-9]{3}\] [^ ]+ +[0-9]+\.[0-9]{6}: kvm_[a-z_]+: ' "$work/head" >"$work/odd"
check "they look as trace_pipe's" test ! -s "$work/odd"
within "when nobody reads, no event is open" $patience none_open

choose() { echo "trace $*" >"$g/control"; }
check "control takes events" choose kvm_pio kvm_userspace_*
check "and shows them" grep -qx '# chosen: trace kvm_pio kvm_userspace_exit' "$g/control"
check "of a size that is true" test "$(stat -c %s "$g/control")" = "$(wc -c <"$g/control")"
choose ''
check "and nothing where all are" bash -c '! grep -q "^# chosen" "$1"' - "$g/control"
choose kvm_pio
timeout $patience head -n 5000 "$g/trace" >"$work/pio"
check "only these come" test "$(grep -c ': kvm_pio: ' "$work/pio")" = 5000
check "in the order of time" awk '{ match($0, /[0-9]+\.[0-9][0-9][0-9][0-9][0-9][0-9]: kvm/); t = substr($0, RSTART) + 0 } t < last { bad++ } { last = t } END { exit bad > 0 }' "$work/pio"
tids=$(sed 's/ *\[.*//; s/.*-//' "$work/pio" | sort -u)
alien=$(for t in $tids; do [ -d "/proc/$storm/task/$t" ] || echo "$t"; done)
check "of the guest's own threads" test -z "$alien"
check "an unknown event is refused" bash -c '! echo "trace kvm_nonsense" 2>/dev/null >"$1"' - "$g/control"
check "control says why, and which are still chosen" test "$(grep -cE "^# (refused: .*those of this host|chosen: trace kvm_pio$)" "$g/control")" = 2
check "the log says which" grep -q "kvm_nonsense.*is no event" "$work/daemon.log"

timeout $patience head -n 2000 "$g/trace" >"$work/one" &
one=$!
timeout $patience head -n 2000 "$g/trace" >"$work/two"
wait $one
check "two readers at once: each gets its own" test "$(cat "$work/one" "$work/two" | wc -l)" = 4000
timeout $patience grep --line-buffered -m 3 pio "$g/trace" >"$work/grep"
check "grep --line-buffered" test "$(wc -l <"$work/grep")" = 3
timeout $patience tail -n +1 -f "$g/trace" 2>/dev/null | head -n 3 >"$work/tail"
check "tail -n +1 -f" test "$(wc -l <"$work/tail")" = 3
follows "less +F follows it" less '-[0-9]* .* kvm_pio' "less +F '$g/trace'"
within "less ends, and so do its events" $patience none_open

# Its writes to the port are exits that KVM counts.
if [ -d /sys/kernel/debug/kvm ]; then
	stat() { awk -v n="$2" -v f="$3" '$1 == n { print int($f) }' "$1"; }
	cat "$g/stats" >"$work/stats.1"
	if cat /sys/kernel/debug/kvm/exits >"$work/said" 2>&1; then
		check "stats: KVM counts its exits" test "$(stat "$work/stats.1" exits 2)" -gt 1000
	else
		skip "stats: KVM counts its exits" "this kernel is in lockdown"
		check "stats: which it says" grep -q '^# refused: [0-9]* more; a kernel in lockdown' "$work/stats.1"
		check "stats: what can be read is there" grep -q '^pages_4k [0-9]' "$work/stats.1"
	fi
	check "stats: the first rate is since its start" grep -q '^# per second: over [0-9.]* s, since the guest was started$' "$work/stats.1"
	sleep 1.1 # what a rate is made of
	cat "$g/stats" >"$work/stats.2"
	check "stats: the next one since then" grep -q '^# per second: over [0-9.]* s, since an earlier reading$' "$work/stats.2"
	if grep -q '^exits' "$work/stats.2"; then
		check "stats: a rate is the change in that time" awk 'FNR == NR { if ($1 == "exits") old = $2; next }
			/^# per second/ { span = $5 }
			$1 == "exits" { r = ($2 - old) / span; exit !($3 > 0 && $3 < r * 1.01 + 1 && $3 > r * 0.99 - 1) }' "$work/stats.1" "$work/stats.2"
	fi
	if printf '{"execute":"qmp_capabilities"}{"execute":"query-stats","arguments":{"target":"vm"}}' |
		timeout 2 perl -MIO::Socket::UNIX -e '$| = 1; $s = IO::Socket::UNIX->new($ARGV[0]); print $s <STDIN>; $s->flush; print while <$s>' \
			"$work/vmm$vmms.qmp" | grep -q '"stats"'; then
		of_qmp() { sed '1,/^# source: QMP query-stats, [0-9.]* s ago$/d' "$g/stats"; }
		has_both() { cat "$g/stats" >"$work/stats.3"; of_qmp | grep -q '^# per second: .* an earlier reading$'; }
		within "stats: what QEMU knows more comes over QMP" $patience has_both
		check "stats: exits are there, from wherever, once" test "$(grep -c '^exits [1-9]' "$work/stats.3")" = 1
	else
		skip "stats: over QMP" "this QEMU does not know query-stats"
	fi
else
	skip "stats" "no debugfs with KVM's counters here"
fi

# One that is open and does not read, while another one does.
exec 8<"$g/trace"
timeout $patience head -n 50000 "$g/trace" >"$work/fast"
check "a slow reader holds nobody up" test "$(wc -l <"$work/fast")" = 50000
timeout $patience grep -m 1 '^# [0-9]* events lost: this reader is too slow$' <&8 >"$work/slow"
check "and is told what it lost" test -s "$work/slow"
exec 8<&-

# Events that do not happen: reads wait, and signals end them.
echo "trace kvm_hypercall" >"$g/control"
t0=$SECONDS
timeout 1 cat "$g/trace" >"$work/nothing"
check "timeout ends a cat that waits" test $? = 124
check "at once" test $((SECONDS - t0)) -le 20
if have "poll" python3; then
	timeout $patience python3 - "$g" >"$work/poll" 2>&1 <<-'END' || echo "status $?" >>"$work/poll"
		import os, select, sys
		g = sys.argv[1]
		fd = os.open(g + "/trace", os.O_RDONLY | os.O_NONBLOCK)
		try:
		    os.read(fd, 100)
		    print("there is something to read")
		except BlockingIOError:
		    pass
		p = select.poll()
		p.register(fd, select.POLLIN)
		if p.poll(300):
		    print("poll says that there is")
		open(g + "/control", "w").write("trace kvm_pio")
		if not p.poll(60000):
		    print("poll is not woken")
		if b"kvm_pio" not in os.read(fd, 100000):
		    print("it is something else")
		e = select.epoll()
		e.register(fd, select.EPOLLIN | select.EPOLLET)
		for _ in range(3):
		    if not e.poll(60):
		        print("epoll is not woken")
		    try:
		        while True:
		            os.read(fd, 100000)
		    except BlockingIOError:
		        pass
	END
	check "poll, epoll and O_NONBLOCK" test ! -s "$work/poll"
	cat "$work/poll"
fi

# The kernel takes seconds to close all events, which is nobody's business but the process's.
echo trace >"$g/control"
timeout $patience cat "$g/trace" >/dev/null 2>&1 &
reader=$! old=$daemon
within "all events are open" $patience events_open "$((rings + 50))"
kill "$old"
is_unmounted() { ! mountpoint -q "$mnt"; }
within "a daemon that ends while a trace is read: the mount is gone" $patience is_unmounted
wait $reader
start_daemon "$mnt" -F 49
within "another one may come" $patience test -e "$g/trace"
wait "$old"
check "and the first one ends well" test $? = 0

timeout $patience cat "$g/trace" >"$work/end" &
reader=$!
within "events come" $patience test -s "$work/end"
end_vmm "$storm"
wait $reader
check "the end of the guest is the end of the file" test $? = 0
check "it has whole lines" test -z "$(tail -c 1 "$work/end")"
stop_daemon "$mnt"
