#!/bin/bash
# SIGKILL for everything of tapbox in the middle of a capture; then it is started again.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
talk() { "$cases_root/tests/lab/traffic.sh" talk "$@"; }

lab_all_up capture.rotate_seconds=3 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
"$cases_root/tests/lab/witness.sh" start workload eth0 "$TB_WORK/wire.pcap" || give_up 'tcpdump starts'
id=$(lab_record workload 40s)
lab_wait_for_state "$id" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
first_from=$EPOCHREALTIME
talk demo
talk demo
first_to=$EPOCHREALTIME
lab_put_down "$LAB_DIR/state/spool" || give_up 'what was recorded is put down' "$LAB_DIR/logs/tapbox.log"
pkill -KILL -x tapbox
{ wait "$lab_tapbox_pid"; } 2>/dev/null
lab_wait 5 sh -c '! pgrep -x tapbox'
cp "$LAB_DIR/logs/tapbox.log" "$LAB_DIR/logs/tapbox-killed.log"
talk quick
lab_tapbox_start
same 'it starts again' 0 $?
lab_wait_for_state "$id" recording 10
ok "after the restart the capture is '$(lab_state "$id")'"
expect 'the capture ends by its deadline' lab_wait_for_state "$id" sealed 60
expect 'tcpdump missed nothing' "$cases_root/tests/lab/witness.sh" stop "$TB_WORK/wire.pcap"
same 'no session outlives it' 0 "$(lab_left | cut -d' ' -f1)"
expect 'the evidence comes down' lab_download
folder=$(lab_evidence "$id")
expect 'SHA256SUMS holds' sh -c "cd '$folder' && sha256sum -c --quiet --strict SHA256SUMS"
expect 'tshark reads every segment' "$cases_root/tests/support/tshark.sh" "$folder"/segments/*
expect 'what was recorded before is all there' "$cases_root/tests/support/frames.py" compare --drop-never-mirrored \
    "$TB_WORK/wire.pcap" "$folder"/segments/* --window "$first_from" "$first_to"
expect 'the manifest does not call it complete' jq -e '.complete != "yes" and .complete != true' "$folder/manifest.json"
finish
