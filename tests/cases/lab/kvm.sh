#!/bin/bash
# Runs in L1 (tests/lab/run): three guests under KVM, all with KASLR: `syscall` (generic kernel), `crypto` (cloud
# kernel), and `mute`, which has neither network nor agent, but a vsock. All have their symbols out of their memory:
# `crypto` because it is told so, the others by `auto`; other daemons reach `mute` by ssh over its vsock. What the first
# two should have is read over ssh.
# shellcheck source=tests/cases/memory-lib.sh
. "$(dirname "$(readlink -f "$0")")/../memory-lib.sh"
# shellcheck source=tests/cases/input-lib.sh
. "$(dirname "$(readlink -f "$0")")/../input-lib.sh"
[ -n "${IN_L1-}" ] || give_up "lab" "this is for tests/lab/run"
export HOME=$work # perf writes into ~/.debug
WINDOW=15         # seconds of the comparison with perf
FREQUENCY=499     # low, since under TCG an interrupt costs many times what it does elsewhere
PERF_FREQUENCY=503
part() { echo "# --- $1 (at $(cut -d' ' -f1 /proc/uptime) s)"; }

# start NAME OPTIONS...: does not wait; the daemon has to find it within a second
start() {
	guest start "$1" --accel kvm --kaslr on --no-wait "${@:2}" || give_up "guest $1 starts"
	cat "$GUESTS/$1/known_hosts" >>"$work/known_hosts"
	within "guest $1 is there within a second" 1 test -e "$mnt/$(pid_of "$1")/info"
}

# ---- the guests, and their files ------------------------------------------------------------------
part "the guests appear"
: >"$work/known_hosts"
start_daemon "$mnt" -F $FREQUENCY -s crypto=memory -s "*=auto?identity=$SSH_KEY&known_hosts=$work/known_hosts"
check "without guests the tree is empty and works" test "$(ls "$mnt/by-name" | wc -l)" = 0
CID=42
modprobe vhost_vsock || give_up "this host has vsock"
start mute --kernel cloud --no-net --reboot -- -initrd "$KVMPROFS_CACHE/cloud/vsock.cpio" -device vhost-vsock-pci,guest-cid=$CID
start syscall --kernel generic --reboot
start crypto --kernel cloud
for n in syscall crypto; do
	guest wait $n 120 || give_up "guest $n boots"
done
s=$mnt/$(pid_of syscall) c=$mnt/$(pid_of crypto) m=$mnt/$(pid_of mute)
for n in syscall crypto mute; do
	within "guest $n: its symbols come" 120 has_symbols "$mnt/by-name/$n"
	check "guest $n: they are from its memory" grep -q '^memory' <<<"$(info "$mnt/by-name/$n" source_used)"
done

# While nothing else runs: the others' workloads begin further down.
part "a guest without network and agent, while it loads modules"
guest wait mute 120 || give_up "guest mute boots"
is_true mute "guest mute"
core "$work/mute.truth/kallsyms" >"$work/mute.core"
# shellcheck disable=SC2016
guest ask mute '(n=0; while [ $n -lt 5 ]; do modprobe msr; rmmod msr; n=$((n + 1)); done; modprobe msr; echo >/run/done) & echo'
torn=0
for _ in 1 2 3; do
	echo refresh >"$m/control"
	sleep 0.5
	core "$m/kallsyms" | cmp -s "$work/mute.core" - || torn=$((torn + 1))
done
check "guest mute: while modules come and go, the kernel's symbols stay" test $torn = 0
guest ask mute 'while [ ! -e /run/done ]; do sleep 0.1; done; cat /proc/modules; grep "\[msr\]$" /proc/kallsyms' >"$work/mute.msr"
has_msr() { cmp -s <(cat "$m/modules"; grep '\[msr\]$' "$m/kallsyms") "$work/mute.msr"; }
within "guest mute: in the end the last module is there" $patience has_msr

