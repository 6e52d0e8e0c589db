#!/bin/bash
# An extract that tapbox fetch makes with --proof is proven by tapbox verify, offline and without the capture; what is
# done to it, to its chunks or to the manifest is named.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
key=$LAB_DIR/state/evidence.key.pub
extract=$TB_WORK/icmp.pcapng

fetch() { lab_exec capture "$TB_OUT/tapbox" fetch "$@"; }
verify() { env -i unshare -n "$TB_OUT/tapbox" verify "$extract" "$@"; } # no network, no environment
status_of() { "$@" >/dev/null 2>&1 || echo $?; }
named() { verify --key "$key" --json | jq -r '[.findings[].file // "-"] | join(" ")'; }
again() { rm -rf "$extract" "$extract.proof" && cp -a "$TB_WORK/whole/." "$TB_WORK/"; }
spoil() { # FILE OFFSET
    printf x | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

lab_all_up capture.rotate_seconds=1 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
id=$(lab_record workload 5m)
lab_wait_for_state "$id" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_exec workload ping -q -c 40 -i 0.05 -s 900 198.51.100.10 >/dev/null
expect 'the workload talks' "$cases_root/tests/lab/traffic.sh" talk quick
lab_call POST "/v1/captures/$id/stop" >/dev/null
lab_wait_for_state "$id" sealed 20 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_tapbox_stop
place=s3://$LAB_BUCKET/captures/${id:4:4}/${id:8:2}/${id:10:2}/$id

expect 'an extract comes with its proof' fetch "$place" --proto icmp --host 198.51.100.10 -o "$extract" --proof
lab_s3 sync --only-show-errors "$place" "$TB_WORK/down"
same 'it is what tshark finds in the whole' \
    "$(for s in "$TB_WORK"/down/segments/*; do tshark -n -r "$s" -Y 'icmp && ip.addr == 198.51.100.10' -T fields -e frame.time_epoch 2>/dev/null; done | sort)" \
    "$(tshark -n -r "$extract" -T fields -e frame.time_epoch 2>/dev/null | sort)"
expect 'which is something' test "$(tshark -n -r "$extract" 2>/dev/null | wc -l)" -ge 80
expect 'it holds, offline, with the key alone' verify --key "$key"
same 'as JSON' "proven $id" "$(verify --key "$key" --json | jq -r '"\(.verdict) \(.capture)"')"
same 'by the key that lies beside the capture, nobody vouches: status 8' 8 "$(status_of verify)"
openssl genpkey -algorithm ed25519 2>/dev/null | openssl pkey -pubout >"$TB_WORK/other.pem"
same 'by another key it does not: status 7' 7 "$(status_of verify --key "$TB_WORK/other.pem")"
expect_failure 'a proof that is there is not overwritten' 'cannot make the proof' fetch "$place" --all -o "$extract" --proof
expect_failure 'a proof of what goes into a pipe is refused' 'goes with a filter and a pcapng file' fetch "$place" --all -o - --proof
same 'the folder of the proof stands for the extract' proven \
    "$(env -i unshare -n "$TB_OUT/tapbox" verify "$extract.proof/" --key "$key" --json | jq -r .verdict)"

# --- beside captures it is no broken capture
mkdir -p "$TB_WORK/case"
cp -a "$TB_WORK/down" "$TB_WORK/case/$id"
cp -a "$extract" "$extract.proof" "$TB_WORK/case/"
same 'a folder with a capture and an extract holds, and names both' "proven $id icmp.pcapng" \
    "$("$TB_OUT/tapbox" verify "$TB_WORK/case" --key "$key" --json | jq -r '"\(.verdict) \(.captures | map(.capture) | join(" ")) \(.extracts | join(" "))"')"
same 'also in words' 1 "$("$TB_OUT/tapbox" verify "$TB_WORK/case" --key "$key" | grep -c '^icmp.pcapng: an extract')"
rm -r "$TB_WORK/case/$id"
expect_failure 'a folder with nothing but extracts says so' 'only extracts' "$TB_OUT/tapbox" verify "$TB_WORK/case" --key "$key"

# --- a fetch that fails leaves nothing behind; of damaged evidence comes what can be read, and what is missing is told
all=$TB_WORK/out/all.pcapng
leave() { # as one that was killed
    mkdir -p "$all.proof.part/segments"
    echo left >"$all.proof.part/segments/over"
}
leave
same 'a fetch of what another key signed fails with status 7' 7 \
    "$(status_of "$TB_OUT/tapbox" fetch "$TB_WORK/down" --all -o "$all" --proof --key "$TB_WORK/other.pem")"
leave
damaged=$(find "$TB_WORK/down/segments" -type f -size +2k | sort | head -n1)
spoil "$damaged" 700
gone=$(find "$TB_WORK/down/segments" -type f | sort | tail -n1)
rm "$gone"
"$TB_OUT/tapbox" fetch "$TB_WORK/down" --all -o "$all" --proof --json --key "$key" >"$TB_WORK/did" 2>"$TB_WORK/said"
same 'an extract that lacks something ends with status 9' 9 $?
same 'and leaves itself and its proof, nothing that one that was killed had left' 'all.pcapng all.pcapng.proof' "$(cd "$TB_WORK/out" && echo *)"
test ! -e "$all.proof/segments/over" || not_ok 'what a killed one left is in no proof'
same 'it tells the stretches' "${gone##*/} ${damaged##*/}" \
    "$(jq -r '[.missing[] | select(.bytes > 0 and .why != "" and .packets != null) | .segment | ltrimstr("segments/")] | join(" ")' "$TB_WORK/did")"
same 'all other packets are there' "$(jq '[.segments[].packets] | add' "$TB_WORK/down/manifest.json")" \
    "$(jq '.packets + ([.missing[].packets] | add)' "$TB_WORK/did")"
same 'and open' "$(jq .packets "$TB_WORK/did")" "$(tshark -n -r "$all" 2>"$TB_WORK/complaints" | wc -l)"
same 'without a complaint' '' "$(grep -v 'Running as user' "$TB_WORK/complaints")"
same 'the file itself says what is missing' 2 "$(grep -ao 'missing: segments/' "$all" | wc -l)"
"$TB_OUT/tapbox" verify "$all" --key "$key" >"$TB_WORK/said"
same 'and verify: status 7' 7 $?
same 'with both names' 2 "$(grep -c -e "${gone##*/}" -e "${damaged##*/}" "$TB_WORK/said")"
"$TB_OUT/tapbox" fetch "$TB_WORK/down" --all -o - >"$TB_WORK/piped" 2>"$TB_WORK/said"
same 'into a pipe: status 9, too' 9 $?
expect 'the same octets' cmp "$all" "$TB_WORK/piped"
same 'with a line on stderr for each' 2 "$(grep -c '^tapbox fetch: missing: segments/' "$TB_WORK/said")"
rm "$TB_WORK/down/summary.json"
"$TB_OUT/tapbox" report "$TB_WORK/down" --json -o "$TB_WORK/report.json" 2>"$TB_WORK/said"
same 'a report of it has status 9, too' 9 $?
same 'tells the same' "$(jq -c '[.missing[] | del(.why)] | sort' "$TB_WORK/did")" \
    "$(jq -c '[.summary.not_read.missing[] | del(.why)] | sort' "$TB_WORK/report.json")"
same 'and is of the same packets' "$(jq .packets "$TB_WORK/did")" "$(jq .summary.packets "$TB_WORK/report.json")"
same 'on stderr, too' 2 "$(grep -c '^tapbox report: missing: segments/' "$TB_WORK/said")"
"$TB_OUT/tapbox" report "$TB_WORK/down" -o "$TB_WORK/report.html" 2>/dev/null
expect 'and on the page' grep -q 'This could not be read' "$TB_WORK/report.html"
rm -r "$TB_WORK/down" "$TB_WORK/case"

# --- what is done to it is named
mkdir "$TB_WORK/whole"
cp -a "$extract" "$extract.proof" "$TB_WORK/whole/"
spoil "$extract" 500
same 'the extract changed' - "$(named)"
again
spoil "$extract.proof/manifest.json" 400
same 'the manifest changed' true "$(named | grep -q manifest && echo true)"
again
printf -- '--proto icmp\n' >"$extract.proof/filter"
same 'another filter: the extract, or chunks that it wants and are not there' true "$(named | grep -qE '^(-|segments)' && echo true)"
again
segment=$(find "$extract.proof/segments" -type f -size +2k | sort | head -n1)
spoil "$segment" 700
same 'a chunk changed' true "$(verify --key "$key" | grep -q "${segment##*/}" && echo true)"
again
rm "$segment"
same 'a segment removed' true "$(verify --key "$key" | grep -q "${segment##*/}" && echo true)"
again
expect 'and put back, it holds' verify --key "$key"
finish
