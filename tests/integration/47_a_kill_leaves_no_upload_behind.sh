#!/bin/bash
# SIGKILL before and after each step of an upload in parts; then the service starts again: the segment gets to S3 whole,
# parts that S3 has acknowledged do not go twice, and nothing that was begun is left.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
# shellcheck source-path=SCRIPTDIR source=../support/parts.sh
. "$cases_root/tests/support/parts.sh"

kill_at() { # CRASH POINT, MOST PARTS THAT GO
    local status sent
    parts_begin '[]'
    TAPBOX_CRASH=$1 lab_start capture "$LAB_DIR/logs/tapbox.log" "$TB_OUT/tapbox" serve --config "$LAB_DIR/tapbox.yaml" \
        --with-recorder
    { wait "$lab_pid"; } 2>/dev/null
    status=$?
    if [ "$status" != 137 ]; then
        not_ok "$1: killed there" "status $status"
        return
    fi
    if ! lab_tapbox_start; then
        not_ok "$1: it starts again" "$lab_why"
        return
    fi
    parts_end "$1"
    # radosgw remembers the parts, too
    sent=$(parts_count PUT 'partNumber=')
    if [ "$sent" -le "$2" ]; then ok "$1: $sent parts went"; else not_ok "$1: $sent parts went" "$2 are enough"; fi
}

parts_up
parts_keep
kill_at CreateMultipartUpload:before 3
kill_at CreateMultipartUpload:after 3
kill_at upload_begun:before 3
kill_at upload_begun:after 3
kill_at UploadPart:before#2 3
kill_at UploadPart:after#2 4
kill_at upload_part:after#2 3
kill_at CompleteMultipartUpload:before 3
kill_at CompleteMultipartUpload:after 3
kill_at segment_uploaded:before 3
kill_at segment_uploaded:after 3

# A file that is gone: the upload that was begun for it goes, too, and the manifest tells.
parts_begin '[]'
TAPBOX_CRASH=upload_part:after#2 lab_start capture "$LAB_DIR/logs/tapbox.log" "$TB_OUT/tapbox" serve \
    --config "$LAB_DIR/tapbox.yaml" --with-recorder
{ wait "$lab_pid"; } 2>/dev/null
rm "$LAB_DIR/state/spool/$parts_id/$parts_name"
lab_tapbox_start || give_up 'it starts again' "$LAB_DIR/logs/tapbox.log"
expect 'a capture of which the file is gone is sealed' lab_wait_for_state "$parts_id" sealed 25
same 'the upload that was begun for it is aborted' 0 "$(parts_left)"
same 'the API calls it lost' lost "$(lab_capture "$parts_id" | jq -r '.segments[0].state')"
lab_download
folder=$(dirname "$(find "$LAB_DIR/evidence/$parts_prefix" -name manifest.json)")
same 'and the manifest names the gap' 'no lost' "$(jq -r '"\(.completeness.complete) \(.completeness.gaps[] | select(.kind == "lost").kind)"' "$folder/manifest.json")"
expect 'which verifies' "$TB_OUT/tapbox" verify "$folder" --key "$LAB_DIR/state/evidence.key.pub"
lab_tapbox_stop
finish
