#!/bin/bash
# What is read out of the memory of guests with every kernel that Debian's archive has: the cloud kernel of each
# series, and the two of this machine's release. $KERNELS names others; `all` is every flavour of each series.
# shellcheck source=tests/cases/memory-lib.sh
. "$(dirname "$(readlink -f "$0")")/memory-lib.sh"

listed() { "$LAB/setup" --list 2>"$work/list.out" | cut -d' ' -f1 | grep "$@"; }
case ${KERNELS-} in
'') mapfile -t kernels < <(listed -- -cloud);;
all) mapfile -t kernels < <(listed .);;
*) read -ra kernels <<<"$KERNELS";;
esac
# A sanitizer's second run is for the decoders: the oldest and the newest will do.
[ -z "${KVMPROFS_SANITIZE-}" ] || [ ${#kernels[@]} -lt 3 ] || kernels=("${kernels[0]}" "${kernels[-1]}")
[ ${#kernels[@]} -gt 0 ] || echo "skip memory, kernels of the archive: $(tail -n 1 "$work/list.out")"

for k in "${kernels[@]}"; do
	variant "$k" "$k" --kaslr on
done
[ -n "${KERNELS-}" ] || variant generic generic
