#!/bin/bash
# runbooks/retrieve-evidence.md and read-a-capture.md, block by block as they stand there, in the lab.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
# shellcheck source-path=SCRIPTDIR source=../support/runbook.sh
. "$cases_root/tests/support/runbook.sh"
in_lab "$@"

lab_all_up capture.rotate_seconds=2 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
capture=$(lab_record workload 5m)
lab_wait_for_state "$capture" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
expect 'the workload talks' "$cases_root/tests/lab/traffic.sh" talk quick
lab_exec workload ping -q -i 0.05 198.51.100.10 >/dev/null & # it goes on talking, until the capture ends
talking=$!
mkdir -p "$TB_WORK/desk" "$TB_WORK/bin"
# (Debian's AWS CLI does not know AWS_ENDPOINT_URL)
printf '#!/bin/sh\nexec /usr/bin/aws --endpoint-url %s "$@"\n' "$LAB_S3_URL" >"$TB_WORK/bin/aws"
chmod +x "$TB_WORK/bin/aws"

the_capture_ends_here() {
    "$cases_root/tests/lab/traffic.sh" talk quick
    lab_call POST "/v1/captures/$capture/stop" >/dev/null
    lab_wait_for_state "$capture" sealed 40 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
    kill "$talking"
}
run_block() {
    cd "$TB_WORK/desk" && lab_exec capture env PATH="$TB_WORK/bin:$LAB_OUT:$PATH" TAPBOX_URL="$LAB_API" \
        TAPBOX_TOKEN="$LAB_RESPONDER_TOKEN" CAPTURE="$capture" BUCKET="$LAB_BUCKET" bash "$1"
}
run_blocks runbooks/retrieve-evidence.md
expect 'the live file has packets' test "$(tshark -n -r "$TB_WORK/desk/live.pcapng" 2>/dev/null | wc -l)" -gt 5
same 'both ways to one host give the same' "$(tshark -n -r "$TB_WORK/desk/with-aws/segments/host.pcapng" 2>/dev/null | md5sum)" \
    "$(tshark -n -r "$TB_WORK/desk/host.pcapng" 2>/dev/null | md5sum)"
expect 'which is something' test "$(tshark -n -r "$TB_WORK/desk/host.pcapng" 2>/dev/null | wc -l)" -gt 5
ln -s with-tapbox "$TB_WORK/desk/evidence"
fill_in() { sed "s,s3://my-evidence/.*/\$CAPTURE,$(jq -r .place "$TB_WORK/desk/files.json"),"; }
run_blocks runbooks/read-a-capture.md
expect 'the page for the case file has the verdict' grep -qi 'complete' "$TB_WORK/desk/report.html"
finish
