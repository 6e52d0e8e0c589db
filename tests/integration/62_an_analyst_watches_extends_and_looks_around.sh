#!/bin/bash
# Extending, watching, the queue, sessions of others and the metrics, of a running tapbox.
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
extend() { # CAPTURE JSON: the answer with its status, in $TB_WORK/answer
    lab_status_of POST "/v1/captures/$1/extend" -d "$2" -o "$TB_WORK/answer"
}
member() { # POINTER: of the last answer
    jq -r "$1" "$TB_WORK/answer"
}
expires() { # CAPTURE: what the tags of its sessions say
    lab_ec2 describe-traffic-mirror-sessions |
        jq -r --arg id "$1" '.TrafficMirrorSessions[] | select(any(.Tags[]?; .Key == "tapbox:capture" and .Value == $id))
            | .Tags[] | select(.Key == "tapbox:expires").Value'
}
metric() { # LINE'S BEGINNING: the value
    LAB_TOKEN=$scraper lab_call GET /metrics | awk -v name="$1" '$1 == name { print $2 }'
}
is_metric() { # LINE'S BEGINNING VALUE
    [ "$(metric "$1")" = "$2" ]
}
says() { # PATTERN TEXT
    grep -qE -- "$1" <<<"$2" || {
        echo "$2"
        return 1
    }
}

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
lab_tapbox_config capture.duration=3m capture.rotate_seconds=2 capture.max_duration=5m
printf '  %s\n' 'no_traffic_seconds: 2' 'max_concurrent: 1' >>"$LAB_DIR/tapbox.yaml" # below "capture:", the last one
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
scraper=$("$LAB_OUT/tapbox" token add lab-scraper --file "$LAB_DIR/tokens" --role scraper 2>>"$LAB_DIR/logs/token.log")
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"

# --- nothing arrives, and then something does
capture=$(lab_record workload 200s)
lab_wait_for_state "$capture" recording 10 || give_up "the capture records ($lab_why)" "$LAB_DIR/logs/tapbox.log"
tapbox watch "$capture" >"$TB_WORK/watch.txt" &
watching=$!
tapbox watch "$capture" --json >"$TB_WORK/watch.json" &
watching_json=$!
no_traffic() { lab_capture "$capture" | jq -e .no_traffic; }
expect 'a capture without a packet says so' lab_wait 8 no_traffic
same 'with what to look at' true "$(lab_capture "$capture" | jq '.checklist | length >= 4 and (.[0] | contains("UDP 4789 from 10.77."))')"
expect 'show tells it too' says 'NO TRAFFIC' "$(tapbox show "$capture")"
expect 'and it is a metric' lab_wait 3 is_metric tapbox_captures_no_traffic 1
expect 'watch says it' lab_wait 4 grep -q 'recording .* 0 packets.* NO TRAFFIC$' "$TB_WORK/watch.txt"
lab_exec workload ping -q -c 20 -i 0.02 198.51.100.10 >/dev/null
traffic() { lab_capture "$capture" | jq -e '.no_traffic | not'; }
expect 'the first packet clears it' lab_wait 5 traffic
same 'and the checklist' '[]' "$(lab_capture "$capture" | jq -c .checklist)"
expect 'and the metric' lab_wait 3 is_metric tapbox_captures_no_traffic 0

# --- a longer time box
before=$(lab_capture "$capture" | jq -r .deadline)
same 'an extension is confirmed' 200 "$(extend "$capture" '{"duration":"10s","reason":"still talking"}')"
same 'by exactly what was asked' 10 "$(($(date -d "$(member .capture.deadline)" +%s) - $(date -d "$before" +%s)))"
same 'the tags of its session expire then' "$(date -ud "$(member .capture.deadline)" +%FT%TZ)" "$(expires "$capture")"
same 'the reason is in the log of the service' 1 "$(grep -c 'extension asked for by lab-analyst: still talking' "$LAB_DIR/logs/tapbox.log")"
before=$(member .capture.deadline)
same 'longer than the configuration allows is 422' 422 "$(extend "$capture" '{"duration":"5m"}')"
same 'with the latest deadline that is possible' "$(($(date -d "$(lab_capture "$capture" | jq -r .requested)" +%s) + 300))" \
    "$(date -d "$(member .latest_deadline)" +%s)"
