#!/bin/bash
# Getting evidence out of S3: links that need no credentials, whole captures, and one moment of many megabytes
# by ranges, counted at the S3 server.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
if [ -z "${LAB_CASE-}" ]; then
    make -s -C "$cases_root" MODE="$(basename "$TB_OUT")" BUILD="$(dirname "$TB_OUT")" "$TB_OUT/bench/segment_maker" || exit 1
fi
in_lab "$@"

fetch() { lab_exec capture "$LAB_OUT/tapbox" fetch "$@"; }
member() { jq -r "$1" "$TB_WORK/did"; }
requests=$LAB_DIR/radosgw/log/client.rgw.lab.log
sent_since() { # LINE: octets that the S3 server says it sent for GETs behind that line of its log
    tail -n "+$(($1 + 1))" "$requests" | sed -nE 's/.*"GET [^"]*" 20[06] ([0-9]+) .*/\1/p' | awk '{ n += $1 } END { print n + 0 }'
}

lab_up >/dev/null || give_up 'the lab comes up'
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
"$lab_here/traffic.sh" serve "$LAB_DIR/traffic" >"$LAB_DIR/logs/traffic.log" 2>&1 || give_up 'the servers start'
reader=arn:aws:iam::$LAB_ACCOUNT:role/tapbox-reader
lab_world | jq --arg account "$LAB_ACCOUNT" --arg role "$reader" \
    '(.accounts[] | select(.id == $account)).roles += [{arn: $role, trusts: [$account]}]' >"$LAB_DIR/world.json"
lab_start fabric "$LAB_DIR/logs/awsim.log" "$LAB_OUT/awsim" --world "$LAB_DIR/world.json"
lab_wait 10 lab_awsim_answers || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_tapbox_config capture.rotate_seconds=1
lab_tokens || give_up 'tokens are made'
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
capture=$(lab_record workload 5m)
lab_wait_for_state "$capture" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
expect 'the workload talks' "$cases_root/tests/lab/traffic.sh" talk demo
lab_call POST "/v1/captures/$capture/stop" >/dev/null
lab_wait_for_state "$capture" sealed 40 || not_ok 'the capture is sealed' "$lab_why"
files() { LAB_TOKEN=$LAB_RESPONDER_TOKEN lab_call GET "/v1/captures/$capture/files"; }

# --- without a reader there are no links, and the answer says why
files >"$TB_WORK/files"
same 'without s3.reader_role there is no link' '[null]' "$(jq -c '[.files[].url] | unique' "$TB_WORK/files")"
expect 'and the reason' grep -q 's3.reader_role is not set' <(jq -r .no_urls "$TB_WORK/files")
place=$(jq -r .place "$TB_WORK/files")
same 'an analyst may not' 403 "$(lab_status_of GET "/v1/captures/$capture/files")"

# --- the whole capture
fetch "$place" -o "$TB_WORK/down" --json >"$TB_WORK/did" || not_ok 'the capture comes down' "$(cat "$TB_WORK/did")"
same 'it was checked against its manifest' true "$(member .checked)"
key=$(lab_exec capture curl -s "$LAB_API/v1/keys" | jq -r '.keys[0].fingerprint')
expect 'and verify proves it' "$LAB_OUT/tapbox" verify "$TB_WORK/down/$capture" --fingerprint "$key"
segment=$(find "$TB_WORK/down/$capture/segments" -name '*.zst' | sort | tail -n 1)
printf x | dd of="$segment" bs=1 seek=100 conv=notrunc status=none
rm "$TB_WORK/down/$capture/manifest.sig"
fetch "$place" -o "$TB_WORK/down" --json >"$TB_WORK/did"
same 'done again, only what is missing or damaged comes' true \
    "$(jq "(.files - .kept) < 8 and .bytes_read < .bytes and .kept >= $(find "$TB_WORK/down/$capture/segments" -name '*.zst' | wc -l) - 1" "$TB_WORK/did")"
expect 'and all of it holds again' "$LAB_OUT/tapbox" verify "$TB_WORK/down/$capture" --fingerprint "$key"
lab_exec capture env TAPBOX_URL="$LAB_API" TAPBOX_TOKEN="$LAB_RESPONDER_TOKEN" "$LAB_OUT/tapbox" \
    fetch "$capture" --host 198.51.100.10 --proto tcp -o "$TB_WORK/flow.pcapng" --json >"$TB_WORK/did"
mergecap -w "$TB_WORK/all.pcapng" "$TB_WORK/down/$capture/segments/"*.zst
same 'a filter on it gives what tshark finds' "$(tshark -n -r "$TB_WORK/all.pcapng" -Y 'ip.addr == 198.51.100.10 && tcp' 2>/dev/null | wc -l)" \
    "$(member .packets)"
