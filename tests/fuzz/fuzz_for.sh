#!/bin/bash
# A fuzzer until it has had so many seconds of a processor, however long that takes beside others.
# usage: tests/fuzz/fuzz_for.sh SECONDS FUZZER [OPTION...] [CORPUS...]
set -eu
ticks=$(($1 * $(getconf CLK_TCK)))
shift
"$@" &
trap 'kill $!' INT TERM
while sleep 0.2 && stat=$(cat "/proc/$!/stat" 2>/dev/null); do
    read -r _ _ _ _ _ _ _ _ _ _ _ user kernel _ <<<"${stat##*) }"
    if [ $((user + kernel)) -ge "$ticks" ]; then
        kill -USR1 $! 2>/dev/null || true # libFuzzer's way to be asked to end
        break
    fi
done
wait $!
