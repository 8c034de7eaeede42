#!/bin/bash
# One kernel in all kinds of machines and memory: where its RAM lies in the VMM, how its page tables are made, what
# it hides. And that reading makes the VMM allocate nothing.
# shellcheck source=tests/cases/memory-lib.sh
. "$(dirname "$(readlink -f "$0")")/memory-lib.sh"

# use_of PID: what its memory costs the host, in kB: all mappings of 64 MB and more one by one, page tables, and what
# the files behind them hold. Not Pss of the whole, which changes with every other QEMU that comes or goes.
use_of() {
	local pid=$1 f
	awk '$1 ~ /^[0-9a-f]+-[0-9a-f]+$/ { where = $1; size = 0 }
		$1 == "Size:" { size = $2 }
		size >= 65536 && $1 ~ /^(Rss|Pss|Swap|Shared_Hugetlb|Private_Hugetlb):$/ { print where, $1, $2 }' "/proc/$pid/smaps"
	for f in "/proc/$pid/fd"/*; do
		case $(readlink "$f") in */memfd:* | "$GUESTS"/*/ram) echo "$(readlink "$f") blocks: $(stat -Lc %b "$f")";; esac
	done
	grep VmPTE: "/proc/$pid/status" | tr '\t' ' '
}
rss_of() { awk '$1 == "Rss:" { print $2 }' "/proc/$1/smaps_rollup"; }
within_of() { [ $(($1 - $2)) -le "$3" ] && [ $(($2 - $1)) -le "$3" ]; }

# same_use NAME: read while the guest stands still, so that nobody else makes the VMM allocate
same_use() {
	local name=$1 pid took rss
	pid=$(pid_of "$name")
	guest qmp "$name" stop >/dev/null
	sleep 0.2
	use_of "$pid" >"$work/before"
	rss=$(rss_of "$pid")
	read_memory "$name" "$work/$name.still"
	use_of "$pid" >"$work/after"
	check "$name: reading allocates nothing in the guest's memory" diff "$work/before" "$work/after"
	# 512 kB: QEMU itself answers whoever asks over QMP.
	check "$name: VmRSS is as before" within_of "$(rss_of "$pid")" "$rss" 512
	echo "# $name: $(wc -l <"$work/before") numbers of its memory; VmRSS $rss, then $(rss_of "$pid") kB"
	guest qmp "$name" cont >/dev/null
	rm -rf "$work/$name.still"
}

# And a reader that does not look where it reads would be seen by that: QEMU itself, all of a guest of 256 MB.
same_use_or_seen() {
	local name=$1 pid
	same_use "$name"
	pid=$(pid_of "$name")
	guest qmp "$name" stop >/dev/null
	use_of "$pid" >"$work/before"
	guest qmp "$name" pmemsave "{\"val\":0,\"size\":$((256 << 20)),\"filename\":\"/dev/null\"}" >/dev/null
	use_of "$pid" >"$work/after"
	check "$name: reading with allocation would be seen" bash -c '! cmp -s "$1" "$2"' - "$work/before" "$work/after"
	guest qmp "$name" cont >/dev/null
}

# Nobody else can have the QMP socket then, which serves one client: the command line and the mappings must do.
hold_qmp() {
	perl -MIO::Socket::UNIX -e '
		my $s = IO::Socket::UNIX->new($ARGV[0]) or die;
		<$s>;
		print "held\n";
		close STDOUT;
		sleep 600' "$GUESTS/$1/qmp.sock" >"$work/held" &
	holder=$!
	wait_for $patience test -s "$work/held"
}
let_qmp_go() {
	kill $holder
	wait $holder 2>/dev/null
}

# with_huge_pages MB COMMAND...: puts the machine's setting back at once
with_huge_pages() {
	local old pages=$(($1 / 2 + 8)) file=/proc/sys/vm/nr_hugepages
	shift
	old=$(cat $file)
	if ! echo $((old + pages)) 2>/dev/null >$file || [ "$(cat $file)" -lt $((old + pages)) ]; then
		echo "skip memory, hugetlbfs: no $pages huge pages to be had ($file)"
	else
		"$@"
	fi
	echo "$old" 2>/dev/null >$file
}

after=same_use
variant anonymous cloud
after=same_use_or_seen
variant memfd cloud --memory memfd --machine q35 --kaslr on
with_huge_pages 256 variant hugetlbfs cloud --memory hugetlbfs
variant file cloud --memory file
after=
variant private-file cloud --memory file-private
variant pc-5g cloud --mem 5000 --kaslr on
variant q35-2g cloud --machine q35 --mem 2900 --memory memfd # above the 2 GiB that q35 gives below 4 GiB, then
before=hold_qmp after=let_qmp_go
variant q35-5g-no-qmp cloud --machine q35 --mem 5000
variant pc-3g-no-qmp cloud --mem 3700 --smp 2
before='' after=
variant nodes-q35-5g cloud --machine q35 --mem 5000 --memory nodes --smp 2
variant microvm cloud --machine microvm
variant five-levels-pti cloud --la57 on --append pti=on --kaslr on --kptr-restrict 2
variant pti cloud --append pti=on --kptr-restrict 2
