# shellcheck shell=bash
# Sourced by tests/cases/guest-* and lab-*: what they share. $KVMPROFS is the program under test.
set -u
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"
KVMPROFS=$(readlink -f "${KVMPROFS:-build/kvmprofs}")
# shellcheck disable=SC2034
HOT_SYSCALL=clear_user_erms HOT_CRYPTO=rmd160_transform # what leads the profiles of the workloads

patience=120 # seconds: only what never happens takes longer
failures=0
ok() { echo "ok $1"; }
not_ok() {
	echo "not ok $1${2:+: $2}"
	failures=$((failures + 1))
}
# check NAME COMMAND...: ok when the command succeeds
check() {
	local name=$1
	shift
	if "$@"; then ok "$name"; else not_ok "$name" "$*"; fi
}
# within NAME SECONDS COMMAND...: ok when the command succeeds in that time
within() {
	local name=$1 seconds=$2
	shift 2
	if wait_for "$seconds" "$@"; then ok "$name"; else not_ok "$name" "not within $seconds s: $*"; fi
}
# give_up NAME WHY: the rest makes no sense without it
give_up() {
	not_ok "$@"
	exit 1
}

work=$(mktemp -d /tmp/kvmprofs-case.XXXXXX) || exit 1
mnt=$work/mnt GUESTS=$work/guests daemon=''
mkdir "$mnt"
export HOME=$work # perf writes into ~/.debug
: >"$work/empty.conf"
# shellcheck disable=SC2317
clean_up() {
	local status=$?
	trap '' INT TERM HUP
	if [ $status != 0 ] || [ $failures != 0 ]; then
		tail -n 30 "$work"/*.log 2>/dev/null
	fi
	end_all_of "$work"
	[ $status != 0 ] || exit $((failures > 0))
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# shellcheck disable=SC2016
when_gone $$ bash -c '. "$1"; end_all_of "$2"' clean-up "$LAB/lib.sh" "$work"

guest() { "$LAB/guest" "$@"; }
pid_of() { cat "$GUESTS/$1/pid"; }

# uri_of GUEST [KEY [KNOWN_HOSTS]]: the source that this guest's ssh is
uri_of() {
	echo "ssh://root@127.0.0.1:$(cat "$GUESTS/$1/port")?identity=${2:-$SSH_KEY}&known_hosts=${3:-$GUESTS/$1/known_hosts}"
}

# start_daemon MOUNTPOINT OPTIONS...: in the foreground of a background job; sets $daemon
start_daemon() {
	local where=$1
	shift
	mkdir -p "$where"
	"$KVMPROFS" -f --config "$work/empty.conf" "$@" "$where" >>"$work/daemon.log" 2>&1 &
	daemon=$!
	wait_for $patience is_mounted "$where" && running "$daemon" || give_up "kvmprofs starts" "$(tail -n 3 "$work/daemon.log")"
}
is_mounted() { mountpoint -q "$1" || ended "$daemon"; }

# make_may_not: $work/may-not is the program, where it may not look into other processes
make_may_not() {
	cat >"$work/may-not" <<-END
		#!/bin/sh
		exec setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace "$KVMPROFS" "\$@"
	END
	chmod +x "$work/may-not"
}

# stop_daemon MOUNTPOINT: unmounts; the daemon (the newest one) must end well by itself
stop_daemon() {
	local status
	fusermount3 -u "$1" || umount "$1"
	wait_for $patience ended "$daemon" || give_up "kvmprofs ends when it is unmounted" "it still runs after $patience s"
	wait "$daemon"
	status=$?
	daemon=''
	[ $status = 0 ] || not_ok "kvmprofs ends when it is unmounted" "status $status"
}

# info DIR KEY: the value behind the key
info() { sed -n "s/^$2 //p" "$1/info" 2>/dev/null; }
state_is() { [ "$(info "$1" source_state)" = "$2" ]; }
has_symbols() { state_is "$1" ready; }
epoch_is() { [ "$(info "$1" epoch)" = "$2" ]; }

# samples DIR: how many the profile holds
samples() { awk '!/^#/ { n += $2 } END { print n + 0 }' "$1/profile" 2>/dev/null || echo 0; }
has_samples() { [ "$(samples "$1")" -ge "$2" ]; }
# hottest DIR: symbol and object of the first guest kernel row
hottest() { awk '$3 == "[g]" { print $4, $5; exit }' "$1/profile"; }
hottest_is() { [ "$(hottest "$1")" = "$2" ]; }
# symbol_share DIR SYMBOL: in percent, 0 when there is no such row
symbol_share() { awk -v s="$2" '$4 == s { p = $1 } END { print p + 0 }' "$1/profile"; }

# build_id_of: the GNU build-id in the ELF notes on stdin (namesz 4, descsz 20, type 3, "GNU")
build_id_of() {
	od -A n -v -t x1 | tr -d ' \n' | grep -o '040000001400000003000000474e5500.\{40\}' | cut -c33-72
}
