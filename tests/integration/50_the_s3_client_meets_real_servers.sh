#!/bin/bash
# Uploads, the bucket check and presigned links against two servers that others wrote: Ceph's radosgw, and
# s3rver where node is there.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
driver=$TB_OUT/bench/aws_driver
s3rver=$(dirname "$TB_WORK")/s3rver
if [ -z "${LAB_CASE-}" ]; then
    make -s -C "$cases_root" MODE="$(basename "$TB_OUT")" BUILD="$(dirname "$TB_OUT")" "$driver" || exit 1
    # (before the lab, which has no way out)
    if command -v npm >/dev/null && [ ! -d "$s3rver/node_modules/@20minutes/s3rver" ]; then
        mkdir -p "$s3rver"
        timeout 60 npm install --silent --no-audit --no-fund --prefix "$s3rver" @20minutes/s3rver@4.0.4 >/dev/null 2>&1
    fi
fi
in_lab "$@"

aws_call() { # driver's arguments, on the capture host
    lab_exec capture "$driver" "$@"
}
with() { # NAME=VALUE... driver's arguments: under another environment
    local set=()
    while [[ $1 = *=* ]]; do set+=("$1") && shift; done
    env "${set[@]}" nsenter --net=/run/netns/capture -- "$driver" "$@"
}
fetch() { # KEY: through a presigned link, into back
    lab_exec capture curl -sS -f -o "$TB_WORK/back" "$(aws_call presign "$LAB_BUCKET" "$1" 60)"
}
wrong_hash=$(printf other | sha256sum | cut -d' ' -f1)

# What any S3 has to do.
any_server() { # SERVER
    local key
    expect "$1: the bucket is there" aws_call bucket "$LAB_BUCKET"
    expect_failure "$1: another is not" '^not_found - 404 bucket not-there' aws_call bucket not-there
    for key in small captures/2026/01/02/x.pcapng.zst 'a b+c&d=e@f:g,h$i' 'ü/ß' "~-_.!*'()" 'a%20b' '#?'; do
        printf 'content of %s' "$key" >"$TB_WORK/object"
        expect "$1: '$key' goes in" aws_call put "$LAB_BUCKET" "$key" "$TB_WORK/object"
        expect "$1: '$key' comes out through a presigned link" fetch "$key"
        expect "$1: '$key' is what it was" cmp "$TB_WORK/object" "$TB_WORK/back"
    done
    : >"$TB_WORK/empty"
    expect "$1: an empty object goes in" aws_call put "$LAB_BUCKET" empty "$TB_WORK/empty"
    expect "$1: 48 MiB go in" aws_call put "$LAB_BUCKET" large "$TB_WORK/large"
    expect "$1: and come out" fetch large
    expect "$1: unchanged" cmp "$TB_WORK/large" "$TB_WORK/back"
    expect "$1: ten uploads in a row" aws_call put "$LAB_BUCKET" often "$TB_WORK/object" 10
    expect_failure "$1: a wrong secret is denied" '^denied SignatureDoesNotMatch 403 ' \
        with AWS_ACCESS_KEY_ID="$key_id" AWS_SECRET_ACCESS_KEY=wrong put "$LAB_BUCKET" small "$TB_WORK/object"
    expect_failure "$1: with a large body too" '^denied SignatureDoesNotMatch 403 ' \
        with AWS_ACCESS_KEY_ID="$key_id" AWS_SECRET_ACCESS_KEY=wrong put "$LAB_BUCKET" small "$TB_WORK/large"
    expect_failure "$1: an unknown key is denied" '^denied InvalidAccessKeyId 403 ' \
        with AWS_ACCESS_KEY_ID=AKIANOBODY0000000000 AWS_SECRET_ACCESS_KEY=wrong put "$LAB_BUCKET" small "$TB_WORK/object"
    expect_failure "$1: a bucket that is not there" '^not_found NoSuchBucket 404 ' aws_call put not-there small "$TB_WORK/object"
    expect_failure "$1: a name that is none never leaves" "^invalid - 0 'No/bucket'" aws_call put No/bucket small "$TB_WORK/object"
    same "$1: a presigned link with another key is refused" 403 "$(lab_exec capture curl -s -o /dev/null -w '%{http_code}' \
        "$(aws_call presign "$LAB_BUCKET" small 60 | sed 's,/small?,/large?,')")"
    same "$1: and one that is too old" 403 "$(
        url=$(aws_call presign "$LAB_BUCKET" small 1)
        sleep 2.1
        lab_exec capture curl -s -o /dev/null -w '%{http_code}' "$url"
    )"
}

