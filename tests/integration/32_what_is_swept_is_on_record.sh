#!/bin/bash
# Whoever deletes a session by its tags leaves a record: the service in its host's custody log, signed; the lone
# sweeper, which has neither key nor store, in its output, and the service then notes that the session is gone.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

stray() { # a session of ours whose time is over, and that no store knows; its id
    local target filter
    target=$(lab_ec2 describe-traffic-mirror-targets | jq -r '.TrafficMirrorTargets[0].TrafficMirrorTargetId')
    filter=$(lab_ec2 create-traffic-mirror-filter | jq -r .TrafficMirrorFilter.TrafficMirrorFilterId)
    lab_ec2 create-traffic-mirror-session --network-interface-id "$(lab_eni workload)" --session-number 7 \
        --traffic-mirror-target-id "$target" --traffic-mirror-filter-id "$filter" --tag-specifications \
        "ResourceType=traffic-mirror-session,Tags=[{Key=tapbox:owner,Value=tapbox},{Key=tapbox:capture,Value=cap-of-another-life},{Key=tapbox:expires,Value=2026-01-02T03:04:05Z}]" |
        jq -r .TrafficMirrorSession.TrafficMirrorSessionId
}
host_log() { find "$TB_WORK/evidence/custody" -name '*.jsonl' -exec cat {} + 2>/dev/null; }
is_noted() { # ID: and S3 has it
    [ "$(sqlite3 -readonly "$LAB_DIR/state/tapbox.db" "SELECT count(*) FROM custody AS c JOIN custody_objects AS o ON o.log_id = c.log_id
        AND c.number BETWEEN o.first AND o.last WHERE o.uploaded AND c.line LIKE '%\"act\":\"aws_swept\"%\"id\":\"$1\"%'")" = 1 ]
}

lab_all_up capture.rotate_seconds=1 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
id=$(lab_record workload 10m)
lab_wait_for_state "$id" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
session=$(stray)
lab_tapbox_stop
lab_tapbox_start || give_up 'tapbox starts again' "$LAB_DIR/logs/tapbox.log" # (and looks around at once)
lab_wait 60 is_noted "$session" || give_up "what the service swept is in the host's log" "$LAB_DIR/logs/tapbox.log"
lab_s3 sync --only-show-errors "s3://$LAB_BUCKET/captures" "$TB_WORK/evidence"
same 'with all that is known of it' 'session cap-of-another-life 2026-01-02T03:04:05Z true true' \
    "$(host_log | jq -r 'select(.act == "aws_swept").detail | "\(.kind) \(.capture) \(.expires) \(.request_id | length > 8) \(.deleted > "2026")"')"

# --- the lone sweeper: the capture's own session, whose expiry somebody has moved
sessions() { lab_awsim_ask /objects | jq -r '.sessions[].id' | sort; }
own=$(sessions)
lab_tapbox_stop
lab_ec2 create-tags --resources "$own" --tags Key=tapbox:expires,Value=2026-01-02T03:04:05Z
lab_exec remote "$TB_OUT/tapbox" sweep --json >"$TB_WORK/swept.json"
same 'the sweeper tells what it deleted' "session $own $id 2026-01-02T03:04:05Z true true null" \
    "$(jq -r '.deleted[] | "\(.kind) \(.id) \(.capture) \(.expires) \(.request_id | length > 8) \(.time > "2026") \(.role)"' "$TB_WORK/swept.json")"
same 'and it is gone' '' "$(sessions)"
lab_tapbox_start || give_up 'tapbox starts once more' "$LAB_DIR/logs/tapbox.log"
lab_wait_for_state "$id" sealed 60 || give_up 'the capture that lost its session is sealed' "$LAB_DIR/logs/tapbox.log"

# --- somebody deletes the standing target: nothing else is taken for gone
target=$(lab_awsim_ask /objects | jq -r '.targets[].id')
filter=$(lab_awsim_ask /objects | jq -r '.filters[] | select(.tags["tapbox:standing"]).id')
lab_ec2 delete-traffic-mirror-target --traffic-mirror-target-id "$target" >/dev/null
next=$(lab_record workload 10m)
lab_wait_for_state "$next" recording 60 || give_up 'a capture makes another target' "$LAB_DIR/logs/tapbox.log"
lab_call POST "/v1/captures/$next/stop" >/dev/null
lab_wait_for_state "$next" sealed 60 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
same 'the filter that is still there goes on being used' "$filter" \
    "$(lab_awsim_ask /objects | jq -r '.filters[] | select(.tags["tapbox:standing"]).id')"
lab_tapbox_stop
rm -rf "$TB_WORK/evidence"
lab_s3 sync --only-show-errors "s3://$LAB_BUCKET/captures" "$TB_WORK/evidence"
same 'and its custody log names the session that somebody else deleted' "$own" \
    "$(find "$TB_WORK/evidence" -path "*$id/custody/0001.jsonl" -exec jq -r 'select(.act == "aws_found_gone" and .detail.kind == "session").detail.id' {} +)"

# --- a list that EC2 refuses takes no record away of what was deleted before
session=$(stray)
lab_awsim_ask /faults -X PUT -d '[{"action": "DescribeTrafficMirrorFilters", "do": {"error": {"status": 403, "code": "UnauthorizedOperation"}}}]' >/dev/null
lab_exec remote "$TB_OUT/tapbox" sweep --json >"$TB_WORK/half.json" 2>"$TB_WORK/half.err"
same 'a sweep that may not list the filters fails' '4 1' "$? $(grep -c UnauthorizedOperation "$TB_WORK/half.err")"
same 'and tells the session that it deleted before' "$session" "$(jq -r '.deleted[].id' "$TB_WORK/half.json")"
same 'and only the target is told to have been found gone' "target $target" \
    "$(host_log | jq -r 'select(.act == "aws_found_gone").detail | "\(.kind) \(.id)"')"
expect 'all of it holds' "$TB_OUT/tapbox" verify "$TB_WORK/evidence" --key "$LAB_DIR/state/evidence.key.pub" --whole
finish
