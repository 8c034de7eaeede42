#!/bin/bash
# Starting, ending, and what is refused: with one line that says what to do.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

# No perf and, since this script is no guest, no guests: this is about mounts.
run=("$KVMPROFS" --config "$work/empty.conf" --sampler qmp -p $$)

# -- usage
check "--help" bash -c '"$1" --help | grep -q "^Usage: kvmprofs"' - "$KVMPROFS"
check "--version" bash -c '"$1" -V | grep -q "^kvmprofs [0-9]"' - "$KVMPROFS"
refuse "no mount point" 2 "no mount point" "${run[@]}"
refuse "an unknown option" 2 "--frobnicate" "${run[@]}" --frobnicate "$mnt"
refuse "a missing value" 2 "needs a value" "${run[@]}" "$mnt" -F
refuse "a frequency that is none" 2 "no frequency" "${run[@]}" -F fast "$mnt"
refuse "a sampler that is none" 2 "no sampler" "${run[@]}" --sampler dice "$mnt"
refuse "a source that is none" 2 "gopher" "${run[@]}" -s 'x=gopher://x' "$mnt"
refuse "a guest that is the host" 2 "not vsock:CID" "${run[@]}" -s 'x=vsock:2' "$mnt"
refuse "an unknown mount option" 2 "unknown mount option 'frobnicate'" "${run[@]}" -o frobnicate "$mnt"
refuse "a recording that is not there" 1 "cannot be opened" "${run[@]}" -i "$work/perf.data" "$mnt"
refuse "an unknown event" 1 "frobnicate" "$KVMPROFS" --config "$work/empty.conf" --sampler perf -e frobnicate "$mnt"
refuse "an unknown event in the foreground" 1 "frobnicate" "$KVMPROFS" -f --config "$work/empty.conf" --sampler perf -e frobnicate "$mnt"
refuse "a relative path of a source" 2 "begins with /" "${run[@]}" -s 'x=dir:guest' "$mnt"
refuse "a relative path of a key" 2 "begins with /" "${run[@]}" -s 'x=auto?identity=key' "$mnt"

# -- completion, in a bash that has nothing else, and where readline begins its word behind a = or :
# offered LINE WORD: for WORD at the end of LINE, one a line
offered() {
	bash --norc -c 'compopt() { :; }; . "$1"; COMP_LINE=$2 COMP_POINT=${#2}; _kvmprofs kvmprofs "$3"
		printf "%s\n" "${COMPREPLY[@]}"' - "$(dirname "$0")/../../fs/kvmprofs.bash-completion" "$1" "$2"
}
# completes NAME LINE WORD OFFERED
completes() {
	local got
	got=$(offered "$2" "$3" 2>&1 | sort | tr '\n' ' ')
	if [ "$got" = "$4 " ]; then ok "completion: $1"; else not_ok "completion: $1" "$got, not $4"; fi
}
help=$("$KVMPROFS" --help)
# choices OPTION: its values by --help
choices() { sed -n "s/^ *--$1 \([a-z|]*\) .*/\1/p" <<<"$help" | tr '|' '\n' | sort | paste -sd ' '; }
completes "all options" "kvmprofs -" - \
	"$(sed -n 's/^  \(-.,\|   \) --/\1 --/p' <<<"$help" | grep -o '^ *-.,\|--[a-z]*' | tr -d ' ,' | sort -u | paste -sd ' ')"
completes "one option" "kvmprofs -f --sam" --sam "--sampler"
completes "samplers" "kvmprofs --sampler " "" "$(choices sampler)"
completes "a sampler behind =" "kvmprofs --sampler=q" q "qmp"
completes "what counts exits" "kvmprofs --exits " "" "$(choices exits)"
sources='auto dir: kallsyms: memory ssh:// virtio-serial: vmlinux: vsock:'
completes "sources" "kvmprofs -s web=" "" "$sources"
for s in $sources; do check "a source is one that --help knows: $s" grep -q "[ ,]$s" <<<"$help"; done
completes "a source of several guests" "kvmprofs -f -s 'web*=vs" "web*=vs" "web*=vsock:"
completes "a source behind two =" "kvmprofs --source=web=vm" vm "vmlinux:"
completes "a source in quotes" "kvmprofs -s \"web*=vs" "web*=vs" "web*=vsock:"
completes "the guests of a source" "kvmprofs -s '*" "*" "*="
completes "a mount option" "kvmprofs -o all" all "allow_other allow_root"
completes "a mount option behind another one" "kvmprofs -o allow_other,au" "allow_other,au" "allow_other,auto_unmount"
completes "a mount option in quotes" "kvmprofs -o 'gi" gi "gid="
completes "nothing of a mount point" "kvmprofs -f /m" /m ""

