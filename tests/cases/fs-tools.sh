#!/bin/bash
# Every tool gets the whole of a file, whatever it makes of sizes; and one moment of it.
# shellcheck source=tests/cases/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

files=$work/files out=$work/out
make_guest_files "$files" 100000
want=$files/proc/kallsyms
start_vmm fixture
start_daemon "$mnt" -F 49 -p "$vmm" -s "fixture=dir:$files"
g=$mnt/$vmm k=$mnt/$vmm/kallsyms
within "symbols come" $patience has_symbols "$g"

# tool NAME PROGRAM COMMAND: the shell command must make $out a copy of $k
tool() {
	have "$1" "$2" || return
	rm -rf "$out"
	# shellcheck disable=SC2154
	if ! (eval "$3") >"$work/said" 2>&1; then
		not_ok "$1" "$(head -n 3 "$work/said" | tr '\n' ' ')"
	elif ! cmp -s "$want" "$out"; then
		not_ok "$1" "$(stat -c %s "$out" 2>&1) of $(stat -c %s "$want") bytes"
	else
		ok "$1"
	fi
}
# python NAME CODE: k, out and want are the paths
python() {
	have "$1" python3 || return
	tool "$1" python3 "python3 -c 'import sys, os, shutil, mmap
k, out = sys.argv[1:]
$2' '$k' '$out'"
}

tool "cat" cat 'cat "$k" >"$out"'
tool "cp" cp 'cp "$k" "$out"'
tool "cp --sparse=always" cp 'cp --sparse=always "$k" "$out"'
tool "cp -a" cp 'cp -a "$k" "$out"'
tool "install" install 'install -m 600 "$k" "$out"'
tool "busybox cp" busybox 'busybox cp "$k" "$out"'
tool "busybox cat" busybox 'busybox cat "$k" >"$out"'
tool "tar" tar 'tar -C "$g" -cf - kallsyms | tar -xOf - >"$out"'
tool "busybox tar" busybox 'busybox tar -C "$g" -cf - kallsyms | tar -xOf - >"$out"'
tool "cpio" cpio '(cd "$g" && echo kallsyms | cpio -o) >"$out.cpio" && mkdir "$out.d" && cd "$out.d" &&
	cpio -i <"$out.cpio" && mv kallsyms "$out"; rm -rf "$out.d" "$out.cpio"; test -f "$out"'
tool "rsync" rsync 'rsync "$k" "$out"'
tool "rsync --inplace --no-whole-file" rsync 'rsync --inplace --no-whole-file "$k" "$out"'
tool "dd" dd 'dd if="$k" of="$out" bs=64k'
tool "dd bs=1M iflag=direct" dd 'dd if="$k" of="$out" bs=1M iflag=direct'
tool "tac" tac 'tac "$k" | tac >"$out"'
tool "split -n l/2" split 'split -n l/2 "$k" "$out." && cat "$out".a[ab] >"$out" && rm "$out".a[ab]'
tool "split -b" split 'split -b 1000000 "$k" "$out." && cat "$out".a? >"$out" && rm "$out".a?'
tool "tail -c, head -c" tail 'head -c 1000 "$k" >"$out" && tail -c +1001 "$k" >>"$out"'
tool "head -c -N, tail -c N" head 'head -c -1000 "$k" >"$out" && tail -c 1000 "$k" >>"$out"'
tool "head -n, tail -n" tail 'head -n -500 "$k" >"$out" && tail -n 500 "$k" >>"$out"'
tool "grep" grep 'grep "" "$k" >"$out"'
tool "sed" sed 'sed "" "$k" >"$out"'
tool "awk" awk 'awk "{ print }" "$k" >"$out"'
tool "sort" sort 'sort -s -k1,1 "$k" >"$out"'
tool "gzip" gzip 'gzip -c "$k" | gzip -dc >"$out"'
tool "less" less 'less -f "$k" >"$out"'
tool "tee from a redirection" tee 'tee <"$k" "$out" >/dev/null'
tool "bash mapfile" bash 'mapfile -t lines <"$k" && printf "%s\n" "${lines[@]}" >"$out"'
tool "perl" perl 'perl -e "local \$/; open F, shift; print <F>" "$k" >"$out"'
tool "node copyFileSync" node 'timeout 60 node -e "require(\"fs\").copyFileSync(process.argv[1], process.argv[2])" "$k" "$out"; chmod u+rw "$out"'
python "python read" 'open(out, "wb").write(open(k, "rb").read())'
python "python copyfile" 'shutil.copyfile(k, out)'
python "python mmap" 'open(out, "wb").write(mmap.mmap(os.open(k, os.O_RDONLY), 0, access=mmap.ACCESS_READ))'
python "python mmap private" 'open(out, "wb").write(mmap.mmap(os.open(k, os.O_RDONLY), 0, mmap.MAP_PRIVATE, mmap.PROT_READ))'
python "python sendfile without fstat" 'i, o = os.open(k, os.O_RDONLY), os.open(out, os.O_CREAT | os.O_WRONLY)
while os.sendfile(o, i, None, 1 << 20): pass'
python "python seek to the end" 'f = open(k, "rb"); n = f.seek(0, 2); f.seek(0); open(out, "wb").write(f.read(n))'