# Daemons of their own, that see this guest alone, one by its vsock and one by what `auto` finds.
part "ssh over a vsock"
# shellcheck disable=SC2016
run_sshd='for m in vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport; do insmod /extra/$m.ko*; done;
	/usr/sbin/dropbear -E -s -p 127.0.0.1:22 2>/run/dropbear.log; guest-vsock'
open_vsock() { guest ask mute "$(tr -d '\n\t' <<<"$run_sshd")" >/dev/null || give_up "guest mute has an sshd behind its vsock"; }
main=$daemon v=$work/vsock/$(pid_of mute)
hosts=$work/vsock_hosts
: >"$hosts"
attach_vsock() { start_daemon "$work/vsock" -F 10 -p "$(pid_of mute)" -s "*=vsock:$CID?identity=$SSH_KEY&known_hosts=$hosts"; }
detach_vsock() {
	stop_daemon "$work/vsock"
	daemon=$main
}
says() { grep -qE "$1" <<<"$(info "$v" source_error)"; }
same_by_vsock() { cmp -s "$work/mute.truth/kallsyms" "$v/kallsyms"; }
own_by_vsock() { within "$1: kallsyms by vsock is the guest's own" $patience same_by_vsock; }
attach_vsock
within "vsock: where nothing listens info says so" 60 says "refused: nothing in the guest listens on its vsock port 22|no answer to the vsock"
echo "# $(info "$v" source_error)"
open_vsock
guest truth mute "$work/mute.truth" >/dev/null || give_up "guest mute tells the truth"
again() { echo refresh >"$v/control"; }
unknown() { again; wait_for 5 says 'unknown host key'; }
within "vsock: a host key that is not known is refused" 60 unknown
echo "# $(info "$v" source_error)"
check "vsock: there are no symbols then" test "$(cat "$v/proc/kallsyms" | wc -c)" = 0
accept=$(info "$v" source_error | sed -n "s/.*accept it by: \(echo '[^']*' >>[^ ]*\)\$/\1/p")
check "vsock: info says how to accept it" test -n "$accept"
eval "$accept"
again
began=$SECONDS
within "vsock: accepted as told, symbols come" 60 has_symbols "$v"
echo "# after $((SECONDS - began)) s"
check "vsock: info names it" test "$(info "$v" source_used)" = "vsock:root@$CID"
own_by_vsock "guest mute"
detach_vsock

make_may_not
KVMPROFS=$work/may-not start_daemon "$work/vsock" -F 10 -p "$(pid_of mute)" -s "*=auto?identity=$SSH_KEY&known_hosts=$hosts"
within "auto, without memory: symbols come" 60 has_symbols "$v"
check "auto, without memory: by vsock" test "$(info "$v" source_used)" = "vsock:root@$CID"
own_by_vsock "auto, without memory"
grep '^attempt ' "$v/info" | sed 's/^/# /'
check "auto, without memory: info tells of both" \
	eval "grep -q '^attempt memory failed .*CAP_SYS_PTRACE' '$v/info' && grep -q '^attempt vsock:root@$CID ok [0-9.]* s\$' '$v/info'"
detach_vsock

part "the files are the guests' own"
# own_files NAME: as ssh reads them; then starts the workload, in the same session, since each takes seconds
own_files() {
	guest ssh "$1" "cat /proc/modules; echo; cat /proc/kallsyms; wl $1" >"$work/$1.both"
	sed '/^$/,$d' "$work/$1.both" >"$work/$1.modules"
	sed '1,/^$/d' "$work/$1.both" >"$work/$1.kallsyms"
}
same_files() {
	# Everything is emulated here, and a reading rests many times the CPU time that it took: what a guest
	# loads late in its boot may take a while.
	wait_for 150 cmp -s "$work/$1.kallsyms" "$mnt/by-name/$1/kallsyms"
	check "guest $1: kallsyms is what ssh reads" cmp "$work/$1.kallsyms" "$mnt/by-name/$1/kallsyms"
	check "guest $1: modules is what ssh reads" cmp "$work/$1.modules" "$mnt/by-name/$1/modules"
}
own_files syscall &
own_files crypto
wait $!
for n in syscall crypto; do
	same_files $n
