#!/bin/bash
# A second pair of eyes: tcpdump at a host's own interface, before anything of ours has touched a frame.
# usage, inside the lab: tests/lab/witness.sh start HOST INTERFACE FILE.pcap
#                        tests/lab/witness.sh stop FILE.pcap    fails if it missed anything
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lab.sh
. "$here/lab.sh"

start() { # HOST INTERFACE FILE
    local tries program=(tcpdump)
    if [ "$(cat /proc/self/setgroups)" = deny ]; then
        program=("$here/setgroups-ok.py" tcpdump)
    fi
    lab_start "$1" "$3.log" "${program[@]}" -i "$2" -w "$3" -s 0 -B 131072 -Z root -n -U \
        --time-stamp-precision=nano
    echo "$lab_pid" >"$3.pid"
    for ((tries = 0; tries < 3000; tries++)); do
        ! grep -qs 'listening on' "$3.log" || return 0
        sleep 0.02
    done
    echo "witness.sh: tcpdump on $1 does not listen: $(cat "$3.log")" >&2
    exit 1
}

stop() { # FILE
    local pid captured received dropped tries
    pid=$(cat "$1.pid")
    # What the kernel has taken in is not written down at once, and would be lost: until it is, for tcpdump tells.
    for ((tries = 0; tries < 600; tries++)); do
        kill -USR1 "$pid"
        sleep 0.1
        read -r captured received < <(sed -n 's/^tcpdump: \([0-9]*\) packets\{0,1\} captured, \([0-9]*\) packets\{0,1\} received by filter.*/\1 \2/p' "$1.log" | tail -n 1) || continue
        [ "$captured" != "$received" ] || break
    done
    kill -INT "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
    rm -f "$1.pid"
    captured=$(sed -n 's/^\([0-9]*\) packets\{0,1\} captured$/\1/p' "$1.log")
    received=$(sed -n 's/^\([0-9]*\) packets\{0,1\} received by filter$/\1/p' "$1.log")
    dropped=$(sed -n 's/^\([0-9]*\) packets\{0,1\} dropped by kernel$/\1/p' "$1.log")
    if [ "$dropped" != 0 ] || [ "$captured" != "$received" ]; then
        echo "witness.sh: $1 is not complete: $captured of $received packets, $dropped dropped" >&2
        exit 1
    fi
}

case ${1-}:$# in
start:4) start "$2" "$3" "$4" ;;
stop:2) stop "$2" ;;
*)
    sed -n '3,4s/^# //p' "$0" >&2
    exit 2
    ;;
esac
