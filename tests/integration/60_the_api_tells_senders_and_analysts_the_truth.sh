#!/bin/bash
# The API of a running tapbox as its senders and analysts meet it: curl, and tapbox's own commands.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

tapbox() { # tapbox's own client, on the capture host, as an analyst
    lab_exec capture env TAPBOX_URL="$LAB_API" TAPBOX_TOKEN="${LAB_TOKEN:-$LAB_ANALYST_TOKEN}" "$LAB_OUT/tapbox" "$@"
}
status_of_command() { # COMMAND...: only its exit status
    "$@" >/dev/null 2>&1
    echo $?
}
post() { # TOKEN FILE [curl option...]: the answer's status; its body is in $TB_WORK/answer
    local token=$1 file=$2
    shift 2
    lab_exec capture curl -s --max-time 20 -X POST -H "X-Api-Key: $token" -H 'Range: bytes=0-1048575' \
        -H 'Connection: close' -H 'Content-Type: application/json; charset=utf-8' \
        -H 'User-Agent: Amazon/EventBridge/ApiDestinations' --data-binary "@$file" \
        -o "$TB_WORK/answer" -D "$TB_WORK/headers" -w '%{http_code}' "$@" "$LAB_API/v1/events"
}
member() { # POINTER: of the last answer
    jq -r "$1" "$TB_WORK/answer"
}

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_tapbox_config log=debug
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
same 'without a tokens file it is ready, and nobody may call' 401 \
    "$(LAB_TOKEN=tbx_none lab_status_of GET /v1/captures)"
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
same 'a token counts without a restart' 200 "$(lab_status_of GET /v1/captures)"

# what a sender gets wrong
lab_finding workload >"$TB_WORK/finding.json"
head -c 1048577 /dev/zero | tr '\0' ' ' >"$TB_WORK/big"
printf '{"a":' >"$TB_WORK/half"
printf '{"a":1}' >"$TB_WORK/unknown"
same 'an unknown token is to be sent again later' 401 "$(post tbx_wrong "$TB_WORK/finding.json")"
same 'the wrong role is final' 403 "$(post "$LAB_RESPONDER_TOKEN" "$TB_WORK/finding.json")"
same 'a body over 1 MiB is too large' 413 "$(post "$LAB_ALERT_TOKEN" "$TB_WORK/big")"
same 'also when its length is not announced' 413 \
    "$(post "$LAB_ALERT_TOKEN" "$TB_WORK/big" -H 'Transfer-Encoding: chunked')"
same 'half of a JSON text is refused' 400 "$(post "$LAB_ALERT_TOKEN" "$TB_WORK/half")"
same 'as a problem document' application/problem+json \
    "$(sed -n 's/^Content-Type: \([^\r]*\)\r*$/\1/Ip' "$TB_WORK/headers")"
same 'a shape nobody knows is refused' 400 "$(post "$LAB_ALERT_TOKEN" "$TB_WORK/unknown")"
expect 'with the reason' grep -qi guardduty "$TB_WORK/answer"

# what a sender gets right
same 'a finding makes a capture' 202 "$(post "$LAB_ALERT_TOKEN" "$TB_WORK/finding.json")"
capture=$(member .capture.id)
same 'and says so' capture "$(member .decision)"
same 'the same finding again is a duplicate' "200 duplicate $capture" \
    "$(post "$LAB_ALERT_TOKEN" "$TB_WORK/finding.json") $(member .decision) $(member .capture.id)"
lab_finding workload >"$TB_WORK/second.json"
same 'another finding about it joins the capture' "202 joined $capture" \
    "$(post "$LAB_ALERT_TOKEN" "$TB_WORK/second.json") $(member .decision) $(member .capture.id)"
lab_wait_for_state "$capture" recording 15 || give_up "the capture records ($lab_why)" "$LAB_DIR/logs/tapbox.log"
ok 'the capture records'

# what an analyst sees
tapbox show "$capture" --json >"$TB_WORK/show.json"
same 'show --json is the capture' "$capture recording" "$(jq -r '.id + " " + .state' "$TB_WORK/show.json")"
same 'with its interface, both alerts and the time left' 'eni-0a1b2c3d4e5f60110 true 2 true' \
    "$(jq -r '"\(.sources[0].eni) \(.sources[0].armed) \(.alerts) \(.seconds_left > 0 and .seconds_left <= 600)"' "$TB_WORK/show.json")"