done
# At different addresses, unless chance has it otherwise, once in five hundred times.
grep -h " _text$" "$work/syscall.kallsyms" "$work/crypto.kallsyms" | sed 's/^/# /'

# ---- the profile beside perf's ----------------------------------------------------------------------
# Both guests, which are paused, are sampled while perf records everything with the same event. perf's samples
# are taken out of its raw dump, by pid, time and misc bits, and named with the kallsyms that ssh read above.
# Meanwhile each guest's `record` is read: what stands there and what is counted are the same samples, one by one.
#
# Its frequency is another one on purpose. With the same one the two timers keep their distance for the
# whole window, and the one that always fires just after the other sees the guest just after an entry:
# two perf records at 499 Hz differed by up to 3.1 points (3 standard deviations), at 499 and 503 Hz
# by 1.6 at most (1.5).
part "the profiles beside perf record"
cat >"$work/window" <<-'END'
	now() { read -r t _ </proc/uptime; echo "$t"; }
	say() { a=$(now); echo "$2" >"$1/control"; echo "$a $(now)"; }
	for f; do say "$f" resume; done
	sleep "$WINDOW"
	for f; do say "$f" pause; done
END
recorders=
for n in syscall crypto; do
	printf 'pause\nreset\n' >"$mnt/by-name/$n/control"
	cat "$mnt/by-name/$n/record" >"$work/$n.record" &
	recorders="$recorders $!"
	within "guest $n: its recording begins" 30 test -s "$work/$n.record"
done
WINDOW=$WINDOW perf record -q -k mono -e cpu-clock -F $PERF_FREQUENCY -a -o "$work/perf.data" -- \
	bash "$work/window" "$s" "$c" >"$work/times" 2>"$work/perf.log" || give_up "perf record" "$(tail -n 1 "$work/perf.log")"
hold() { for n; do guest qmp "$n" stop >/dev/null; done; } # so that what follows has the CPUs for itself
go_on() { for n; do guest qmp "$n" cont >/dev/null; done; }
hold syscall crypto
# What its queue had no room for counts, too.
in_recording() {
	perf script -D -i "$work/$1.record" 2>/dev/null |
		awk '/PERF_RECORD_SAMPLE/ { n++ } /PERF_RECORD_LOST:/ && match($0, /lost: *[0-9]+/) { split(substr($0, RSTART), l, ":"); n += l[2] } END { print n + 0 }'
}
is_all_recorded() { test "$(in_recording "$1")" = "$(awk '!/^#/ { n += $2 } END { print n + 0 }' "$mnt/by-name/$1/profile")"; }
for n in syscall crypto; do
	within "guest $n: what is recorded is what is counted, to the last sample" 60 is_all_recorded $n
	cp "$mnt/by-name/$n/profile" "$mnt/by-name/$n/utilization" "$work/" && mv "$work/profile" "$work/$n.profile" &&
		mv "$work/utilization" "$work/$n.utilization"
done
# shellcheck disable=SC2086
{ kill $recorders; wait $recorders; } 2>/dev/null
perf script -D -i "$work/perf.data" 2>/dev/null | grep -E 'PERF_RECORD_(SAMPLE|LOST)' >"$work/perf.dump"

# perf_samples PID INDEX [MISC]: `MISC ADDRESS WHEN` of its samples (misc 4: guest kernel, 5: guest user). WHEN is `in`
# the window, or at its `edge`: while resume or pause was being written. PID and MISC are patterns.
perf_samples() {
	sed -n "s/^[0-9]* \([0-9]*\) .*PERF_RECORD_SAMPLE(IP, 0x\(${3-[45]}\)): $1\/[0-9]*: 0x\([0-9a-f]*\) .*/\1 \2 \3/p" "$work/perf.dump" |
		awk -v i="$2" 'NR == FNR { before[NR] = $1 * 1e9; after[NR] = $2 * 1e9; next }
			$1 < before[i] || $1 > after[i + 2] { next }
			{ when = ($1 > after[i] && $1 < before[i + 2]) ? "in" : "edge" }
			{ print $2, substr("0000000000000000" $3, length($3) + 1), when }' \
			"$work/times" -
}

