#!/bin/bash
# Symbols over real virtio serial ports: the real qemu-guest-agent on one, kvmprofs-guest on the other, and no
# network. What they say is what the guest's files say; hosts come and go, and so do ports, modules, the agent, and the
# guest itself: it stops, goes back to a snapshot, and migrates away.
# shellcheck source=tests/cases/agents-lib.sh
. "$(dirname "$(readlink -f "$0")")/agents-lib.sh"

make_agents_initrd
guest start one --kaslr on --no-net --no-ssh -- -initrd "$work/initrd" -device virtio-serial-pci \
	"${DISK[@]}" "${AGENT[@]}" || give_up "a guest starts"
pid=$(pid_of one)
# Our own port is plugged in later: its socket stands on no command line.
guest qmp one chardev-add '{"id": "own", "backend": {"type": "socket", "data": {"server": true, "wait": false,
	"addr": {"type": "unix", "data": {"path": "'"$work"'/own.sock"}}}}}' >/dev/null
guest qmp one device_add '{"driver": "virtserialport", "chardev": "own", "name": "org.kvmprofs.0", "id": "ownport"}' >/dev/null
guest ask one 'insmod /extra/virtio_console.ko*' || give_up "the guest has ports"

# attach NAME SOCKET [QUERY]: sets $g
attach() {
	g=$work/$1/$pid
	mkdir -p "$work/$1"
	start_daemon "$work/$1" -p "$pid" -s "*=virtio-serial:$work/$2.sock${3:-}"
}
detach() { stop_daemon "$work/$1"; }
says() { grep -q "$1" <<<"$(info "$g" source_error)"; }
# in_guest COMMAND: starts it there, and leaves it running
in_guest() { guest ask one "({ $*; } >/dev/null 2>&1 &); sleep 1"; }
end_agent() { guest ask one "$END_AGENT" >/dev/null; }
ask_agent='/usr/sbin/qemu-ga -m virtio-serial -p /dev/vport0p1 -t /tmp'

attach nobody own
within "a port that nobody has opened: info says so" $patience says 'nobody answers in the guest'
detach nobody

in_guest "$ask_agent"
in_guest /usr/sbin/kvmprofs-guest
guest truth one "$work/truth" >/dev/null || give_up "the guest tells the truth"

