#!/bin/bash
# Alerts that end in no capture, replays, refused extensions and standing objects are in a custody log, the host's
# where they are of no capture; it goes to S3, manifests name how far it had come, and verify finds what was done to it.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
key=$LAB_DIR/state/evidence.key.pub
evidence=$LAB_DIR/evidence

post() { # FILE: posts an alert, prints the decision
    lab_exec capture curl -sS --max-time 20 -X POST -H "X-Api-Key: $LAB_ALERT_TOKEN" --data-binary "@$1" \
        "$LAB_API/v1/events" | jq -r '.decision // .title'
}
verify() { env -i unshare -n "$TB_OUT/tapbox" verify "$evidence" --key "$key" "$@"; }
findings() { verify --json | jq -r '[.findings[] | "\(.capture | .[:3]) \(.file // "-") \(.kind)"] | join(", ")'; }
acts() { cat "$log"/*.jsonl | jq -r "$1"; }
again() { rm -rf "$evidence" && cp -a "$TB_WORK/whole" "$evidence"; }

lab_all_up capture.rotate_seconds=1 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_finding workload | jq '.detail.service.archived = true' >"$TB_WORK/archived.json"
post "$TB_WORK/archived.json" >"$TB_WORK/decision"
same 'an archived finding is ignored' ignored "$(cat "$TB_WORK/decision")"
lab_finding workload >"$TB_WORK/finding.json"
same 'a finding is captured' capture "$(post "$TB_WORK/finding.json")"
post "$TB_WORK/finding.json" >/dev/null
id=$(lab_call GET /v1/captures | jq -r '.captures[0].id')
lab_wait_for_state "$id" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_exec workload ping -q -c 10 -i 0.02 198.51.100.10 >/dev/null
same 'an extension beyond the bounds is refused' 422 \
    "$(lab_status_of POST "/v1/captures/$id/extend" -d '{"duration":"23h"}')"
lab_call POST "/v1/captures/$id/stop" >/dev/null
lab_wait_for_state "$id" sealed 20 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
refused=$(lab_call POST /v1/captures -d '{"source":"i-0000000000000dead","duration":"20s","reason":"test"}' | jq -r .capture.id)
lab_wait_for_state "$refused" refused 10 || lab_state_is "$refused" failed || not_ok 'what is not there is refused' "$lab_why"
last=$(lab_record workload 10m)
lab_wait_for_state "$last" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_call POST "/v1/captures/$last/stop" >/dev/null
lab_wait_for_state "$last" sealed 20 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
expect 'the evidence comes down' lab_download
log=$(find "$evidence" -type d -name 'log-*')

same 'each alert is in the host'"'"'s log, with what became of it' 'ignored capture replay capture capture' \
    "$(acts 'select(.act == "alert").detail.decision' | paste -sd' ')"
same 'a replay names the capture of the first time' "$id" "$(acts 'select(.detail.decision == "replay").detail.capture')"
same 'with the hash of what was sent' "$(sha256sum <"$TB_WORK/archived.json" | cut -d' ' -f1)" \
    "$(acts 'select(.detail.decision == "ignored").detail.sha256')"
same 'and who sent it' "$(acts 'select(.detail.decision == "capture").who' | head -n1)" "$(acts 'select(.detail.decision == "replay").who')"
same 'a capture that never ran is there with the reason' "$refused" "$(acts 'select(.act == "capture_ended") | select(.detail.text).detail.capture')"
same 'the standing target and filter were made' 'filter target' \
    "$(acts 'select(.act == "aws_created").detail.kind' | grep -v rule | sort -u | paste -sd' ')"
same 'each manifest that was signed' "$id $last" "$(acts 'select(.act == "manifest_signed").detail.capture' | paste -sd' ')"
same 'the refused extension is in the log of the capture' lab-analyst \
    "$(cat "$(lab_evidence "$id")"/custody/*.jsonl | jq -r 'select(.act == "extend_refused").who')"
expect 'all of it holds, and nothing is missing' verify --whole
same 'as JSON: the log holds' 'true true' "$(verify --json | jq -r '.logs[0] | "\(.here) \(.holds)"')"

# --- what is done to it is named
rm -rf "$TB_WORK/whole" && cp -a "$evidence" "$TB_WORK/whole"
first_object=$(find "$log" -name '0001.jsonl') end=$(find "$log" -name '*.jsonl' | sort | tail -n1)
sed -i 's/"ignored"/"joined" /' "$first_object"
same 'an entry that was changed' 'log 0001.jsonl signature' "$(findings)"
again
sed -i 2d "$first_object"
same 'one that was taken out' 'log 0001.jsonl signature' "$(findings)"
again
rm "$log"/*
cp "$TB_WORK/whole/${end#"$evidence/"}" "$first_object"
cp "$TB_WORK/whole/$(sed 's/jsonl$/sig/' <<<"${end#"$evidence/"}")" "${first_object%jsonl}sig"
same 'objects in the place of others' 'log 0001.jsonl custody' "$(findings)"
again
entries=0
for object in "$log"/*.jsonl; do # (what came after the last manifest, in a further object or not, no manifest knows)
    entries=$((entries + $(wc -l <"$object")))
    [ "$entries" -lt "$(jq .custody.host.entries "$(lab_evidence "$last")/manifest.json")" ] || rm "$object" "${object%jsonl}sig"
done
same 'the end cut off, with its signature: the last manifest knows' 'log - custody' "$(findings)"
again
rm -r "$(lab_evidence "$last")"
expect 'a capture removed, the last one: a part holds' verify
expect_failure 'and --whole has the number from the host'"'"'s log' 'manifest 2 of key .* is not here' verify --whole
again
rm -r "$log"
expect_failure 'the log as a whole removed' 'the host.s custody log is not here' verify --whole
finish
