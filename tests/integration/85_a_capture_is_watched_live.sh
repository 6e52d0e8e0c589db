#!/bin/bash
# Live streams of a running capture: whole, filtered, stalled, hung up; none is felt by the recorder.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
tshark=$cases_root/tests/support/tshark.sh

stream() { # QUERY [curl option...]
    local query=$1
    shift
    lab_exec capture curl -sSN -H "Authorization: Bearer $LAB_RESPONDER_TOKEN" "$@" "$LAB_API/v1/captures/$capture/stream$query"
}
tapbox() {
    lab_exec capture env TAPBOX_URL="$LAB_API" TAPBOX_TOKEN="$LAB_RESPONDER_TOKEN" "$LAB_OUT/tapbox" "$@"
}
has_packets() { # FILE: it is being written
    [ "$(stat -c %s "$1")" -gt 20000 ]
}

lab_up >/dev/null || give_up 'the lab comes up'
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
"$lab_here/traffic.sh" serve "$LAB_DIR/traffic" >"$LAB_DIR/logs/traffic.log" 2>&1 || give_up 'the servers start'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_tapbox_config capture.rotate_seconds=2
sed -i 's/^recorder:/recorder:\n  lanes: 2/' "$LAB_DIR/tapbox.yaml"
lab_tokens || give_up 'tokens are made'
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
capture=$(lab_record workload 5m)

# One that begins before there is anything, one whose program stops reading, four that come and go.
stream '?from=start' >"$TB_WORK/whole.pcapng" 2>"$TB_WORK/whole.err" &
whole=$!
lab_wait_for_state "$capture" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
stream '?from=start' --limit-rate 1 >/dev/null 2>&1 & # reads once, then not for hours
stalled=$!
tapbox watch "$capture" --pcap --bpf 'udp port 53' --from-start >"$TB_WORK/dns.pcapng" 2>"$TB_WORK/dns.err" &
dns=$!
tapbox watch "$capture" --pcap --from-start 2>"$TB_WORK/pipe.err" | tshark -n -l -c 5 -i - >"$TB_WORK/pipe.txt" 2>/dev/null &
pipe=$!
stream '' --limit-rate 400k >/dev/null 2>&1 &
slow=$!

expect 'the workload talks' "$cases_root/tests/lab/traffic.sh" talk demo
lab_exec workload curl -sS -o /dev/null --max-time 5 --limit-rate 3M http://198.51.100.10/bulk 2>/dev/null &
bulk=$!
for try in $(seq 40); do
    stream '?from=start' --max-time 1 >>"$TB_WORK/hung-up.pcapng" 2>/dev/null
    [ "$try" -lt 4 ] || ! has_packets "$TB_WORK/hung-up.pcapng" || break
done
expect 'one that hung up got packets' has_packets "$TB_WORK/hung-up.pcapng"
wait "$pipe"
same 'tshark -i - shows packets of tapbox watch while it runs' 5 "$(wc -l <"$TB_WORK/pipe.txt")"
same 'and when it has enough, the other end says nothing' '' "$(cat "$TB_WORK/pipe.err")"
many=()
for _ in 1 2 3 4 5 6; do
    stream '' --max-time 60 -o /dev/null -w '%{http_code}\n' >>"$TB_WORK/many" 2>/dev/null &
    many+=($!)
done
expect 'nine at once are too many' lab_wait 5 grep -qx 503 "$TB_WORK/many"
kill "${many[@]}" 2>/dev/null
wait "$bulk"
expect 'who stalls is cut off, and the log says so' lab_wait 20 grep -q 'the stream to lab-responder .* is cut off: it takes nothing' "$LAB_DIR/logs/tapbox.log"
expect 'who is slow is not' lab_alive "$slow"
kill "$stalled"

lab_call POST "/v1/captures/$capture/stop" >/dev/null
lab_wait_for_state "$capture" sealed 40 || not_ok 'the capture is sealed' "$lab_why"
wait "$whole"
same 'a stream ends with its capture' '0 ' "$? $(cat "$TB_WORK/whole.err")"
wait "$dns"
same 'so does tapbox watch' '0 ' "$? $(cat "$TB_WORK/dns.err")"

ledger=$(lab_capture "$capture" | jq -c '[.ledger.received - .ledger.written, .ledger.queue_dropped, .ledger.spool_full, .ledger.over_budget]')
same 'not one packet was dropped' '[0,0,0,0]' "$ledger"
same 'by the host neither' 0 "$(lab_capture "$capture" | jq '.host_ledger.ring_dropped // 0')"
expect 'the evidence comes down' lab_download
segments=("$(lab_evidence "$capture")"/segments/*)
same 'both lanes were busy' 2 "$(basename -a "${segments[@]}" | sed -E 's/.*-([0-9]+)-[0-9]+\..*/\1/' | sort -u | wc -l)"
mergecap -w "$TB_WORK/all.pcapng" "${segments[@]}"
expect 'tshark reads the stream without a complaint' "$tshark" "$TB_WORK/whole.pcapng" "$TB_WORK/dns.pcapng"
expect 'the stream holds what the segments hold' "$cases_root/tests/support/frames.py" compare "$TB_WORK/all.pcapng" "$TB_WORK/whole.pcapng"
# (a lane that the machine holds up for seconds is not waited for)
backwards=$(tshark -n -r "$TB_WORK/whole.pcapng" -T fields -e frame.time_delta 2>/dev/null | grep -c '^-')
expect "in the order of time ($backwards)" test "$backwards" -le 5
same 'the filtered one holds what tshark finds in all' \
    "$(tshark -n -r "$TB_WORK/all.pcapng" -Y 'udp.port == 53' -T fields -e frame.time_epoch 2>/dev/null | sort | md5sum)" \
    "$(tshark -n -r "$TB_WORK/dns.pcapng" -T fields -e frame.time_epoch 2>/dev/null | sort | md5sum)"
expect 'of which there were some' test "$(tshark -n -r "$TB_WORK/dns.pcapng" 2>/dev/null | wc -l)" -gt 4

same 'who may not is refused' 403 "$(LAB_TOKEN=$LAB_ALERT_TOKEN lab_status_of GET "/v1/captures/$capture/stream")"
same 'a filter that is none is 400' 400 "$(LAB_TOKEN=$LAB_RESPONDER_TOKEN lab_status_of GET "/v1/captures/$capture/stream?bpf=host%20evil.example")"
same 'what has ended and is in S3 is 409' 409 "$(LAB_TOKEN=$LAB_RESPONDER_TOKEN lab_status_of GET "/v1/captures/$capture/stream")"
expect_failure 'tapbox watch says it' 'nothing of it is here' tapbox watch "$capture" --pcap
expect_failure 'a terminal is refused' 'pipe them' script -qefc \
    "ip netns exec capture env TAPBOX_URL=$LAB_API TAPBOX_TOKEN=x '$LAB_OUT/tapbox' watch $capture --pcap" /dev/null
expect 'each stream is in the custody log' test "$(cat "$(lab_evidence "$capture")"/custody/*.jsonl | jq -r 'select(.act == "stream").who' | grep -c lab-responder)" -ge 8
kill "$slow" 2>/dev/null
lab_tapbox_stop
same 'tapbox ends well' 0 $?
finish
