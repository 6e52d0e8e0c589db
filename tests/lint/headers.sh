#!/bin/bash
# Every public header compiles alone, and twice.  usage: tests/lint/headers.sh BUILD
set -eu
status=0
for header in include/tapbox/*.h; do
    name=tapbox/$(basename "$header")
    printf '#include <%s>\n#include <%s>\nextern int only;\nint only;\n' "$name" "$name" |
        "${CC:-gcc}" -D_GNU_SOURCE -Iinclude -std=c17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c - || {
        echo "$header does not compile alone"
        status=1
    }
done
exit $status
