#!/bin/bash
# Memory that is plugged in while the guest runs, and that its kernel then uses for modules. Where it lies is known
# by QMP, which is asked when what it said before leads nowhere; until then the symbols of before stay.
# shellcheck source=tests/cases/memory-lib.sh
. "$(dirname "$(readlink -f "$0")")/memory-lib.sh"
made cloud hot-plug || exit
boots one --mem 512 --slots 2 || exit
g=$mnt/$(pid_of one)
# The QMP sampler would keep the only connection.
start_daemon "$mnt" -p "$(pid_of one)" --sampler perf -s '*=memory'
within "symbols come" $patience has_symbols "$g"
has_module() { grep -q "^$1 " "$g/modules"; }
modules=$(wc -l <"$g/modules")

guest qmp one object-add '{"qom-type":"memory-backend-memfd","id":"more","size":268435456}' \
	device_add '{"driver":"pc-dimm","id":"more","memdev":"more"}' >/dev/null
plugged_in() {
	# shellcheck disable=SC2016
	guest ask one 'cd /sys/devices/system/memory; for m in memory*; do grep -q ^online $m/state || echo online_kernel >$m/state; done; cat memory*/state' >"$work/asked"
	[ "$(grep -c ^online "$work/asked")" -ge 6 ]
}
within "the guest takes the memory that is plugged in" $patience plugged_in
# The kernel takes from the zone above 4 GiB first, where there was nothing before.
ask 'modprobe msr; modprobe virtio_balloon'
sleep 5
check "what was there before stays" test "$(wc -l <"$g/modules")" -ge "$modules"
began=$SECONDS # in 45 seconds QMP is asked for sure, where the machine has time; once a minute it is asked anyway
within "a module in memory that was plugged in is there" $patience has_module msr
echo "# after $((SECONDS - began)) s"
is_true one "hot-plug"
stop_daemon "$mnt"
