#!/bin/bash
# Wrong tokens, wrong bodies, wrong instances, and a service that cannot start.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

lab_all_up || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
request="{\"source\":\"$(lab_instance workload)\",\"duration\":\"5m\",\"reason\":\"test\"}"
finding=$(lab_finding workload)
event() { # BODY [curl option...]: the status
    local body=$1
    shift
    LAB_TOKEN=$LAB_ALERT_TOKEN lab_status_of POST /v1/events --data-binary "$body" "$@"
}

same 'no token' 401 "$(lab_exec capture curl -s -o /dev/null -w '%{http_code}' -d "$request" "$LAB_API/v1/captures")"
same 'a wrong token' 401 "$(LAB_TOKEN=tbx_wrong lab_status_of POST /v1/captures -d "$request")"
same 'a wrong token on reading' 401 "$(LAB_TOKEN=tbx_wrong lab_status_of GET /v1/captures)"
same 'the alert role may not start captures' 403 "$(LAB_TOKEN=$LAB_ALERT_TOKEN lab_status_of POST /v1/captures -d "$request")"
same 'the responder role may not either' 403 "$(LAB_TOKEN=$LAB_RESPONDER_TOKEN lab_status_of POST /v1/captures -d "$request")"
same 'the analyst role may not send alerts' 403 "$(lab_status_of POST /v1/events -d "$finding")"
head -c 20000000 /dev/zero | tr '\0' ' ' >"$TB_WORK/large"
same 'a body that is too large' 413 "$(event "@$TB_WORK/large")"
same 'a body that is not JSON' 400 "$(event 'hello')"
same 'JSON that is no known alert' 400 "$(event '{"hello":1}')"
same 'half a finding' 400 "$(event "${finding:0:1000}")"
# (EventBridge sends nothing again that was answered with 400)
expect 'what is not understood is in the log' grep -Eq "an alert from [0-9.]+ of token '[^']+' is not understood.*" "$LAB_DIR/logs/tapbox.log"
same 'more findings than a body may hold' 400 "$(event "$(jq -nc '{version: "0", source: "aws.securityhub", "detail-type": "Security Hub Findings - Imported", detail: {findings: [range(33) | {SchemaVersion: "2018-10-08"}]}}')")"
expect 'and how many is in the log' grep -q 'is not understood.*33.*32' "$LAB_DIR/logs/tapbox.log"
same 'a request without a source' 400 "$(lab_status_of POST /v1/captures -d '{"reason":"x"}')"
same 'a request for something that is no instance' 400 "$(lab_status_of POST /v1/captures -d '{"source":"../etc","reason":"x"}')"
same 'a route that is not there' 404 "$(lab_status_of GET /v1/nothing)"
same 'a capture that is not there' 404 "$(lab_status_of GET /v1/captures/cap-20260101T000000Z-00000000)"
problem=$(LAB_TOKEN=$LAB_ALERT_TOKEN lab_call POST /v1/events --data-binary '{"hello":1}' -D "$TB_WORK/headers")
expect 'an error says what it is' jq -e '.title and .status == 400 and (.detail | length > 10)' <(echo "$problem")
expect 'as application/problem+json' grep -qi '^content-type: application/problem+json' "$TB_WORK/headers"
same 'health needs no token' 200 "$(lab_exec capture curl -s -o /dev/null -w '%{http_code}' "$LAB_API/healthz")"

id=$(lab_call POST /v1/captures -d '{"source":"i-0fffffffffffffff0","reason":"x","duration":"1m"}' | jq -r .capture.id)
lab_wait 15 lab_state_is "$id" failed refused
same 'an unknown instance fails' failed "$(lab_state "$id")"
expect 'with the code and the request id of EC2' jq -e \
    '.error.code == "InvalidInstanceID.NotFound" and (.error.request_id | length > 30)' <(lab_capture "$id")
same 'and leaves no session' 0 "$(lab_left | cut -d' ' -f1)"
same 'after all this nothing was captured' 0 "$(lab_awsim_ask /counters | jq '.sessions | length')"

# A service that cannot start says so in one line and leaves nothing half started.
serve() { # ENVIRONMENT... -- CONFIG
    local variables=()
    while [ "$1" != -- ]; do variables+=("$1") && shift; done
    lab_exec capture timeout -k 1 60 env "${variables[@]}" "$TB_OUT/tapbox" serve --config "$2" --with-recorder
}
lab_tapbox_config "state_dir=$LAB_DIR/other"
sed "s,8480,8481,; s,/run/tapbox-recorder.sock,/run/other.sock," "$LAB_DIR/tapbox.yaml" >"$TB_WORK/good.yaml"
sed "s,/run/tapbox-recorder.sock,/run/other.sock," "$LAB_DIR/tapbox.yaml" >"$TB_WORK/port.yaml"
sed "s,interface: eth0,interface: eth9," "$TB_WORK/good.yaml" >"$TB_WORK/interface.yaml"
sed "s,listen:,lisen:," "$TB_WORK/good.yaml" >"$TB_WORK/key.yaml"
lines() { # CASE PATTERN COMMAND...: it fails with a line that matches
    local output status=0
    output=$("${@:3}" 2>&1) || status=$?
    if [ $status -eq 0 ] || [ $status -eq 124 ]; then
        not_ok "$1" "status $status: $output"
    elif ! grep -qiE -- "$2" <<<"$output"; then
        not_ok "$1" "no '$2' in: $output"
    else
        ok "$1"
    fi
}
lines 'the recorder cannot bind a port in use' '4789.*in use|in use.*4789' serve -- "$TB_WORK/good.yaml"
lab_tapbox_stop || not_ok 'tapbox ends with status 0'
nsenter --net=/run/netns/capture -- nc -l -k 127.0.0.1 8480 >/dev/null 2>&1 &
holder=$!
lab_wait 2 lab_exec capture sh -c 'ss -Hltn sport = :8480 | grep .'
lines "the API's port is in use" '8480.*in use|in use.*8480' serve -- "$TB_WORK/port.yaml"
kill $holder
lines 'no region' region serve -u AWS_REGION -u AWS_DEFAULT_REGION AWS_EC2_METADATA_DISABLED=true -- "$TB_WORK/good.yaml"
lines 'no such interface' eth9 serve -- "$TB_WORK/interface.yaml"
lines 'a misspelt key' ':1: .*lisen' serve -- "$TB_WORK/key.yaml"
lines 'no configuration' 'not-there' serve -- "$TB_WORK/not-there.yaml"
lines 'no right to capture' 'CAP_NET_RAW|permission' \
    lab_exec capture setpriv --bounding-set -net_raw --inh-caps -net_raw \
    timeout -k 1 60 "$TB_OUT/tapbox" serve --config "$TB_WORK/good.yaml" --with-recorder
nothing_runs() { ! pgrep -x tapbox; }
expect 'nothing is left running' lab_wait 1 nothing_runs
finish
