#!/bin/bash
# How long from a capture's first packet until its first segment can be listed in S3; in the lab, with everything
# that is there on AWS: the shipped programs, EC2's data plane (awsim), an S3 server (radosgw).
# usage: TB_OUT=build/release tests/bench/first_evidence.sh     prints one JSON object
set -eu
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

fail() {
    echo "first_evidence: $1" >&2
    exit 1
}
anonymous_kib() { # PID
    awk '$1 == "Anonymous:" { print $2 }' "/proc/$1/smaps_rollup"
}

lab_all_up || fail "$lab_why"
idle=$(anonymous_kib "$lab_tapbox_pid")
id=$(lab_record workload 2m)
[ -n "$id" ] || fail 'the capture is refused'
lab_wait_for_state "$id" recording 20 || fail "$lab_why"
touch "$TB_WORK/go-on"
while [ -e "$TB_WORK/go-on" ]; do "$cases_root/tests/lab/traffic.sh" talk quick; done >"$LAB_DIR/logs/talk.log" 2>&1 &
talker=$!
object=$(lab_exec capture /usr/bin/python3 - "$LAB_S3_URL" "$LAB_BUCKET" <<'END'
import sys, time
import boto3
from botocore.client import Config

s3 = boto3.client("s3", endpoint_url=sys.argv[1], config=Config(s3={"addressing_style": "path"}))
end = time.time() + 60
while time.time() < end:
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=sys.argv[2]).get("Contents", []) if "/segments/" in o["Key"]]
    if keys:
        print(f"{time.time():.3f}")
        break
    time.sleep(0.05)
END
)
rm "$TB_WORK/go-on"
wait "$talker" || true
[ -n "$object" ] || fail 'no segment came to S3 in a minute'
lab_download || fail 'the evidence does not come down'
segment=$(find "$LAB_DIR/evidence" -name '*-000001.pcapng.zst' | head -n 1)
first=$(tshark -r "$segment" -c 1 -T fields -e frame.time_epoch 2>/dev/null)
jq -n --argjson object "$object" --argjson first "$first" --argjson idle "$idle" \
    '{seconds: ($object - $first), first_packet_utc_s: $first, listed_utc_s: $object, serve_idle_anonymous_kib: $idle}'
lab_call POST "/v1/captures/$id/stop" >/dev/null
lab_wait_for_state "$id" sealed 60 || fail "$lab_why"
