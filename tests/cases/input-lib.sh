# shellcheck shell=bash
# Sourced by the cases about --input: a recording that is mounted at $in, beside what perf kvm report says of the same
# file, row by row: per cent, samples and symbol of guests' kernels.
# shellcheck disable=SC2154 # work, patience: of the cases that source it
in=$work/in
mkdir -p "$in"

# serve FILE OPTIONS...: in the background, as users do
serve() {
	"$KVMPROFS" --input "$@" "$in" 2>"$work/served"
}
unserve() {
	umount "$in"
	wait_for "$patience" not_mounted
}
not_mounted() { ! mountpoint -q "$in"; }
has_state() { grep -q "^recording_state $1" "$in/status"; }

of=''      # a pid: rows of that guest alone
but='^$' # a pattern: without such rows
nameless='0x0000' # beginnings of symbols, as a pattern: addresses without names that are one row for all of them
names='' # a kallsyms: the names of one address count as the same, since perf chooses others of them (symsrc/symtab.h)
# perf_rows FILE OPTIONS...: of perf kvm
perf_rows() {
	perf kvm "${@:2}" -i "$1" report --stdio --sort sym -n ${of:+--pid "$of"} 2>/dev/null | named_rows
}
our_rows() { cat "$in"/${of:-[0-9]*}/profile 2>/dev/null | named_rows; }
# An emulated guest's registers may say kernel mode and still an address of user space (profiler/registers.h). Samples
# without a symbol are one row of perf's where their addresses are the same, whatever their mode, with that of the first
# of them: such addresses are compared as a sum, together with user space.
named_rows() {
	awk -v nameless="^$nameless" '$3 == "[u]" || $3 == "[g]" && $4 ~ nameless { n += $2; next }
		$3 == "[g]" { print $1, $2, $4 }
		END { if (n) print "-", n, "without-a-name" }' | sort
}
# by_address: rows whose symbols are replaced by one for all of the same address
by_address() {
	[ -n "$names" ] || { cat; return; }
	awk 'function root(name) { while (name in same) name = same[name]; return name }
		NR == FNR { if ($1 == at) { a = root($3); b = root(last); if (a != b) same[a] = b } at = $1; last = $3; next }
		{ print $1, $2, root($3) }' "$names" - | sort
}
# of_one_name ROWS: those that perf has several of, functions of one name at several addresses, as one without its share:
# here they are one row
of_one_name() {
	awk 'NR == FNR { times[$3]++; next } times[$3] == 1 { print; next } { sum[$3] += $2 } END { for (s in sum) print "-", sum[s], s }' \
		"$work/perf.rows" "$1" | sort
}
# same_rows NAME FILE OPTIONS: what is at $in, and what perf with these options says of the file
same_rows() {
	local name=$1
	shift
	perf_rows "$@" | grep -v "$but" | by_address >"$work/perf.rows"
	our_rows | grep -v "$but" | by_address >"$work/our.rows"
	diff <(of_one_name "$work/perf.rows") <(of_one_name "$work/our.rows") >"$work/rows.diff"
	check "$name: the rows of perf kvm report, to the last digit" test ! -s "$work/rows.diff"
	echo "# $name: $(awk '{ n += $2 } END { print NR, "rows,", n + 0, "samples" }' "$work/perf.rows")"
	head -n 8 "$work/rows.diff" | sed 's/^/# /'
}

# complete FILE BYTES: perf itself does not get along with a file that it could not finish: makes the header say how
# much there is
complete() {
	perl -e '
		open(my $f, "+<", $ARGV[0]) or die;
		sysseek($f, 40, 0) and sysread($f, my $offset, 8) or die;
		syswrite($f, pack("Q", $ARGV[1] - unpack("Q", $offset))) or die;' "$@"
}