same 'its session is named' created "$(jq -r '.resources[] | select(.kind == "session").state' "$TB_WORK/show.json")"
same 'and live counters balance' 0 "$(jq .live.ledger.residual "$TB_WORK/show.json")"
expect 'show tells it to people' grep -q "^$capture  recording, .* left" <(tapbox show "$capture")
expect 'list shows it' grep -q "^$capture  *recording" <(tapbox list --live)
same 'a responder may look' 0 "$(LAB_TOKEN=$LAB_RESPONDER_TOKEN status_of_command tapbox show "$capture")"
same 'and not stop' 4 "$(LAB_TOKEN=$LAB_RESPONDER_TOKEN status_of_command tapbox stop "$capture")"
same 'a capture that is not there is status 3' 3 "$(status_of_command tapbox show cap-20260102T030405Z-1a2b3c4d)"
same 'stop stops it' 0 "$(status_of_command tapbox stop "$capture")"
lab_wait 15 lab_state_is "$capture" draining sealing sealed || not_ok 'it drains' "$(lab_state "$capture")"
same 'stopping it again is status 6' 6 "$(status_of_command tapbox stop "$capture")"
same 'and 409 with its state' true \
    "$(lab_call POST "/v1/captures/$capture/stop" | jq '.status == 409 and (.state | IN("draining", "sealing", "sealed"))')"

# what an analyst gets wrong
lab_call POST /v1/captures -d '{"sauce":1}' >"$TB_WORK/answer"
same 'an unknown member is named' true "$(member '.status == 400 and (.detail | contains("sauce"))')"
same 'and by start too, as a usage error' 2 "$(status_of_command tapbox start i-0123456789abcdef0 --reason x --duration 99d)"
answer=$(tapbox start i-0123456789abcdef0 --reason 'no such instance' --json --key one)
capture=$(jq -r .capture.id <<<"$answer")
lab_wait_for_state "$capture" failed 15 || not_ok 'an unknown instance fails' "$lab_why"
same 'an unknown instance fails with the code of EC2' InvalidInstanceID.NotFound "$(lab_capture "$capture" | jq -r .error.code)"
same 'and its request id' 36 "$(lab_capture "$capture" | jq -r '.error.request_id | length')"
expect 'show tells people why' grep -q 'InvalidInstanceID.NotFound' <(tapbox show "$capture")
same 'the same key gives the same capture' "$capture" \
    "$(tapbox start i-0123456789abcdef0 --reason 'no such instance' --json --key one | jq -r .capture.id)"

# starting wrongly
mkdir "$TB_WORK/second"
sed "s,^state_dir: .*,state_dir: $TB_WORK/second," "$LAB_DIR/tapbox.yaml" >"$TB_WORK/second.yaml"
lab_exec capture timeout 60 "$LAB_OUT/tapbox" serve --config "$TB_WORK/second.yaml" --with-recorder >"$TB_WORK/second.log" 2>&1
same 'a service whose port is in use does not start' 1 $?
expect 'which it says' grep -q '127.0.0.1 port 8480 is in use' "$TB_WORK/second.log"
same 'no recorder was started for it' '1 0' "$(for log in "$LAB_DIR/logs/tapbox.log" "$TB_WORK/second.log"; do grep -c ' record: recording on' "$log"; done | xargs)"
sed 's,^listen: .*,lisen: 127.0.0.1:1,' "$LAB_DIR/tapbox.yaml" >"$TB_WORK/wrong.yaml"
expect_failure 'a wrong configuration is refused with line and key' "wrong.yaml:1: lisen: unknown key; did you mean 'listen'" \
    lab_exec capture "$LAB_OUT/tapbox" serve --config "$TB_WORK/wrong.yaml"
same 'with the status of a usage error' 2 "$(status_of_command "$LAB_OUT/tapbox" check-config --config "$TB_WORK/wrong.yaml")"
expect 'no secret stands in the log' bash -c "! grep -qF -e '$LAB_ALERT_TOKEN' -e '$LAB_ANALYST_TOKEN' -e tbx_wrong '$LAB_DIR/logs/tapbox.log'"
lab_tapbox_stop
same 'tapbox ends well when asked to' 0 $?
finish
