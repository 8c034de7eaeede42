#!/bin/bash
# Guests come and go; what was open stays; control; permissions.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

# This daemon sees all guests of the host, also those of other tests: no two have one name.
files=$work/files name=fixture$$
make_guest_files "$files" 20000
start_daemon "$mnt" -d -F 49 -o allow_other -s "$name*=dir:$files" -s "nosym=dir:$work/none" -s '*=dir:/nonexistent'

# -- they come
# comes NAME: a new guest is there within a second after its VMM
comes() {
	start_vmm "$1"
	wait_for $patience vmm_is_up
	wait_for $((1 * slow)) test -d "$mnt/$vmm" && return
	end_vmm "$vmm"
	return 1
}
check "a new guest is there within a second" tries comes "$name"
first=$vmm g=$mnt/$vmm
within "its name is known" $patience test "$(readlink "$mnt/by-name/$name")" = "../$first"
within "its symbols come" $patience has_symbols "$g"
start_vmm "$name"
second=$vmm
logged() { grep -q "^kvmprofs: $1" "$work/daemon.log"; }
check "-d tells how samples are taken" logged 'perf'
check "-d tells of each try for symbols" logged "guest $first: symbols by dir:$files: ok, after"
within "-d tells how a guest is sampled" $patience logged "guest $first is sampled"
within "a second one of the same name" $patience test -L "$mnt/by-name/$name.$second"
start_vmm "evil$$"$'\n# x/../\e[2J'
evil=$vmm
within "one with an odd name" $patience test -d "$mnt/$evil"
wait_for $patience grep -q "^name evil$$" "$mnt/$evil/info"
check "its name cannot forge a line" grep -q "^name evil$$"'\\x0a# x/../\\x1b\[2J$' "$mnt/$evil/info"
check "by-name has it as one component" test "$(find "$mnt/by-name" -type l -name "evil$$*" -exec readlink {} +)" = "../$evil"
check "each link leads to a guest" test -e "$mnt/by-name/$name/info" -a -e "$mnt/by-name/$name.$second/info"
check "guests are listed by pid" bash -c 'ls -U "$1" | grep "^[0-9]" | sort -n -C' - "$mnt"
check "types are in the listing" test "$(find "$mnt" -maxdepth 1 -type d -name '[0-9]*' | wc -l)" -ge 3

# -- a guest without symbols
start_vmm nosym
within "a guest without symbols says why" $patience state_is "$mnt/$vmm" failed
check "info has the reason" grep -q '^source_error [^-]' "$mnt/$vmm/info"
faster "kallsyms fails at once" $((1 * slow)) cat "$mnt/$vmm/kallsyms"
check "kallsyms fails" bash -c '! cat "$1" 2>/dev/null' - "$mnt/$vmm/kallsyms"
for f in proc/kallsyms proc/modules proc/version sys/kernel/notes; do
	check "without symbols $f is empty and can be read" cmp /dev/null "$mnt/$vmm/$f"
done
check "profile is there without symbols" grep -q '^# samples:' "$mnt/$vmm/profile"
end_vmm "$vmm"

# -- files
check "vcpus" awk '!/^#/ && NF != 6 { bad = 1 } END { exit bad }' "$g/vcpus"
check "vcpu/: a directory a vCPU" test "$(ls "$g/vcpu")" = "$(awk '!/^#/ { print $1 }' "$g/vcpus")"
check "vcpu/0: a profile of it" grep -q '^# vcpu: 0$' "$g/vcpu/0/profile"
check "vcpu/0: every format" test "$(cd "$g" && ls -d profile* flamegraph.svg)" = "$(cd "$g/vcpu/0" && ls -d profile* flamegraph.svg)"
check "utilization: a line a guest and the host's" test "$(grep -vc '^#' "$mnt/utilization")" -ge 4
check "utilization: six columns" awk '!/^#/ && NF < 6 { bad = 1 } END { exit bad }' "$mnt/utilization"
check "a guest's utilization" grep -q "$first $name$" "$g/utilization"
check "info: key and value" awk 'NF < 2 { bad = 1 } END { exit bad }' "$g/info"
check "status: key and value" awk 'NF < 2 { bad = 1 } END { exit bad }' "$mnt/status"
check "status counts guests" test "$(sed -n 's/^guests //p' "$mnt/status")" -ge 3
check "info: kernel" grep -q '^kernel 6.1.0-fixture$' "$g/info"
check "info: modules" grep -q '^modules 2$' "$g/info"
check "info: build-id" grep -q "^build_id $(hex_of 1)$" "$g/info"
check "profile's header names the guest" grep -q "^# guest: $name (pid $first)$" "$g/profile"

