#!/bin/bash
# The lab itself: hosts, addresses, frame sizes, and a wire without noise.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
frames=$cases_root/tests/support/frames.py

expect 'the lab comes up' lab_up
lab_wait 5 lab_exec remote true
"$cases_root/tests/lab/witness.sh" start workload eth0 "$TB_WORK/wire.pcap" || give_up 'tcpdump starts'
for host in remote cloud capture workload2; do
    for column in 6 7; do
        address=$(lab_field "$LAB_INTERFACES" $host $column)
        expect "the workload reaches $host at $address" lab_exec workload ping -q -c 1 -W 20 "$address"
    done
done
expect 'a jumbo packet fits within the VPC' lab_exec workload ping -q -c 1 -W 20 -M 'do' -s 8973 10.77.1.20
expect_failure 'a packet too long for the Internet is refused, not carried' 'message too long|frag needed' \
    lab_exec workload ping -c 1 -W 20 -M 'do' -s 1473 198.51.100.10
expect 'the second interface answers by itself' lab_exec remote ping -q -c 1 -W 20 10.77.3.20
expect 'the servers start' "$cases_root/tests/lab/traffic.sh" serve "$TB_WORK/traffic"
for profile in quick demo jumbo; do
    expect "traffic '$profile' gets its answers" "$cases_root/tests/lab/traffic.sh" talk $profile
done
expect 'tcpdump misses nothing' "$cases_root/tests/lab/witness.sh" stop "$TB_WORK/wire.pcap"
same 'no ARP, no neighbour discovery, no multicast is between the packets' '' \
    "$(tcpdump_reads "$TB_WORK/wire.pcap" 'arp or ether multicast or (icmp6 and ip6[40] >= 130 and ip6[40] <= 137)' 2>/dev/null)"
same 'no frame is longer than the MTU allows' '' \
    "$(tcpdump_reads "$TB_WORK/wire.pcap" 'greater 9016' 2>/dev/null)"
same 'no TCP checksum was left to hardware that is not there' '' \
    "$(tcpdump_reads "$TB_WORK/wire.pcap" -v tcp 2>/dev/null | grep -m 1 incorrect)"
expect 'a capture is what it is' "$frames" compare "$TB_WORK/wire.pcap" "$TB_WORK/wire.pcap"
lab_world >"$TB_WORK/world.json"
expect 'the world file is JSON with all interfaces' jq -e '.enis | length == 4' "$TB_WORK/world.json"
finish
