#!/bin/bash
# A kernel's symbols by its ELF file: the guest's memory says where it runs, with KASLR and without, and that it is
# this kernel. What cannot be known is not resolved.
# shellcheck source=tests/cases/memory-lib.sh
. "$(dirname "$(readlink -f "$0")")/memory-lib.sh"
command -v python3 >/dev/null || { echo "skip ${0##*/}: no python3"; exit 0; }

# says NAME URI WHAT PATTERN...: no symbols, and why, in one line that holds all of the patterns
says() {
	local name=$1 uri=$2 what=$3 g said pattern
	shift 3
	g=$mnt/$(pid_of "$name")
	start_daemon "$mnt" -p "$(pid_of "$name")" -s "*=$uri" --sampler "$sampler"
	wait_for $patience has_failed "$g"
	said=$(info "$g" source_error)
	echo "# $what: $said"
	for pattern; do check "$what: info says why: $pattern" grep -qE "$pattern" <<<"$said"; done
	check "$what: no symbols" test "$(cat "$g/proc/kallsyms" | wc -c)" = 0
	stop_daemon "$mnt"
}
sampler=auto
has_failed() { [ "$(info "$1" source_error)" != - ] && ! state_is "$1" waiting; }

made cloud "vmlinux" || exit 0
boots flat --kernel cloud || exit 1
boots moved --kernel cloud --kaslr on --reboot || exit 1
stripped=$KVMPROFS_CACHE/cloud/vmlinux
read_memory flat "$work/flat.ours"
"$LAB/make-vmlinux" "$stripped" "$work/flat.ours/kallsyms" "$work/vmlinux" || give_up "a vmlinux with symbols"

for name in flat moved; do
	read_memory $name "$work/$name.elf" "vmlinux:$work/vmlinux" || continue
	took_elf=$took
	guest truth $name "$work/$name.truth" || not_ok "$name: the guest tells its truth"
	# By the file the core's, by memory all the rest: byte for byte what the guest's own kallsyms says.
	agree "$name, by vmlinux" "$work/$name.elf" "$work/$name.truth"
	echo "# $name: $(core "$work/$name.elf/kallsyms" | wc -l) symbols by vmlinux $took_elf ms after the start of kvmprofs"
done
check "the kernels run at different addresses" \
	bash -c '[ "$(grep " _text$" "$1")" != "$(grep " _text$" "$2")" ]' - "$work/flat.truth/kallsyms" "$work/moved.truth/kallsyms"

ours=$(build_id_of <"$work/moved.truth/notes") other=00112233445566778899aabbccddeeff00112233
"$LAB/make-vmlinux" "$stripped" "$work/flat.ours/kallsyms" "$work/other" $other
says moved "vmlinux:$work/other" "another kernel's vmlinux" "$ours" $other
says moved "vmlinux:$stripped" "a stripped vmlinux" "$stripped: has no symbol table \(stripped\)"
says moved "vmlinux:$KVMPROFS_CACHE/cloud/vmlinuz" "a bzImage" "not an ELF file"
says moved "vmlinux:$work/nothing" "no file" "cannot be opened: No such file"

# ---- memory that may not be read ----------------------------------------------------------------------------
make_may_not
KVMPROFS=$work/may-not
sampler=perf # which sees nothing of an emulated guest
says moved "vmlinux:$work/vmlinux" "memory that may not be read" 'KASLR\) is not known' CAP_SYS_PTRACE
g=$mnt/$(pid_of flat)
start_daemon "$mnt" -p "$(pid_of flat)" -s "*=vmlinux:$work/vmlinux,slide:0"
within "a slide that the user says: symbols come" $patience has_symbols "$g"
core "$work/flat.truth/kallsyms" >"$work/core"
check "a slide that the user says: the core's are right" cmp "$work/core" "$g/kallsyms"
check "a slide that the user says: info says what is missing" grep -q '^source_note core symbols only' "$g/info"
stop_daemon "$mnt"

