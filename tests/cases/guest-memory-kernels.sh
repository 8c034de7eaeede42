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

# The next kernel is made ready while this one runs, which takes one CPU.
for i in "${!kernels[@]}"; do
	"$LAB/setup" "${kernels[i + 1]:-generic}" >/dev/null 2>&1 &
	variant "${kernels[i]}" "${kernels[i]}" --kaslr on
	wait $!
done
[ -n "${KERNELS-}" ] || variant generic generic
