#!/bin/bash
# Whatever is killed, at the deadline the mirror is gone and what was recorded is in S3.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

sessions() { # [jq filter on a session]: how many of them EC2 has
    lab_awsim_ask /objects | jq "[.sessions[] | select(${1:-true})] | length"
}
no_session_of() { # CAPTURE
    [ "$(sessions ".tags[\"tapbox:capture\"] == \"$1\"")" = 0 ]
}
# Does something while a capture of the workload records, in $id, that ends by itself soon; again, with one that lasts
# longer, when the machine stood still until its deadline.
before_deadline() { # COMMAND...: what it finds goes into variables, not into cases
    local deadline
    for seconds in 15 60 240; do
        id=$(lab_record workload "${seconds}s")
        lab_wait_for_state "$id" recording 10
        deadline=$(date -d "$(lab_capture "$id" | jq -r .deadline)" +%s)
        "$@"
        [ "$EPOCHSECONDS" -ge "$deadline" ] || return 0
        lab_tapbox_ready || lab_tapbox_start || break
        kill -CONT "$rgw"
        lab_wait_for_state "$id" sealed 60 || break
    done
    give_up "what is done while a capture records is done before its deadline" "$LAB_DIR/logs/tapbox.log"
}
ping_remote() { # COUNT
    lab_exec workload ping -q -c "$1" -i 0.02 198.51.100.10 >/dev/null
}
manifest_of() { # CAPTURE
    local day=${1:4:8}
    lab_s3 cp "s3://$LAB_BUCKET/captures/${day:0:4}/${day:4:2}/${day:6:2}/$1/manifest.json" - 2>/dev/null
}
sealed() { # CASE CAPTURE SECONDS
    if lab_wait_for_state "$2" sealed "$3"; then ok "$1"; else not_ok "$1" "$lab_why"; fi
}
says() { # PATTERN TEXT
    grep -qE -- "$1" <<<"$2" || {
        echo "$2"
        return 1
    }
}
recorder_pid() { pgrep -P "$lab_tapbox_pid" -f 'tapbox record'; }

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
rgw=$(cat "$LAB_DIR"/radosgw/run/client.rgw*.pid)
lab_tapbox_config capture.rotate_seconds=2
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"

# --- what cannot be captured ends with its reason, and nothing is made
failed() { # SOURCE: the capture as it ended
    local id
    id=$(lab_call POST /v1/captures -d "{\"source\":\"$1\",\"reason\":\"test\"}" | jq -r .capture.id)
    lab_wait 10 lab_state_is "$id" failed refused
    lab_capture "$id"
}
answer=$(failed i-0123456789abcdef0)
same 'an unknown instance fails with the code EC2 gave' 'failed InvalidInstanceID.NotFound' \
    "$(jq -r '"\(.state) \(.error.code)"' <<<"$answer")"
same 'and with the request id' 36 "$(jq -r '.error.request_id | length' <<<"$answer")"
answer=$(failed eni-0123456789abcdef0)
same 'an unknown interface too' 'failed InvalidNetworkInterfaceID.NotFound' \
    "$(jq -r '"\(.state) \(.error.code)"' <<<"$answer")"
answer=$(failed "$(lab_eni capture)")
same 'our own target is refused' refused "$(jq -r .state <<<"$answer")"
expect 'and the reason says so' says "own mirror target" "$(jq -r .error.text <<<"$answer")"
same 'no session was made for any of them' 0 "$(sessions)"

# --- SIGKILL of the service while it records
kill_service() {
    ping_remote 50
    lab_tapbox_stop KILL
    ping_remote 50
    lab_tapbox_start || give_up 'tapbox starts again after SIGKILL' "$LAB_DIR/logs/tapbox.log"
    state=$(lab_state "$id")
    ping_remote 50
}
before_deadline kill_service
same 'after SIGKILL of the service the capture goes on' recording "$state"
sealed 'and is sealed at its deadline' "$id" "$((seconds + 10))"
expect 'its session is gone' no_session_of "$id"
same 'it stopped for its deadline' deadline "$(lab_capture "$id" | jq -r .stop_reason)"
same 'nobody claims that nothing is missing' false \
    "$(manifest_of "$id" | jq '.completeness.complete == "yes"')"

# --- SIGKILL of the recorder while it records
again_or_over() { lab_capture "$id" | jq -e '(.live.state == "armed" and .live.gap_to) or .state != "recording"'; }
put_down_or_over() { lab_capture "$id" | jq -e '.live.ledger.written >= 200 or .state != "recording"'; }
kill_recorder() {
    ping_remote 100
    lab_wait 3 put_down_or_over
    kill -KILL "$(recorder_pid)"
    lab_wait 5 again_or_over
    state=$(lab_capture "$id" | jq -r '"\(.live.state) \(.live.gap_to != null)"')
    ping_remote 100
}
before_deadline kill_recorder
same 'a recorder that was killed is started, and armed, again' 'armed true' "$state"
sealed 'and the capture is sealed at its deadline' "$id" "$((seconds + 10))"
manifest=$(manifest_of "$id")
same 'what had been put down before is there' true "$(jq '[.segments[].packets] | add > 200' <<<"$manifest")"
same 'the manifest does not call it complete' false "$(jq '.completeness.complete == "yes"' <<<"$manifest")"

# --- the service is dead for good: sweep on another host, with nothing but the tags
lab_ec2 create-traffic-mirror-filter --description foreign >"$TB_WORK/filter.json"
lab_ec2 create-traffic-mirror-session --network-interface-id eni-0a1b2c3d4e5f60120 --session-number 5 \
    --traffic-mirror-target-id "$(lab_ec2 describe-traffic-mirror-targets | jq -r '.TrafficMirrorTargets[0].TrafficMirrorTargetId')" \
    --traffic-mirror-filter-id "$(jq -r .TrafficMirrorFilter.TrafficMirrorFilterId "$TB_WORK/filter.json")" >/dev/null
sweep() { lab_exec remote env "AWS_ENDPOINT_URL_EC2=$LAB_EC2_URL" "$LAB_OUT/tapbox" sweep "$@"; }
kill_for_good() {
    ping_remote 50
    lab_tapbox_stop KILL
    swept=$(sweep)
}
before_deadline kill_for_good
expect 'a sweep before the deadline leaves the session' says '0 sessions' "$swept"
expired() { lab_awsim_ask /objects | jq -e '[.sessions[].tags["tapbox:expires"] // empty | fromdate] | max < now - 1'; }
lab_wait "$((seconds + 10))" expired || not_ok 'its time is over'
expect 'a dry run names what it would delete' says 'would delete session tms-' "$(sweep --dry-run)"
expect 'and deletes nothing' test "$(sessions '.tags["tapbox:capture"]')" = 1
expect 'the sweep deletes the expired session' says '1 sessions' "$(sweep)"
expect 'EC2 has none of ours any more' no_session_of "$id"
same 'and still has that of somebody else' 1 "$(sessions '.session_number == 5')"
lab_tapbox_start || give_up 'tapbox starts after the sweep' "$LAB_DIR/logs/tapbox.log"
# (EC2 says NotFound of what it made seconds ago: that is believed only after some looks)
sealed 'the capture whose session was swept is sealed at the next start' "$id" 60

# --- production first: a session of somebody else keeps its place
two=$(lab_record workload2 5m)
lab_wait_for_state "$two" recording 10 || give_up 'a capture of two interfaces records' "$LAB_DIR/logs/tapbox.log"
same 'a session of somebody else keeps its lower number' 6 \
    "$(lab_capture "$two" | jq '.sources[] | select(.eni == "eni-0a1b2c3d4e5f60120").session_number')"
same 'both interfaces of the instance are captured' 2 "$(lab_capture "$two" | jq '[.sources[] | select(.armed)] | length')"

# --- alerts for what is being captured join it
lab_finding workload2 >"$TB_WORK/finding.json"
event() { LAB_TOKEN=$LAB_ALERT_TOKEN lab_call POST /v1/events -d "@$TB_WORK/finding.json"; }
same 'an alert on a captured interface joins the capture' "joined $two" \
    "$(event | jq -r '"\(.decision) \(.capture.id)"')"
same 'the same alert again is a duplicate' "duplicate $two" "$(event | jq -r '"\(.decision) \(.capture.id)"')"
same 'no second session was made' 2 "$(sessions '.tags["tapbox:capture"]')"
lab_call POST "/v1/captures/$two/stop" >/dev/null
sealed 'stopped early, it is sealed' "$two" 15
same 'with both alerts as evidence' 2 "$(manifest_of "$two" | jq '.alerts | length')"

# --- S3 away
stop_s3() {
    kill -STOP "$rgw"
    ping_remote 100
}
before_deadline stop_s3
lab_wait "$((seconds + 10))" lab_state_is "$id" sealing || not_ok 'the mirror is taken down while S3 is away' "$(lab_state "$id")"
expect 'the mirror is taken down while S3 is away' no_session_of "$id"
expect 'and the spool keeps the segments' test -n "$(find "$LAB_DIR/state/spool/$id" -name '*.zst')"
kill -CONT "$rgw"
sealed 'when S3 is back the capture is sealed' "$id" 60
same 'and complete' yes "$(manifest_of "$id" | jq -r .completeness.complete)"
expect 'the spool is empty again' test ! -e "$LAB_DIR/state/spool/$id"

lab_tapbox_stop
same 'nothing of tapbox that expires is left' 0 "$(sessions '.tags["tapbox:owner"]')"
finish
