#!/bin/bash
# What a real guest says over ssh is what its files say; every refusal has its reason in info.
# shellcheck source=tests/lab/case.sh
. "$(dirname "$(readlink -f "$0")")/../lab/case.sh"

"$LAB/setup" cloud && guest start one --kaslr on || give_up "a guest starts"
pid=$(pid_of one) g=$mnt/$(pid_of one)

# same NAME FILE...: the guest's file, as ssh reads it, and ours
same() {
	local name=$1 f
	guest ssh one "cat /proc/$name" >"$work/$name" || give_up "ssh reads /proc/$name"
	shift
	for f; do check "$f is the guest's own" cmp "$work/${f##*/}" "$g/$f"; done
}

guest_build_ids() { # as buildids should say
	local m
	printf '%s [guest.kernel.kallsyms]\n' "$(guest ssh one cat /sys/kernel/notes | build_id_of)"
	# shellcheck disable=SC2016
	guest ssh one 'cd /sys/module; for m in */notes/.note.gnu.build-id; do echo "${m%%/*} $(od -A n -v -t x1 $m | tr -d " \n")"; done' |
		while read -r m notes; do echo "${notes:32:40} [$m]"; done
}

start_daemon "$mnt" -p "$pid" -s "one=auto?identity=$SSH_KEY&known_hosts=$GUESTS/one/known_hosts"
within "auto: symbols come" $patience has_symbols "$g"
check "auto: info names the source that worked" test "$(info "$g" source_used)" = memory
same kallsyms kallsyms proc/kallsyms
stop_daemon "$mnt"

start_daemon "$mnt" -p "$pid" -s "one=$(uri_of one)"
within "ssh: symbols come" $patience has_symbols "$g"
check "ssh: info names it" grep -q "ssh://.*127.0.0.1:$(cat "$GUESTS/one/port")" <<<"$(info "$g" source_used)"
check "info tells the guest's kernel" test "$(info "$g" kernel)" = "$(cat "$KVMPROFS_CACHE/cloud/version")"
same kallsyms kallsyms proc/kallsyms
same modules modules proc/modules
same version proc/version
guest_build_ids | sort >"$work/expected"
check "buildids: the kernel's first" grep -q '\[guest.kernel.kallsyms\]$' <(head -n 1 "$g/buildids")
check "buildids: those of the notes" diff "$work/expected" <(sort "$g/buildids")
check "by-name leads to it" test "$(readlink "$mnt/by-name/one")" = "../$pid"

check "without being asked for there is no lib" test ! -e "$g/lib"

# A module that was loaded since is there after a refresh.
guest ssh one modprobe msr
echo refresh >"$g/control"
knows_module() { grep -q '^msr ' "$g/modules"; }
within "refresh brings a module that was loaded since" $patience knows_module
same modules modules
same kallsyms kallsyms
stop_daemon "$mnt"

# ---- lib/modules: what perf walks -----------------------------------------------------------------
release=$(cat "$KVMPROFS_CACHE/cloud/version") l=$g/lib/modules/$(cat "$KVMPROFS_CACHE/cloud/version")
listed() { [ "$(info "$g" lib_modules_state)" = ready ]; }
# lists NAME: the guest's own list, as its stat has it, and the mount's
lists() {
	guest ssh one "cd /lib/modules/$release && find . -type f -exec stat -c '%n %s' {} +" | LC_ALL=C sort >"$work/guest.list"
	(cd "$l" && find . -type f -printf '%p %s\n') | LC_ALL=C sort >"$work/mount.list"
	check "$1: lib/modules has the guest's files and sizes" test -s "$work/guest.list"
	check "$1: and no others" cmp "$work/guest.list" "$work/mount.list"
}
# reads NAME: one of the files, which a guest that is emulated may take its time for
reads() {
	local file
	file=$(grep -m 1 '\.ko' "$work/guest.list")
	file=${file% *}
	guest ssh one "cat /lib/modules/$release/$file" >"$work/one.ko"
	in_time() { cmp -s "$work/one.ko" "$l/$file"; }
	within "$1: a module is the guest's own, byte for byte" $patience in_time
	check "$1: and at once when it is here" timeout 20 cmp "$work/one.ko" "$l/$file"
}
start_daemon "$mnt" -p "$pid" -s "one=$(uri_of one)&modules=yes"
within "ssh: lib/modules is listed" $patience listed
lists ssh
reads ssh
# The first may have cost a connection; those that follow go over it.
t0=$EPOCHREALTIME
tar -C "$l" --exclude=modules.'*' -cf - . | tar -tf - >"$work/tar.list"
echo "# ssh: $(grep -c '\.ko' "$work/tar.list") modules in $(awk -v a="$t0" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }') s"
check "ssh: tar gets all modules" test "$(grep -c '\.ko' "$work/tar.list")" = "$(grep -c '\.ko' "$work/guest.list")"
stop_daemon "$mnt"
start_daemon "$mnt" -p "$pid" -s "one=auto?identity=$SSH_KEY&known_hosts=$GUESTS/one/known_hosts&modules=yes"
within "auto: lib/modules is listed" $patience listed
check "auto: the symbols are from memory" test "$(info "$g" source_used)" = memory
check "auto: the files over ssh" grep -q ssh:// <<<"$(info "$g" lib_modules)"
lists auto
stop_daemon "$mnt"

# refused NAME KEY KNOWN_HOSTS PATTERN: no symbols, and info says why
refused() {
	local dir=$work/$1/$pid
	start_daemon "$work/$1" -p "$pid" -s "*=$(uri_of one "$2" "$3")"
	wait_for $patience state_is "$dir" failed
	check "$1: info says so" grep -qiE "$4" <<<"$(info "$dir" source_error)"
	echo "# $1: $(info "$dir" source_error)"
	check "$1: perf's kallsyms is empty, but there" test "$(cat "$dir/proc/kallsyms" | wc -c)" = 0
	stop_daemon "$work/$1"
}
known=$GUESTS/one/known_hosts
ssh-keygen -q -t ed25519 -N '' -f "$work/other"
sed "s,ssh-ed25519 .*,$(cut -d' ' -f1,2 "$work/other.pub")," "$known" >"$work/changed"
: >"$work/empty"
refused "wrong key" "$work/other" "$known" 'key|authentication|denied'
refused "unknown host key" "$SSH_KEY" "$work/empty" 'ssh-keyscan|known_hosts'
refused "changed host key" "$SSH_KEY" "$work/changed" 'changed|different'
