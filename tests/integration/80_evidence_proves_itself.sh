#!/bin/bash
# Evidence in S3 is proven by tapbox verify and by the commands of the runbook, each run as it stands there;
# a crash at any step of sealing leads to one manifest with one number; another key begins another chain.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
# shellcheck source-path=SCRIPTDIR source=../support/runbook.sh
. "$cases_root/tests/support/runbook.sh"
in_lab "$@"
evidence=$TB_WORK/evidence

has_begun() { case $(lab_state "$id") in '' | null | requested | planned | arming) return 1 ;; esac; } # or is over already
stop() { lab_call POST "/v1/captures/$id/stop" >/dev/null 2>&1; }
record() { # a capture with some packets, which is stopped then; its id in $id
    id=$(lab_record workload 10m)
    lab_wait 10 has_begun || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
    lab_exec workload ping -q -c 20 -i 0.02 198.51.100.10 >/dev/null
    stop
}
sealed() { lab_wait_for_state "$id" sealed 30; }
custody_is_up() { # S3 has every entry of all the logs
    [ "$(sqlite3 -readonly "$LAB_DIR/state/tapbox.db" "SELECT count(*) FROM custody AS c WHERE NOT EXISTS (SELECT 1 FROM custody_objects AS o
        WHERE o.log_id = c.log_id AND c.number BETWEEN o.first AND o.last AND o.uploaded)")" = 0 ]
}
fetch() { lab_s3 sync --only-show-errors --delete "s3://$LAB_BUCKET" "$evidence"; }
folder() { find "$evidence" -type d -name "$1"; }
verify() { env -i unshare -n "$TB_OUT/tapbox" verify "$@"; } # no network, no environment
status_of() { "$@" >/dev/null 2>&1 || echo $?; }

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
lab_tapbox_config capture.rotate_seconds=1
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
expect 'serve says that it made a key' grep -q 'made the key that signs manifests' "$LAB_DIR/logs/tapbox.log"
same 'which only its owner may read' 600 "$(stat -c %a "$LAB_DIR/state/evidence.key")"
record
first=$id
sealed || give_up 'a capture is sealed' "$LAB_DIR/logs/tapbox.log"
record
second=$id
sealed || give_up 'another is sealed' "$LAB_DIR/logs/tapbox.log"
fetch

# --- the runbook, block by block
export KEY=$TB_WORK/key.pem TAPBOX_URL=$LAB_API PREVIOUS HOSTLOG
PREVIOUS=$(folder "$first")
HOSTLOG=$(find "$evidence" -type d -name 'log-*')
export EXTRACT=$TB_WORK/extract.pcapng
expect 'an extract with its proof' "$TB_OUT/tapbox" fetch "$(folder "$second")" --proto icmp -o "$EXTRACT" --proof
FOLDER=$(folder "$second")
export FOLDER
fill_in() { sed "s,evidence.key.pub,$LAB_DIR/state/&,; s,s3://BUCKET/captures/2026,s3://$LAB_BUCKET/captures,"; }
run_block() { cd "$FOLDER" && lab_exec capture env PATH="$TB_OUT:$PATH" bash "$1"; }
run_blocks runbooks/verify-evidence.md
same 'the key at /v1/keys is the one beside the state' "$(cat "$LAB_DIR/state/evidence.key.pub")" "$(cat "$KEY")"

# --- and they do find something
copy() { rm -rf "$TB_WORK/copy" && cp -a "$(folder "$second")" "$TB_WORK/copy"; }
copy
printf x | dd of="$TB_WORK/copy/manifest.json" bs=1 seek=300 conv=notrunc status=none
failing=$(for script in "$TB_WORK"/verify-evidence-*.sh; do FOLDER=$TB_WORK/copy run_block "$script" >/dev/null 2>&1 || printf x; done)
expect 'a changed manifest makes commands of the runbook fail' test -n "$failing"

