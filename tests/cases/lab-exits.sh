#!/bin/bash
# VM exits on a real KVM host (the nested lab).
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../lab/lib.sh"
case_in_l1 600 "$LAB/../cases/lab/exits.sh"