# -- control
for command in reset pause resume refresh; do
	check "control: $command" bash -c 'echo "$2" >"$1"' - "$g/control" $command
done
check "control: without a newline" bash -c 'printf reset >"$1"' - "$g/control"
check "control: several lines" bash -c 'printf "pause\nreset\nresume\n" >"$1"' - "$g/control"
check "control: appending" bash -c 'echo reset >>"$1"' - "$g/control"
check "control: pause is seen at once" bash -c 'cat "$1/profile" >/dev/null; echo pause >"$1/control"; grep -q paused "$1/profile"' - "$g"
man=$(dirname "$(readlink -f "$0")")/../../fs/kvmprofs.8
check "the man page has each key of info" bash -c 'while read -r key _; do grep -q "^\.It Cm .*\b$key\b" "$2" || exit; done <"$1"' - "$g/info" "$man"
echo pause >"$g/control"
check "a paused guest is told by info" grep -q '^paused yes$' "$g/info"
for f in "$g/vcpus" "$g/utilization" "$mnt/top" "$mnt/utilization"; do
	check "and by ${f#"$mnt"/}" grep -q '^# paused: ' "$f"
done
check "and by status" grep -q '^guests_paused 1$' "$mnt/status"
check "control: resume too" bash -c 'echo resume >"$1/control"; ! grep -q paused "$1/profile"' - "$g"
check "control: an empty line asks for nothing" bash -c 'echo >"$1"' - "$g/control"
check "control: anything else is refused" bash -c '! echo explode >"$1" 2>/dev/null' - "$g/control"
check "control: half a command too" bash -c '! printf res >"$1" 2>/dev/null' - "$g/control"
check "control: the log says so" grep -q "control of pid $first: 'explode' is no command" "$work/daemon.log"
# In one write: bash's own printf makes one of each line.
refused() { ! env printf '%b' "$1" 2>/dev/null >"$g/control" && grep -q "^# refused: $2" "$g/control"; }
check "control: so does reading it" refused 'explode\n' "'explode' is no command"
check "control: what was no text is escaped once" refused '\001\n' "'\\\\x01' is no command"
check "control: nothing is done of a write with a wrong word" refused 'pause\nexplode\n' "'explode' is no command"
check "control: nor with a wrong event" refused 'pause\ntrace kvm_nonsense\n' ''
check "control: the guest is not paused" bash -c '! grep -q paused "$1/profile"' - "$g"
check "control: ls has its size" test "$(stat -c %s "$g/control")" = "$(wc -c <"$g/control")"
echo resume >"$g/control"
check "control: what is taken ends that" bash -c '! grep -q "^# refused" "$1"' - "$g/control"
check "control: reading it helps" grep -q '^#.*reset' "$g/control"
within "control: refresh has fetched again" $patience has_symbols "$g"

# -- permissions
mode_is() { [ "$(stat -c %a "$2")" = "$1" ]; }
for f in kallsyms modules profile profile.folded profile.json profile.pb.gz flamegraph.svg proc/kallsyms \
	proc/modules proc/version sys/kernel/notes; do
	check "for root alone: $f" mode_is 400 "$g/$f"
