#!/bin/bash
# The lab's S3 is a real server: keys, hashes, preconditions and locks are checked.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
api() { # OPERATION [ARGUMENT...]
    lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" --output json s3api "$@"
}

# The code of S3's error for a PUT.  (Debian's AWS CLI stumbles over error answers to s3api.)
refusal() { # KEY:SECRET BUCKET/OBJECT [curl option...]
    local user=$1 object=$2 hash=(-H 'x-amz-content-sha256: UNSIGNED-PAYLOAD')
    shift 2
    case " $* " in *x-amz-content-sha256*) hash=() ;; esac
    lab_exec capture curl -s -X PUT --data-binary 'some text' "${hash[@]}" "$@" --user "$user" \
        --aws-sigv4 "aws:amz:$LAB_REGION:s3" "$LAB_S3_URL/$object" | sed -n 's,.*<Code>\(.*\)</Code>.*,\1,p'
}

lab_up || give_up 'the lab comes up'
before=$EPOCHSECONDS
lab_s3_start --object-lock || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
ok "radosgw starts ($((EPOCHSECONDS - before)) s)"
head -c 3000000 /dev/urandom >"$TB_WORK/object"
expect 'an object goes in' lab_s3 cp --only-show-errors "$TB_WORK/object" "s3://$LAB_BUCKET/a/b"
expect 'and comes out' lab_s3 cp --only-show-errors "s3://$LAB_BUCKET/a/b" "$TB_WORK/back"
expect 'unchanged' cmp "$TB_WORK/object" "$TB_WORK/back"
same 'a wrong secret is refused' SignatureDoesNotMatch "$(refusal "$LAB_ACCESS_KEY:wrong" "$LAB_BUCKET/c")"
same 'an unknown key is refused' InvalidAccessKeyId "$(refusal AKIANOBODY0000000000:wrong "$LAB_BUCKET/c")"
same 'a body that is not its MD5 is refused' BadDigest \
    "$(refusal "$LAB_ACCESS_KEY:$LAB_SECRET_KEY" "$LAB_BUCKET/c" -H 'Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==')"
same 'a body that is not its SHA-256 is refused' XAmzContentSHA256Mismatch \
    "$(refusal "$LAB_ACCESS_KEY:$LAB_SECRET_KEY" "$LAB_BUCKET/c" -H "x-amz-content-sha256: $(printf no | sha256sum | cut -d' ' -f1)")"
same 'a bucket that is not there is named' NoSuchBucket "$(refusal "$LAB_ACCESS_KEY:$LAB_SECRET_KEY" not-there/c)"
expect 'a locked object goes in' api put-object --bucket "$LAB_BUCKET" --key locked --body "$TB_WORK/object" \
    --object-lock-mode COMPLIANCE --object-lock-retain-until-date "$(date -u -d '+1 day' +%Y-%m-%dT%H:%M:%SZ)"
version=$(api head-object --bucket "$LAB_BUCKET" --key locked | jq -r .VersionId)
expect_failure 'and its version does not go away' AccessDenied \
    api delete-object --bucket "$LAB_BUCKET" --key locked --version-id="$version"
expect 'SSE-KMS is done' api put-object --bucket "$LAB_BUCKET" --key kms --server-side-encryption aws:kms \
    --ssekms-key-id tapbox-key
finish
