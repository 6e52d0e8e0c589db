#!/bin/bash
# Service and recorder as two units, as systemd runs them: the service stops, dies and comes back without a packet
# missed; the recorder is killed, and records again within a second, with the gap named everywhere.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

serve() { # (the recorder is somebody else's)
    lab_start capture "$LAB_DIR/logs/tapbox.log" "$TB_OUT/tapbox" serve --config "$LAB_DIR/tapbox.yaml"
    lab_tapbox_pid=$lab_pid
    lab_wait 30 lab_tapbox_ready_or_dead && lab_alive "$lab_tapbox_pid"
}
records() { [ "$(lab_capture "$id" | jq -r '.live.state')" = armed ]; }
# The end of the last gap, if it is after the kill.
armed_again() {
    back=$(lab_capture "$id" | jq -r '.live.gap_to // empty')
    [ -n "$back" ] && back=$(date -u -d "$back" +%s.%N) && awk -v a="$killed" -v b="$back" 'BEGIN { exit !(b > a) }'
}

mkdir -p "$LAB_DIR/logs"
lab_up || give_up 'the lab comes up'
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_tapbox_config capture.rotate_seconds=2
sed -i "s|socket: .*|socket: $LAB_DIR/recorder.sock|; s|interface: eth0|interface: eth0\n  ring: 8MiB\n  memory: 8MiB|" "$LAB_DIR/tapbox.yaml"
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
# Restart=always, RestartSec=100ms
lab_start capture "$LAB_DIR/logs/unit.log" bash -c "
    trap 'kill \$pid; wait \$pid; exit' TERM
    while :; do
        '$TB_OUT/tapbox' record --config '$LAB_DIR/tapbox.yaml' >>'$LAB_DIR/logs/recorder.log' 2>&1 & pid=\$!
        echo \$pid >'$LAB_DIR/recorder.pid'
        wait \$pid
        sleep 0.1
    done"
unit=$lab_pid
serve || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
"$cases_root/tests/lab/witness.sh" start workload eth0 "$TB_WORK/wire.pcap" || give_up 'tcpdump starts'
id=$(lab_record workload 10m)
lab_wait_for_state "$id" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
recorder=$(cat "$LAB_DIR/recorder.pid")
from=$EPOCHREALTIME
lab_start workload /dev/null ping -q -i 0.01 -s 600 198.51.100.10
ping_pid=$lab_pid

lab_tapbox_stop
sleep 0.5
serve
same 'the service starts again' 0 $?
expect 'and finds the capture recording' lab_wait 5 records
lab_tapbox_stop KILL
sleep 0.5
serve
same 'after SIGKILL too' 0 $?
expect 'the capture is still recording' lab_wait 5 records
same 'one recorder all the time' "$recorder" "$(cat "$LAB_DIR/recorder.pid")"
to=$EPOCHREALTIME
lab_put_down "$LAB_DIR/state/spool" || give_up 'what was recorded is put down' "$LAB_DIR/logs/recorder.log"

# (a machine that is busy with something else gets another try)
for try in 1 2 3 4 5 6; do
    killed=$EPOCHREALTIME
    kill -KILL "$(cat "$LAB_DIR/recorder.pid")"
    lab_wait 10 armed_again || break
    took=$(awk -v a="$killed" -v b="$back" 'BEGIN { printf "%.3f", b - a }')
    awk -v t="$took" 'BEGIN { exit !(t < 1.0) }' && break
    sleep 2
done
if awk -v t="${took:-99}" 'BEGIN { exit !(t < 1.0) }'; then
    ok "a recorder that is killed records again within a second ($took s, try $try)"
else
    not_ok 'a recorder that is killed records again within a second' "${took:-not at all}"
fi
sleep 1.2
kill "$ping_pid"
lab_call POST "/v1/captures/$id/stop" >/dev/null
lab_wait_for_state "$id" sealed 30 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
expect 'tcpdump missed nothing' "$cases_root/tests/lab/witness.sh" stop "$TB_WORK/wire.pcap"
lab_download
folder=$(lab_evidence "$id")
expect 'every frame from before the kill is there, the service coming and going' \
    "$cases_root/tests/support/frames.py" compare --drop-never-mirrored "$TB_WORK/wire.pcap" "$folder"/segments/* --window "$from" "$to"
same 'the manifest does not call it complete' false "$(jq '.completeness.complete == "yes"' "$folder/manifest.json")"
expect 'the custody log names the gap' grep -q recorder "$folder"/custody/0001.jsonl
expect 'tshark reads every segment' "$cases_root/tests/support/tshark.sh" "$folder"/segments/*
expect 'indexes, keys and ledgers are true' "$cases_root/tests/support/second_reader.py" check "$folder"/segments/*

# Its session cannot be deleted, and its recorder dies: what is known stays known.
id=$(lab_record workload 10m)
lab_wait_for_state "$id" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
expect '200 packets are answered' lab_exec workload ping -q -i 0.005 -c 100 198.51.100.10
wrote() { [ "$(lab_capture "$id" | jq '.live.ledger.written')" -ge 200 ]; }
expect 'and recorded' lab_wait 10 wrote
lab_awsim_ask /faults -X PUT -d '[{"action": "DeleteTrafficMirrorSession", "do": {"error": {"status": 403, "code": "UnauthorizedOperation"}}}]' >/dev/null
lab_call POST "/v1/captures/$id/stop" >/dev/null
tried() { grep -q "$id: step 'draining' failed" "$LAB_DIR/logs/tapbox.log"; }
expect 'a session that cannot be deleted keeps it draining' lab_wait 10 tried
recorder=$(cat "$LAB_DIR/recorder.pid")
kill -KILL "$recorder"
another() { [ "$(cat "$LAB_DIR/recorder.pid")" != "$recorder" ] && lab_tapbox_ready; }
expect 'another recorder is there' lab_wait 10 another
lab_capture "$id" >"$TB_WORK/draining.json"
same 'it does not have the capture, and what was received before is told' 'draining null true' \
    "$(jq -r '[.state, .live, .ledger.received >= 200] | map(tostring) | join(" ")' "$TB_WORK/draining.json")"
lab_awsim_ask /faults -X DELETE >/dev/null
lab_wait_for_state "$id" sealed 30 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
same 'each failed step asked once for the end of its session' "$(grep -c "$id: step 'draining' failed" "$LAB_DIR/logs/tapbox.log")" \
    "$(grep -c "$id: .* is still there and is deleted again soon" "$LAB_DIR/logs/tapbox.log")"
lab_download
folder=$(lab_evidence "$id")
same 'the manifest has what its segments hold, a ledger that balances, and does not call it complete' 'true 0 false' "$(jq -r '
    [.ledger.written == ([.segments[].packets] | add), .ledger.residual, .completeness.complete == "yes"] | map(tostring) | join(" ")' "$folder/manifest.json")"
expect 'its custody log names the time without a recorder' grep -q recorder_gap "$folder"/custody/0001.jsonl
lab_tapbox_stop
kill "$unit"
finish
