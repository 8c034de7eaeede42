#!/bin/bash
# A guest that does not answer: open waits for a while and can be interrupted; nothing else waits.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

files=$work/files
make_guest_files "$files" 1000
silent_port
start_vmm hung
hung=$vmm
start_vmm fixture
sources=(-s "hung=ssh://root@127.0.0.1:$port?known_hosts=/dev/null" -s "fixture=dir:$files")
# afresh: a daemon whose first attempt to get symbols of the hung guest is under way. That attempt
# ends after some seconds, in which a busy machine may not get as far as this.
afresh() {
	local try
	h=$mnt/$hung
	for try in 1 2 3; do
		[ -z "$daemon" ] || stop_daemon "$mnt"
		start_daemon "$mnt" -F 49 -p "$hung" -p "$vmm" "${sources[@]}"
		wait_for 5 state_is "$h" waiting && return
	done
	give_up "the hung guest is waiting" "$(info "$h" source_error), $try times"
}
afresh
within "the other guest's symbols come" $((10 * slow)) has_symbols "$mnt/$vmm"
check "the hung one is waiting" state_is "$h" waiting

faster "ls does not wait" $((1 * slow)) ls -l "$mnt" "$h" "$h/proc"
faster "stat does not wait" $((1 * slow)) stat "$h/kallsyms" "$h/modules" "$h/buildids"
for f in proc/kallsyms proc/modules proc/version sys/kernel/notes; do
	faster "$f does not wait" $((1 * slow)) cat "$h/$f"
	check "$f is empty" cmp /dev/null "$h/$f"
done
faster "profile does not wait" $((1 * slow)) cat "$h/profile"
faster "info does not wait" $((1 * slow)) cat "$h/info"

# A reader that is parked. Its open is under way once it sleeps in the kernel for an answer.
# shellcheck disable=SC2317
opening() {
	grep -qs kallsyms "/proc/$1/cmdline" && grep -qs '^State:.*[SD]' "/proc/$1/status" &&
		! readlink "/proc/$1/fd"/* | grep -q kallsyms
}
park() {
	cat "$h/kallsyms" >/dev/null 2>"$work/parked" &
	parked=$!
	wait_for 2 opening $parked
}
park
check "open waits" running $parked
faster "another guest does not wait for it" $((1 * slow)) cat "$mnt/$vmm/kallsyms"
kill -TERM $parked
within "a signal interrupts open" $((1 * slow)) ended $parked
wait $parked
check "open ended by the signal" test $? = 143
park
kill -KILL $parked
within "SIGKILL ends it too" $((1 * slow)) ended $parked
wait $parked 2>/dev/null

# It gives up.
afresh
took=$(seconds cat "$h/kallsyms")
check "open waits at most five seconds ($took)" awk -v t="$took" -v s="$slow" 'BEGIN { exit t > 5 + s }'
check "then it fails" bash -c '! cat "$1" 2>/dev/null' - "$h/kallsyms"
within "info tells the reason" $((40 * slow)) bash -c 'grep -q "^source_error [^-]" "$1"' - "$h/info"

# Many at once do not eat the workers.
afresh
many=()
for _ in {1..40}; do
	cat "$h/kallsyms" >/dev/null 2>&1 &
	many+=($!)
done
faster "40 waiting readers block nobody" $((2 * slow)) cat "$mnt/$vmm/kallsyms" "$mnt/status"
kill "${many[@]}" 2>/dev/null
wait "${many[@]}" 2>/dev/null

# The guest ends while somebody waits for it.
afresh
park
end_vmm "$hung"
within "the end of the guest ends the waiting" $((2 * slow)) ended $parked
wait $parked 2>/dev/null

# The daemon ends while somebody waits.
start_vmm hung
hung=$vmm
afresh
park
end_daemon TERM && ok "the daemon ends well while a reader waits"
within "and so does the reader" $((2 * slow)) ended $parked
wait $parked 2>/dev/null

# It is unmounted while somebody waits: lazily, so that the mount lives for as long as the reader.
afresh
park
umount -l "$mnt"
within "a lazy unmount ends it when the waiting is over" $((10 * slow)) ended "$daemon"
wait "$daemon"
check "and it ends well" test $? = 0
daemon=
wait $parked 2>/dev/null

# Symbols that come while readers wait for them. The source is a folder that answers when it is
# told to: the mount of another kvmprofs, which is stopped.
mkdir "$work/slow"
start_vmm late
late=$vmm
start_daemon "$work/slow" --sampler qmp -p "$late" -s "late=dir:$files"
slow_daemon=$daemon
within "the folder is there" $((10 * slow)) cmp -s "$files/proc/kallsyms" "$work/slow/$late/proc/kallsyms"
stopped() { grep -q '^State:.T' "/proc/$1/status"; }
kill -STOP "$slow_daemon"
within "the folder does not answer" 5 stopped "$slow_daemon"
start_daemon "$mnt" -F 49 -p "$late" -s "late=dir:$work/slow/$late"
l=$mnt/$late/kallsyms
within "waiting for the folder" 5 state_is "$mnt/$late" waiting
gos=() python_pids=()
readers=('cat:cat "$l" >"$o"' 'cp:cp "$l" "$o"' 'tail:{ head -c 1000 "$l" && tail -c +1001 "$l"; } >"$o"' 'dd:dd if="$l" of="$o" bs=64k'
	'tac:tac "$l" | tac >"$o"' 'tee:tee <"$l" "$o" >/dev/null' 'install:install -m 600 "$l" "$o"')
# This one is told apart from a reader of a finished file by opening first: python takes long to start.
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
if have "mmap and sendfile after waiting" python3; then
	for how in mmap sendfile; do
		mkfifo "$work/go.$how"
		python3 "$work/reader.py" $how "$l" "$work/late.$how" <"$work/go.$how" >"$work/ready.$how" 2>&1 &
		exec {go}>"$work/go.$how"
		wait_for 10 test -s "$work/ready.$how"
		readers+=("$how:")
		gos+=("$go")
		python_pids+=($!)
	done
	for go in "${gos[@]}"; do echo >&"$go"; done
fi
pids=("${python_pids[@]}")
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
sleep 0.5
check "they wait" running "${pids[0]}"
check "all of them" running "${pids[1]}"
kill -CONT "$slow_daemon"
wait "${pids[@]}"
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
within "nothing there yet" $((10 * slow)) state_is "$h" failed
check "open says so" bash -c '! cat "$1" 2>/dev/null' - "$h/kallsyms"
cp -r "$files/." "$work/late"
echo refresh >"$h/control"
within "symbols that came late are served" $((20 * slow)) cmp -s "$files/proc/kallsyms" "$h/kallsyms"

# A source that would block for ever.
rm -r "$work/late/proc/kallsyms"
mkfifo "$work/late/proc/kallsyms"
echo refresh >"$h/control"
within "a fifo is refused" $((10 * slow)) grep -q '^source_error [^-]' "$h/info"
faster "and blocks nobody" $((1 * slow)) cat "$mnt/status"
end_vmm "$hung"
stop_daemon "$mnt"