lab_up || give_up 'the lab comes up'
head -c $((48 << 20)) /dev/urandom >"$TB_WORK/large"
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
key_id=$LAB_ACCESS_KEY
any_server radosgw
expect_failure 'radosgw: a body that is not its hash is refused' '^format XAmzContentSHA256Mismatch 400 ' \
    aws_call put "$LAB_BUCKET" small "$TB_WORK/object" - "$wrong_hash"
expect_failure 'radosgw: a large one too' '^format XAmzContentSHA256Mismatch 400 ' \
    aws_call put "$LAB_BUCKET" small "$TB_WORK/large" - "$wrong_hash"
key='keys//that/./look/../like/paths'
expect "radosgw: '$key' goes in" aws_call put "$LAB_BUCKET" "$key" "$TB_WORK/object"
same "radosgw: '$key' is the object's name" "$key" "$(lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" --output text \
    s3api list-objects-v2 --bucket "$LAB_BUCKET" --prefix keys --query 'Contents[].Key')"
same 'radosgw: the type is kept' application/zstd "$(lab_exec capture curl -s -o /dev/null -w '%{content_type}' \
    "$(aws_call presign "$LAB_BUCKET" small 60)")"

# Virtual-hosted names: BUCKET.s3.localhost, on the server's own host.
"$cases_root/tests/lab/radosgw.sh" start "$TB_WORK/second" --listen 127.0.0.1:7581 --bucket "$LAB_BUCKET" >"$TB_WORK/second.log" 2>&1 ||
    give_up 'a second radosgw starts' "$TB_WORK/second.log"
printf '127.0.0.1 s3.localhost %s.s3.localhost\n' "$LAB_BUCKET" >"$TB_WORK/hosts"
mount --bind "$TB_WORK/hosts" /etc/hosts
export AWS_ENDPOINT_URL_S3=http://s3.localhost:7581 DRIVER_VIRTUAL_HOST=1
expect 'virtual-hosted: the bucket is there' "$driver" bucket "$LAB_BUCKET"
expect 'virtual-hosted: an object goes in' "$driver" put "$LAB_BUCKET" 'a/b c' "$TB_WORK/object"
expect 'virtual-hosted: and comes out' curl -sS -f -o "$TB_WORK/back" "$("$driver" presign "$LAB_BUCKET" 'a/b c' 60)"
expect 'virtual-hosted: unchanged' cmp "$TB_WORK/object" "$TB_WORK/back"
umount /etc/hosts
unset DRIVER_VIRTUAL_HOST

# The server away, and back.
"$cases_root/tests/lab/radosgw.sh" stop "$TB_WORK/second"
export AWS_ENDPOINT_URL_S3=http://127.0.0.1:7581
expect_failure 'a server that is away is a passing fault' '^retry - 0 ' "$driver" put "$LAB_BUCKET" small "$TB_WORK/object"
"$cases_root/tests/lab/radosgw.sh" start "$TB_WORK/second" --listen 127.0.0.1:7581 --bucket "$LAB_BUCKET" >"$TB_WORK/second.log" 2>&1
expect 'and served when it is back' "$driver" put "$LAB_BUCKET" small "$TB_WORK/object"
"$cases_root/tests/lab/radosgw.sh" stop "$TB_WORK/second"

if [ -d "$s3rver/node_modules/@20minutes/s3rver" ] && command -v node >/dev/null; then
    cat >"$s3rver/s3.cjs" <<'END'
const S3rver = require('@20minutes/s3rver');
const [dir, bucket] = process.argv.slice(2);
require('fs').mkdirSync(dir, { recursive: true });
new S3rver({ directory: dir, address: '10.77.0.5', port: 7582, silent: true, configureBuckets: [{ name: bucket }] })
  .run().then(() => console.log('listening'));
END
    lab_exec cloud node "$s3rver/s3.cjs" "$TB_WORK/s3rver-data" "$LAB_BUCKET" >"$TB_WORK/s3rver.log" 2>&1 &
    export AWS_ENDPOINT_URL_S3=http://10.77.0.5:7582 AWS_ACCESS_KEY_ID=S3RVER AWS_SECRET_ACCESS_KEY=S3RVER
    key_id=S3RVER
    lab_wait 10 grep -q listening "$TB_WORK/s3rver.log" || give_up 's3rver starts' "$TB_WORK/s3rver.log"
    any_server s3rver
else
    skip 's3rver: node or its package is not there'
fi
finish
