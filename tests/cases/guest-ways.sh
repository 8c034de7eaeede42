#!/bin/bash
# One guest into which all ways lead, and a daemon for each of them, side by side: memory, the real qemu-guest-agent,
# our own port, ssh. Each follows it by itself: through modules that come and go while the guest works (profiles name
# their functions), a snapshot, a pause, a reboot with KASLR, a migration. Once no way is left, and info says why for each.
# shellcheck source=tests/cases/agents-lib.sh
. "$(dirname "$(readlink -f "$0")")/agents-lib.sh"

make_agents_initrd

# Two monitors, so that somebody finds both taken.
guest start one --kaslr on --reboot -- -initrd "$work/initrd" -device virtio-serial-pci \
	-qmp "unix:$work/second.qmp,server=on,wait=off" \
	"${DISK[@]}" "${AGENT[@]}" \
	-chardev "socket,id=own,path=$work/own.sock,server=on,wait=off" \
	-device virtserialport,chardev=own,name=org.kvmprofs.0 || give_up "a guest starts"
pid=$(pid_of one)
# A line each, since the guest reads lines. A load is there all the while.
serve='insmod /extra/virtio_console.ko*; until ls /dev/vport*p2; do usleep 50000; done; (workload syscall >/dev/null 2>&1 &)'
run_agent() { echo "(/usr/sbin/qemu-ga -m virtio-serial -p /dev/vport*p1 -t /tmp $* >/dev/null 2>&1 &)"; }
run_own='(/usr/sbin/kvmprofs-guest >/dev/null 2>&1 &)'
ask() { guest ask one "$1" >"$work/asked" || not_ok "the guest does: $1" "$(tail -n 3 "$work/asked")"; }
ask "$serve; $(run_agent); $run_own"

declare -A daemons
attach() { # attach WAY OPTIONS...
	start_daemon "$work/$1" -p "$pid" "${@:2}"
	daemons[$1]=$daemon
}
detach() { # detach WAY...
	local way
	for way; do
		daemon=${daemons[$way]}
		stop_daemon "$work/$way"
	done
}
attach memory -s '*=memory'
attach agent -s "*=virtio-serial:$work/agent.sock"
attach own -s "*=virtio-serial:$work/own.sock"
attach ssh -s "*=$(uri_of one)"

# each WHAT SECONDS COMMAND...: by each of $ways the command holds in time; $g is that one's directory then
ways='memory agent own ssh'
each() {
	local what=$1 seconds=$2 began=$SECONDS way times='' g
	shift 2
	for way in $ways; do
		g=$work/$way/$pid
		within "$what, by $way" "$seconds" "$@"
		times+=" $way $((SECONDS - began)) s"
	done
	echo "# $what:$times"
}
ready() { has_symbols "$g"; }
is_own() { cmp -s "$work/truth/kallsyms" "$g/kallsyms"; }
# follows WHAT [SECONDS]: kallsyms is the guest's own of now. Within ten seconds where the machine has time.
follows() {
	rm -rf "$work/truth"
	guest truth one "$work/truth" >/dev/null || give_up "the guest tells the truth"
	each "$1: kallsyms is the guest's own" "${2:-$patience}" is_own
}
names_it() { [ "$(symbol_share "$g" $HOT_CRYPTO | cut -d. -f1)" -ge 5 ] && grep -q " $HOT_CRYPTO \[rmd160\]$" "$g/profile"; }
# A sample of them at work, while they are loaded, is none of those.
names_no_other() { awk '$5 == "[msr]" || $5 == "[virtio_balloon]" { n += $2 } END { exit n > 3 }' "$g/profile"; }

each "symbols come" $patience ready
ask 'wl crypto'
follows "at first"
each "the profile names the module's function" $patience names_it

# ---- modules, while the guest works ------------------------------------------------------------------------------
check "a snapshot is saved" hmp savevm before
cp "$work/truth/modules" "$work/first"
# Nothing runs until the guest is looked at again: what is sampled in between may be of before or after.
ask 'wl idle'
sleep 1
samples_of() { awk -v name="$2" '$3 == "[g]" && $4 == name && $5 == "[rmd160]" { n = $2 } END { print n + 0 }' "$1/profile"; }
declare -A sampled
for way in $ways; do
	mkdir "$work/$way/$pid/snapshots/then"
	sampled[$way]=$(samples_of "$work/$way/$pid/snapshots/then" $HOT_CRYPTO)
done
keeps_it() {
	[ "${sampled[$way]}" -gt 0 ] && [ "$(samples_of "$g" $HOT_CRYPTO)" -ge "${sampled[$way]}" ] &&
		[ "$(samples_of "$g/snapshots/then" $HOT_CRYPTO)" = "${sampled[$way]}" ]
}