# same NAME: everything is as the guest's own files are
same() {
	local f
	for f in kallsyms modules; do check "$1: $f is the guest's own" cmp "$work/truth/$f" "$g/$f"; done
	check "$1: its notes are, too" cmp "$work/truth/notes" "$g/sys/kernel/notes"
	check "$1: build-ids of the kernel and all modules" \
		test "$(wc -l <"$g/buildids")" = "$((1 + $(wc -l <"$work/truth/modules")))"
}
release=$(guest ask one 'uname -r')
modules=/lib/modules/$release
guest ask one "cd $modules && find . -type f | while read -r f; do echo \"\$f \$(stat -c %s \"\$f\")\"; done" | LC_ALL=C sort >"$work/modules"
check "the guest has modules to show" grep -q '\.ko' "$work/modules"
ko=$(grep -m 1 '\.ko' "$work/modules") ko=${ko#./} ko=${ko% *}
sum=$(guest ask one "sha256sum <$modules/$ko")
listed() { [ "$(info "$g" lib_modules_state)" = ready ]; }
is_sum() { [ "$(sha256sum 2>/dev/null <"$g$modules/$ko")" = "$sum" ]; }
# serves_modules NAME: they are what the guest has
serves_modules() {
	within "$1: lib/modules is listed" $patience listed
	(cd "$g$modules" && find . -type f -printf '%p %s\n') | LC_ALL=C sort >"$work/listed"
	check "$1: lib/modules has the guest's files and sizes, and no others" cmp "$work/modules" "$work/listed"
	within "$1: a module is the guest's own, byte for byte" $patience is_sum
}
for port in agent own; do
	attach $port $port '?modules=yes'
	within "$port: symbols come" $patience has_symbols "$g"
	same $port
	echo "# $port: $(info "$g" source_how)"
	serves_modules $port
	detach $port
done

# auto, where the guest's memory may not be read: sets $g
make_may_not
attach_auto() {
	g=$work/$1/$pid
	KVMPROFS=$work/may-not start_daemon "$work/$1" -p "$pid" -s '*=auto?modules=yes'
}
tried() { grep -qE "^attempt $1" "$g/info"; }
by() { test "$(info "$g" source_used)" = "virtio-serial:$work/$1.sock"; }
# attach_auto_by NAME WAY: on a busy machine one that does not answer soon gives place to the next one, which is kept
attach_auto_by() {
	local i
	for i in 1 2 3; do
		attach_auto "$1"
		wait_for $patience has_symbols "$g"
		by "$2" && break
		[ $i = 3 ] || detach "$1"
	done
}

attach_auto_by auto-agent agent
check "auto, without memory: symbols come" has_symbols "$g"
check "auto, without memory: from the agent" by agent
grep '^attempt ' "$g/info" | sed 's/^/# /'
check "auto, without memory: info tells why" tried 'memory failed after [0-9.]* s: .*CAP_SYS_PTRACE'
check "auto, without memory: info tells what worked, and its time" tried "virtio-serial:$work/agent.sock ok [0-9.]* s$"
check "auto, without memory: kallsyms is the guest's own" cmp "$work/truth/kallsyms" "$g/kallsyms"
echo refresh >"$g/control"
fetched() { test "$(info "$g" source_attempts)" -ge "$1"; } # an agent that is left in mid-answer would outlive a kill
within "auto, without memory: another fetch" $patience fetched 2
check "auto, without memory: it begins with the agent" test "$(grep -c '^attempt ' "$g/info")" = 1
detach auto-agent

# Of many hosts that come one after the other each is answered. (The first words of one may be read in the guest
# before its driver knows that a host is there.)
cat >"$work/hello.py" <<-'EOF'
	import socket, sys, time
	for i in range(40):
	    s = socket.socket(socket.AF_UNIX)
	    s.settimeout(120)
	    s.connect(sys.argv[1])
	    s.sendall(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":%d}}\n' % (16909061 + i))
	    s.recv(100)
	    s.close()
	    time.sleep([0, 0.05, 0, 0.7][i % 4])
EOF
check "own: forty hosts, one after the other" python3 "$work/hello.py" "$work/own.sock"

knows_module() { grep -q '^msr ' "$g/modules" && grep -q '\[msr\]' "$g/kallsyms"; }
knows_no_module() { ! grep -q '^msr ' "$g/modules" && ! grep -q '\[msr\]' "$g/kallsyms"; }
# Nobody asks for it: a look finds it, within ten seconds where the machine has time.
for port in agent own; do
	attach changes-$port $port
	within "$port: symbols again" $patience has_symbols "$g"
	[ $port = agent ] || check "own: a snapshot is saved" hmp savevm before
	guest ask one 'modprobe msr' || give_up "modprobe"
	began=$SECONDS
	within "$port: a module that was loaded since" $patience knows_module
	echo "# $port: after $((SECONDS - began)) s; $(info "$g" source_how)"
	if [ $port = agent ]; then
		guest ask one 'modprobe -r msr' || give_up "modprobe -r"
		within "agent: and one that was unloaded" $patience knows_no_module
		detach changes-agent
	fi
done
check "own: the snapshot is loaded" hmp loadvm before
within "own: its modules are those of then" $patience knows_no_module
check "own: by the same boot" epoch_is "$g" 1
guest ask one 'modprobe msr' || give_up "modprobe after loadvm"
within "own: and a module again" $patience knows_module
guest truth one "$work/truth" >/dev/null
is_true() { cmp -s "$work/truth/kallsyms" "$g/kallsyms"; }
within "own: byte for byte, with what it brought" $patience is_true
# "by what has changed: 21 of 9843 KiB": a tenth would be much
few() { [[ $(info "$g" source_how) =~ has\ changed:\ ([0-9]+)\ of\ ([0-9]+)\ KiB ]] && ((BASH_REMATCH[1] * 10 < BASH_REMATCH[2])); }
# After an attempt that has failed, as on a busy machine, all of it comes over.
brings_few() { few || { echo refresh >"$g/control"; sleep 2; few; }; }
within "own: only what has changed comes over" $patience brings_few
guest qmp one stop >/dev/null
sleep 8 # a look or two meanwhile
check "own: a guest that is stopped keeps its symbols" knows_module
guest qmp one cont >/dev/null
guest qmp one device_del '{"id": "ownport"}' >/dev/null
sleep 1
echo refresh >"$g/control"
within "own: a port that was unplugged: info says so" $patience says 'nobody answers in the guest'
check "own: the symbols of before stay" knows_module
guest qmp one device_add '{"driver": "virtserialport", "chardev": "own", "name": "org.kvmprofs.0"}' >/dev/null
is_well() { echo refresh >"$g/control"; test "$(info "$g" source_error)" = -; }
within "own: and plugged in again" $patience is_well
detach changes-own

# Each is killed while it has kallsyms open, and comes again: both at the same time.
# shellcheck disable=SC2016
for program in qemu-ga kvmprofs-guest; do
	in_guest 'p=$(pidof '$program'); until ls -l /proc/$p/fd | grep -q kallsyms; do :; done; kill -9 $p; touch /tmp/killed-'$program
done
attach killed-own own
own=$g own_daemon=$daemon
attach killed-agent agent
# was_killed DIR PROGRAM
was_killed() {
	guest ask one "test -e /tmp/killed-$2" >/dev/null && return
	[ ! -s "$1/kallsyms" ] || echo refresh >"$1/control" # it was read before the loop came to look: once more
	false
}
within "agent: killed in the middle of kallsyms" $patience was_killed "$g" qemu-ga
within "own: killed in the middle of kallsyms" $patience was_killed "$own" kvmprofs-guest
not_half() { [ ! -s "$1" ] || cmp -s "$work/truth/kallsyms" "$1"; }
for f in "$g/kallsyms" "$own/kallsyms"; do check "half of it is nothing" not_half "$f"; done
in_guest "$ask_agent"
in_guest /usr/sbin/kvmprofs-guest
# What was cut off is not tried again soon.
is_back() { has_symbols "$1" || { echo refresh >"$1/control"; sleep 1; has_symbols "$1"; }; }
within "agent: it is back, and symbols come" $patience is_back "$g"
within "own: it is back, and symbols come" $patience is_back "$own"
guest truth one "$work/truth" >/dev/null || give_up "the guest tells the truth"
check "agent, after it was killed: kallsyms is the guest's own" cmp "$work/truth/kallsyms" "$g/kallsyms"
detach killed-agent
g=$own daemon=$own_daemon
check "own, after it was killed: kallsyms is the guest's own" cmp "$work/truth/kallsyms" "$g/kallsyms"
detach killed-own

# As RHEL does.
end_agent
files=guest-file-open,guest-file-close,guest-file-read,guest-file-write,guest-file-seek,guest-file-flush
in_guest "$ask_agent -b $files"
attach shell agent '?modules=yes'
within "agent: without its files, by a shell" $patience has_symbols "$g"
serves_modules "agent, by a shell"
guest truth one "$work/truth" >/dev/null
check "agent: that is the same" cmp "$work/truth/kallsyms" "$g/kallsyms"
detach shell
end_agent
in_guest "$ask_agent -b $files,guest-exec,guest-exec-status"
attach blocked agent
within "agent: all blocked: info names what" $patience says 'blocks guest-file-open, .* guest-exec-status: allow them'
detach blocked

end_agent
attach_auto_by auto-own own
check "auto, without memory and agent: symbols come" has_symbols "$g"
check "auto, without memory and agent: from our own port" by own
grep '^attempt ' "$g/info" | sed 's/^/# /'
check "auto, without memory and agent: info tells of all three" \
	eval "tried 'memory failed' && tried 'virtio-serial:$work/agent.sock failed after' && tried 'virtio-serial:$work/own.sock ok'"
serves_modules "auto, without memory and agent"
check "auto, without memory and agent: by our own port, too" grep -q "own.sock" <<<"$(info "$g" lib_modules)"
detach auto-own

# The guest migrates away: its QEMU stays, and does not run any more.
attach away own
within "own: symbols, for the last time" $patience has_symbols "$g"
cp "$g/kallsyms" "$work/last"
guest qmp one migrate '{"uri": "exec:cat >/dev/null"}' >/dev/null
is_away() { guest qmp one query-status | grep -q postmigrate; }
within "own: the guest is migrated away" $patience is_away
sleep 8 # a look or two meanwhile
check "own: what stays keeps its symbols" cmp "$work/last" "$g/kallsyms"
check "own: no boot was made up" epoch_is "$g" 1
detach away
guest stop one