# --- tapbox verify
expect 'verify proves all of it, offline' verify "$evidence" --key "$KEY" --deep
fingerprint=$(openssl pkey -pubin -in "$KEY" -pubout -outform DER | tail -c 32 | sha256sum | cut -d' ' -f1)
expect 'or by a fingerprint' verify "$(folder "$second")" --fingerprint "$fingerprint"
same 'without either, nothing is proven: status 8' 8 "$(status_of verify "$evidence")"
same 'as JSON too' unproven "$(verify "$evidence" --json | jq -r .verdict)"
openssl genpkey -algorithm ed25519 2>/dev/null | openssl pkey -pubout >"$TB_WORK/other.pem"
same 'with the wrong key: status 7' 7 "$(status_of verify "$evidence" --key "$TB_WORK/other.pem")"
same 'where there is no evidence: status 3' 3 "$(status_of verify "$LAB_DIR/logs" --key "$KEY")"
copy
segment=$(cd "$TB_WORK/copy" && find segments -type f -size +1k | head -n1)
printf x | dd of="$TB_WORK/copy/$segment" bs=1 seek=700 conv=notrunc status=none
same 'a changed segment: status 7' 7 "$(status_of verify "$TB_WORK/copy" --key "$KEY")"
same 'and its name' "$segment hash" "$(verify "$TB_WORK/copy" --key "$KEY" --json | jq -r '.findings[] | "\(.file) \(.kind)"')"
copy
sed -i 2d "$TB_WORK/copy/custody/0001.jsonl"
same 'a shortened custody log is named' 'custody/0001.jsonl custody' \
    "$(verify "$TB_WORK/copy" --key "$KEY" --json | jq -r '.findings[] | "\(.file) \(.kind)"')"
expect 'the log tells who stopped, started and signed' jq -es 'map(.act) | index("alert") and index("aws_created") and
    index("aws_deleted") and index("segment_uploaded") and index("manifest_signed")' "$(folder "$first")"/custody/000[12].jsonl

# --- SIGKILL at each step of sealing
crashes=0
for point in manifest_make:before manifest_make:after manifest_signed:before manifest_signed:after custody_next:after \
    custody_uploaded:before custody_uploaded:after PutObject:after#2 PutObject:before#4 PutObject:after#5; do
    # (else the next start begins with that, and is killed before it is asked for a capture)
    lab_wait 20 custody_is_up || not_ok "before $point S3 has all that was noted"
    lab_tapbox_stop
    act=${point%#*} times=''
    [ "$act" = "$point" ] || times="#${point#*#}"
    export TAPBOX_CRASH=$act$times
    lab_tapbox_start || give_up "tapbox starts to be killed at $point" "$LAB_DIR/logs/tapbox.log"
    record
    lab_wait 20 eval '! lab_alive $lab_tapbox_pid' || not_ok "tapbox is killed at $point" "$(lab_state "$id")"
    wait "$lab_tapbox_pid" 2>/dev/null
    unset TAPBOX_CRASH
    lab_tapbox_start || give_up "tapbox starts again after $point" "$LAB_DIR/logs/tapbox.log"
    stop # (it may have been killed before it heard of that)
    if sealed; then crashes=$((crashes + 1)); else not_ok "killed at $point, the capture is sealed in the end" "$lab_why"; fi
done
same 'killed at ten steps of sealing, each capture is sealed in the end' 10 "$crashes"
fetch
expect 'and all of it holds' verify "$evidence" --key "$KEY"
same 'each has one number, without a gap' "$(seq -s ' ' 12)" "$(find "$evidence" -name manifest.json -exec cat {} + |
    jq .chain.sequence | sort -n | paste -sd' ')"

# --- another key
lab_tapbox_stop
new=$("$TB_OUT/tapbox" keygen "$LAB_DIR/new.key" 2>/dev/null)
same 'keygen never overwrites' 6 "$(status_of "$TB_OUT/tapbox" keygen "$LAB_DIR/new.key")"
printf 'evidence:\n  key_file: %s\n' "$LAB_DIR/new.key" >>"$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up 'tapbox starts with another key' "$LAB_DIR/logs/tapbox.log"
record
sealed || not_ok 'a capture is sealed with the new key' "$lab_why"
fetch
same 'another key begins another chain' "1 $new" "$(jq -r '"\(.chain.sequence) \(.chain.key)"' "$(folder "$id")/manifest.json")"
expect 'both keys prove all of it' verify "$evidence" --key "$KEY" --key "$LAB_DIR/new.key.pub"
same 'both are told by the service' 2 "$(lab_exec capture curl -s "$LAB_API/v1/keys" | jq '.keys | length')"
same 'and one of them signs' "$new" "$(lab_exec capture curl -s "$LAB_API/v1/keys" | jq -r '.keys[] | select(.current).fingerprint')"
same 'both are in the bucket' 2 "$(find "$evidence" -path '*/keys/*.pem' | wc -l)"
lab_tapbox_stop
chmod 644 "$LAB_DIR/new.key"
same 'a key that others may read is not used: status 4' 4 \
    "$(status_of lab_exec capture "$TB_OUT/tapbox" serve --config "$LAB_DIR/tapbox.yaml" --with-recorder)"
finish