# -- the configuration file
printf '# comment\nfreq 99\n\nfrobnicate yes\n' >"$work/bad.conf"
refuse "a malformed line" 2 "$work/bad.conf:4: unknown option 'frobnicate'" "$KVMPROFS" --config "$work/bad.conf" "$mnt"
printf 'freq many\n' >"$work/bad.conf"
refuse "a wrong value" 2 "$work/bad.conf:1: 'many' is no frequency" "$KVMPROFS" --config "$work/bad.conf" "$mnt"
head -c 2000 /dev/urandom >"$work/bad.conf"
printf '\0' >>"$work/bad.conf"
refuse "binary" 2 "$work/bad.conf" "$KVMPROFS" --config "$work/bad.conf" "$mnt"
refuse "a file that is not there" 1 "$work/none.conf" "$KVMPROFS" --config "$work/none.conf" "$mnt"
mkfifo "$work/fifo.conf"
refuse "a file that would block" 1 "not a regular file" "$KVMPROFS" --config "$work/fifo.conf" "$mnt"
printf 'freq 53\nsampler=qmp\n' >"$work/good.conf"
"$KVMPROFS" --config "$work/good.conf" "$mnt"
check "the file counts" grep -q '^sampler qmp$' "$mnt/status"
fusermount3 -u "$mnt"
"$KVMPROFS" --config /dev/null --sampler qmp -p $$ "$mnt" 2>/dev/null
check "/dev/null is no file, and none is needed" grep -q '^version' "$mnt/status"
fusermount3 -u "$mnt"

# -- mount points
refuse "one that does not exist" 1 "$work/none does not exist" "${run[@]}" "$work/none"
refuse "one that is a file" 1 "not a directory" "${run[@]}" "$work/empty.conf"
mkdir "$work/full"
touch "$work/full/x"
refuse "one that is not empty" 1 "$work/full is not empty" "${run[@]}" "$work/full"
refuse "one where something is mounted" 1 "a proc file system is mounted" "${run[@]}" /proc

# -- the background
out=$(timeout $patience "${run[@]}" "$mnt" 2>&1)
status=$?
check "goes into the background" test "$status" = 0
check "says nothing but that the pid is no guest" test "$out" = "kvmprofs: -p $$: no guest now; it is shown once it is one"
check "exit status 0 means that it answers" grep -q '^version' "$mnt/status"
bg=$(sed -n 's/^pid //p' "$mnt/status")
check "a session of its own" test "$(ps -o sid= -p "$bg" | tr -d ' ')" = "$bg"
check "keeps no directory busy" test "$(readlink "/proc/$bg/cwd")" = /
check "keeps no stream of the caller" test "$(readlink "/proc/$bg/fd/"{0,1,2} | sort -u)" = /dev/null
check "all descriptors are its own after exec" bash -c 'for f in /proc/$1/fdinfo/*; do case ${f##*/} in 0|1|2) continue;; esac; read -r _ flags < <(grep ^flags "$f" 2>/dev/null) || continue; (( 0$flags & 02000000 )) || { readlink /proc/$1/fd/${f##*/}; exit 1; }; done' - "$bg"
check "no guests: an empty, working tree" test "$(ls "$mnt")" = "$(printf 'by-name\nmetrics\nrecord\nstatus\ntop\nutilization')"
check "top of nothing" grep -q '^# guests: 0' "$mnt/top"
check "without perf: top has no zeros for the host" grep -q '^# host kernel -, ' "$mnt/top"
check "nor has utilization" grep -q '^ *- *- *- *- *0 \[host\]$' "$mnt/utilization"
check "nor has status" grep -q '^samples_host_kernel -$' "$mnt/status"
refuse "a second one on the same directory" 1 "another kvmprofs serves it" "${run[@]}" "$mnt"
check "the first one lives on" grep -q '^version' "$mnt/status"
fusermount3 -u "$mnt"
within "unmounting ends it" $patience ended "$bg"
"${run[@]}" "$mnt"
bg=$(sed -n 's/^pid //p' "$mnt/status")
umount "$mnt"
within "so does umount" $patience ended "$bg"
"${run[@]}" "$mnt"
bg=$(sed -n 's/^pid //p' "$mnt/status")
kill "$bg"
within "a signal ends it in the background too" $patience ended "$bg"
check "and leaves no mount" bash -c '! mountpoint -q "$1"' - "$mnt"

