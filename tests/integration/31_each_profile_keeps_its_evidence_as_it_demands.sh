#!/bin/bash
# Profiles of a policy ask for different Object Lock, keys and tags: every object of a capture is kept as its own
# profile says, and where it says nothing as the configuration does; the server refuses to delete what is locked, and
# AWS's own client says all of it.  The manifest tells what was asked for, and what S3 made of it; a key that S3 does
# not know is found by the plan.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

s3api() { lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" --region us-east-1 --output json s3api "$@" --bucket "$LAB_BUCKET"; }
post() { # FINDING's file: the capture's id
    lab_exec capture curl -sS --max-time 20 -X POST -H "X-Api-Key: $LAB_ALERT_TOKEN" --data-binary "@$1" "$LAB_API/v1/events" |
        jq -r '.capture.id // empty'
}
capture() { # SEVERITY: a finding, its capture and its end; the id in $id
    lab_finding workload | jq ".detail.severity = $1" >"$TB_WORK/finding.json"
    id=$(post "$TB_WORK/finding.json")
    lab_wait_for_state "$id" recording 10 || give_up "a finding of severity $1 is recorded" "$LAB_DIR/logs/tapbox.log"
    lab_exec workload ping -q -c 10 -i 0.02 198.51.100.10 >/dev/null
    lab_call POST "/v1/captures/$id/stop" >/dev/null
    lab_wait_for_state "$id" sealed 30 || give_up "and sealed" "$LAB_DIR/logs/tapbox.log"
}
kept() { # [PART]: each way in which the objects whose key has it (else: those of no capture) are kept, once
    lab_exec capture /usr/bin/python3 - "$LAB_S3_URL" "$LAB_BUCKET" "${1-}" <<'END'
import datetime, sys
import boto3, botocore

url, bucket, part = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1")


def ask(call, **more):
    try:
        return call(Bucket=bucket, **more)
    except botocore.exceptions.ClientError as error:  # the object has none
        if error.response["Error"]["Code"] not in ("NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"):
            raise
        return {}


ways = set()
for one in s3.list_objects_v2(Bucket=bucket, Prefix="captures/")["Contents"]:
    key = one["Key"]
    if (part not in key) if part else ("/cap-" in key):
        continue
    retention = ask(s3.get_object_retention, Key=key).get("Retention", {})
    hold = ask(s3.get_object_legal_hold, Key=key).get("LegalHold", {}).get("Status", "OFF")
    head = s3.head_object(Bucket=bucket, Key=key)
    tags = sorted(f'{tag["Key"]}={tag["Value"]}' for tag in s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"])
    until = retention.get("RetainUntilDate")
    hours = (until - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 3600 if until else 0
    ways.add(" ".join([retention.get("Mode", "none"), f"{round(hours)}h", hold, head["ServerSideEncryption"],
                       head["SSEKMSKeyId"], head.get("StorageClass", "STANDARD"), *tags]))
print("\n".join(sorted(ways)))
END
}
cat >"$TB_WORK/policy.yaml" <<END
profiles:
  court:
    duration: 10m
    object_lock: {mode: COMPLIANCE, retention: 48h, legal_hold: true}
    s3: {sse: aws:kms, kms_key: court-key, storage_class: STANDARD, tags: for=court&team=law}
  desk: {duration: 10m, object_lock: {mode: GOVERNANCE, retention: 2h}}
  loose: {duration: 10m, object_lock: {mode: none}, s3: {sse: aws:kms, tags: for=nobody}}
  lost: {duration: 10m, s3: {sse: aws:kms, kms_key: no-such-key}}
rules:
  - {name: grave, when: {severity: ">=8"}, capture: court}
  - {name: lost, when: {severity: "7"}, capture: lost}
  - {name: usual, when: {severity: ">=4"}, capture: desk}
  - {name: rest, when: {}, capture: loose}
END
lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_s3_start --object-lock || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
lab_tapbox_config capture.rotate_seconds=1
sed -i "s/^s3:/s3:\n  object_lock_mode: GOVERNANCE\n  retention: 5h\n  sse: aws:kms\n  kms_key: tapbox-key\n  tags: team=forensics/" "$LAB_DIR/tapbox.yaml"
printf 'policy: {file: %s, cooldown: 0}\n' "$TB_WORK/policy.yaml" >>"$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
capture 8.5
court=$id
capture 5
desk=$id
capture 2
loose=$id

same 'of the first profile: compliance, 48 h, held, with the key and the tags of the court' 'COMPLIANCE 48h ON aws:kms court-key STANDARD for=court team=law' "$(kept "$court")"
same 'of the second: governance, 2 h' 'GOVERNANCE 2h OFF aws:kms tapbox-key STANDARD team=forensics' "$(kept "$desk")"
same 'of the third: neither, and the configured key' 'none 0h OFF aws:kms tapbox-key STANDARD for=nobody' "$(kept "$loose")"
same "what is of no capture is as the configuration says: the keys and the host's log" 'GOVERNANCE 5h OFF aws:kms tapbox-key STANDARD team=forensics' \
    "$(kept)"

s3api list-object-versions --prefix captures/ >"$TB_WORK/versions.json"
segment() { # CAPTURE: key and version of its first segment
    jq -r --arg id "$1" 'first(.Versions[] | select((.Key | contains($id)) and (.Key | endswith(".zst"))) | "\(.Key) \(.VersionId)")' "$TB_WORK/versions.json"
}
read -r key version < <(segment "$court")
same 'as the client on the command line has it, too' 'COMPLIANCE ON' \
    "$(s3api get-object-retention --key "$key" | jq -r .Retention.Mode) $(s3api get-object-legal-hold --key "$key" | jq -r .LegalHold.Status)"
expect_failure 'what is locked by compliance is not deleted' AccessDenied s3api delete-object --key "$key" --version-id="$version"
expect_failure 'nor by who may bypass governance' AccessDenied \
    s3api delete-object --key "$key" --version-id="$version" --bypass-governance-retention
expect_failure 'nor is its lock made shorter' 'AccessDenied|InvalidRequest' s3api put-object-retention --key "$key" --version-id="$version" \
    --retention "Mode=COMPLIANCE,RetainUntilDate=$(date -u -d '+1 min' +%FT%TZ)"
read -r key version < <(segment "$desk")
expect_failure 'what is locked by governance is not deleted' AccessDenied s3api delete-object --key "$key" --version-id="$version"
read -r key version < <(segment "$loose")
expect 'what is not locked can be' s3api delete-object --key "$key" --version-id="$version"
lab_s3 sync --only-show-errors "s3://$LAB_BUCKET/captures" "$TB_WORK/evidence"
manifest() { jq -c "$2" "$(find "$TB_WORK/evidence" -path "*$1/manifest.json")"; }
same 'the manifest says what was asked for' \
    '{"encryption":"aws:kms","kms_key":"court-key","legal_hold":true,"object_lock":"COMPLIANCE","retention_seconds":172800,"storage_class":"STANDARD","tags":"for=court&team=law"}' \
    "$(manifest "$court" .storage)"
same 'of the third, too' \
    '{"encryption":"aws:kms","kms_key":"tapbox-key","legal_hold":false,"object_lock":null,"retention_seconds":null,"storage_class":null,"tags":"for=nobody"}' \
    "$(manifest "$loose" .storage)"
same 'and what S3 says that it did' '["aws:kms court-key"]' "$(manifest "$court" '[.segments[] | "\(.s3_encryption) \(.s3_kms_key)"] | unique')"
lab_finding workload | jq '.detail.severity = 7' >"$TB_WORK/finding.json"
same 'a key that S3 does not know is found by the plan' bucket_encryption "$(lab_exec capture curl -sS --max-time 20 -X POST \
    -H "X-Api-Key: $LAB_ALERT_TOKEN" --data-binary "@$TB_WORK/finding.json" "$LAB_API/v1/events?dry_run=1" |
    jq -r '[.. | objects | .code? // empty | select(startswith("bucket"))] | unique | join(" ")')"
same 'and verify misses just that' "$loose ${key#*"$loose/"} missing" \
    "$("$TB_OUT/tapbox" verify "$TB_WORK/evidence" --key "$LAB_DIR/state/evidence.key.pub" --json |
        jq -r '.findings[] | "\(.capture) \(.file) \(.kind)"')"
lab_tapbox_stop
finish
