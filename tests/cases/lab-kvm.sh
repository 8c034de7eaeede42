#!/bin/bash
# Guests on a real KVM host (the nested lab).
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../lab/lib.sh"
# Without root it is skipped further down.
[ "$(id -u)" != 0 ] || { "$LAB/setup" && "$LAB/vsock-initrd"; } || { echo "not ok lab: an initrd with vsock"; exit 1; }
case_in_l1 1100 "$LAB/../cases/lab/kvm.sh"
