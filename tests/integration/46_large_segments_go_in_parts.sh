#!/bin/bash
# Segments over s3.part_above go to S3 in parts: through throttling, faults, hangs and lost answers, once, whole, and
# with nothing left that was begun.  Against radosgw, behind a proxy that checks what AWS checks, and fails as told.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
# shellcheck source-path=SCRIPTDIR source=../support/parts.sh
. "$cases_root/tests/support/parts.sh"

run() { # CASE RULES
    parts_begin "$2"
    if ! lab_tapbox_start; then
        not_ok "$1" "$lab_why"
        return
    fi
    parts_end "$1"
    same "$1: that is what happened" 0 "$(lab_exec cloud curl -sS -f http://10.77.0.5:7490/-/rules | jq '[.[] | select((.times // 1) > 0)] | length')"
}

parts_up
parts_keep
run 'in three parts' '[]'
same 'three' 3 "$(parts_count PUT 'partNumber=')"
run 'throttled, then a fault, then a body that was cut' '[
    {"method": "POST", "match": "uploads=", "do": "refuse", "status": 503, "code": "SlowDown"},
    {"method": "PUT", "match": "partNumber=2", "do": "refuse", "status": 500, "code": "InternalError"},
    {"method": "PUT", "match": "partNumber=3", "do": "refuse", "status": 400, "code": "RequestTimeout"}]'
same 'no part went twice but those that were refused' 5 "$(parts_count PUT 'partNumber=')"
run 'the beginning is lost on its way back' '[{"method": "POST", "match": "uploads=", "do": "lose"}]'
same 'what it began is aborted' 1 "$(parts_count DELETE uploadId 204)"
run 'the answer to a part is lost' '[{"method": "PUT", "match": "partNumber=2", "do": "lose"}]'
run 'the answer to the completion is lost' '[{"method": "POST", "match": "uploadId=", "do": "lose"}]'
same 'and no part goes again' 3 "$(parts_count PUT 'partNumber=')"
run '200, and an error for a body' '[{"method": "POST", "match": "uploadId=", "do": "ok_error", "code": "InternalError"}]'
same 'makes it try again' 2 "$(parts_count POST 'uploadId=')"
run '200, an error for a body, and done all the same' '[{"method": "POST", "match": "uploadId=", "do": "done_error", "code": "SlowDown"}]'
same 'which it looks up' 3 "$(parts_count PUT 'partNumber=')"
run 'an answer that begins with spaces' '[{"method": "POST", "match": "uploadId=", "do": "spaces"}]'
run 'credentials expire between two parts' '[{"method": "PUT", "match": "partNumber=2", "do": "refuse", "status": 400, "code": "ExpiredToken"}]'
run 'the upload is gone in the middle' '[{"method": "PUT", "match": "partNumber=3", "do": "refuse", "status": 404, "code": "NoSuchUpload"}]'
run 'a conflict at the completion' '[{"method": "POST", "match": "uploadId=", "do": "refuse", "status": 409, "code": "ConditionalRequestConflict"}]'
finish
