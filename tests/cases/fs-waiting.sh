#!/bin/bash
# A guest that does not answer: open waits for a while and can be interrupted; nothing else waits.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

files=$work/files
make_guest_files "$files" 1000
silent_port
start_hung() {
	local other=${vmm-}
	start_vmm hung
	hung=$vmm vmm=$other
}
start_hung
start_vmm fixture
sources=(-s "hung=ssh://root@127.0.0.1:$port?known_hosts=/dev/null" -s "fixture=dir:$files")
# afresh: a daemon whose first attempt to get symbols of the hung guest is under way. That attempt
# ends after some seconds, in which a busy machine may not get as far as this.
begins_afresh() {
	h=$mnt/$hung
	[ -z "$daemon" ] || stop_daemon "$mnt"
	start_daemon "$mnt" -F 49 -p "$hung" -p "$vmm" "${sources[@]}"
	wait_for 5 state_is "$h" waiting
}
afresh() { tries begins_afresh || give_up "the hung guest is waiting" "$(info "$h" source_error)"; }
still_waiting() { state_is "$h" waiting || afresh; }
# no_wait NAME SECONDS COMMAND...: like faster, while the hung guest is waiting
no_wait() { check "$1" tries at_most_meanwhile "${@:2}"; }
at_most_meanwhile() { still_waiting; at_most "$@"; }

other_has_symbols_meanwhile() {
	afresh
	wait_for $patience has_symbols "$mnt/$vmm" && state_is "$h" waiting
}
check "the other guest's symbols come, and the hung one is waiting" tries other_has_symbols_meanwhile

no_wait "ls does not wait" $((1 * slow)) ls -l "$mnt" "$h" "$h/proc"
no_wait "stat does not wait" $((1 * slow)) stat "$h/kallsyms" "$h/modules" "$h/buildids"
for f in proc/kallsyms proc/modules proc/version sys/kernel/notes; do
	no_wait "$f does not wait" $((1 * slow)) cat "$h/$f"
	check "$f is empty" cmp /dev/null "$h/$f"
done
no_wait "profile does not wait" $((1 * slow)) cat "$h/profile"
no_wait "info does not wait" $((1 * slow)) cat "$h/info"

