# shellcheck shell=bash
# Sourced by the scripts beside it and by the tests that use real guests.
LAB=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
: "${KVMPROFS_CACHE:=/var/tmp/kvmprofs-tests}"
export LAB KVMPROFS_CACHE

say() { echo "[lab] $*" >&2; }
die() {
	echo "[lab] error: $*" >&2
	exit 1
}

# The guests' state: one directory each, see `guest`.
: "${GUESTS:=${TMPDIR:-/tmp}/kvmprofs-guests.$(id -u)}"
export GUESTS

SSH_KEY=$KVMPROFS_CACHE/keys/id_ed25519 # of root in every guest
# shellcheck disable=SC2034  # for those that source this
SSH_OPTIONS=(-F none -i "$SSH_KEY" -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR
	-o ConnectTimeout=60 -o PreferredAuthentications=publickey -o GlobalKnownHostsFile=/dev/null
	-o StrictHostKeyChecking=yes)

# uptime_ms: a clock that nobody sets
uptime_ms() {
	local s
	read -r s _ </proc/uptime
	echo $((10#${s%.*} * 1000 + 10#${s#*.} * 10))
}

# wait_for SECONDS COMMAND...: until the command succeeds; 1 when it did not in that time
wait_for() {
	local end=$(($(uptime_ms) + $1 * 1000))
	shift
	until "$@"; do
		[ "$(uptime_ms)" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# running PID: false for a zombie, which an init that does not reap may leave for long
running() { grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"; }
ended() { ! running "$1"; }

# when_gone PID COMMAND...: runs the command once that process has ended, however it ended: for what
# has to be cleaned up even when nobody is left to do it. Survives the death of the caller's group.
when_gone() {
	# shellcheck disable=SC2016
	setsid bash -c 'trap "" INT TERM HUP; exec >/dev/null 2>&1 </dev/null
		# Asked again: a tail that somebody has killed is no sign that the process is gone.
		while kill -0 "$1"; do tail --pid="$1" -s 0.2 -f /dev/null || sleep 0.2; done
		shift; exec "$@"' when-gone "$@" &
	disown $!
}

# processes_of DIR: the guests and daemons whose command lines name this directory, which must be one
# that nobody else uses (mktemp -d)
processes_of() {
	local pid
	for pid in $(pgrep -f -- "$1/"); do
		case $(cat "/proc/$pid/comm" 2>/dev/null) in qemu-system-* | kvmprofs | kp-* | libvirtd | virtlogd) echo "$pid";; esac
	done
}
none_of() { [ -z "$(processes_of "$1")" ]; }

# end_all_of DIR: ends them, unmounts what is mounted in the directory and removes it
end_all_of() {
	local mount
	awk -v dir="$1/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | while read -r mount; do
		fusermount3 -u "$mount" 2>/dev/null || fusermount3 -u -z "$mount" 2>/dev/null || umount -l "$mount" 2>/dev/null
	done
	# shellcheck disable=SC2046
	none_of "$1" || kill $(processes_of "$1") 2>/dev/null
	# shellcheck disable=SC2046
	wait_for 5 none_of "$1" || kill -KILL $(processes_of "$1") 2>/dev/null
	rm -rf --one-file-system "$1"
}

# qemu_loses_code: QEMU before 8.1 ("accel/tcg: Always lock pages before translation", deba78709a) may keep
# the translation of an instruction that another CPU replaces at that moment, for ever. Linux puts an int3 in
# front of code that it changes (tracepoints, static keys) and takes it away again: CPUs of L1 that still see it
# trap without end.
qemu_loses_code() {
	local version
	version=$(qemu-system-x86_64 --version | sed -n 's/.* version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
	# shellcheck disable=SC2086
	set -- ${version:-99 0}
	[ $(($1 * 100 + $2)) -lt 801 ]
}

# case_in_l1 SECONDS SCRIPT: runs a test case in L1; its status and its lines are the case's. What froze
# by QEMU's defect says nothing about what is tested, and begins again.
case_in_l1() {
	local status
	[ "$(id -u)" = 0 ] || { echo "skip lab: L1 reads this machine's root directory, so it takes root"; exit 0; }
	"$LAB/setup" || { echo "not ok lab: its setup failed"; exit 1; }
	export KVMPROFS
	KVMPROFS=$(readlink -f "${KVMPROFS:-build/kvmprofs}")
	for _ in 1 2 3; do
		"$LAB/run" --timeout "$1" "$2"
		status=$?
		[ $status = 126 ] || break
		qemu_loses_code || break
	done
	case $status in
	124) echo "not ok lab: out of time";;
	125) echo "not ok lab: L1 did not get to the end";;
	126) echo "not ok lab: L1 froze";;
	esac
	exit $status
}
