#!/bin/bash
# Nothing that is in S3 is overwritten; Object Lock, legal hold and SSE-KMS are asked for as configured, on a
# server that enforces them.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
driver=$TB_OUT/bench/aws_driver
if [ -z "${LAB_CASE-}" ]; then
    make -s -C "$cases_root" MODE="$(basename "$TB_OUT")" BUILD="$(dirname "$TB_OUT")" "$driver" || exit 1
fi
in_lab "$@"

with() { # NAME=VALUE... driver's arguments
    local set=()
    while [[ $1 = *=* ]]; do set+=("$1") && shift; done
    env "${set[@]}" nsenter --net=/run/netns/capture -- "$driver" "$@"
}
put() { with DRIVER_NEVER_REPLACE=1 "$@"; }
s3api() { lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" --output json s3api "$@" --bucket "$LAB_BUCKET"; }
head_of() { s3api head-object --key "$1"; }

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_s3_start --object-lock || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
printf one >"$TB_WORK/one"
printf two >"$TB_WORK/two"

# --- never replaced (this radosgw does not look at the condition in versioned buckets, so in one without)
lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" --region us-east-1 s3 mb s3://plain >/dev/null
locked_bucket=$LAB_BUCKET LAB_BUCKET=plain
expect 'a new object goes in' put put "$LAB_BUCKET" k "$TB_WORK/one"
etag=$(head_of k | jq -r .ETag)
expect 'the same again is fine, as after a lost answer' put put "$LAB_BUCKET" k "$TB_WORK/one"
same 'and told with what is there' "etag $etag" "$(put put "$LAB_BUCKET" k "$TB_WORK/one" | grep ^etag)"
expect_failure 'another content is refused' '^exists PreconditionFailed 412 .*another object' put put "$LAB_BUCKET" k "$TB_WORK/two"
same 'and the first is still there' "$etag" "$(head_of k | jq -r .ETag)"
s3api put-object --key stranger --body "$TB_WORK/one" >/dev/null
expect_failure 'what somebody else put there is not taken for ours' '^exists PreconditionFailed 412 ' \
    put put "$LAB_BUCKET" stranger "$TB_WORK/one"

# --- who puts need not read: buckets of somebody else, in which the lab's key has what infra/iam/writer.json says
lab_exec cloud radosgw-admin -c "$LAB_DIR/radosgw/ceph.conf" -n client.rgw.lab user create --uid=owner --display-name=owner \
    --access-key=AKIDOWNER --secret=only-the-owner >"$LAB_DIR/logs/owner.log" 2>&1 || give_up 'there is an owner' "$LAB_DIR/logs/owner.log"
as_owner() { AWS_ACCESS_KEY_ID=AKIDOWNER AWS_SECRET_ACCESS_KEY=only-the-owner "$@"; }
# (Who puts an object owns it in this radosgw, which knows no BucketOwnerEnforced: the denial takes that away.)
policy_of() { # BUCKET
    jq -c -n --arg bucket "$1" --slurpfile writer "$cases_root/infra/iam/writer.json" '
        ("arn:aws:s3:::" + $bucket) as $arn | {AWS: ["arn:aws:iam:::user/lab"]} as $lab |
        {Version: "2012-10-17", Statement: ([$writer[0].Statement[] | select(.Sid != "Encrypt") |
            .Principal = $lab | .Resource |= sub("EVIDENCE-BUCKET"; $bucket)] + [
            {Effect: "Deny", Principal: $lab, Action: ["s3:GetObject", "s3:DeleteObject"], Resource: ($arn + "/*")},
            {Effect: "Allow", Principal: {AWS: ["arn:aws:iam:::user/owner"]}, Action: "s3:*", Resource: ($arn + "/*")}])}'
}
as_owner lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" --region us-east-1 s3 mb s3://theirs >/dev/null
as_owner lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" --region us-east-1 s3api create-bucket --bucket theirs-locked \
    --object-lock-enabled-for-bucket >/dev/null
for bucket in theirs theirs-locked; do
    expect "the server understands the policies ($bucket)" as_owner lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" \
        --region us-east-1 s3api put-bucket-policy --bucket "$bucket" --policy "$(policy_of "$bucket")"
done
LAB_BUCKET=theirs
expect 'the writer puts' put put "$LAB_BUCKET" captures/k "$TB_WORK/one"
expect_failure 'nowhere else' denied put put "$LAB_BUCKET" other/k "$TB_WORK/one"
expect_failure 'cannot read it' '403|Forbidden|AccessDenied' head_of captures/k
s3api delete-object --key captures/k >/dev/null 2>&1 && not_ok 'cannot delete it'
expect 'it is still there' as_owner head_of captures/k
expect_failure 'and cannot tell its own from another, in a bucket that keeps no versions' '^exists PreconditionFailed 412 .*reader_role' \
    put put "$LAB_BUCKET" captures/k "$TB_WORK/one"

LAB_BUCKET=$locked_bucket

# --- posture
expect 'Object Lock with retention' with DRIVER_LOCK_MODE=COMPLIANCE put "$LAB_BUCKET" locked "$TB_WORK/one"
locked=$(head_of locked)
same 'the mode is kept' COMPLIANCE "$(jq -r .ObjectLockMode <<<"$locked")"
expect_failure 'and enforced' 'AccessDenied' s3api delete-object --key locked --version-id="$(jq -r .VersionId <<<"$locked")"
expect 'a legal hold' with DRIVER_LEGAL_HOLD=1 put "$LAB_BUCKET" held "$TB_WORK/one"
same 'is kept' ON "$(head_of held | jq -r .ObjectLockLegalHoldStatus)"
expect 'SSE-KMS' with DRIVER_SSE=aws:kms DRIVER_KMS_KEY=tapbox-key put "$LAB_BUCKET" secret "$TB_WORK/one"
same 'with that key' 'aws:kms tapbox-key' "$(head_of secret | jq -r '"\(.ServerSideEncryption) \(.SSEKMSKeyId)"')"

# --- the service, as one that can only write
LAB_BUCKET=theirs
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
codes() { lab_call POST '/v1/captures?dry_run=1' -d "{\"source\":\"$(lab_instance workload)\",\"duration\":\"60s\",\"reason\":\"test\"}" |
    jq -r '[.. | objects | select(.code? and ((.code | tostring) | startswith("bucket"))) | .code] | unique | join(" ")'; }
lab_tapbox_config
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
same 'pre-flight says where a lost answer could not be settled' bucket_unread "$(codes)"
as_owner lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" --region us-east-1 s3api put-bucket-policy --bucket theirs --policy \
    "$(policy_of theirs | jq -c '.Statement[-2].Action += ["s3:AbortMultipartUpload"]')"
same 'and where its trial could not be taken back' bucket_probe "$(codes)"
lab_tapbox_stop
LAB_BUCKET=theirs-locked
lab_tapbox_config capture.rotate_seconds=1
sed -i "s/^s3:/s3:\n  object_lock_mode: GOVERNANCE\n  retention: 1h\n  legal_hold: true\n  sse: aws:kms\n  kms_key: tapbox-key/" \
    "$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
same 'nor has pre-flight anything against one with Object Lock' '' "$(codes)"
export AWS_ACCESS_KEY_ID=AKIDOWNER AWS_SECRET_ACCESS_KEY=only-the-owner # from here on, for those who look
id=$(lab_call POST /v1/captures -d "{\"source\":\"$(lab_instance workload)\",\"duration\":\"5m\",\"reason\":\"test\"}" | jq -r .capture.id)
lab_wait_for_state "$id" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
lab_exec workload ping -q -c 20 -i 0.02 198.51.100.10 >/dev/null
lab_call POST "/v1/captures/$id/stop" >/dev/null
lab_wait_for_state "$id" sealed 30 || give_up 'the capture is sealed' "$LAB_DIR/logs/tapbox.log"
lost=''
for key in $(s3api list-objects-v2 --prefix captures/ | jq -r '.Contents[].Key'); do
    [ "$(head_of "$key" | jq -r '"\(.ObjectLockMode) \(.ObjectLockLegalHoldStatus) \(.SSEKMSKeyId)"')" = 'GOVERNANCE ON tapbox-key' ] ||
        lost+=" $key"
done
same 'every object of a capture is locked, held and encrypted' '' "$lost"
same 'and there is one version of each' 1 \
    "$(s3api list-object-versions --prefix captures/ | jq '[.Versions | group_by(.Key)[] | length] | max')"
lab_s3 sync --only-show-errors "s3://$LAB_BUCKET/captures" "$TB_WORK/evidence"
expect 'and the evidence holds' "$TB_OUT/tapbox" verify "$TB_WORK/evidence" --key "$LAB_DIR/state/evidence.key.pub"
segment=$(s3api list-objects-v2 --prefix captures/ | jq -r '[.Contents[].Key | select(endswith(".zst"))][0]')
expect_failure 'a segment cannot be deleted for good' AccessDenied \
    s3api delete-object --key "$segment" --version-id="$(head_of "$segment" | jq -r .VersionId)"
lab_tapbox_stop
finish
