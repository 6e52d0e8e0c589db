#!/bin/bash
# Read captures with tshark and accept no complaint.
# usage: tests/support/tshark.sh FILE...    one line a file: name, packets, octets, TCP + UDP conversations
# Exit status 1, and what was said, if tshark's is not 0 or it says anything on stderr.  One sentence is
# let through: that it runs as root, which is about us and not about the file.
set -u
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
status=0
for file in "$@"; do
    # An empty home: nobody's own settings take part.
    HOME=$home XDG_CONFIG_HOME=$home /usr/bin/tshark -n -r "$file" -q -z io,stat,0 -z conv,tcp -z conv,udp \
        >"$home/out" 2>"$home/said"
    ended=$?
    sed -i '/^Running as user "root" and group "root"\. This could be dangerous\.$/d' "$home/said"
    if [ $ended -ne 0 ] || [ -s "$home/said" ]; then
        echo "tshark.sh: $file: status $ended: $(tr '\n' ' ' <"$home/said")" >&2
        status=1
    fi
    # "| 0.000 <> 5.012 |  1234 | 567890 |" is the row of io,stat; a conversation has "<->" in it.
    awk -v file="$(basename "$file")" '
        /^\|.*<>.*[0-9]/ { gsub(/\|/, " "); packets = $(NF - 1); bytes = $NF }
        /<->/ && !/Frames/ { conversations++ }
        END { print file, packets + 0, bytes + 0, conversations + 0 }' "$home/out"
done
exit $status
