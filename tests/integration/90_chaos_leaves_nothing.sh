#!/bin/bash
# A short make chaos: the programs are killed at their crash points, and nothing may be left.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$root/build
[ -z "${TB_OUT-}" ] || build=$(dirname "$TB_OUT")
result=$build/chaos/result.json

not_ok() { # CASE DETAIL
    printf 'not ok - %s\n' "$1"
    printf '#   %s\n' "${2//$'\n'/$'\n'#   }"
    failed=1
}
zero() { # MEMBER CASE
    local got
    got=$(jq -r ".$1" "$result")
    if [ "$got" = 0 ]; then printf 'ok - %s\n' "$2"; else not_ok "$2" "$got $1, see $build/chaos/failed"; fi
}
failed=0
rm -f "$result"
# Every point is drawn at least once; a point that was not come by gets more runs.
"$root/tests/chaos/chaos.py" --build "$build" --mode "${MODE:-release}" --runs "${CHAOS_RUNS:-200}" --seed "${CHAOS_SEED:-1}"
if [ ! -s "$result" ]; then
    not_ok 'the runs come to an end' 'there is no result'
    exit 1
fi
zero leaks 'nothing that expires is left'
zero duplicates 'no interface ever has two sessions of ours'
zero stuck 'every capture comes to an end'
zero lost_alerts 'nothing that was acknowledged is forgotten'
zero other 'nothing of others is touched, and no program dies by itself'
missing=$(jq -r '.crash_points_missing | join(", ")' "$result")
if [ -z "$missing" ]; then echo 'ok - every crash point was come by'; else not_ok 'every crash point was come by' "$missing"; fi
exit "$failed"
