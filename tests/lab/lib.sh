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
	-o ConnectTimeout=20 -o PreferredAuthentications=publickey -o GlobalKnownHostsFile=/dev/null
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

# when_gone PID COMMAND...: runs the command once that process has ended, however it ended: for what
# has to be cleaned up even when nobody is left to do it. Survives the death of the caller's group.
when_gone() {
	# shellcheck disable=SC2016
	setsid bash -c 'trap "" INT TERM HUP; exec >/dev/null 2>&1 </dev/null
		tail --pid="$1" -s 0.2 -f /dev/null; shift; exec "$@"' when-gone "$@" &
	disown $!
}
