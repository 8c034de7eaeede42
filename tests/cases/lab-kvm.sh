#!/bin/bash
# On a real KVM host (the nested lab): tests/cases/lab/kvm.sh
set -u
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
[ "$(id -u)" = 0 ] || { echo "skip lab: L1 reads this machine's root directory, so it takes root"; exit 0; }
tests/lab/setup || { echo "not ok lab: its setup failed"; exit 1; }
KVMPROFS=$(readlink -f "${KVMPROFS:-build/kvmprofs}") tests/lab/run --timeout 900 tests/cases/lab/kvm.sh
status=$?
case $status in
124) echo "not ok lab: out of time";;
125) echo "not ok lab: L1 did not get to the end";;
esac
exit $status
