# shellcheck shell=bash
# Sourced by tests/cases/guest-memory-*.sh: what kvmprofs reads out of a real guest's memory (`-s memory`)
# beside what the guest's own files say. The guests need no network and have no agent: the truth comes over
# `guest truth`.
# shellcheck source=tests/lab/case.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lab/case.sh"

# made KERNEL: its guest can be started; else says that the test of NAME is skipped
made() { # made KERNEL NAME
	"$LAB/setup" "$1" >"$work/setup.out" 2>&1
	case $? in
	0) return 0;;
	77) echo "skip memory, $2: $(sed -n 's/^\[lab\] //p' "$work/setup.out" | tail -n 1)";;
	*) not_ok "$2: setup $1" "$(tail -n 3 "$work/setup.out")";;
	esac
	return 1
}

# boots NAME OPTIONS...: starts a guest without network and waits for it
boots() {
	guest start "$1" --no-net --no-wait "${@:2}" >"$work/boot.out" 2>&1 && guest wait "$1" $patience >>"$work/boot.out" 2>&1 && return
	not_ok "$1: the guest boots" "$(tail -n 5 "$work/boot.out")"
	guest stop "$1"
	return 1
}

now_ms() { echo "${EPOCHREALTIME/./}" | sed 's/...$//'; }

# keep DIR TO: a copy of what the mount says of one guest, by the names of `guest truth`. Taken before the
# guest writes its truth into its own memory, so that there is nothing else to be found in it.
keep() {
	local f m
	mkdir -p "$2/module_notes"
	cp "$1/proc/kallsyms" "$2/kallsyms"
	cp "$1/proc/modules" "$2/modules"
	cp "$1/proc/version" "$2/version"
	cp "$1/sys/kernel/notes" "$2/notes"
	cp "$1/sys/kernel/btf/vmlinux" "$2/btf"
	cp "$1/buildids" "$2/buildids"
	for f in "$1"/sys/module/*/notes/.note.gnu.build-id; do
		[ -e "$f" ] || continue
		m=${f%/notes/*}
		cp "$f" "$2/module_notes/${m##*/}"
	done
}

# build_ids TRUTH: what `buildids` should say
build_ids() {
	local f
	echo "$(build_id_of <"$1/notes") [guest.kernel.kallsyms]"
	for f in "$1"/module_notes/*; do
		[ ! -e "$f" ] || echo "$(build_id_of <"$f") [${f##*/}]"
	done | LC_ALL=C sort
}
without_uses() { awk '{ $3 = "-"; print }' "$1"; }

# agree NAME OURS TRUTH: byte for byte; where they do not, their first differing lines
agree() {
	local name=$1 ours=$2 truth=$3 f
	[ "$(build_ids "$ours" | wc -l)" = "$(($(wc -l <"$truth/modules") + 1))" ] || echo "# $name: not every module has a build-id note"
	build_ids "$truth" >"$truth/buildids"
	(head -n 1 "$ours/buildids"; tail -n +2 "$ours/buildids" | LC_ALL=C sort) >"$ours/buildids.sorted"
	mv "$ours/buildids.sorted" "$ours/buildids"
	# How often a module is used changes all the time (algif_hash by each hash that somebody makes), which does not
	# make the table another one.
	if ! cmp -s "$ours/modules" "$truth/modules"; then
		for f in "$ours" "$truth"; do without_uses "$f/modules" >"$f/modules.uses" && mv "$f/modules.uses" "$f/modules"; done
		cmp -s "$ours/modules" "$truth/modules" && echo "# $name: the modules differ in use counts"
	fi
	for f in kallsyms modules version notes btf buildids; do
		if cmp -s "$truth/$f" "$ours/$f"; then
			ok "$name: $f"
		else
			not_ok "$name: $f" "$(cmp "$truth/$f" "$ours/$f" 2>&1)"
			echo "# truth (<) $(wc -l <"$truth/$f") lines, ours (>) $(wc -l <"$ours/$f"):"
			diff -a "$truth/$f" "$ours/$f" | head -n 8 | cut -c1-160 | sed 's/^/#   /'
		fi
	done
	check "$name: the modules' notes" diff -r "$truth/module_notes" "$ours/module_notes"
}

# read_memory NAME TO [URI]: mounts, takes everything, unmounts; sets $took, milliseconds from start to symbols
read_memory() {
	local name=$1 to=$2 pid start
	pid=$(pid_of "$name")
	start=$(now_ms)
	start_daemon "$mnt" -p "$pid" -s "*=${3:-memory}"
	wait_for $patience has_symbols "$mnt/$pid" || {
		not_ok "$name: symbols come" "state $(info "$mnt/$pid" source_state): $(info "$mnt/$pid" source_error)"
		stop_daemon "$mnt"
		return 1
	}
	took=$(($(now_ms) - start))
	keep "$mnt/$pid" "$to"
	stop_daemon "$mnt"
}

# variant NAME KERNEL OPTIONS...: one guest from start to end. $before and $after are called with its name, if set:
# before its memory is read for the first time, and after that.
variant() {
	local name=$1 kernel=$2 start took
	shift 2
	made "$kernel" "$name" || return
	start=$(now_ms)
	boots "$name" --kernel "$kernel" "$@" || return
	start=$(($(now_ms) - start))
	${before:-:} "$name"
	if read_memory "$name" "$work/$name.ours"; then
		${after:-:} "$name"
		guest truth "$name" "$work/$name.truth" || not_ok "$name: the guest tells its truth"
		agree "$name" "$work/$name.ours" "$work/$name.truth"
		echo "# $name: $(cut -d' ' -f3 "$work/$name.truth/version") booted in $start ms," \
			"$(wc -l <"$work/$name.truth/kallsyms") symbols $took ms after the start of kvmprofs"
	fi
	guest stop "$name"
	rm -rf "$work/$name".{ours,truth}
}

# ---- guests that change while they are looked at: $mnt is mounted -----------------------------------------
# is_true NAME WHAT: what the guest's own files say now is what the mount says in time, within ten seconds where the
# machine has time, without `refresh`
is_true() {
	local name=$1 what=$2 truth=$work/$1.truth ours=$work/$1.ours start
	start=$(now_ms)
	rm -rf "$truth" "$ours"
	guest truth "$name" "$truth" || { not_ok "$what: the guest tells its truth"; return; }
	wait_for $patience same_kallsyms "$mnt/$(pid_of "$name")" "$truth"
	echo "# $what: kallsyms agrees $(($(now_ms) - start)) ms after the change"
	keep "$mnt/$(pid_of "$name")" "$ours"
	agree "$what" "$ours" "$truth"
}
core() { grep -v '\]$' "$1"; } # core KALLSYMS: without the modules' symbols
same_kallsyms() { cmp -s "$1/kallsyms" "$2/kallsyms"; }
ask() { guest ask one "$1" >"$work/asked" || not_ok "the guest does: $1" "$(tail -n 3 "$work/asked")"; }