# ---- by nothing but the addresses that are sampled -----------------------------------------------------------
# runs_where_it_is NAME TRUTH: the core's symbols are right, and the profile has their names
runs_where_it_is() {
	within "$1: the slide is found" $patience is_core "$2"
	echo "# $1: $(info "$g" source_how), $(info "$g" source_attempts) attempts"
	check "$1: info says by what" grep -q '^source_how slide by sampled addresses: 0x[0-9a-f]*00000 fits' "$g/info"
	within "$1: the profile names what runs" $patience hottest_is "$g/recent" "$HOT_SYSCALL [guest.kernel.kallsyms]"
}
is_core() { core "$1/kallsyms" | cmp -s - "$g/kallsyms"; }

g=$mnt/$(pid_of moved)
guest ask moved "wl syscall" >"$work/asked" || not_ok "the guest gets another workload" "$(tail -n 3 "$work/asked")"
start_daemon "$mnt" -p "$(pid_of moved)" -s "*=vmlinux:$work/vmlinux"
runs_where_it_is "sampled addresses" "$work/moved.truth"
guest qmp moved system_reset >/dev/null
within "sampled addresses, another boot: a new epoch" $((2 * patience)) epoch_is "$g" 2
guest wait moved $patience 2 >"$work/boot.out" 2>&1 || not_ok "moved: the guest boots again" "$(tail -n 5 "$work/boot.out")"
guest ask moved "wl syscall" >"$work/asked" || not_ok "the guest gets another workload" "$(tail -n 3 "$work/asked")"
rm -rf "$work/moved.truth"
guest truth moved "$work/moved.truth" || not_ok "moved: the guest tells its truth"
runs_where_it_is "sampled addresses, another boot" "$work/moved.truth"
check "sampled addresses: one epoch a boot" epoch_is "$g" 2
stop_daemon "$mnt"

# One step away: nearly all that is sampled has a name there, too.
wrong=$(sed -n 's/ T _text$//p' "$work/moved.truth/kallsyms")
wrong=$(printf '0x%x' $(((0x$wrong - 0xffffffff81000000) ^ 0x200000)))
start_daemon "$mnt" -p "$(pid_of moved)" -s "*=vmlinux:$work/vmlinux,slide:$wrong"
within "a wrong slide: symbols come" $patience has_symbols "$g"
check "a wrong slide: info shows what was said" grep -q "^attempt vmlinux:$work/vmlinux,slide:$wrong ok" "$g/info"
runs_where_it_is "a wrong slide" "$work/moved.truth"
check "a wrong slide: info says so" grep -q "^source_note the slide that was given, $wrong, is wrong" "$g/info"
check "a wrong slide: that is no reboot" epoch_is "$g" 1
stop_daemon "$mnt"

# ---- a saved copy that is of another boot ---------------------------------------------------------------------
g=$mnt/$(pid_of moved)
cp "$work/moved.truth/kallsyms" "$work/copy"
start_daemon "$mnt" -p "$(pid_of moved)" -s "*=kallsyms:$work/copy"
within "a saved copy: the profile names what runs" $patience hottest_is "$g" "$HOT_SYSCALL [guest.kernel.kallsyms]"
has_samples "$g" 100 || wait_for $patience has_samples "$g" 100
# Far away: where two boots lie nearly alike, what is sampled in one has names in the other.
perl -pe 's/^ffffffff([0-9a-f]{8})/sprintf("ffffffff%08x", hex($1) ^ 0x20000000)/e' "$work/moved.truth/kallsyms" >"$work/copy"
echo refresh >"$g/control"
misfits() { grep -q '^source_note hardly any sample has a name' "$g/info"; }
fits() { grep -q '^source_note -$' "$g/info"; }
within "a saved copy of another boot: info says so" $patience misfits
cp "$work/moved.truth/kallsyms" "$work/copy"
echo refresh >"$g/control"
within "the right one again: info says nothing" $patience fits
stop_daemon "$mnt"
guest stop flat moved
