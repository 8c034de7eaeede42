#!/bin/bash
# A guest that reboots, one that is killed, and a daemon that is killed.
# shellcheck source=tests/lab/case.sh
. "$(dirname "$(readlink -f "$0")")/../lab/case.sh"

"$LAB/setup" cloud && guest start one --kaslr on --reboot --workload crypto || give_up "a guest starts"
pid=$(pid_of one) g=$mnt/$(pid_of one)
guest ssh one cat /proc/kallsyms >"$work/first"

# A daemon that was killed leaves a mount that nobody answers; the next one clears it.
start_daemon "$mnt" -p "$pid" -s "*=$(uri_of one)"
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null
check "after SIGKILL the mount is stale" bash -c '! stat "$1" 2>/dev/null' - "$mnt/status"
start_daemon "$mnt" -p "$pid" -s "*=$(uri_of one)"
within "a new daemon takes the stale mount" $patience test -r "$mnt/status"
within "symbols come" $patience has_symbols "$g"
check "kallsyms is the guest's own" cmp "$work/first" "$g/kallsyms"

# The same VMM boots again, and its kernel lies elsewhere.
exec 7<"$g/kallsyms"
guest qmp one system_reset >/dev/null
within "a reset begins a new epoch" $patience epoch_is "$g" 2
guest wait one $patience 2 || give_up "the guest boots again"
guest ssh one cat /proc/kallsyms >"$work/second"
check "the kernel moved" bash -c '! cmp -s "$1" "$2"' - "$work/first" "$work/second"
within "symbols of the new boot come by themselves" $patience has_symbols "$g"
within "kallsyms is that of the new boot" $patience cmp -s "$work/second" "$g/kallsyms"
check "a file that was open holds the old boot's" cmp "$work/first" - <&7
exec 7<&-
echo reset >"$g/control"
within "profile is right again" $patience hottest_is "$g" "$HOT_CRYPTO [rmd160]"

# Killed while a reader has a file open.
exec 7<"$g/kallsyms"
head -c 1000 <&7 >"$work/part"
kill -KILL "$pid"
gone() { [ ! -e "$g" ] && [ "$(find "$mnt" -maxdepth 1 -name "$pid" | wc -l)" = 0 ]; }
began=$EPOCHREALTIME
within "a killed guest is gone" $patience gone
echo "# after $(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }') s"
check "what was open is readable to its end" cmp "$work/second" <(cat "$work/part" - <&7)
exec 7<&-
check "the tree is empty and works" test "$(ls "$mnt/by-name" | wc -l)" = 0
stop_daemon "$mnt"
