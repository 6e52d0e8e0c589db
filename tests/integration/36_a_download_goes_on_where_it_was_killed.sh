#!/bin/bash
# tapbox fetch of a capture of 64 MB from radosgw: killed in the middle again and again, it goes on in the middle of
# the segment, believes nothing that lies there, wants the signature that was asked for, and reads as another role.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
# shellcheck source-path=SCRIPTDIR source=../support/parts.sh
. "$cases_root/tests/support/parts.sh"

down=$TB_WORK/down
lab_up >/dev/null || give_up 'the lab comes up'
lab_s3_start --sts || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
parts_proxy_start || give_up 'the proxy starts' "$LAB_DIR/logs/proxy.log"
"$lab_here/traffic.sh" serve "$LAB_DIR/traffic" >"$LAB_DIR/logs/traffic.log" 2>&1 || give_up 'the servers start'
lab_tapbox_config capture.rotate_seconds=600
lab_tokens || give_up 'tokens are made'
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
capture=$(lab_record workload 10m)
lab_wait_for_state "$capture" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
# (a first segment is sealed within seconds, a later one when it is asked for: all that is looked at is in that)
early() { [ "$(lab_capture "$capture" | jq '.segments | length')" -ge 1 ]; }
expect 'a first packet is recorded' lab_exec workload ping -q -c 1 198.51.100.10
lab_wait 20 early || give_up 'a first segment is sealed' "$LAB_DIR/logs/tapbox.log"
expect 'the workload talks' lab_talk_much "$capture"
lab_call POST "/v1/captures/$capture/stop" >/dev/null
lab_wait_for_state "$capture" sealed 60 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
LAB_TOKEN=$LAB_RESPONDER_TOKEN lab_call GET "/v1/captures/$capture/files" >"$TB_WORK/files"
place=$(jq -r .place "$TB_WORK/files")
size=$(jq '[.files[] | select(.name | startswith("segments/")) | .bytes] | max' "$TB_WORK/files")
name=$(jq -r --argjson size "$size" '.files[] | select(.bytes == $size).name' "$TB_WORK/files")
expect "a segment is long ($size octets)" test "$size" -gt 50000000
key=$(lab_exec capture curl -s "$LAB_API/v1/keys" | jq -r '.keys[0].fingerprint')
lab_tapbox_stop

export AWS_ENDPOINT_URL_S3=http://10.77.0.5:7490
fetch() { lab_exec capture "$LAB_OUT/tapbox" fetch "$@"; }
begin() { parts_from=$(parts_log | jq length); }
# What of the segment the S3 server sent since `begin`, in whole answers.
sent() { parts_log | jq --argjson from "$parts_from" '[.[$from:][] | select(.path | test("'"$name"'")) | .sent] | add // 0'; }
hangs() { # an answer is being waited for, and PARTS have come
    [ "$(parts_count GET "$name" 206)" -ge "$1" ]
}
kill_behind() { # CASE PARTS FETCH-OPTION...: kill -9 once so many answers of the segment have come
    local parts=$2 what=$1 had
    shift 2
    had=$(octets)
    begin
    parts_rules '[{"method": "GET", "match": "'"$name"'", "skip": '"$parts"', "times": 100, "do": "hang"}]'
    lab_start capture "$LAB_DIR/logs/fetch.log" "$LAB_OUT/tapbox" fetch "$place" -o "$down" "$@"
    lab_wait 20 hangs "$parts" || not_ok "$what: $parts answers come" "$(cat "$LAB_DIR/logs/fetch.log")"
    lab_wait 20 are_written "$had" || not_ok "$what: they are written" "$had octets, then $(octets), of which $(sent) came"
    lab_alive "$lab_pid" || not_ok "$what: it hangs in the middle" "$(cat "$LAB_DIR/logs/fetch.log")"
    kill -9 "$lab_pid"
    wait "$lab_pid" 2>/dev/null
    parts_rules '[]'
    expect "$what: the part is there, its name is not" test -s "$down/$capture/$name.part" -a ! -e "$down/$capture/$name"
}
octets() { echo $(($(stat -c %b "$down/$capture/$name.part" 2>/dev/null || echo 0) * 512)); }
# All that came is in the file, but for the index, and what had begun to come before.
are_written() { # OCTETS BEFORE
    [ "$(($(octets) + 2000000))" -ge "$(($1 + $(sent)))" ]
}

kill_behind 'killed' 3 -t 1
kill_behind 'killed again' 4 -t 1 # (one of them the index)
kill_behind 'killed with many reads under way' 2
have=$(octets)
begin
fetch "$place" -o "$down" --json >"$TB_WORK/did" || not_ok 'it comes to an end' "$(cat "$TB_WORK/did")"
came=$(sent)
expect "what was there did not come again ($have octets were, $came of $size came)" \
    test "$((came + have))" -lt "$((size + 5000000))" -a "$came" -gt 0
same 'as it says itself' true "$(jq --argjson came "$came" '.bytes_read <= $came + 1000000 and .checked and .signed and (.trusted | not)' "$TB_WORK/did")"
expect 'and verify proves it' "$LAB_OUT/tapbox" verify "$down/$capture" --fingerprint "$key"
same 'nothing is left over' '' "$(find "$down" -name '*.part')"

