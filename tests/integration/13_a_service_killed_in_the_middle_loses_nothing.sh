#!/bin/bash
# SIGKILL for everything of tapbox in the middle of a capture; then it is started again.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
talk() { "$cases_root/tests/lab/traffic.sh" talk "$@"; }

lab_all_up capture.rotate_seconds=3 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
"$cases_root/tests/lab/witness.sh" start workload eth0 "$TB_WORK/wire.pcap" || give_up 'tcpdump starts'
id=$(lab_record workload 60s)
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
expect 'the capture ends by its deadline' lab_wait_for_state "$id" sealed 80
expect 'tcpdump missed nothing' "$cases_root/tests/lab/witness.sh" stop "$TB_WORK/wire.pcap"
same 'no session outlives it' 0 "$(lab_left | cut -d' ' -f1)"
expect 'the evidence comes down' lab_download
folder=$(lab_evidence "$id")
expect 'SHA256SUMS holds' sh -c "cd '$folder' && sha256sum -c --quiet --strict SHA256SUMS"
expect 'tshark reads every segment' "$cases_root/tests/support/tshark.sh" "$folder"/segments/*
expect 'what was recorded before is all there' "$cases_root/tests/support/frames.py" compare --drop-never-mirrored \
    "$TB_WORK/wire.pcap" "$folder"/segments/* --window "$first_from" "$first_to"
expect 'the manifest does not call it complete' jq -e '.complete != "yes" and .complete != true' "$folder/manifest.json"

# --- killed once more, and what evidence is signed with is not there for a while
crash() {
    pkill -KILL -x tapbox
    { wait "$lab_tapbox_pid"; } 2>/dev/null
    lab_wait 5 sh -c '! pgrep -x tapbox'
}
says() { grep -c "$1" "$LAB_DIR/logs/tapbox.log"; }
says_again() { [ "$(says "$1")" -gt "$2" ]; } # PATTERN COUNT
id=$(lab_record workload 10m)
other=$(lab_record workload2 10m)
lab_wait_for_state "$id" recording 10 && lab_wait_for_state "$other" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
crash
sqlite3 "$LAB_DIR/state/tapbox.db" "UPDATE captures SET stop_asked = 1, stop_reason = 'operator', due_steady_ns = 0 WHERE id = '$id'"
cp "$LAB_DIR/tapbox.yaml" "$TB_WORK/with-key.yaml"
printf 'evidence:\n  key_file: /no/such.key\n' >>"$LAB_DIR/tapbox.yaml"
lab_start capture "$LAB_DIR/logs/tapbox.log" "$LAB_OUT/tapbox" serve --config "$LAB_DIR/tapbox.yaml" --with-recorder
lab_tapbox_pid=$lab_pid
waits="step 'sealing' failed and is repeated in .*there is no key that evidence is signed with"
expect 'without the key a capture that has ended waits to be sealed, and says so' lab_wait 60 says_again "$waits" 0
expect 'it is tried again, with pauses' lab_wait 60 says_again "$waits" 2
same 'what is tapped meanwhile stays so until its deadline' 2 "$(lab_left | cut -d' ' -f1)"
crash
cp "$TB_WORK/with-key.yaml" "$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up 'it starts with its key' "$LAB_DIR/logs/tapbox.log"
expect 'with the key it is sealed' lab_wait_for_state "$id" sealed 60
finish