done
for f in info buildids vcpus utilization; do check "for all: $f" mode_is 444 "$g/$f"; done
check "control is for root" mode_is 600 "$g/control"
check "directories" mode_is 555 "$g/proc"
if [ "$(id -u)" = 0 ] && have "another user" setpriv; then
	chmod 755 "$work"
	nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	check "another user sees info" "${nobody[@]}" cat "$g/info" >/dev/null
	check "another user sees top" "${nobody[@]}" cat "$mnt/top" >/dev/null
	for f in kallsyms modules profile proc/kallsyms sys/kernel/notes control; do
		check "another user does not see $f" bash -c '! "$@" 2>/dev/null' - "${nobody[@]}" cat "$g/$f"
	done
	check "another user cannot control" bash -c '! "${@:2}" bash -c "echo reset >$1/control" 2>/dev/null' - "$g" "${nobody[@]}"
	check "no address gets into top" bash -c '! grep -q ffffffff "$1"' - "$mnt/top"
fi

# -- many readers at once
expected=$(md5sum <"$files/proc/kallsyms")
reader() {
	for _ in {1..15}; do
		[ "$(md5sum <"$g/kallsyms")" = "$expected" ] || return 1
		[ "$(tail -n 1 "$mnt/status" | cut -d' ' -f1)" = own_memory_peak ] || return 1
		[ "$(head -n 1 "$g/profile")" = "# guest: $name (pid $first)" ] || return 1
		ls "$mnt" >/dev/null && ls -l "$g" >/dev/null || return 1
	done
}
readers=()
for _ in {1..6}; do reader & readers+=($!); done
bad=0
for r in "${readers[@]}"; do wait "$r" || bad=$((bad + 1)); done
check "many readers at once" test $bad = 0

# -- they go
exec 7<"$g/kallsyms" 8<"$g/profile"
head -c 5000 <&7 >"$work/part"
cd "$g/proc" || exit 1
gone() { [ ! -e "$mnt/$1" ] && [ -z "$(find "$mnt" -maxdepth 1 -name "$1")" ]; }
# goes: another one, if it was not the first that went within a second
goes() {
	kill -KILL "$vmm"
	wait_for $((1 * slow)) gone "$vmm" && return
	start_vmm goer
	wait_for $patience test -d "$mnt/$vmm"
	return 1
}
vmm=$first
check "a guest that ends is gone within a second" tries goes
wait_for $patience gone "$first"
wait "$first" 2>/dev/null
check "what was open is readable to its end" cmp "$files/proc/kallsyms" <(cat "$work/part" - <&7)
check "so is a text" grep -q "^# guest: $name" <&8
check "below an old working directory nothing is found" bash -c '! cat kallsyms 2>/dev/null'
cd / || exit 1
exec 7<&- 8<&-
check "the name passes to the other one" test "$(readlink "$mnt/by-name/$name")" = "../$second"
end_vmm "$second"
end_vmm "$evil"
all_gone() { gone "$second" && gone "$evil" && [ ! -L "$mnt/by-name/$name" ]; }
within "all are gone" $patience all_gone
check "the log has no line that a guest made" bash -c '! grep -q -P "\x1b" "$1"' - "$work/daemon.log"
stop_daemon "$mnt"

# -- another mode for what carries addresses
start_vmm "$name"
start_daemon "$mnt" -F 49 -p "$vmm" -o symbols_mode=0440,gid=65534 -s "$name=dir:$files"
within "again" $patience has_symbols "$mnt/$vmm"
check "symbols_mode and gid" test "$(stat -c '%a %g' "$mnt/$vmm/kallsyms" "$mnt/$vmm/info" | tr '\n' ' ')" = "440 65534 444 65534 "
check "-p shows this guest only" test "$(find "$mnt" -maxdepth 1 -name '[0-9]*')" = "$mnt/$vmm"
end_vmm "$vmm"
stop_daemon "$mnt"
