#!/bin/bash
# mkdir freezes a moment, rmdir forgets it; nothing else in the tree can be made or removed.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

files=$work/files
make_guest_files "$files" 1000
start_vmm fixture
start_daemon "$mnt" -F 49 -p "$vmm" -s "fixture=dir:$files" -o allow_other
g=$mnt/$vmm s=$mnt/$vmm/snapshots
within "symbols come" $patience has_symbols "$g"

# fails ERRNO COMMAND...: the command must fail and say this
fails() {
	local why=$1 said
	shift
	said=$(LC_ALL=C "$@" 2>&1) && { echo "it succeeds"; return 1; }
	[[ $said == *"$why"* ]] || { echo "it says: $said"; return 1; }
}
listing_is() { [ "$(ls "$1" | tr '\n' ' ')" = "$2" ]; }

check "at first there are none" listing_is "$s" ""
check "mkdir" mkdir "$s/before"
check "mkdir of what is there" fails "File exists" mkdir "$s/before"
check "mkdir -p of what is there" mkdir -p "$s/before"
check "a name with a blank" mkdir "$s/the second one"
check "they are listed" test "$(ls "$s")" = "before
the second one"
check "each has a diff" test "$(ls "$g/diff")" = "before
the second one"
check "the same files" test "$(ls "$s/before")" = "$(ls "$g/recent")"
check "it says which it is" grep -q '^# snapshot: before$' "$s/before/profile"
check "profile.json says which it is" grep -q '^"snapshot": "before",$' "$s/before/profile.json"
cp "$s/before/profile" "$work/before"
echo reset >"$g/control"
check "it does not change" cmp "$work/before" "$s/before/profile"
check "diff says what it compares" grep -q '^# baseline: snapshot before$' "$g/diff/before"
check "diff is a file" test -f "$g/diff/before"
check "status counts them" grep -q '^snapshots 2$' "$mnt/status"

check "a hidden name" fails "Invalid argument" mkdir "$s/.hidden"
check "a control character" fails "Invalid argument" mkdir "$s/$(printf 'a\033b')"
check "a line feed" fails "Invalid argument" mkdir "$s/a
b"
check "no ASCII" fails "Invalid argument" mkdir "$s/$(printf 'a\302\205')"
check "a long name" fails "name too long" mkdir "$s/$(printf '%064d' 1)"
check "the longest name" mkdir "$s/$(printf '%063d' 1)"
check "it is gone again" rmdir "$s/$(printf '%063d' 1)"
for d in "$mnt" "$g" "$g/recent" "$g/diff" "$s/before" "$g/vcpu"; do
	check "no mkdir in ${d#"$mnt"}/" fails "not permitted" mkdir "$d/new"
done
check "no file in snapshots" fails "not permitted" touch "$s/file"
check "no rename" fails "not permitted" mv "$s/before" "$s/after"
check "no rmdir of recent" fails "not permitted" rmdir "$g/recent"
check "no rmdir of snapshots" fails "not permitted" rmdir "$s"
check "no removing of its files" fails "not permitted" rm -f "$s/before/profile"
check "rmdir of what is not there" fails "No such file" rmdir "$s/nobody"
if have "only root makes and removes them" setpriv; then
	check "nobody else makes one" fails "Permission denied" setpriv --reuid=65534 --clear-groups mkdir "$s/mine"
	check "nobody else removes one" fails "Permission denied" setpriv --reuid=65534 --clear-groups rmdir "$s/before"
fi

check "cp -r" cp -r "$s/before" "$work/copy"
check "cp -r has it all" cmp "$s/before/profile.json" "$work/copy/profile.json"
check "tar" bash -c 'tar -C "$1" -cf - before | tar -xOf - before/profile | cmp - "$1/before/profile"' - "$s"
check "ls -R" bash -c 'ls -R "$1" | grep -q profile.pb.gz' - "$s"
check "find" test "$(find "$s" -name profile | wc -l)" = 2
check "find -type d -empty: none is" test -z "$(find "$s" -mindepth 1 -type d -empty)"

# Gone: by its name at once, but not for who has it open.
exec 3<"$s/before/profile"
content=$(cat "$s/before/profile")
check "rmdir, though it has files" rmdir "$s/before"
check "it is not listed" test "$(ls "$s")" = "the second one"
check "its files are gone" fails "No such file" cat "$s/before/profile"
check "its diff is gone" fails "No such file" cat "$g/diff/before"
check "who has it open reads on" test "$(cat <&3)" = "$content"
exec 3<&-
check "rmdir once more" fails "No such file" rmdir "$s/before"
check "the name can be used again" mkdir "$s/before"
check "it is a new one" test "$(cat "$s/before/profile")" != "$content"
cd "$s/before" || exit 1
check "rmdir of where somebody stands" rmdir "$s/before"
check "there is nothing to be listed" fails "No such file" ls .
check "there is nothing to be opened" fails "No such file" cat profile
cd / || exit 1

for ((i = 2; i <= 16; i++)); do mkdir "$s/number $i" || not_ok "mkdir number $i"; done
check "no more than sixteen" fails "No space left" mkdir "$s/one more"
check "status has the reason" grep -q "^snapshot_refused guest $vmm: it has as many snapshots" "$mnt/status"
check "rmdir makes room" rmdir "$s/number 2"
check "there is room" mkdir "$s/one more"
check "status has their memory" test "$(sed -n 's/^snapshots_memory //p' "$mnt/status")" -ge 1000
# Many at once: each name once, and no more than there is room for.
rmdir "$s"/*
for i in {1..4}; do
	for name in {a..f}; do mkdir "$s/$name" 2>/dev/null && echo "$name"; done >"$work/made.$i" &
	makers+=($!)
done
wait "${makers[@]}"
check "each is made once" test "$(sort "$work"/made.* | tr -d '\n')" = abcdef

end_vmm "$vmm"
gone() { [ ! -e "$g" ]; }
within "the guest's end" $patience gone
none_held() { grep -q '^snapshots 0$' "$mnt/status"; }
within "its snapshots went with it" $patience none_held
check "no memory is kept" grep -q '^snapshots_memory 0$' "$mnt/status"
stop_daemon "$mnt"
