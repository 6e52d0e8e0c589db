#!/bin/bash
# A segment of more than 50 MB, read whole by the tools that people have, by a reader written from FORMAT.md
# alone, and again after it was cut off and repaired.
# shellcheck disable=SC2317 # is() calls the functions
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
out=${TB_OUT:-${BUILD:-build}/${MODE:-debug}}
maker=$out/bench/segment_maker
work=$(mktemp -d "${TB_WORK:-/tmp}/segment.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
status=0

is() { # SENTENCE COMMAND...
    local sentence=$1
    shift
    if "$@"; then
        echo "ok - $sentence"
    else
        echo "not ok - $sentence"
        status=1
    fi
}

same() { # WANTED GOT
    [ "$1" = "$2" ] || {
        echo "# wanted: $1"
        echo "#    got: $2"
        return 1
    }
}

field() { # NAME: its value in what the maker printed
    sed -nE "s/.*\b$1=([0-9]+).*/\1/p" "$work/made"
}

# Debian's tshark greets root on stderr; that is not a complaint about the file.
complaints() {
    grep -v '^Running as user "root" and group "root"\. This could be dangerous\.$' "$1"
}

tshark_reads() { # FILE PACKETS
    local seen
    /usr/bin/tshark -r "$1" -T fields -e frame.number >"$work/numbers" 2>"$work/stderr"
    seen="status $?, $(wc -l <"$work/numbers") packets, last $(tail -n 1 "$work/numbers"), '$(complaints "$work/stderr")'"
    same "status 0, $2 packets, last $2, ''" "$seen"
}

capinfos_counts() { # FILE PACKETS
    local seen
    seen=$(/usr/bin/capinfos -rcMT "$1" 2>"$work/stderr" | cut -f 2)
    same "$2 ''" "$seen '$(complaints "$work/stderr")'"
}

tcpdump_reads() { # FILE PACKETS
    local seen
    seen=$(zstd -qdc "$1" | /usr/bin/tcpdump -nqtr - 2>"$work/stderr" | wc -l)
    same "$2 reading from file" "$seen $(sed -E 's/^(reading from file) .*/\1/' "$work/stderr")"
}

one_frame() { # FILE
    zstd -qt "$1" || return 1
    same 1 "$(zstd -l "$1" 2>&1 | awk 'END { print $1 }')"
}

second_reader() { # FILE PACKETS
    local seen
    seen=$(tests/support/second_reader.py check "$1" 2>&1) || {
        echo "# $seen"
        return 1
    }
    same "$2 packets" "$(sed -E 's/.* ([0-9]+ packets).*/\1/' <<<"$seen")"
}

refused() { # FILE
    ! tests/support/second_reader.py check "$1" >/dev/null 2>&1
}

every_tool() { # FILE PACKETS
    is "tshark reads every packet with status 0 and without a complaint ($3)" tshark_reads "$1" "$2"
    is "capinfos counts every packet ($3)" capinfos_counts "$1" "$2"
    is "it is one zstd frame and whole ($3)" one_frame "$1"
    is "tcpdump reads every packet after zstd -d ($3)" tcpdump_reads "$1" "$2"
    is "a reader written from FORMAT.md enters at each chunk and finds the index true ($3)" \
        second_reader "$1" "$2"
}

make -s MODE="${MODE:-debug}" BUILD="$(dirname "$out")" "$maker" || exit 1
"$maker" "$work/large.pcapng.zst" 51 1 >"$work/made" || exit 1
sed 's/^/# /' "$work/made"
is 'the segment has more than 50 MB' [ "$(field bytes)" -gt 50000000 ]
every_tool "$work/large.pcapng.zst" "$(field packets)" 'as written'

head -c "$(($(field bytes) / 3))" "$work/large.pcapng.zst" >"$work/cut.pcapng.zst"
is 'the second reader refuses a segment that was cut off' refused "$work/cut.pcapng.zst"
is 'it can be repaired' "$maker" --recover "$work/cut.pcapng.zst" >"$work/made"
grep '^\(not \)\?ok' "$work/made"
every_tool "$work/cut.pcapng.zst" "$(field packets)" 'repaired'
cp "$work/cut.pcapng.zst" "$work/again.pcapng.zst"
"$maker" --recover "$work/again.pcapng.zst" >"$work/made" || status=1
is 'repairing it again changes nothing' cmp "$work/cut.pcapng.zst" "$work/again.pcapng.zst"

for level in -5 -1 3 9 19; do
    "$maker" "$work/level.pcapng.zst" 3 "$level" 7 >"$work/made" || status=1
    is "one frame and an index that is true at level $level" \
        eval "one_frame $work/level.pcapng.zst && second_reader $work/level.pcapng.zst $(field packets)"
done
exit $status
