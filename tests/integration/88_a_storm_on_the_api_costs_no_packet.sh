#!/bin/bash
# A storm on the API while a capture records: trickling connections, guessed tokens and many alerts at once cost no
# packet, little memory, and no honest sender more than a second.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

lab_all_up || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_tapbox_stop
printf 'rate: {per_address: 40, per_token: 200}\n' >>"$LAB_DIR/tapbox.yaml"
scraper=$("$LAB_OUT/tapbox" token add scraper --role scraper --file "$LAB_DIR/tokens" 2>/dev/null)
lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
capture=$(lab_record workload 5m)
lab_wait_for_state "$capture" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_finding workload >"$TB_WORK/finding.json"

pings=1500
lab_exec workload ping -q -i 0.004 -s 600 -c $pings "$(lab_field "$LAB_INTERFACES" remote 6)" >"$TB_WORK/ping" &
pinging=$!
lab_exec capture "$cases_root/tests/support/storm.py" "$LAB_ALERT_TOKEN" "$TB_WORK/finding.json" "$lab_tapbox_pid" ||
    cases_failed=1
wait "$pinging"
expect 'the workload got every answer' grep -q "$pings packets transmitted, $pings received" "$TB_WORK/ping"
same 'too many calls of one address are counted' yes \
    "$(LAB_TOKEN=$scraper lab_call GET /metrics | awk '/why="address_rate"/ && $2 > 0 { print "yes" }')"
same 'nothing was dropped anywhere' '0 0 0' \
    "$(lab_capture "$capture" | jq -r '.ledger | "\(.ring_dropped) \(.queue_dropped) \(.spool_full)"')"
lab_call POST "/v1/captures/$capture/stop" >/dev/null
lab_wait_for_state "$capture" sealed 30 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
expect 'the evidence comes down' lab_download
same 'each request and each answer is in it' $((2 * pings)) \
    "$(find "$(lab_evidence "$capture")/segments" -name '*.zst' -exec tshark -n -r {} -Y 'icmp && frame.len == 642' \; | wc -l)"
same 'and the manifest says that it is complete' yes "$(jq -r .completeness.complete "$(lab_evidence "$capture")/manifest.json")"
finish
