#!/bin/bash
# The whole road with a segment of more than 50 MB of live traffic, tapped in the middle of conversations.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
talk() { "$cases_root/tests/lab/traffic.sh" talk "$@"; }

lab_all_up capture.rotate_seconds=600 log=debug || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
ok 'everything is up'
"$cases_root/tests/lab/witness.sh" start workload eth0 "$TB_WORK/wire.pcap" || give_up 'tcpdump starts'

# Somebody is talking before the tap opens, and still when it closes.
touch "$TB_WORK/go-on"
while [ -e "$TB_WORK/go-on" ]; do talk demo; done >"$LAB_DIR/logs/talk.log" 2>&1 &
talker=$!
sleep 1
id=$(lab_record workload 10m)
[ -n "$id" ] || give_up 'a capture is accepted' "$LAB_DIR/logs/tapbox.log"
lab_wait_for_state "$id" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
since=$EPOCHREALTIME
early() { [ "$(lab_capture "$id" | jq '.segments | length')" -ge 1 ]; } # the first segment of a capture is a short one
lab_wait 20 early || give_up 'a first segment is sealed' "$LAB_DIR/logs/tapbox.log"
expect 'bulk traffic flows' lab_talk_much "$id"
expect 'frames too long for a mirror flow' talk jumbo
sleep 0.5
until=$EPOCHREALTIME
sleep 0.5
same 'stop is accepted' 202 "$(lab_status_of POST "/v1/captures/$id/stop")"
expect 'the capture is sealed' lab_wait_for_state "$id" sealed 60
rm "$TB_WORK/go-on"
wait "$talker"
same "the workload's programs never failed" '' "$(cat "$LAB_DIR/logs/talk.log")"
expect 'tcpdump missed nothing' "$cases_root/tests/lab/witness.sh" stop "$TB_WORK/wire.pcap"
expect 'the evidence comes down' lab_download
folder=$(lab_evidence "$id")
segments=("$folder"/segments/*)
segment=$(ls -S "${segments[@]}" | head -n 1)

expect "one segment is larger than 50 MB ($(stat -c %s "$segment"))" test "$(stat -c %s "$segment")" -gt 50000000
expect 'SHA256SUMS holds' sh -c "cd '$folder' && sha256sum -c --quiet --strict SHA256SUMS"
expect 'tshark reads it whole and does not complain' "$cases_root/tests/support/tshark.sh" "${segments[@]}"
expect 'zstd finds it sound' zstd -q -t "${segments[@]}"
same 'it is one zstd frame' 1 "$(zstd -l "$segment" 2>/dev/null | awk '/pcapng/ { print $1 }')"
written=$(lab_capture "$id" | jq .ledger.written)
same 'tcpdump reads as many packets as the ledger says' "$written" \
    "$(for file in "${segments[@]}"; do zstd -q -dc "$file" | tcpdump_reads - 2>/dev/null; done | wc -l)"
same 'capinfos too' "$written" "$(capinfos -Mc "${segments[@]}" | awk -F: '/of packets/ { n += $2 } END { print n }')"
expect 'every frame is what tcpdump saw at the workload' "$cases_root/tests/support/frames.py" compare \
    "$TB_WORK/wire.pcap" "${segments[@]}" --drop-never-mirrored --window "$since" "$until"
shown=$(lab_capture "$id")
session=$(jq -r '.resources[] | select(.kind == "session").id' <<<"$shown")
same 'as many were written as EC2 mirrored' "$(lab_mirrored "$session")" "$written"
same 'the ledger balances' 0 "$(jq .ledger.residual <<<"$shown")"
same 'frames too long for a mirror are marked truncated' \
    "$(lab_awsim_ask /counters | jq --arg id "$session" '.sessions[] | select(.session == $id).truncated')" \
    "$(jq .ledger.truncated <<<"$shown")"
same 'nothing is left in the spool' '' "$(find "$LAB_DIR/state" -name '*.pcapng*')"
same 'no session is left' 0 "$(lab_left | cut -d' ' -f1)"
finish
