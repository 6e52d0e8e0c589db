#!/bin/bash
# A bucket that cannot keep evidence as it is asked to is found by the plan, with a code for what it lacks;
# one that can gets what was asked: Object Lock, encryption, tags.  The server enforces it.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

s3api() { lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" --region us-east-1 --output json s3api "$@"; }
configure() { # "key: value"...: below s3
    lab_tapbox_config capture.rotate_seconds=1
    local setting
    for setting in "$@"; do sed -i "s/^s3:/s3:\n  ${setting//\//\\/}/" "$LAB_DIR/tapbox.yaml"; done
}
codes() { # of what stands against a capture
    lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
    lab_call POST '/v1/captures?dry_run=1' -d "{\"source\":\"$(lab_instance workload)\",\"duration\":\"10m\",\"reason\":\"test\"}" |
        jq -r '[.. | objects | select(.code? and ((.code | tostring) | startswith("bucket"))) | .code] | unique | join(" ")'
    lab_tapbox_stop
}

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_s3_start --object-lock || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" --region us-east-1 s3 mb s3://plain >/dev/null
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
locked=$LAB_BUCKET
asked=('object_lock_mode: COMPLIANCE' 'retention: 1h' 'sse: aws:kms' 'kms_key: tapbox-key' 'tags: team=forensics\&case=IR%2D7')

LAB_BUCKET=plain
configure
same 'a bucket of which nothing is asked is fine' '' "$(codes)"
configure 'object_lock_mode: GOVERNANCE' 'retention: 1h'
same 'one without Object Lock cannot lock' bucket_object_lock "$(codes)"
configure 'storage_class: GLACIER'
same 'one without that storage class has none' bucket_storage_class "$(codes)"
LAB_BUCKET=not-there
configure "${asked[@]}"
same 'one that is not there is no matter of wishes' bucket "$(codes)"

LAB_BUCKET=$locked
configure "${asked[@]}"
same 'one with Object Lock can' '' "$(codes)"
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
id=$(lab_call POST /v1/captures -d "{\"source\":\"$(lab_instance workload)\",\"duration\":\"10m\",\"reason\":\"test\"}" | jq -r .capture.id)
lab_wait_for_state "$id" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
lab_exec workload ping -q -c 10 -i 0.02 198.51.100.10 >/dev/null
lab_call POST "/v1/captures/$id/stop" >/dev/null
lab_wait_for_state "$id" sealed 30 || give_up 'the capture is sealed' "$LAB_DIR/logs/tapbox.log"
keys=$(s3api list-objects-v2 --bucket "$LAB_BUCKET" --prefix captures/ | jq -r '.Contents[].Key')
lost=''
for key in $keys; do
    [ "$(s3api get-object-tagging --bucket "$LAB_BUCKET" --key "$key" | jq -r '[.TagSet[] | "\(.Key)=\(.Value)"] | sort | join(" ")')" = \
        'case=IR-7 team=forensics' ] || lost+=" $key"
done
same 'every object has the tags' '' "$lost"
key=$(grep -m1 'zst$' <<<"$keys")
head=$(s3api head-object --bucket "$LAB_BUCKET" --key "$key")
same 'a segment is locked and encrypted' 'COMPLIANCE aws:kms' "$(jq -r '"\(.ObjectLockMode) \(.ServerSideEncryption)"' <<<"$head")"
expect_failure 'and nobody deletes it before its time' AccessDenied \
    s3api delete-object --bucket "$LAB_BUCKET" --key "$key" --version-id="$(jq -r .VersionId <<<"$head")"
lab_tapbox_stop
finish
