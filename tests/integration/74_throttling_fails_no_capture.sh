#!/bin/bash
# EC2 that refuses every second call as too fast: captures come up, are recorded and taken down all the same.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

lab_all_up || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_awsim_ask /faults -X PUT -d '[{"probability": 0.5, "seed": 7, "do": {"throttle": true}}]' >/dev/null
one=$(lab_record workload 25s) two=$(lab_record workload2 25s)
for id in "$one" "$two"; do
    lab_wait 60 lab_state_is "$id" recording draining sealing sealed failed refused
    expect 'throttled at every second call, a capture records' lab_state_is "$id" recording draining sealing sealed
done
for id in "$one" "$two"; do
    if lab_wait_for_state "$id" sealed 80; then ok 'and is sealed'; else not_ok 'and is sealed' "$lab_why"; fi
    same 'it ended at its deadline' deadline "$(lab_capture "$id" | jq -r .stop_reason)"
done
same 'EC2 did refuse calls' true \
    "$(lab_awsim_ask /objects | jq '[.requests[].errors.RequestLimitExceeded // 0] | add > 5')"
same 'no session is left' 0 "$(lab_awsim_ask /objects | jq '.sessions | length')"
late=$(lab_awsim_ask /counters | jq '[.sessions[] | (.deleted_ns - .created_ns) / 1e9] | max')
same 'and none was alive 60 s after its deadline' true "$(jq "$late < 85" <<<null)"
lab_tapbox_stop
finish
