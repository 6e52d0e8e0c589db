#!/bin/bash
# What AWS left out of a mirror reaches the verdict through CloudWatch; what may not be asked is said to be
# unknown; a number that is late is waited for.  The manifest says who the host is in words that AWS signed,
# which build it was, and fits its schema.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

record() { # [waits|HOST]: a capture with some packets, sealed; its manifest in $manifest
    local host=workload
    case ${1-} in workload*) host=$1 ;; esac
    id=$(lab_call POST /v1/captures -d "{\"source\":\"$(lab_instance $host)\",\"duration\":\"10m\",\"reason\":\"test\"}" |
        jq -r .capture.id)
    lab_wait_for_state "$id" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
    lab_exec $host ping -q -c 20 -i 0.02 198.51.100.10 >/dev/null
    lab_call POST "/v1/captures/$id/stop" >/dev/null
    [ "${1-}" = waits ] || lab_wait_for_state "$id" sealed 30 || give_up 'the capture is sealed' "$LAB_DIR/logs/tapbox.log"
    manifest=$TB_WORK/$id.json
    [ "${1-}" = waits ] || lab_s3 cp --only-show-errors "s3://$LAB_BUCKET/captures/$(tr - / <<<"${id:4:4}-${id:8:2}-${id:10:2}")/$id/manifest.json" "$manifest"
}
verdict() { jq -r '"\(.completeness.complete) \([.completeness.gaps[].kind] | join(","))"' "$manifest"; }
change() { lab_awsim_ask /world -f -X POST -d "$1" >/dev/null || not_ok "awsim takes $1"; }

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
lab_tapbox_config capture.rotate_seconds=1
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"

record
same 'nothing left out: complete' 'yes ' "$(verdict)"
same 'CloudWatch was asked about the instance' "true $(lab_instance workload)" \
    "$(jq -r '.skipped_by_aws[] | "\(.asked and .periods_known == .periods) \(.instance)"' "$manifest")"

# --- the host
same 'the build is the program that runs' "$(readelf -n "$TB_OUT/tapbox" | sed -n 's/ *Build ID: //p')" "$(jq -r .build_id "$manifest")"
same 'the host is its instance' "$(lab_instance capture)" "$(jq -r .host.identity.instance "$manifest")"
jq -r .host.identity.document "$manifest" | head -c -1 >"$TB_WORK/document"
{ echo '-----BEGIN PKCS7-----' && jq -r .host.identity.rsa2048 "$manifest" && echo '-----END PKCS7-----'; } >"$TB_WORK/rsa2048"
lab_awsim_ask /identity-certificate >"$TB_WORK/aws.pem"
expect 'its document was signed by AWS' openssl smime -verify -inform PEM -in "$TB_WORK/rsa2048" -certfile "$TB_WORK/aws.pem" \
    -noverify -out "$TB_WORK/signed"
expect 'and is, octet for octet, what was signed' cmp "$TB_WORK/document" "$TB_WORK/signed"
same 'the clock has a keeper' string "$(jq -r '.host.clock.source | type' "$manifest")"
if /usr/bin/python3 -c 'import jsonschema' 2>/dev/null; then
    expect 'the manifest fits its schema' /usr/bin/python3 -c "
import json, sys, jsonschema
jsonschema.validate(json.load(open(sys.argv[1])), json.load(open(sys.argv[2])))" "$manifest" "$cases_root/src/evidence/manifest.schema.json"
else
    skip 'the schema: python3-jsonschema is not there'
fi

# --- what AWS leaves out
change "{\"skip_mirror\": {\"$(lab_eni workload)\": 4}}"
record
same 'what AWS left out is a gap' 'no skipped_by_aws' "$(verdict)"
same 'with as many packets as were left out' "$(lab_awsim_ask /counters | jq '[.sessions[].skipped] | add')" \
    "$(jq '.completeness.gaps[0].packets' "$manifest")"
same 'and the others are all there' 30 "$(jq .ledger.written "$manifest")"
change "{\"skip_mirror\": {\"$(lab_eni workload)\": 0}}"

# --- an interface of two that EC2 does not mirror
second=$(jq -r '.enis[] | select(.instance == $i and .device_index == 1).id' --arg i "$(lab_instance workload2)" "$LAB_DIR/world.json")
lab_awsim_ask /faults -f -X PUT -d "[{\"action\": \"CreateTrafficMirrorSession\", \"match\": {\"NetworkInterfaceId\": \"$second\"}, \"do\": {\"error\": {}}}]" >/dev/null
record workload2
same 'an interface that was never mirrored is a gap' 'no source' "$(verdict)"
same 'by its name, with what EC2 said' "$second true" \
    "$(jq -r '.completeness.gaps[0].text | "\(split(" ")[0]) \(contains("InternalError"))"' "$manifest")"
