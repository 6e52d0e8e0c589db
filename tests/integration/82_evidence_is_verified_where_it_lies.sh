#!/bin/bash
# tapbox verify s3://... reads evidence where it lies: on radosgw, and on s3rver where node is there; several
# captures at once, each part of the tree; errors of S3 are told with what to do.  And on a bare machine: a
# root with the binary, its shared libraries, the evidence and the public key, nothing else.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
s3rver=$(dirname "$TB_WORK")/s3rver
if [ -z "${LAB_CASE-}" ] && command -v npm >/dev/null && [ ! -d "$s3rver/node_modules/@20minutes/s3rver" ]; then
    # (before the lab, which has no way out)
    mkdir -p "$s3rver"
    timeout 60 npm install --silent --no-audit --no-fund --prefix "$s3rver" @20minutes/s3rver@4.0.4 >/dev/null 2>&1
fi
in_lab "$@"

verify() { lab_exec capture "$TB_OUT/tapbox" verify "$@"; }
with() { # NAME=VALUE... verify's arguments: under another environment
    local set=()
    while [[ $1 = *=* ]]; do set+=("$1") && shift; done
    env "${set[@]}" nsenter --net=/run/netns/capture -- "$TB_OUT/tapbox" verify "$@"
}
status_of() { "$@" >/dev/null 2>&1 || echo $?; }
s3api() { lab_exec capture /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL_S3" s3api "$@"; }

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
lab_tapbox_config capture.rotate_seconds=1
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
ids=()
for packets in 100 10 10; do
    id=$(lab_call POST /v1/captures -d "{\"source\":\"$(lab_instance workload)\",\"duration\":\"10m\",\"reason\":\"test\"}" |
        jq -r .capture.id)
    lab_wait_for_state "$id" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
    lab_exec workload ping -q -c "$packets" -i 0.02 198.51.100.10 >/dev/null
    lab_call POST "/v1/captures/$id/stop" >/dev/null
    lab_wait_for_state "$id" sealed 30 || give_up 'a capture is sealed' "$LAB_DIR/logs/tapbox.log"
    ids+=("$id")
done
lab_tapbox_stop
key=$LAB_DIR/state/evidence.key.pub
fingerprint=$(openssl pkey -pubin -in "$key" -pubout -outform DER | tail -c 32 | sha256sum | cut -d' ' -f1)
lab_s3 sync --only-show-errors "s3://$LAB_BUCKET" "$TB_WORK/evidence"
day=$(cd "$TB_WORK/evidence" && dirname "$(find . -type d -name "${ids[0]}" | cut -c3-)")

any_server() { # SERVER
    expect "$1: all captures of the bucket hold" verify "s3://$LAB_BUCKET" --key "$key" --deep
    same "$1: three of them" 'proven 3' "$(verify "s3://$LAB_BUCKET/captures/" --key "$key" --json | jq -r '"\(.verdict) \(.captures | length)"')"
    same "$1: as they do here" "$(verify "$TB_WORK/evidence" --key "$key" --json)" "$(verify "s3://$LAB_BUCKET" --key "$key" --json)"
    expect "$1: one of them, with the key beside the captures" verify "s3://$LAB_BUCKET/$day/${ids[1]}" --fingerprint "$fingerprint"
    same "$1: with nobody's word for the key: status 8" 8 "$(status_of verify "s3://$LAB_BUCKET/$day/${ids[1]}")"
    same "$1: where there is no capture: status 3" 3 "$(status_of verify "s3://$LAB_BUCKET/nowhere" --key "$key")"
    expect_failure "$1: a bucket that is not there" 's3://not-there: .*NoSuchBucket.*there is no such bucket here' verify s3://not-there --key "$key"
    expect_failure "$1: a wrong secret" SignatureDoesNotMatch \
        with AWS_ACCESS_KEY_ID="$key_id" AWS_SECRET_ACCESS_KEY=wrong "s3://$LAB_BUCKET" --key "$key"
    same "$1: which is status 4" 4 "$(status_of with AWS_ACCESS_KEY_ID="$key_id" AWS_SECRET_ACCESS_KEY=wrong "s3://$LAB_BUCKET" --key "$key")"
    same "$1: no server: status 5" 5 "$(status_of with AWS_ENDPOINT_URL_S3=http://10.77.0.5:9 "s3://$LAB_BUCKET" --key "$key")"
    # something is done to one of the objects of each of two captures
    segment=$day/${ids[0]}/$(cd "$TB_WORK/evidence/$day/${ids[0]}" && find segments -name '*.zst' | sort | head -n1)
    cp "$TB_WORK/evidence/$segment" "$TB_WORK/changed"
    printf x | dd of="$TB_WORK/changed" bs=1 seek=700 conv=notrunc status=none
    s3api put-object --bucket "$LAB_BUCKET" --key "$segment" --body "$TB_WORK/changed" >/dev/null
    s3api delete-object --bucket "$LAB_BUCKET" --key "$day/${ids[1]}/alerts/0001.json" >/dev/null
    s3api put-object --bucket "$LAB_BUCKET" --key "$day/${ids[2]}/segments/more/deep" --body "$TB_WORK/changed" >/dev/null
    same "$1: what was changed, removed and added is named, each in its capture" \
        "${ids[0]} ${segment#"$day/${ids[0]}/"} hash
${ids[1]} alerts/0001.json missing
${ids[2]} segments/more/ extra" \
        "$(verify "s3://$LAB_BUCKET" --key "$key" --json | jq -r '.findings[] | "\(.capture) \(.file) \(.kind)"')"
    same "$1: which is status 7" 7 "$(status_of verify "s3://$LAB_BUCKET" --key "$key")"
}

key_id=$LAB_ACCESS_KEY
any_server radosgw

# What may be listed but not read.
cat >"$TB_WORK/policy.json" <<END
{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
  "Resource": "arn:aws:s3:::$LAB_BUCKET/$day/${ids[2]}/custody/0001.jsonl"}]}