# -- the guests that run already
start_vmm early
wait_for $patience vmm_is_up
# The start waits for them for a second.
starts_with_them() {
	if mountpoint -q "$mnt"; then umount "$mnt"; fi
	"$KVMPROFS" --config "$work/empty.conf" --sampler qmp "$mnt"
	test -d "$mnt/$vmm"
}
check "exit status 0 means that they are there" tries starts_with_them
check "no inodes to run out of" test "$(stat -f -c %c "$mnt")" = 0
umount "$mnt"
end_vmm "$vmm"

# -- what is missing
if unshare -m true 2>/dev/null; then
	refuse "no /dev/fuse" 1 "modprobe fuse" unshare -m bash -c 'mount -t tmpfs none /dev && exec "$@"' - "${run[@]}" "$mnt"
else
	skip "no /dev/fuse" "no mount namespaces here"
fi
if [ "$(id -u)" = 0 ] && have "as nobody" setpriv; then
	cp "$KVMPROFS" "$work/kvmprofs-copy"
	mkdir "$work/theirs"
	chmod 755 "$work"
	chown 65534 "$work/theirs"
	nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	if [ -w /dev/fuse ] && "${nobody[@]}" test -w /dev/fuse; then
		skip "as nobody" "/dev/fuse is open to everybody"
	else
		refuse "as nobody" 1 "/dev/fuse" "${nobody[@]}" "$work/kvmprofs-copy" --config "$work/empty.conf" --sampler qmp "$work/theirs"
	fi
fi

# -- signals
for signal in INT TERM HUP QUIT USR1 USR2 ALRM ABRT VTALRM PROF IO PWR XCPU RTMIN RTMAX; do
	start_daemon "$mnt" --sampler qmp -p $$
	end_daemon $signal && check "SIG$signal ends it well" bash -c '! mountpoint -q "$1"' - "$mnt"
done
start_daemon "$mnt" --sampler qmp -p $$
kill -PIPE "$daemon"
kill -WINCH "$daemon"
check "SIGPIPE and others do not" grep -q '^version' "$mnt/status"
kill -TERM "$daemon"
kill -INT "$daemon" 2>/dev/null
kill -TERM "$daemon" 2>/dev/null
end_daemon HUP 2>/dev/null && ok "more signals while it ends do not matter"
(trap '' INT TERM HUP; exec "$KVMPROFS" -f --config "$work/empty.conf" --sampler qmp -p $$ "$mnt") 2>>"$work/daemon.log" &
daemon=$!
wait_for $patience is_mounted "$mnt"
end_daemon TERM && ok "a signal ends it though the caller ignored it"
check "the log does not take a signal for an unmount" bash -c '! grep "it was unmounted" "$1"' - "$work/daemon.log"
start_daemon "$mnt" --sampler qmp -p $$
umount "$mnt"
wait "$daemon"
check "the log says that it was unmounted" grep -q 'ending: it was unmounted' "$work/daemon.log"

# -- SIGKILL, and the next one
start_daemon "$mnt" --sampler qmp -p $$
exec 7<"$mnt/status"
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null
check "SIGKILL leaves a dead mount" bash -c '! ls "$1" 2>/dev/null' - "$mnt"
"${run[@]}" "$mnt"
check "the next one clears it" grep -q '^version' "$mnt/status"
exec 7<&-
fusermount3 -u "$mnt"
check "nothing is left" bash -c '! grep -q " $1 " /proc/self/mounts' - "$mnt"

# -- many at once on one directory: one of them wins
for i in 1 2 3 4; do
	timeout $patience "${run[@]}" "$mnt" 2>"$work/race.$i" &
	racer[i]=$!
done
won=0
for i in 1 2 3 4; do wait "${racer[i]}" && won=$((won + 1)); done
check "of four at once one wins" test $won = 1
check "one mount, not several" test "$(grep -c " $mnt " /proc/self/mounts)" = 1
fusermount3 -u "$mnt"