same 'and a usage error of the command' 2 "$(status_of_command tapbox extend "$capture" --duration 5m)"
expect 'the command tells the new end' says ' ends at 20.*Z, in ' "$(tapbox extend "$capture" --duration 1s --reason more)"
before=$(lab_capture "$capture" | jq -r .deadline)
same 'a responder may not' 403 "$(LAB_TOKEN=$LAB_RESPONDER_TOKEN extend "$capture" '{"duration":"1s"}')"
same 'without a time it is 400' 400 "$(extend "$capture" '{}')"
same 'a capture that is not there is 404' 404 "$(extend cap-20260102T030405Z-1a2b3c4d '{"duration":"1s"}')"

# AWS does not confirm: the old deadline stands
lab_awsim_ask /faults -X PUT -d '[{"action":"CreateTags","do":{"error":{"status":500}}}]' >/dev/null
same 'what AWS does not confirm is 503' 503 "$(extend "$capture" '{"duration":"20s"}')"
same 'and names the deadline that stands' "$(date -ud "$before" +%FT%TZ)" "$(member .deadline)"
lab_awsim_ask /faults -X DELETE >/dev/null
same 'which it is' "$before null" "$(lab_capture "$capture" | jq -r '"\(.deadline) \(.extending_to)"')"
in_tags() { [ "$(expires "$capture")" = "$(date -ud "$before" +%FT%TZ)" ]; }
expect 'also in the tags' lab_wait 10 in_tags

# --- more than there are places
ask_for() { lab_call POST /v1/captures -d "{\"source\":\"$1\",\"reason\":\"test\"}" | jq -r .capture.id; }
second=$(ask_for eni-0a1b2c3d4e5f60120)
third=$(ask_for eni-0a1b2c3d4e5f60320)
position() { lab_capture "$1" | jq -r .queue_position; }
waits() { [ "$(position "$1")" = 1 ]; }
expect 'what finds no place waits in the queue' lab_wait 5 waits "$second"
same 'one that runs does not' null "$(position "$capture")"
expect 'the queue is a metric' lab_wait 3 is_metric tapbox_queue_length 2
same 'in the order of asking' 2 "$(position "$third")"
expect 'list --live shows all of them' says "$second  *requested" "$(tapbox list --live)"
expect 'show tells its place' says 'number 1 in the queue' "$(tapbox show "$second")"
same 'it cannot be extended' "409 requested" "$(extend "$second" '{"duration":"1s"}') $(member .state)"
same 'and can be cancelled' 0 "$(status_of_command tapbox stop "$second")"
next() { [ "$(position "$third")" = 1 ]; }
expect 'then the next one moves up' lab_wait 3 next
tapbox stop "$third" >/dev/null

# --- sessions of others
expect 'there is none' says 'No mirror session' "$(tapbox list --foreign)"
filter=$(lab_ec2 create-traffic-mirror-filter | jq -r .TrafficMirrorFilter.TrafficMirrorFilterId)
target=$(lab_ec2 describe-traffic-mirror-targets | jq -r '.TrafficMirrorTargets[0].TrafficMirrorTargetId')
session=$(lab_ec2 create-traffic-mirror-session --network-interface-id eni-0a1b2c3d4e5f60120 --session-number 7 \
    --traffic-mirror-target-id "$target" --traffic-mirror-filter-id "$filter" --virtual-network-id 4711 \
    --tag-specifications 'ResourceType=traffic-mirror-session,Tags=[{Key=Name,Value=rogue}]' |
    jq -r .TrafficMirrorSession.TrafficMirrorSessionId)
expect 'a session that tapbox did not make is listed' says "^$session +eni-0a1b2c3d4e5f60120 +7 +4711 .*Name=rogue" "$(tapbox list --foreign)"
same 'with all that is known of it' "$session eni-0a1b2c3d4e5f60120 $target $filter 7 4711 $LAB_ACCOUNT rogue 1" \
    "$(LAB_TOKEN=$LAB_RESPONDER_TOKEN lab_call GET /v1/foreign-sessions |
        jq -r '(.sessions | length) as $n | .sessions[0] | "\(.id) \(.source) \(.target) \(.filter) \(.number) \(.vni) \(.owner) \(.tags.Name) \($n)"')"
expect 'and counted' lab_wait 20 is_metric tapbox_foreign_sessions 1
same 'a sender of alerts may not look' 403 "$(LAB_TOKEN=$LAB_ALERT_TOKEN lab_status_of GET /v1/foreign-sessions)"