# What comes first takes its place.
ask 'rmmod rmd160; modprobe msr; modprobe virtio_balloon; modprobe rmd160'
follows "a module went, and came back"
# shellcheck disable=SC2016
check "it lies elsewhere" bash -c '! cmp -s <(grep "^rmd160 " "$1") <(grep "^rmd160 " "$2")' - "$work/first" "$work/truth/modules"
each "samples of before keep their name" $patience keeps_it
each "and nobody else's" 1 names_no_other
ask 'wl crypto'
each "the profile names the function where it lies now" $patience names_it
each "the profile names nothing that does not run" 1 names_no_other
# shellcheck disable=SC2016
ask 'n=0; while [ $n -lt 10 ]; do rmmod msr; modprobe msr; n=$((n + 1)); done'
follows "a module came and went ten times"

# ---- what is done to the guest as a whole ------------------------------------------------------------------------
same_boot() { epoch_is "$g" 1; }
check "the snapshot is loaded" hmp loadvm before
# Who looks at memory in the middle of that takes what is half there for another boot's, and waits for what else comes.
follows "a snapshot was loaded" 300
check "its modules are those of then" cmp "$work/first" "$work/truth/modules"
guest qmp one stop >/dev/null
sleep 8 # a look or two meanwhile
each "stopped: kallsyms stays" 1 is_own
guest qmp one cont >/dev/null
ways='agent own ssh' each "all of it was one boot" 1 same_boot

# At once, as a reset button does it: where reboot(8) shuts virtio devices down while packets come, this kernel was seen to
# stay in a softirq for ever.
ask '(sleep 0.2; echo b >/proc/sysrq-trigger) & echo'
cp "$work/truth/kallsyms" "$work/last"
guest wait one $patience 2 || give_up "the guest boots again"
ask "$serve; $(run_agent); $run_own; wl crypto"
follows "it rebooted"
# shellcheck disable=SC2016
check "the kernel moved" bash -c '! cmp -s "$1" "$2"' - "$work/last" "$work/truth/kallsyms"
another_boot() { [ "$(info "$g" epoch)" -ge 2 ]; } # boot code that is sampled late begins another one
each "it rebooted: a new epoch" $patience another_boot
for way in $ways; do echo "# $way: epoch $(info "$work/$way/$pid" epoch), $(info "$work/$way/$pid" epoch_reason)"; done
for way in $ways; do echo reset >"$work/$way/$pid/control"; done
each "it rebooted: the profile names the module's function" $patience names_it
detach agent own

# ---- nothing leads into it -----------------------------------------------------------------------------------------
ask "killall kvmprofs-guest; $END_AGENT"
ask "$(run_agent -b guest-file-open,guest-file-close,guest-file-read,guest-file-write,guest-file-seek,guest-file-flush,guest-exec,guest-exec-status)"
ssh-keygen -q -t ed25519 -N '' -f "$work/other"
make_may_not
KVMPROFS=$work/may-not attach refused -s "*=auto?identity=$work/other&known_hosts=$GUESTS/one/known_hosts"
g=$work/refused/$pid
within "all refused: it is said" $patience state_is "$g" failed
grep '^source_error\|^attempt' "$g/info" | sed 's/^/# /'
# Who has no time to answer soon has another reason in the first attempt.
again() { "$@" || { echo refresh >"$g/control"; sleep 2; "$@"; }; }
has_line() { grep -qE "^attempt $1 failed after [0-9.]* s: .*$2" "$g/info"; }
tried() { within "all refused: info has a line for $1" $patience again has_line "$2" "$3"; }
tried memory memory CAP_SYS_PTRACE
tried "the agent" "virtio-serial:$work/agent.sock" 'blocks guest-file-open, .* guest-exec-status: allow them'
tried "our own port" "virtio-serial:$work/own.sock" 'nobody answers in the guest'
tried ssh "ssh://root@127.0.0.1:$(cat "$GUESTS/one/port")" 'refused|denied|key'
tried "its name" ssh://root@one .
lines_are() { [ "$(grep -c '^attempt ' "$g/info")" = "$1" ]; }
within "all refused: and no others" $patience again lines_are 5
within "all refused: samples come" $patience has_samples "$g" 50
check "all refused: they stand as addresses" grep -q '\[g\] 0xffffffff[0-9a-f]* \[unknown\]$' "$g/profile"
check "all refused: perf's kallsyms is empty, but there" test "$(cat "$g/proc/kallsyms" | wc -c)" = 0
detach refused

# ---- it migrates away: its QEMU stays, and does not run any more ---------------------------------------------------
ways='memory ssh'
epochs() { for way in $ways; do info "$work/$way/$pid" epoch; done; }
before=$(epochs)
guest qmp one migrate '{"uri": "exec:cat >/dev/null"}' >/dev/null
is_away() { guest qmp one query-status | grep -q postmigrate; }
within "it is migrated away" $patience is_away
sleep 8 # a look or two meanwhile
each "migrated away: kallsyms stays" 1 is_own
check "migrated away: no boot was made up" test "$(epochs)" = "$before"
# shellcheck disable=SC2086
detach $ways
guest stop one
