#!/bin/bash
# Two instances that talk to each other are captured at the same time, one of them on two interfaces.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
witness=$cases_root/tests/lab/witness.sh

lab_all_up capture.rotate_seconds=2 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
"$witness" start workload eth0 "$TB_WORK/one.pcap" || give_up 'tcpdump starts'
"$witness" start workload2 eth0 "$TB_WORK/two.pcap" || give_up 'tcpdump starts'
"$witness" start workload2 eth1 "$TB_WORK/three.pcap" || give_up 'tcpdump starts'
one=$(lab_record workload 5m)
two=$(lab_record workload2 5m)
for id in "$one" "$two"; do
    lab_wait_for_state "$id" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
done
same 'both interfaces of an instance are captured' 2 "$(lab_capture "$two" | jq '[.sources[] | select(.armed)] | length')"
expect 'the instances talk, in frames of any size' "$cases_root/tests/lab/traffic.sh" talk jumbo
expect 'and with the Internet' "$cases_root/tests/lab/traffic.sh" talk demo
expect 'the second interface talks' lab_exec remote ping -q -c 5 -i 0.2 -s 1000 10.77.3.20
sleep 0.5
for id in "$one" "$two"; do
    same 'stop is accepted' 202 "$(lab_status_of POST "/v1/captures/$id/stop")"
done
for id in "$one" "$two"; do
    expect 'sealed' lab_wait_for_state "$id" sealed 30
done
for file in one two three; do
    expect "tcpdump missed nothing ($file)" "$witness" stop "$TB_WORK/$file.pcap"
done
expect 'the evidence comes down' lab_download
mergecap -F pcap -w "$TB_WORK/both.pcap" "$TB_WORK/two.pcap" "$TB_WORK/three.pcap"
expect 'the first holds what passed its interface' "$cases_root/tests/support/frames.py" compare \
    --drop-never-mirrored "$TB_WORK/one.pcap" "$(lab_evidence "$one")"/segments/*
expect 'the second holds what passed its two' "$cases_root/tests/support/frames.py" compare \
    --drop-never-mirrored "$TB_WORK/both.pcap" "$(lab_evidence "$two")"/segments/*
expect 'tshark reads all of it' "$cases_root/tests/support/tshark.sh" "$LAB_DIR"/evidence/captures/*/*/*/*/segments/*
same 'the two interfaces have names in the file' 'eni-0a1b2c3d4e5f60120 eni-0a1b2c3d4e5f60320' \
    "$(find "$(lab_evidence "$two")/segments" -name '*1.pcapng.zst' -exec capinfos -I {} + | grep -o 'eni-[0-9a-f]*' | sort -u | tr '\n' ' ' | sed 's/ $//')"
expect 'what belongs to no capture is taken away too' lab_exec capture "$TB_OUT/tapbox" sweep --standing
same 'nothing is left' '0 0 0' "$(lab_left)"
finish
