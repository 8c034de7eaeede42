# shellcheck shell=bash disable=SC2034
# Sourced by tests/cases/fs-*: the mounted filesystem on saved guest files. The guests are QEMUs
# that run nothing (paused, TCG, no disk, no kernel), and their symbols come from made-up files.
# shellcheck source=tests/lab/case.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lab/case.sh"

[ -r /dev/fuse ] || { echo "skip ${0##*/}: /dev/fuse cannot be opened"; exit 0; }
command -v qemu-system-x86_64 >/dev/null || { echo "skip ${0##*/}: no qemu-system-x86_64"; exit 0; }

skip() { echo "skip $1: $2"; }
# have NAME PROGRAM...: true when all are there; else says that this test is skipped
have() {
	local name=$1 p
	shift
	for p; do
		command -v "$p" >/dev/null || { skip "$name" "no $p here"; return 1; }
	done
}

# refuse NAME STATUS TEXT COMMAND...: ok when the command ends with this status and says one line
# that holds the text
refuse() {
	local name=$1 status=$2 text=$3 got said
	shift 3
	said=$(timeout $patience "$@" 2>&1 >/dev/null </dev/null)
	got=$?
	if [ $got != "$status" ]; then
		not_ok "$name" "status $got, not $status: $said"
	elif [ "$(wc -l <<<"$said")" != 1 ] || [[ $said != kvmprofs:*"$text"* ]]; then
		not_ok "$name" "it says: $said"
	else
		ok "$name"
	fi
}

# make_guest_files DIR SYMBOLS: what `dir:DIR` reads
make_guest_files() {
	mkdir -p "$1/proc/sys/kernel/random" "$1/sys/kernel"
	perl -e '
		printf "%016x %s fixture_symbol_%d\n", 0xffffffff81000000 + $_ * 64, $_ % 3 ? "t" : "T", $_ for 0 .. $ARGV[0] - 1;
		printf "%016x t ext4_fixture_%d\t[ext4]\n", 0xffffffffc0000000 + $_ * 64, $_ for 0 .. 299;
		printf "%016x t dm_fixture_%d\t[dm_mod]\n", 0xffffffffc0100000 + $_ * 64, $_ for 0 .. 99;
	' "$2" >"$1/proc/kallsyms"
	printf '%s\n' 'ext4 1048576 1 - Live 0xffffffffc0000000' \
		'dm_mod 65536 0 - Live 0xffffffffc0100000 (E)' >"$1/proc/modules"
	echo 'Linux version 6.1.0-fixture (a@b) (gcc) #1 SMP' >"$1/proc/version"
	echo '01234567-89ab-cdef-0123-456789abcdef' >"$1/proc/sys/kernel/random/boot_id"
	build_id_note 1 >"$1/sys/kernel/notes"
	for module in ext4 dm_mod; do
		mkdir -p "$1/sys/module/$module/notes"
		build_id_note ${#module} >"$1/sys/module/$module/notes/.note.gnu.build-id"
	done
}
# build_id_note DIGIT: namesz 4, descsz 20, type 3, "GNU", 20 times this byte
build_id_note() {
	printf '\4\0\0\0\24\0\0\0\3\0\0\0GNU\0'
	for _ in {1..20}; do printf "\\x0$1"; done
}
# hex_of DIGIT: that build-id as text
hex_of() { printf "0$1%.0s" {1..20}; }

vmms=0
# start_vmm NAME [QEMU OPTIONS...]: sets $vmm
start_vmm() {
	local name=$1
	shift
	vmms=$((vmms + 1))
	qemu-system-x86_64 -machine pc -accel tcg -m 16 -nodefaults -display none -S -name "$name" \
		-qmp "unix:$work/vmm$vmms.qmp,server=on,wait=off" "$@" >>"$work/vmm.log" 2>&1 </dev/null &
	vmm=$!
}
vmm_is_up() { [ -S "$work/vmm$vmms.qmp" ]; }
# end_vmm PID
end_vmm() {
	kill -KILL "$1"
	wait "$1" 2>/dev/null
	return 0
}

# end_daemon SIGNAL: the newest one must end well by itself
end_daemon() {
	local status
	kill "-$1" "$daemon"
	wait_for $patience ended "$daemon" || give_up "kvmprofs ends at $1" "it still runs after $patience s"
	wait "$daemon"
	status=$?
	daemon=
	[ $status = 0 ] || { not_ok "kvmprofs ends well at $1" "status $status: $(tail -n 20 "$work/daemon.log")"; return 1; }
}

# seconds COMMAND...: how long it takes, in seconds with a fraction, whatever its status
seconds() {
	local t0=$EPOCHREALTIME
	"$@" >/dev/null 2>&1
	awk -v a="$t0" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
}
# tries COMMAND...: true when the command succeeds at one of some tries: for promises of speed, since a
# busy machine may keep anybody waiting for a moment, and who breaks such a promise breaks it each time
tries() {
	local try
	for try in 1 2 3 4 5; do
		"$@" && return
	done
	return 1
}
# at_most SECONDS COMMAND...: true when the command does not take longer, whatever its status
at_most() { awk -v t="$(seconds "${@:2}")" -v l="$1" 'BEGIN { exit t > l }'; }
# faster NAME SECONDS COMMAND...: ok when the command does not take longer, whatever its status
faster() { check "$1" tries at_most "${@:2}"; }

# Sanitizers make all slower.
slow=1
[ -z "${KVMPROFS_SANITIZE-}" ] || slow=4

# silent_port: a TCP port that accepts and never says a word; sets $port
silent_port() {
	perl -MSocket -e '
		my $s;
		socket($s, PF_INET, SOCK_STREAM, 0) and bind($s, sockaddr_in(0, INADDR_LOOPBACK)) and
			listen($s, 16) or die;
		open(my $f, ">", "$ARGV[0].new") or die;
		print $f ((sockaddr_in(getsockname($s)))[0]);
		close $f;
		rename "$ARGV[0].new", $ARGV[0];
		$SIG{ALRM} = sub { exit };
		alarm 600;
		sleep 1 while getppid() == $ARGV[1];' "$work/port" $$ &
	wait_for $patience test -s "$work/port" || give_up "a port that says nothing"
	port=$(cat "$work/port")
}