check "cmp" cmp "$want" "$k"
check "diff" diff -q "$want" "$k"
check "md5sum" test "$(md5sum <"$want")" = "$(md5sum <"$k")"
check "stat says the length" test "$(stat -c %s "$k")" = "$(stat -c %s "$want")"
check "wc -c" test "$(wc -c <"$k")" = "$(wc -c <"$want")"
check "wc -l" test "$(wc -l <"$k")" = "$(wc -l <"$want")"
check "test -s" test -s "$k"
check "find -size" test -n "$(find "$g" -name kallsyms -size +1M)"
check "a reader that comes and goes costs nothing of the cache" cmp "$want" "$k"

# The other files that symbols feed.
check "modules" cmp "$files/proc/modules" "$g/modules"
for f in proc/kallsyms proc/modules proc/version sys/kernel/notes sys/module/ext4/notes/.note.gnu.build-id \
	sys/module/dm_mod/notes/.note.gnu.build-id; do
	check "$f" cmp "$files/$f" "$g/$f"
done
printf '%s\n' "$(hex_of 1) [guest.kernel.kallsyms]" "$(hex_of 4) [ext4]" "$(hex_of 6) [dm_mod]" >"$work/buildids"
check "buildids" cmp "$work/buildids" "$g/buildids"

# Texts that are made when they are looked at, copied while they change.
whole() { grep -q '^own_memory_peak [0-9]*$' "$1" && ! grep -q -P '\0' "$1"; }
# text NAME PROGRAM COMMAND: makes $out a copy of status
text() {
	have "status: $1" "$2" || return
	rm -f "$out"
	# shellcheck disable=SC2317
	if (eval "$3") >"$work/said" 2>&1 && whole "$out"; then
		ok "status: $1"
	else
		not_ok "status: $1" "$(tr '\n' ' ' <"$work/said") $(tail -c 200 "$out")"
	fi
}
text "cp" cp 'cp "$mnt/status" "$out"'
text "busybox cp" busybox 'busybox cp "$mnt/status" "$out"'
text "tar" tar 'tar -C "$mnt" -cf - status | tar -xOf - >"$out"'
text "busybox tar" busybox 'busybox tar -C "$mnt" -cf - status | tar -xOf - >"$out"'
text "rsync" rsync 'rsync "$mnt/status" "$out"'
text "tac" tac 'tac "$mnt/status" | tac >"$out"'
text "dd in single bytes" dd 'dd bs=1 if="$mnt/status" of="$out"'
text "a slow reader" cat 'while read -r line; do echo "$line"; sleep 0.01; done <"$mnt/status" >"$out"'

# The whole tree at once.
check "tar of the whole tree" bash -c 'tar -C "$1" -cf - . 2>"$3/said" | tar -tf - >"$2" && ! [ -s "$3/said" ]' - "$mnt" "$out" "$work"
check "tar has all of it" grep -q "sys/module/ext4/notes/.note.gnu.build-id" "$out"
if have "rsync -a of the whole tree" rsync; then
	check "rsync -a of the whole tree" rsync -a "$mnt/" "$work/copy"
	check "rsync has all of it" cmp "$want" "$work/copy/$vmm/proc/kallsyms"
fi
mkdir "$work/copy2"
check "cp -r of all but the streams" bash -O extglob -c 'cp -r "$1"/!(trace|record) "$2"' - "$mnt/$vmm" "$work/copy2"
check "cp -r has it all" cmp "$want" "$work/copy2/proc/kallsyms"
check "find looks at everything" test "$(find "$mnt" -type f | wc -l)" -ge 16
check "du" du -s "$mnt"
check "df" df "$mnt"

# sshfs over the mount, as a file server sees it
server=/usr/lib/openssh/sftp-server
if have "sshfs over the mount" sshfs && [ -x $server ]; then
	mkdir "$work/sshfs"
	printf '#!/bin/sh\nexec %s\n' $server >"$work/no-ssh"
	chmod +x "$work/no-ssh"
	if timeout $patience sshfs -o "ssh_command=$work/no-ssh" "here:$mnt" "$work/sshfs" </dev/null >"$work/said" 2>&1; then
		check "sshfs over the mount" cmp "$want" "$work/sshfs/$vmm/kallsyms"
		check "sshfs: a text is whole" whole "$work/sshfs/status"
		fusermount3 -u "$work/sshfs"
	else
		not_ok "sshfs over the mount" "$(cat "$work/said")"
	fi
fi

check "nothing can be made" bash -c '! mkdir "$1/x" && ! touch "$1/y" && ! rm -f "$1/status" && ! mv "$1/status" "$1/z"' - "$mnt" 2>/dev/null
check "nothing can be written" bash -c '! echo x >"$1"' - "$k" 2>/dev/null
end_vmm "$vmm"
stop_daemon "$mnt"
