#!/bin/bash
# lib/modules of a guest: there when it is asked for, whole, of true sizes, and never anything of the host.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

files=$work/files release=6.1.0-fixture
make_guest_files "$files" 1000
m=$files/usr/lib/modules/$release
mkdir -p "$m/kernel/fs/ext4" "$m/weak-updates" "$m/updates" "$files/usr/src/headers" "$work/outside"
ln -s usr/lib "$files/lib"
head -c 300000 /dev/urandom >"$m/kernel/fs/ext4/ext4.ko"
head -c 5000 /dev/urandom >"$m/kernel/dm-mod.ko.xz"
: >"$m/kernel/empty.ko"
truncate -s 100M "$m/kernel/huge.ko"
echo kernel/fs/ext4/ext4.ko: >"$m/modules.dep"
echo secret >"$work/outside/secret.ko"
echo header >"$files/usr/src/headers/build.ko"
ln -s "/lib/modules/$release/kernel/fs/ext4/ext4.ko" "$m/weak-updates/absolute.ko"
ln -s ../kernel/dm-mod.ko.xz "$m/weak-updates/relative.ko.xz"
ln -s "$work/outside/secret.ko" "$m/updates/out-absolute.ko"
ln -s "../../../../../../$(basename "$work")/outside/secret.ko" "$m/updates/out-relative.ko"
ln -s /proc/self/environ "$m/updates/magic.ko"
ln -s "$work/outside" "$m/updates/out-dir"
ln -s .. "$m/updates/circle"
ln -s itself.ko "$m/updates/itself.ko"
ln -s /usr/src/headers "$m/build"
mkfifo "$m/updates/pipe.ko"
touch "$m/updates/"$'new\nline.ko' "$m/updates/two words.ko" "$m/updates/-dash.ko"

start_vmm plain
plain=$vmm
start_vmm asked
asked=$vmm
g=$mnt/$asked l=$mnt/$asked/lib/modules/$release
start_daemon "$mnt" -F 49 -p "$plain" -p "$asked" -s "plain=dir:$files" -s "asked=dir:$files?modules=yes"
within "symbols come" $patience has_symbols "$g"
listed() { [ "$(info "$g" lib_modules_state)" = ready ]; }
within "the listing comes" $patience listed
within "symbols of the other one come" $patience has_symbols "$mnt/$plain"
check "without being asked for there is no lib" test ! -e "$mnt/$plain/lib"
check "nor a word of it in info" bash -c '! grep -q lib_modules "$1"' - "$mnt/$plain/info"

cat >"$work/expected" <<END
kernel/dm-mod.ko.xz 5000
kernel/empty.ko 0
kernel/fs/ext4/ext4.ko 300000
kernel/huge.ko 104857600
modules.dep 24
weak-updates/absolute.ko 300000
weak-updates/relative.ko.xz 5000
END
(cd "$l" && find . -type f -printf '%P %s\n') | LC_ALL=C sort >"$work/found"
check "all files and their sizes, and nothing else" diff "$work/expected" "$work/found"
check "info counts them" test "$(info "$g" lib_modules_files)" = 7
check "there are files and directories only" test -z "$(find "$g/lib" ! -type f ! -type d)"
check "numbers of inodes are different" test -z "$(find "$g/lib" -printf '%i\n' | sort | uniq -d)"
check "only root reads them" test "$(stat -c %a "$l/modules.dep")" = 400

for f in kernel/fs/ext4/ext4.ko kernel/dm-mod.ko.xz kernel/empty.ko modules.dep weak-updates/relative.ko.xz; do
	check "$f is the guest's" cmp "$m/$f" "$l/$f"
	check "$f, once more" cmp "$m/$f" "$l/$f"
done
check "a link that is absolute leads into the guest's root" cmp "$m/kernel/fs/ext4/ext4.ko" "$l/weak-updates/absolute.ko"
check "mmap" python3 -c 'import mmap, os, sys
a = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, access=mmap.ACCESS_READ)
sys.exit(a[:] != open(sys.argv[2], "rb").read())' "$l/kernel/fs/ext4/ext4.ko" "$m/kernel/fs/ext4/ext4.ko"
check "tar of it, but what is too large" bash -c 'tar -C "$1" --exclude=huge.ko -cf - lib | tar -tf - | grep -q ext4.ko' - "$g"
check "what is too large says so" grep -q 'too large' <(cat "$l/kernel/huge.ko" 2>&1)
check "nothing can be made" bash -c '! touch "$1/x" && ! rm -f "$1/modules.dep"' - "$l" 2>/dev/null

# What was opened stays; what was changed is noticed with the next listing.
exec 7<"$l/kernel/dm-mod.ko.xz"
cp "$m/kernel/dm-mod.ko.xz" "$work/before"
head -c 7000 /dev/urandom >"$m/kernel/dm-mod.ko.xz"
echo refresh >"$g/control"
same_file() { cmp -s "$m/kernel/dm-mod.ko.xz" "$l/kernel/dm-mod.ko.xz"; }
within "a file that was replaced is read anew" $patience same_file
check "its size is the new one" test "$(stat -c %s "$l/kernel/dm-mod.ko.xz")" = 7000
check "who had it open reads the old one" cmp "$work/before" - <&7
exec 7<&-

# perf walks it and finds the modules; the guest's own symbols are named as before.
if have "perf record walks lib/modules" perf strace; then
	strace -f -e trace=openat,open -o "$work/trace" \
		perf kvm --guest --guestmount="$mnt" record -e cpu-clock -o "$work/perf.data" -- true >"$work/said" 2>&1
	check "perf record walks lib/modules" grep -q "$asked/lib/modules/$release/kernel/fs/ext4" "$work/trace"
	check "perf takes ext4 to be that file" bash -c 'perf script --show-mmap-events --force -i "$1" 2>/dev/null | grep -q "$2/kernel/fs/ext4/ext4.ko"' \
		- "$work/perf.data" "$l"
fi

rm -rf "$m"
echo refresh >"$g/control"
gone() { [ "$(info "$g" lib_modules_error)" != - ]; }
within "a folder without modules says so in info" $patience gone
check "and there is no lib any more" test ! -e "$g/lib"
end_vmm "$asked"
check "the rest of the tree is there" test -e "$mnt/$plain/info"
end_vmm "$plain"
stop_daemon "$mnt"