expect 'of which there is something' test "$(member .packets)" -gt 50
expect_failure 'what is not there is told' 'not-there' fetch "s3://$LAB_BUCKET/captures/not-there" -o "$TB_WORK/none"
expect_failure 'a bucket too' 'no-such-bucket' fetch s3://no-such-bucket/x -o "$TB_WORK/none"

# --- a moment of 64 MB
mkdir -p "$TB_WORK/big"
for lane in 0 1; do
    "$LAB_OUT/bench/segment_maker" "$TB_WORK/big/big-$lane-000001.pcapng.zst" 32 1 "$((lane + 5))" >/dev/null
done
lab_s3 cp --recursive --only-show-errors "$TB_WORK/big" "s3://$LAB_BUCKET/big/segments" || not_ok '64 MB go to S3'
before=$(wc -l <"$requests")
fetch "s3://$LAB_BUCKET/big" --since 2026-01-01T00:00:01.000Z --until 2026-01-01T00:00:01.020Z -o "$TB_WORK/moment.pcapng" --json >"$TB_WORK/did"
logged() { [ "$(sent_since "$before")" -ge "$(member .bytes_read)" ]; }
lab_wait 5 logged
sent=$(sent_since "$before") all=$(member .bytes)
expect "1 % of 64 MB takes at most 5 % of its octets from the S3 server ($sent of $all)" test "$((sent * 20))" -le "$all"
mergecap -w "$TB_WORK/big.pcapng" "$TB_WORK/big/"*.zst
same 'and is what tshark finds in the whole' \
    "$(tshark -n -r "$TB_WORK/big.pcapng" -Y 'frame.time_epoch >= 1767225601 && frame.time_epoch < 1767225601.02' -T fields -e frame.time_epoch -e frame.len 2>/dev/null | sort | md5sum)" \
    "$(tshark -n -r "$TB_WORK/moment.pcapng" -T fields -e frame.time_epoch -e frame.len 2>/dev/null | sort | md5sum)"
expect 'which is something' test "$(member .packets)" -gt 100

# --- with a reader: links for curl
lab_tapbox_stop
sed -i "s|^s3:|s3:\n  reader_role: $reader\n  url_lifetime: 5m|" "$LAB_DIR/tapbox.yaml"
lab_start capture "$LAB_DIR/logs/sts.log" "$cases_root/tests/support/sts_recorder.py" 7998 "$LAB_EC2_URL" "$TB_WORK/assumed"
lab_wait 20 lab_exec capture curl -s -o /dev/null -X POST -d Action=x http://127.0.0.1:7998/ || not_ok 'the recorder of keys starts'
export AWS_ENDPOINT_URL_STS=http://127.0.0.1:7998
lab_tapbox_start || give_up 'tapbox starts again' "$LAB_DIR/logs/tapbox.log"
files >"$TB_WORK/files"
same 'each file has a link' true "$(jq '[.files[] | select(.url == null)] == [] and .no_urls == null' "$TB_WORK/files")"
expect 'good for as long as was said' grep -q 'X-Amz-Expires=300' <(jq -r '.files[0].url' "$TB_WORK/files")
read -r access secret <"$TB_WORK/assumed"
expect "signed with a key of the reader's session" grep -q "X-Amz-Credential=$access%2F" <(jq -r '.files[0].url' "$TB_WORK/files")
link() { lab_exec capture curl -sS -o "$2" -w '%{http_code}' "$(jq -r --arg name "$1" '.files[] | select(.name == $name).url' "$TB_WORK/files")"; }
same 'with a key that the S3 server does not know it fails' 403 "$(link manifest.json "$TB_WORK/got")"
# (radosgw knows users, not awsim's roles: this one gets the key of the session)
lab_exec cloud radosgw-admin -c "$LAB_DIR/radosgw/ceph.conf" -n client.rgw.lab key create --uid=lab --key-type=s3 --access-key="$access" --secret-key="$secret" \
    >"$LAB_DIR/logs/key.log" 2>&1 || not_ok 'radosgw takes the key' "$(cat "$LAB_DIR/logs/key.log")"
same 'with a known one curl gets the file' 200 "$(link manifest.json "$TB_WORK/got")"
expect 'as it was signed' cmp "$TB_WORK/got" "$TB_WORK/down/$capture/manifest.json"
name=$(jq -r '.files[0].name' "$TB_WORK/files")
same 'a segment too' 200 "$(link "$name" "$TB_WORK/got")"
same 'which has the SHA-256 of the answer' "$(jq -r '.files[0].sha256' "$TB_WORK/files")" "$(sha256sum "$TB_WORK/got" | cut -d' ' -f1)"
issued() { fetch "$place" -o "$TB_WORK/down" >/dev/null && cat "$TB_WORK/down/$capture"/custody/*.jsonl | jq -e 'select(.act == "links_issued" and .who == "lab-responder")'; }
expect 'the issue is in the custody log' lab_wait 20 issued
lab_tapbox_stop
same 'tapbox ends well' 0 $?
finish