END
if s3api put-bucket-policy --bucket "$LAB_BUCKET" --policy "file://$TB_WORK/policy.json" >/dev/null 2>&1; then
    same 'an object that may not be read is named, with what is needed, and the others are checked' \
        'custody/0001.jsonl true' "$(verify "s3://$LAB_BUCKET/$day/${ids[2]}" --key "$key" --json |
            jq -r '.findings[] | select(.kind == "unreadable") | "\(.file) \(.text | contains("s3:GetObject on the object is needed"))"')"
else
    skip 'radosgw takes no bucket policy here'
fi

# --- a capture that was taken away as a whole
cp -a "$TB_WORK/evidence" "$TB_WORK/fewer"
rm -r "$TB_WORK/fewer/$day/${ids[1]}"
same 'a part of the captures holds, and says which number is not there' 'proven 2-2' \
    "$(verify "$TB_WORK/fewer" --key "$key" --json | jq -r '"\(.verdict) \(.missing[] | "\(.from)-\(.to)")"')"
same 'which is status 7 when all has to be there' 7 "$(status_of verify "$TB_WORK/fewer" --key "$key" --whole)"
expect 'and all is there where it is' verify "$TB_WORK/evidence" --key "$key" --whole

# --- a bare machine
bare=$TB_WORK/bare
mkdir -p "$bare"
for file in "$TB_OUT/tapbox" $(ldd "$TB_OUT/tapbox" | grep -oE '/[^ ]+'); do
    mkdir -p "$bare$(dirname "$file")"
    cp -L "$file" "$bare$file"
done
cp -a "$TB_WORK/evidence" "$bare/evidence"
cp "$key" "$bare/key.pem"
in_bare() { env -i unshare -n -R "$bare" "$TB_OUT/tapbox" verify "$@"; }
expect 'on a bare machine: no /etc, /proc, /dev, network or environment' in_bare /evidence --key /key.pem --deep
same 'and it says so in full' "$(verify "$TB_WORK/evidence" --key "$key" --json)" "$(in_bare /evidence --key key.pem --json)"
rm "$bare/evidence/$day/${ids[0]}/manifest.sig"
same 'and finds what is missing' 'manifest.sig missing' "$(in_bare /evidence --key /key.pem --json | jq -r '.findings[] | "\(.file) \(.kind)"')"

if [ -d "$s3rver/node_modules/@20minutes/s3rver" ] && command -v node >/dev/null; then
    cat >"$TB_WORK/s3.cjs" <<'END'
const [module_, dir, bucket] = process.argv.slice(2);
const S3rver = require(module_);
require('fs').mkdirSync(dir, { recursive: true });
new S3rver({ directory: dir, address: '10.77.0.5', port: 7582, silent: true, configureBuckets: [{ name: bucket }] })
  .run().then(() => console.log('listening'));
END
    lab_exec cloud node "$TB_WORK/s3.cjs" "$s3rver/node_modules/@20minutes/s3rver" "$TB_WORK/s3rver-data" "$LAB_BUCKET" >"$TB_WORK/s3rver.log" 2>&1 &
    export AWS_ENDPOINT_URL_S3=http://10.77.0.5:7582 AWS_ACCESS_KEY_ID=S3RVER AWS_SECRET_ACCESS_KEY=S3RVER
    key_id=S3RVER
    lab_wait 10 grep -q listening "$TB_WORK/s3rver.log" || give_up 's3rver starts' "$TB_WORK/s3rver.log"
    lab_exec capture /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL_S3" s3 sync --only-show-errors "$TB_WORK/evidence" "s3://$LAB_BUCKET"
    any_server s3rver
else
    skip 's3rver: node or its package is not there'
fi
finish
