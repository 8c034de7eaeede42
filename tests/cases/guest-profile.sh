#!/bin/bash
# A guest that the host kernel cannot see into (TCG): its registers come over QMP.
# shellcheck source=tests/lab/case.sh
. "$(dirname "$(readlink -f "$0")")/../lab/case.sh"

"$LAB/setup" cloud && guest start one --kaslr on --workload crypto || give_up "a guest starts"
pid=$(pid_of one) g=$mnt/$(pid_of one)
start_daemon "$mnt" -p "$pid" -s "*=$(uri_of one)"
within "samples come" 60 has_samples "$g" 300
within "symbols come" 60 has_symbols "$g"
echo reset >"$g/control"
has_samples "$g" 300 && not_ok "reset forgets the samples"
wait_for 60 has_samples "$g" 300
cat "$g/profile"
check "profile: the sampler is qmp" grep -q '^# sampler: qmp' "$g/profile"
check "profile: the hash function leads" hottest_is "$g" "$HOT_CRYPTO [rmd160]"
check "profile: it has most of the samples" test "$(symbol_share "$g" $HOT_CRYPTO | cut -d. -f1)" -ge 50
check "top: the hash function is there" grep -q "$HOT_CRYPTO" "$mnt/top"
check "utilization: a line of the guest" grep -q " $pid one" "$mnt/utilization"
check "status: samples of qmp" test "$(sed -n 's/^samples_qmp //p' "$mnt/status")" -ge 300

echo pause >"$g/control"
before=$(samples "$g")
sleep 1 # nothing to wait for: that nothing comes is what is tested
after=$(samples "$g")
check "pause: no more than the sample under way" test $((after - before)) -le 2
echo resume >"$g/control"
within "resume: samples come again" 20 has_samples "$g" $((after + 50))
stop_daemon "$mnt"