same 'and what is mirrored is recorded' 'true true' "$(jq -r '"\(.ledger.written >= 40) \(any(.sources[]; .mirrored))"' "$manifest")"
lab_awsim_ask /faults -X DELETE >/dev/null

# --- nobody may ask
lab_awsim_ask /faults -f -X PUT -d '[{"service": "cloudwatch", "do": {"error": {"status": 403, "code": "AccessDenied", "message": "no"}}}]' >/dev/null
record
same 'what may not be asked is unknown' 'unknown skips_unknown' "$(verdict)"
expect 'with the reason' jq -e '.completeness.gaps[0].text | contains("AccessDenied")' "$manifest"
lab_awsim_ask /faults -X DELETE >/dev/null

# --- numbers that are late are waited for, as long as was said
change '{"metric_delay_s": 86400}'
record waits
lab_wait_for_state "$id" sealing 20 || not_ok 'a capture comes to sealing' "$lab_why"
sleep 1.5
same 'a manifest waits for late numbers' sealing "$(lab_state "$id")"
lab_tapbox_stop
printf 'evidence:\n  metrics_wait: 0s\n' >>"$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up 'tapbox starts again' "$LAB_DIR/logs/tapbox.log"
lab_wait_for_state "$id" sealed 20 || not_ok 'or not, when told so' "$lab_why"
lab_s3 cp --only-show-errors "s3://$LAB_BUCKET/captures/$(tr - / <<<"${id:4:4}-${id:8:2}-${id:10:2}")/$id/manifest.json" "$manifest"
same 'and says that they are not known' 'unknown' "$(jq -r .completeness.complete "$manifest")"
lab_tapbox_stop

# --- a disk that does not give a page of a sealed segment
spool=$LAB_DIR/state/spool
if why=$(/usr/bin/python3 -c 'import sys; sys.path.insert(0, "tests/support"); import faulty_disk; print(faulty_disk.why_not())') && [ -n "$why" ]; then
    skip "a disk that fails: $why"
    finish
fi
mkdir -p "$TB_WORK/below" "$spool"
mkfifo "$TB_WORK/disk"
/usr/bin/python3 -c '
import sys
sys.path.insert(0, "tests/support")
import faulty_disk
disk = faulty_disk.FaultyDisk(*sys.argv[1:3])
disk.fault("eio-page")
print("ready", flush=True)
sys.stdin.read()
disk.close()' "$spool" "$TB_WORK/below" <"$TB_WORK/disk" >"$TB_WORK/disk.said" &
exec 9>"$TB_WORK/disk"
lab_wait 10 grep -q ready "$TB_WORK/disk.said" || give_up 'a disk that fails'
sed -i 's/rotate_seconds: 1$/rotate_seconds: 60/' "$LAB_DIR/tapbox.yaml"
lab_tapbox_start 9>&- || give_up 'tapbox starts on a disk that fails' "$LAB_DIR/logs/tapbox.log"
id=$(lab_call POST /v1/captures -d "{\"source\":\"$(lab_instance workload)\",\"duration\":\"10m\",\"reason\":\"test\"}" |
    jq -r .capture.id)
lab_wait_for_state "$id" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
lab_exec workload /usr/bin/python3 -c '
import os, socket, time
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(40):
    wire.sendto(os.urandom(1000), ("198.51.100.10", 9))
    time.sleep(0.08)'
lab_call POST "/v1/captures/$id/stop" >/dev/null
lab_wait_for_state "$id" sealed 60 || not_ok 'a capture is sealed although the disk does not give all of a segment' "$lab_why"
place=captures/$(tr - / <<<"${id:4:4}-${id:8:2}-${id:10:2}")/$id
lab_s3 cp --only-show-errors --recursive "s3://$LAB_BUCKET/$place" "$TB_WORK/$id"
manifest=$TB_WORK/$id/manifest.json
same 'its manifest names the damage' 'no damaged,skips_unknown' "$(verdict)"
same 'the segments and the gap hold together what was written' "$(jq .ledger.written "$manifest")" \
    "$(jq '([.segments[].packets] | add) + .completeness.gaps[0].packets' "$manifest")"
expect 'some of it could be read, some not' jq -e '.completeness.gaps[0].packets > 0 and .ledger.written > .completeness.gaps[0].packets' "$manifest"
name=$(jq -r '.completeness.gaps[0].text' "$manifest" | sed -n 's,^segments/\([^ ]*\) .*,\1,p')
expect 'the segment as the disk has it is kept' [ -s "$TB_WORK/below/unreadable/$id/$name" ]
expect 'what could be read opens' tshark -n -r "$TB_WORK/$id/segments/$name"
expect 'and proves itself' "$TB_OUT/tapbox" verify --key "$LAB_DIR/state/evidence.key.pub" "$TB_WORK/$id"
expect 'the custody log says so' grep -q "\"damage\":.*$name" "$TB_WORK/$id/custody/0001.jsonl"
lab_tapbox_stop
exec 9>&-
finish