# --- nothing of a part is believed: a stretch of it is something else
mv "$down/$capture/$name" "$down/$capture/$name.part"
head -c 100000 /dev/urandom | dd of="$down/$capture/$name.part" bs=1 seek=20000000 conv=notrunc status=none
begin
fetch "$place" -o "$down" --fingerprint "$key" >"$TB_WORK/said" || not_ok 'it is mended' "$(cat "$TB_WORK/said")"
came=$(sent)
expect "by the chunks that were damaged ($came octets)" test "$came" -lt 5000000
expect 'and it says whose signature that is' grep -q 'signed with the key given' "$TB_WORK/said"
expect 'verify proves it' "$LAB_OUT/tapbox" verify "$down/$capture" --fingerprint "$key"

# --- who signed it
expect 'without a key it tells the fingerprint' grep -q "$key" <(fetch "$place" -o "$down")
"$LAB_OUT/tapbox" keygen "$TB_WORK/other" >/dev/null 2>&1
fetch "$place" -o "$TB_WORK/refused" --key "$TB_WORK/other.pub" >"$TB_WORK/said" 2>&1
same 'what another key signed is not fetched' 7 $?
expect 'which is said' grep -q "names key $key" "$TB_WORK/said"
same 'nothing of it' '' "$(find "$TB_WORK/refused" -type f 2>/dev/null)"
fetch "$place" --port 53 -o "$TB_WORK/refused.pcapng" --key "$TB_WORK/other.pub" >/dev/null 2>&1
same 'no extract of it either' 7 $?
cp -a "$down" "$TB_WORK/forged"
sed -i 's/"reason": *"test"/"reason": "tset"/' "$TB_WORK/forged/$capture/manifest.json"
expect_failure 'a manifest that was changed is refused, whoever asks' 'signature does not hold' fetch "$TB_WORK/forged/$capture" -o "$TB_WORK/refused"

# --- as somebody else
# (radosgw's accounts are tenants, each with buckets of its own: the capture is copied into one)
admin() { lab_exec cloud radosgw-admin -c "$LAB_DIR/radosgw/ceph.conf" -n client.rgw.lab "$@" >>"$LAB_DIR/logs/admin.log" 2>&1; }
account=111122223333 role=arn:aws:iam::111122223333:role/reader
make_role() {
    admin user create --tenant="$account" --uid=keeper --display-name=keeper --access-key=KEEPER --secret=keeper-secret &&
        admin user create --tenant="$account" --uid=desk --display-name=desk --access-key=DESK --secret=desk-secret &&
        admin role create --tenant="$account" --role-name=reader --assume-role-policy-doc='{"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::111122223333:user/desk"]}, "Action": ["sts:AssumeRole"]}]}' &&
        admin role-policy put --tenant="$account" --role-name=reader --policy-name=read --policy-doc='{"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "arn:aws:s3:::*"}]}'
}
make_role || not_ok 'a role is made' "$(cat "$LAB_DIR/logs/admin.log")"
as() { AWS_ACCESS_KEY_ID=$1 AWS_SECRET_ACCESS_KEY=$2 AWS_ENDPOINT_URL_STS=$LAB_S3_URL "${@:3}"; }
as KEEPER keeper-secret lab_s3 mb --region us-east-1 s3://desk-evidence >/dev/null || not_ok 'its bucket is made'
as KEEPER keeper-secret lab_s3 cp --recursive --only-show-errors "$down" s3://desk-evidence || not_ok 'the capture is copied'
as_desk() { as DESK desk-secret fetch "s3://desk-evidence/$capture" --port 53 -o "$TB_WORK/dns.pcapng" "$@"; }
expect_failure 'somebody else may not' 's3:ListBucket' as_desk
expect 'but as the role' as_desk --role "$role" --fingerprint "$key"
expect 'gets it' tshark -n -r "$TB_WORK/dns.pcapng" -q
expect 'verify too' as DESK desk-secret lab_exec capture "$LAB_OUT/tapbox" verify "s3://desk-evidence/$capture" --fingerprint "$key" --role "$role"
expect 'report too' as DESK desk-secret lab_exec capture "$LAB_OUT/tapbox" report "s3://desk-evidence/$capture" --role "$role" --json -o "$TB_WORK/report.json"
same 'with what the manifest says' "$(jq -c .segments "$down/$capture/manifest.json")" "$(jq -c .manifest.segments "$TB_WORK/report.json")"
expect_failure 'without the role it may not' 's3:ListBucket' as DESK desk-secret lab_exec capture "$LAB_OUT/tapbox" report "s3://desk-evidence/$capture" -o -
expect_failure 'of a capture of the service a role is refused' '--role is for files' \
    lab_exec capture "$LAB_OUT/tapbox" report "$capture" --role "$role" -o -
expect_failure 'a role that there is not is told' 'cannot assume' as_desk --role arn:aws:iam::111122223333:role/none
expect_failure 'as is what is no role' 'not the ARN' as_desk --role reader
expect_failure 'or a role for a path' 'a role is for' fetch "$down/$capture" --role arn:aws:iam::111122223333:role/reader --port 53 -o "$TB_WORK/dns.pcapng"

# --- what a terminal shows
rm -r "$down"
parts_rules '[{"method": "GET", "match": "'"$name"'", "skip": 3, "times": 1, "do": "delay", "seconds": 1.6}]'
lab_exec capture script -qefc "stty cols 80; '$LAB_OUT/tapbox' fetch '$place' -o '$down'" "$TB_WORK/terminal" </dev/null >/dev/null
expect 'a bar, with the octets' grep -qE '\[#+ *\] +[0-9]+ %  [0-9]+ of [0-9]+ MiB' "$TB_WORK/terminal"
expect 'and in the end the sentence' grep -q 'they are as the manifest says' "$TB_WORK/terminal"
finish