# name_them KALLSYMS: for each address on stdin all names of the symbol that covers it, `|`-separated. The
# addresses are compared as text, since awk's numbers do not hold 64 bits.
name_them() {
	{
		awk '$2 ~ /[tTwW]/ { print $1, 0, $3 }' "$1"
		sed 's/$/ 1/'
	} | LC_ALL=C sort -s -k1,1 -k2,2 |
		awk '$2 == 1 { print "|" names "|"; next } { names = $1 == last ? names "|" $3 : $3; last = $1 }'
}

# compare NAME INDEX: our shares of at least 1% against perf's, and the number of samples.
#
# The bound of a share: both samplers are independent samples of the same seconds, so the difference of two
# shares has the standard deviation sqrt(p(1-p)(1/n1+1/n2)), of which 4 are allowed (exceeded once in
# 16,000); and 0.5 points more for the ends of the window, which are not the same.
# The number: what the guest has of all samples, of ours and of perf's, within the same and 1 point. The numbers themselves
# cannot be compared: a timer that is late leaves out its turns, of which nobody is told
# (kernel/events/core.c, perf_swevent_hrtimer(), hrtimer_forward_now()), and under load two samplers were up to
# 5% apart. Such turns are missing among all samples as well.
compare() {
	perf_samples "$(pid_of "$1")" "$2" >"$work/$1.perf"
	awk '$1 == 4 && $3 == "in" { print $2 }' "$work/$1.perf" | name_them "$work/$1.kallsyms" >"$work/$1.named"
	awk -v guest="$1" -v part="$(awk '!/^#/ { print $3 + $4 }' "$work/$1.utilization")" \
		-v all="$(perf_samples '-\{0,1\}[0-9]*' "$2" '[0-9a-f]*' | grep -c ' in$')" '
		FILENAME ~ /\.perf$/ { if ($3 == "in") perf++; else edge++; next }
		FILENAME ~ /\.named$/ {
			n = split($0, name, "|")
			for (i = 2; i < n; i++) count[name[i] == "" ? "unresolved" : name[i]]++
			next
		}
		/^#/ { next }
		{ ours += $2 }
		$3 == "[g]" { mine[$4 ~ /^0x/ ? "unresolved" : $4] += $2 }
		function result(good, what, why) { print (good ? "ok " : "not ok ") "guest " guest ": " what (good ? "" : ": " why) }
		END {
			if (ours < 1000 || perf < 1000) {
				result(0, "the shares agree with perf", ours " samples are too few, or perf'"'"'s " perf)
				exit
			}
			for (s in mine) {
				p = mine[s] / ours; q = count[s] / perf
				if (p < 0.01) continue
				mean = (mine[s] + count[s]) / (ours + perf)
				bound = 4 * sqrt(mean * (1 - mean) * (1 / ours + 1 / perf)) + 0.005
				difference = p > q ? p - q : q - p
				text = sprintf("%.2f%% of %d, perf: %.2f%% of %d, difference %.2f, bound %.2f points",
					100 * p, ours, 100 * q, perf, 100 * difference, 100 * bound)
				print "# " guest " " s ": " text
				rows++
				if (difference > bound) bad = bad " " s " (" text ")"
			}
			result(rows > 0 && bad == "", "the shares agree with perf", bad)
			p = part / 100; q = perf / all; mean = (p + q) / 2
			bound = 4 * sqrt(mean * (1 - mean) * (p / ours + 1 / all)) + 0.01
			difference = p > q ? p - q : q - p
			text = sprintf("%.2f%%, %d samples, perf: %.2f%%, %d of %d and %d at the edges, difference %.2f, bound %.2f points",
				part, ours, 100 * q, perf, all, edge, 100 * difference, 100 * bound)
			print "# " guest ": " text
			result(part > 0 && difference <= bound, "it has as much of all samples as perf counts", text)
		}' "$work/$1.perf" "$work/$1.named" "$work/$1.profile" >"$work/$1.verdict"
	cat "$work/$1.verdict"
	failures=$((failures + $(grep -c '^not ok' "$work/$1.verdict")))
}
# leads GUEST SYMBOL OBJECT FOREIGN: its hot function is on top, the other guest's is not there
leads() {
	local top
	grep -v '^#' "$work/$1.profile" | head -n 4 | sed "s/^/# $1 /"
	top=$(awk '$3 == "[g]" { print $4, $5; exit }' "$work/$1.profile")
	check "guest $1: its hot function leads its profile" test "$top" = "$2 $3"
	check "guest $1: the other's hot function is absent" bash -c '! grep -q " $1 " "$2"' - "$4" "$work/$1.profile"
}
leads syscall $HOT_SYSCALL '[guest.kernel.kallsyms]' $HOT_CRYPTO
leads crypto $HOT_CRYPTO '[rmd160]' $HOT_SYSCALL
compare syscall 1
compare crypto 2
go_on syscall crypto
echo resume >"$s/control"
echo resume >"$c/control"

# ---- perf on the mount -------------------------------------------------------------------------------
part "perf kvm --guestmount"
# --no-buildid-mmap where perf has it: newer ones stamp the host's build-id on the guest's kernel otherwise
mmap_option=$(perf record -h 2>&1 | grep -q -- --buildid-mmap && echo --no-buildid-mmap)
# perf names what a module did only once it has seen a sample of the kernel's own, so `crypto` begins with system calls.
guest ask crypto 'wl syscall' >/dev/null || give_up "guest crypto does system calls"
# perf_kvm NAME OPTIONS... -- RECORD OPTIONS...: a recording
perf_kvm() {
	local name=$1 options=()
	shift
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	# shellcheck disable=SC2086
	perf kvm "${options[@]}" record $mmap_option -e cpu-clock -F $FREQUENCY -o "$work/$name.data" "$@" >>"$work/kvm.log" 2>&1
}
perf_kvm host --host --guest --guestmount="$mnt" -- -a sleep 3 || not_ok "perf kvm --host record" "$(tail -n 1 "$work/kvm.log")"
# Our own recording of the same seconds.
cat >"$work/then" <<-END
	cat "$mnt/record" >"$work/record.data" &
	sleep 1
	"$LAB/guest" ask crypto 'wl crypto' >/dev/null
	sleep 3
	kill \$!
	wait
END
perf_kvm kvm --guest --guestmount="$mnt" -- -a bash "$work/then" || not_ok "perf kvm record" "$(tail -n 1 "$work/kvm.log")"
perf kvm --guest --guestmount="$mnt" -i "$work/kvm.data" report --stdio --percent-limit 1 >"$work/report" 2>>"$work/kvm.log" ||
	not_ok "perf kvm report" "$(tail -n 1 "$work/kvm.log")"
grep -v '^#\|^$' "$work/report" | head -n 6 | sed 's/^/# /'
check "perf kvm --guestmount names the syscall guest's function" grep -q " $HOT_SYSCALL\$" "$work/report"
check "perf kvm --guestmount names the crypto guest's function" grep -q "\[rmd160\] .* $HOT_CRYPTO\$" "$work/report"

part "record"
# rows FILE: `SHARE SYMBOL TYPE` of the guests' samples, in per cent of these: perf's recording has the host's, too
rows() {
	perf kvm --guestmount="$mnt" -i "$1" report --stdio --sort sym 2>>"$work/kvm.log" |
		awk '$1 ~ /%$/ && $2 ~ /g|u/ { sum += $1; p[NR] = $1 + 0; s[NR] = $3; t[NR] = $2 } END { for (i in s) print 100 * p[i] / sum, s[i], t[i] }'
}
share_in() { awk -v s="$2" '$2 == s { p += $1 } END { print p + 0 }' "$work/$1.rows"; }
rows "$work/record.data" >"$work/record.rows"
rows "$work/kvm.data" >"$work/kvm.rows"
perf kvm --guestmount="$mnt" -i "$work/record.data" report --stdio --sort comm,sym --percent-limit 1 2>&1 | grep -v '^#\|^$' | sed 's/^/# /'
check "record: perf names both guests' functions" test "$(share_in record $HOT_SYSCALL | cut -d. -f1)" -ge 1 -a \
	"$(share_in record $HOT_CRYPTO | cut -d. -f1)" -ge 1
# Some seconds of each, by different timers.
check "record: what perf kvm records has the same share" awk -v a="$(share_in record $HOT_SYSCALL)" -v b="$(share_in kvm $HOT_SYSCALL)" \
	'BEGIN { print "# " a "%, perf kvm record: " b "%"; d = a > b ? a - b : b - a; exit d > 10 }'
check "record: next to nothing is without a name" awk '$3 == "[g]" && $2 ~ /^0x0*ffffffff/ { n += $1 } END { print "# " n + 0 "% are numbers"; exit n > 5 }' \
	"$work/record.rows"

# ---- recordings, mounted -------------------------------------------------------------------------------
part "--input beside perf kvm report"
copies=$work/copies # of what dir: and --guestmount read
for n in syscall crypto mute; do
	mkdir -p "$copies/$(pid_of $n)"
	cp -r "$mnt/by-name/$n/"{proc,sys} "$copies/$(pid_of $n)/" || not_ok "guest $n: its files can be copied"
done
alone=(--guestkallsyms="$copies/$(pid_of crypto)/proc/kallsyms" --guestmodules="$copies/$(pid_of crypto)/proc/modules")
perf_kvm alone --guest "${alone[@]}" -- -p "$(pid_of crypto)" sleep 2 || not_ok "perf kvm --guestkallsyms record" "$(tail -n 1 "$work/kvm.log")"
# One that is killed: perf writes at all only when half of a buffer is full.
# shellcheck disable=SC2086
perf kvm --guest "${alone[@]}" record $mmap_option -e cpu-clock -F $FREQUENCY -m 2 -o "$work/killed.data" -p "$(pid_of crypto)" \
	>>"$work/kvm.log" 2>&1 &
recorder=$!
is_large() { [ "$(stat -c %s "$work/killed.data" 2>/dev/null || echo 0)" -gt 80000 ]; }
within "perf kvm record goes on" 60 is_large
kill -KILL $recorder
wait $recorder 2>/dev/null
hold syscall crypto

# mounted FILE: with the symbols of all guests
mounted() {
	local n rules=()
	for n in syscall crypto mute; do rules+=(-s "$(pid_of $n)=dir:$copies/$(pid_of $n)"); done
	serve "$1" "${rules[@]}"
}
# begins_in_module PID: perf gives no names to what a module of that guest did before the first sample of its kernel
begins_in_module() {
	sed -n "s/^[-0-9]* \([0-9]*\) .*PERF_RECORD_SAMPLE(IP, 0x4): $1\/[0-9]*: 0x\(ffffffff[0-9a-f]*\) .*/\1 \2/p" "$work/dump" |
		sort -n | head -n 1 | grep -q ' ffffffff[c-f]'
}
# same_guest NAME GUEST FILE OPTIONS...: its rows
same_guest() {
	local name=$1 n=$2 of
	of=$(pid_of "$n")
	local names=$copies/$of/proc/kallsyms
	shift 2
	within "$name: guest $n has names" 60 has_symbols "$in/$of"
	same_rows "$name: guest $n" "$@"
}
# has_row NAME GUEST SYMBOL
has_row() { check "$1: $3 is among the rows of guest $2" grep -q "\[g\] $3 " "$in/$(pid_of "$2")/profile"; }
# same_guests NAME FILE OPTIONS...: both guests, and the third one if it did something. perf makes one row of one address that
# has no name in several guests.
same_guests() {
	local n
	perf script -D -i "$2" 2>/dev/null | grep PERF_RECORD_SAMPLE >"$work/dump"
	check "$1 is mounted" mounted "$2"
	for n in syscall crypto mute; do
		if begins_in_module "$(pid_of $n)"; then
			echo "skip lab, $1: guest $n begins in a module, to which perf gives no names"
		elif [ $n != mute ] || [ -e "$in/$(pid_of mute)" ]; then
			but=' 0x\| without-a-name$' same_guest "$1" $n "${@:2}"
			[ $n = mute ] || has_row "$1" $n $HOT_SYSCALL
		fi
	done
	sed -n '/^recording_/s/^/# /p' "$in/status"
	unserve
}
same_guests "two guests" "$work/kvm.data" --guestmount="$copies"
same_guests "host and guests" "$work/host.data" --guestmount="$copies"
# same_one NAME FILE: the guest whose names perf has by --guestkallsyms
same_one() {
	check "$1 is mounted" mounted "$2"
	check "$1: it is alone" test "$(echo "$in"/[0-9]*)" = "$in/$(pid_of crypto)"
	same_guest "$1" crypto "$2" "${alone[@]}"
	has_row "$1" crypto $HOT_CRYPTO
	sed -n '/^recording_/s/^/# /p' "$in/status"
	unserve
}
same_one "one guest" "$work/alone.data"
check "one that was killed is mounted" mounted "$work/killed.data"
check "killed: status says so" has_state '\(unfinished\|cut off\)'
complete "$work/killed.data" "$(sed -n 's/^recording_bytes //p' "$in/status")"
unserve
same_one "killed" "$work/killed.data"
go_on syscall crypto

# ---- events and counters -------------------------------------------------------------------------------
part "trace and stats"
[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing
[ -d /sys/kernel/debug/kvm ] || mount -t debugfs debugfs /sys/kernel/debug
# Both at once: each must hold the threads of its own guest alone.
timeout 60 head -n 300 "$s/trace" >"$work/syscall.trace" &
timeout 60 head -n 300 "$c/trace" >"$work/crypto.trace"
wait $!
for n in syscall crypto; do
	head -n 2 "$work/$n.trace" | sed "s/^/# $n /"
	alien=$(sed '/^#/d; s/ *\[.*//; s/.*-//' "$work/$n.trace" | sort -u | while read -r tid; do
		[ -d "/proc/$(pid_of $n)/task/$tid" ] || echo "$tid"
	done)
	check "guest $n: trace has 300 lines" test "$(wc -l <"$work/$n.trace")" = 300
	check "guest $n: of its own threads" test -z "$alien"
	check "guest $n: with exits and their reasons" grep -q ': kvm_exit: .*reason ' "$work/$n.trace"
	check "guest $n: stats counts exits" awk '$1 == "exits" { n = $2 } END { exit !(n > 100) }' "$mnt/by-name/$n/stats"
done

# One comes while another is unloaded and comes back elsewhere, and the guest works; then it is held, and followed meanwhile.
part "modules that come and go under load"
# shellcheck disable=SC2016
change='wl syscall; n=0; until rmmod rmd160 2>/dev/null || [ $n = 100 ]; do n=$((n + 1)); sleep 0.1; done; modprobe msr;
	modprobe virtio_balloon; modprobe rmd160; sed "s/ .* / /" /proc/modules; grep "\[rmd160\]$" /proc/kallsyms; wl crypto'
guest ask crypto "$(tr -d '\n\t' <<<"$change")" >"$work/crypto.now" || not_ok "guest crypto: its modules change"
is_now() { cmp -s <(sed "s/ .* / /" "$c/modules"; grep '\[rmd160\]$' "$c/kallsyms") "$work/crypto.now"; }
check "guest crypto: its module lies elsewhere" test -z "$(grep -Fxf "$work/crypto.kallsyms" "$work/crypto.now")"

# ---- the same QEMU, another boot ------------------------------------------------------------------------
part "a reboot"
hold crypto
attach_vsock
within "by vsock: symbols, before the reboot" 60 has_symbols "$v"
guest qmp syscall system_reset >/dev/null
guest qmp mute system_reset >/dev/null
within "a reset begins a new epoch" 5 epoch_is "$s" 2
guest wait syscall 120 2 || give_up "the guest boots again"
within "symbols of the new boot come by themselves" 120 has_symbols "$s"
mv "$work/syscall.kallsyms" "$work/before"
own_files syscall
check "the kernel moved" bash -c '! cmp -s "$1" "$2"' - "$work/before" "$work/syscall.kallsyms"
same_files syscall
echo reset >"$s/control"
wait_for 30 has_samples "$s" 1000
check "its profile is right again" hottest_is "$s" "$HOT_SYSCALL [guest.kernel.kallsyms]"

hold syscall
guest wait mute 120 2 || give_up "guest mute boots again"
open_vsock
mv "$work/mute.truth" "$work/mute.before"
is_true mute "guest mute, after its reboot"
check "guest mute: the kernel moved" bash -c '! cmp -s "$1" "$2"' - "$work/mute.before/kallsyms" "$work/mute.truth/kallsyms"
own_by_vsock "guest mute, after its reboot"
check "by vsock: a new epoch" test "$(info "$v" epoch)" -ge 2
guest ask mute 'killall guest-vsock' >/dev/null
again
within "vsock: nothing listens any more: info says so" 60 says "refused: nothing in the guest listens on its vsock port 22"
check "vsock: the symbols of before stay" same_by_vsock
detach_vsock
go_on syscall

# ---- the end of a guest -----------------------------------------------------------------------------------
part "a guest is killed"
within "guest crypto: its modules are known, and where they lie" 150 is_now
echo reset >"$c/control"
go_on crypto
wait_for 30 has_samples "$c" 300
check "guest crypto: the module's function has its name where it lies now" hottest_is "$c" "$HOT_CRYPTO [rmd160]"
check "guest crypto: those that do not run have no samples" bash -c '! grep -qE "\[(msr|virtio_balloon)\]" "$1/profile"' - "$c"
pid=$(pid_of crypto)
cp "$c/kallsyms" "$work/crypto.kallsyms"
exec 7<"$c/kallsyms"
head -c 1000 <&7 >"$work/part"
kill -KILL "$pid"
within "a killed guest is gone within a second" 1 test ! -e "$c"
check "what was open is readable to its end" cmp "$work/crypto.kallsyms" <(cat "$work/part" - <&7)
exec 7<&-
check "the others are still there" test -e "$s/info" -a -e "$m/info"

part "what it cost"
sed 's/^/# /' "$mnt/status"
check "status tells the daemon's own cost" grep -q '^own_cpu_percent [0-9]' "$mnt/status"
check "status tells what was lost" grep -q '^lost [0-9]' "$mnt/status"
stop_daemon "$mnt"

# ---- a host that forbids it ----------------------------------------------------------------------------------
# Yama's highest setting, which only a reboot takes back, and L1 ends here.
part "Yama"
if echo 3 2>/dev/null >/proc/sys/kernel/yama/ptrace_scope; then
	start_daemon "$mnt" -s '*=memory'
	wait_for 20 state_is "$m" failed
	check "Yama: info says that it forbids it" grep -q 'Yama.*ptrace_scope=3' <<<"$(info "$m" source_error)"
	echo "# $(info "$m" source_error)"
	stop_daemon "$mnt"
else
	echo "skip lab, Yama: this kernel has none"
fi