# A reader that is parked. Its open is under way once it sleeps in the kernel for an answer.
# shellcheck disable=SC2317
opening() {
	grep -qs kallsyms "/proc/$1/cmdline" && grep -qs '^State:.*[SD]' "/proc/$1/status" &&
		! readlink "/proc/$1/fd"/* | grep -q kallsyms
}
# park: sets $parked; false when it found nothing to wait for
park() {
	still_waiting
	cat "$h/kallsyms" >/dev/null 2>"$work/parked" &
	parked=$!
	wait_for 2 opening $parked && running $parked && return
	wait $parked
	return 1
}
unpark() { kill -KILL "$parked" 2>/dev/null; wait "$parked" 2>/dev/null; }
check "open waits" tries park
no_wait_for_parked() {
	running "$parked" || park
	at_most $((1 * slow)) cat "$mnt/$vmm/kallsyms"
}
check "another guest does not wait for it" tries no_wait_for_parked
unpark
# interrupted SIGNAL: within a second; the wait itself is five
interrupted() {
	tries park || return 1
	kill "-$1" "$parked"
	wait_for $((1 * slow)) ended "$parked" && return
	unpark
	return 1
}
check "a signal interrupts open" tries interrupted TERM
wait "$parked"
check "open ended by the signal" test $? = 143
check "SIGKILL ends it too" tries interrupted KILL
wait "$parked" 2>/dev/null

# It gives up.
gives_up() {
	afresh
	took=$(seconds cat "$h/kallsyms")
	awk -v t="$took" -v s="$slow" 'BEGIN { exit t > 5 + s }'
}
check "open waits at most five seconds" tries gives_up
check "then it fails" bash -c '! cat "$1" 2>/dev/null' - "$h/kallsyms"
within "info tells the reason" $patience bash -c 'grep -q "^source_error [^-]" "$1"' - "$h/info"

# Many at once do not eat the workers.
many_block_nobody() {
	local many=() took
	afresh
	for _ in {1..40}; do
		cat "$h/kallsyms" >/dev/null 2>&1 &
		many+=($!)
	done
	at_most $((2 * slow)) cat "$mnt/$vmm/kallsyms" "$mnt/status"
	took=$?
	# Not TERM: a shell that has not come to its exec yet would run our trap, and remove $work.
	kill -KILL "${many[@]}" 2>/dev/null
	wait "${many[@]}" 2>/dev/null
	return $took
}
check "40 waiting readers block nobody" tries many_block_nobody

# The guest ends while somebody waits for it.
the_end_ends_the_waiting() {
	afresh
	tries park
	end_vmm "$hung"
	wait_for $((2 * slow)) ended "$parked"
	took=$?
	unpark
	[ $took = 0 ] && return
	start_hung
	return 1
}
check "the end of the guest ends the waiting" tries the_end_ends_the_waiting

# The daemon ends while somebody waits.
start_hung
afresh
tries park
end_daemon TERM && ok "the daemon ends well while a reader waits"
within "and so does the reader" $patience ended "$parked"
wait "$parked" 2>/dev/null

# It is unmounted while somebody waits: lazily, so that the mount lives for as long as the reader.
afresh
tries park
umount -l "$mnt"
within "a lazy unmount ends it when the waiting is over" $patience ended "$daemon"
wait "$daemon"
check "and it ends well" test $? = 0
daemon=
wait "$parked" 2>/dev/null

# Symbols that come while readers wait for them. The source is a folder that answers when it is
# told to: the mount of another kvmprofs, which is stopped.
mkdir "$work/slow"
start_vmm late
late=$vmm
start_daemon "$work/slow" --sampler qmp -p "$late" -s "late=dir:$files"
slow_daemon=$daemon
within "the folder is there" $patience cmp -s "$files/proc/kallsyms" "$work/slow/$late/proc/kallsyms"
stopped() { grep -q '^State:.T' "/proc/$1/status"; }
l=$mnt/$late/kallsyms
readers=('cat:cat "$l" >"$o"' 'cp:cp "$l" "$o"' 'tail:{ head -c 1000 "$l" && tail -c +1001 "$l"; } >"$o"' 'dd:dd if="$l" of="$o" bs=64k'
	'tac:tac "$l" | tac >"$o"' 'tee:tee <"$l" "$o" >/dev/null' 'install:install -m 600 "$l" "$o"')
# These are told apart from readers of a finished file by opening when they are told to: python takes
# long to start.
cat >"$work/reader.py" <<'END'
import mmap, os, sys
how, path, out = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
i, o = os.open(path, os.O_RDONLY), os.open(out, os.O_CREAT | os.O_WRONLY)
if how == "mmap":
    os.write(o, mmap.mmap(i, 0, access=mmap.ACCESS_READ))
else:
    while os.sendfile(o, i, None, 1 << 20): pass
END
have "mmap and sendfile after waiting" python3 && readers=(mmap: sendfile: "${readers[@]}")
# begin_readers: sets $pids
begin_readers() {
	local r how o go gos=()
	pids=()
	rm -f "$work"/late.* "$work"/ready.* "$work"/go.*
	for r in "${readers[@]}"; do
		[ -z "${r#*:}" ] || continue
		how=${r%:}
		mkfifo "$work/go.$how"
		python3 "$work/reader.py" "$how" "$l" "$work/late.$how" <"$work/go.$how" >"$work/ready.$how" 2>&1 &
		pids+=($!)
		exec {go}>"$work/go.$how"
		gos+=("$go")
		wait_for $patience test -s "$work/ready.$how"
	done
	began=$(uptime_ms)
	for go in "${gos[@]}"; do
		echo >&"$go"
		exec {go}>&-
	done
	for r in "${readers[@]}"; do
		[ -n "${r#*:}" ] || continue
		# shellcheck disable=SC2034
		o=$work/late.${r%%:*}
		(eval "${r#*:}") >/dev/null 2>&1 &
		pids+=($!)
	done
	cat "$mnt/$late/modules" >"$work/late.modules" &
	pids+=($!)
	cat "$mnt/$late/buildids" >"$work/late.buildids" &
	pids+=($!)
}
# readers_wait_for_symbols: false when it took so long that their opens may have given up
readers_wait_for_symbols() {
	local in_time
	[ -z "$daemon" ] || [ "$daemon" = "$slow_daemon" ] || stop_daemon "$mnt"
	kill -STOP "$slow_daemon"
	wait_for $patience stopped "$slow_daemon"
	start_daemon "$mnt" -F 49 -p "$late" -s "late=dir:$work/slow/$late"
	wait_for $patience state_is "$mnt/$late" waiting
	begin_readers
	sleep 0.5
	running "${pids[0]}" && running "${pids[1]}"
	waiting=$?
	kill -CONT "$slow_daemon"
	in_time=$(($(uptime_ms) - began < 4000))
	wait "${pids[@]}"
	[ "$in_time" = 1 ]
}
check "readers begin before the symbols come" tries readers_wait_for_symbols
check "they wait" test "$waiting" = 0
for r in "${readers[@]}"; do
	check "a waiting reader gets the whole: ${r%%:*}" cmp "$files/proc/kallsyms" "$work/late.${r%%:*}"
done
check "modules that were waited for" cmp "$files/proc/modules" "$work/late.modules"
check "buildids that were waited for" grep -q "^$(hex_of 4) \[ext4\]$" "$work/late.buildids"
check "stat now says the length" test "$(stat -c %s "$l")" = "$(stat -c %s "$files/proc/kallsyms")"
check "and the next reader gets it too" cmp "$files/proc/kallsyms" "$l"
stop_daemon "$mnt"
daemon=$slow_daemon
stop_daemon "$work/slow"
end_vmm "$late"

# Symbols that come late.
mkdir "$work/late"
start_daemon "$mnt" -F 49 -p "$hung" -s "hung=dir:$work/late"
h=$mnt/$hung
within "nothing there yet" $patience state_is "$h" failed
check "open says so" bash -c '! cat "$1" 2>/dev/null' - "$h/kallsyms"
cp -r "$files/." "$work/late"
echo refresh >"$h/control"
within "symbols that came late are served" $patience cmp -s "$files/proc/kallsyms" "$h/kallsyms"

# A source that would block for ever.
rm -r "$work/late/proc/kallsyms"
mkfifo "$work/late/proc/kallsyms"
echo refresh >"$h/control"
within "a fifo is refused" $patience grep -q '^source_error [^-]' "$h/info"
faster "and blocks nobody" $((1 * slow)) cat "$mnt/status"
end_vmm "$hung"
stop_daemon "$mnt"