# --- a delete that fails is counted, and repeated
lab_awsim_ask /faults -X PUT -d '[{"action":"DeleteTrafficMirrorSession","to":5,"do":{"error":{"status":500}}}]' >/dev/null
tapbox stop "$capture" >/dev/null
lab_wait_for_state "$capture" sealed 40 || not_ok 'a delete that fails is repeated' "$lab_why"
lab_awsim_ask /faults -X DELETE >/dev/null
same 'a delete that fails is repeated until it is done' '' "$(expires "$capture")"
expect 'and counted' test "$(metric tapbox_delete_failures_total)" -ge 1
expect 'as are requests that EC2 failed' test "$(metric 'tapbox_aws_requests_total{service="ec2",result="failed"}')" -ge 4
expect 'S3 acknowledged something' test "$(metric 'tapbox_aws_requests_total{service="s3",result="ok"}')" -ge 3
expect 'the recorder counts what it received' test "$(metric tapbox_recorder_received_packets_total)" -ge 20
expect 'the spool is empty' lab_wait 5 is_metric tapbox_spool_bytes 0

documented() { sed -n '/^## Metrics/,/^## /s/^| \(`[^|]*\) |.*/\1/p' "$cases_root/runbooks/operating.md" | grep -oE 'tapbox_[a-z0-9_]+' | sort -u; }
same 'every metric is documented' '' "$(LAB_TOKEN=$scraper lab_call GET /metrics | sed -n 's/^# HELP \([^ ]*\) .*/\1/p' | sort -u | comm -23 - <(documented))"
same 'and every one that is documented exists' '' "$(documented | while read -r name; do
    grep -q "\"$name\"" "$cases_root"/src/http/*.c || echo "$name"
done)"

# --- what was to be seen of it
wait "$watching"
same 'watch ends with the capture, status 0' 0 $?
wait "$watching_json"
same 'with --json too' 0 $?
expect 'it said that something arrived' grep -qE 'recording .* [1-9][0-9]* packets' "$TB_WORK/watch.txt"
expect 'and how it ended' says "  $capture  sealed \(operator\)" "$(tail -n 1 "$TB_WORK/watch.txt")"
same 'no line was said twice' '' "$(cut -d' ' -f3- "$TB_WORK/watch.txt" | uniq -d)"
expect 'with --json each line is the capture' test "$(jq -r .id "$TB_WORK/watch.json" | sort | uniq -c | awk -v id="$capture" '$2 == id { n = $1 } END { print n + 0 }')" -ge 5
same 'a capture that failed is status 1' 1 "$(status_of_command tapbox watch \
    "$(tapbox start i-0123456789abcdef0 --reason none --json | jq -r .capture.id)")"
same 'one that is not there is status 3' 3 "$(status_of_command tapbox watch cap-20260102T030405Z-1a2b3c4d)"
lab_wait 20 is_metric tapbox_queue_length 0

# --- on a terminal
if command -v script >/dev/null; then
    capture=$(lab_record workload 200s)
    lab_wait_for_state "$capture" recording 10 || not_ok 'another one records' "$lab_why"
    TERM=xterm script -qefc "echo \$\$ >'$TB_WORK/watch.pid'; exec ip netns exec capture env TAPBOX_URL=$LAB_API TAPBOX_TOKEN=$LAB_ANALYST_TOKEN '$LAB_OUT/tapbox' watch $capture" \
        "$TB_WORK/terminal" >/dev/null 2>&1 </dev/null &
    watching=$!
    expect 'on a terminal it is drawn in place' lab_wait 30 grep -qP '\x1b\[[0-9]+A\r' "$TB_WORK/terminal"
    expect 'with the time that is left' grep -qP 'time +\[=* +\] of 3m 2[0-9]s' "$TB_WORK/terminal"
    kill -INT "$(cat "$TB_WORK/watch.pid")"
    wait "$watching"
    same 'and SIGINT leaves the terminal as it was' 'cursor wrap' \
        "$(tail -c 200 "$TB_WORK/terminal" | grep -aoP '\x1b\[\?(25h|7h)' | tail -n 2 | sed 's/.*25h/cursor/;s/.*7h/wrap/' | sort | paste -sd' ')"
    tapbox stop "$capture" >/dev/null
else
    skip 'the view on a terminal: there is no script(1) here'
fi
lab_tapbox_stop
same 'tapbox ends well when asked to' 0 $?
finish
