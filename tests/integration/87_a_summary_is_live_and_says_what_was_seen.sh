#!/bin/bash
# The summary of a running capture: what the alert spoke of is seen within moments, the process that parses may
# die, and in the end the numbers are tshark's.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

summary() { # JQ FILTER
    lab_call GET "/v1/captures/$capture/summary" | jq -r "$1"
}
peer_is_seen() { [ "$(summary '.ioc_seen[0].seen')" = true ]; }
is_there() { [ "$(summary .format)" = tapbox-summary/1 ]; }
has_all_written() { [ "$(summary .packets)" = "$(lab_capture "$capture" | jq '.live.ledger.written')" ]; }
was_extended() { lab_capture "$capture" | jq -e '.deadline > $before' --arg before "$deadline"; }
summarizer() { pgrep -P "$lab_tapbox_pid" -f 'tapbox summarize'; }
metric() { LAB_TOKEN=$scraper lab_call GET /metrics | sed -n "s/^$1 //p"; }

lab_up >/dev/null || give_up 'the lab comes up'
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
"$lab_here/traffic.sh" serve "$LAB_DIR/traffic" >"$LAB_DIR/logs/traffic.log" 2>&1 || give_up 'the servers start'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_tapbox_config capture.rotate_seconds=30
sed -i 's/^capture:/capture:\n  extend_when_seen: 20m/' "$LAB_DIR/tapbox.yaml"
lab_tokens || give_up 'tokens are made'
scraper=$("$LAB_OUT/tapbox" token add lab-scraper --file "$LAB_DIR/tokens" --role scraper 2>/dev/null)
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"

# The finding names the remote host, which nobody has talked with so far.
capture=$(lab_finding workload | lab_exec capture curl -sS -H "X-Api-Key: $LAB_ALERT_TOKEN" \
    -H 'Content-Type: application/json' --data-binary @- "$LAB_API/v1/events" | jq -r '.capture.id')
lab_wait_for_state "$capture" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
deadline=$(lab_capture "$capture" | jq -r .deadline)
expect 'there is a summary before there is a packet' lab_wait 5 is_there
same 'the peer is not seen' 'false null' "$(summary '"\(.ioc_seen[0].seen) \(.ioc_seen[0].first)"')"

# S3 takes nothing until the crash below is over: what it has is gone from the spool, and not read again.
rgw=$(cat "$LAB_DIR"/radosgw/run/client.rgw*.pid)
kill -STOP "$rgw"
began=${EPOCHREALTIME/./}
expect 'the workload talks with the peer' "$cases_root/tests/lab/traffic.sh" talk quick
expect 'the peer is seen' lab_wait 10 peer_is_seen
echo "#   $(((${EPOCHREALTIME/./} - began) / 1000)) ms after it began to talk"
expect 'and told in the log' lab_wait 5 grep -q "seen: ip .* port 443, first at" "$LAB_DIR/logs/tapbox.log"
same 'once' 1 "$(metric tapbox_indicators_seen_total)"
expect 'the capture is extended' lab_wait 10 was_extended

pid=$(summarizer)
same 'the summarizing process has no capability' 0000000000000000 "$(sed -n 's/^CapBnd:\t//p;' "/proc/$pid/status")"
same 'a filter for system calls' 2 "$(sed -n 's/^Seccomp:\t//p' "/proc/$pid/status")"
same 'and no key of AWS' 0 "$(tr '\0' '\n' <"/proc/$pid/environ" | grep -c '^AWS_')"
kill -KILL "$pid"
expect 'the workload talks on' "$cases_root/tests/lab/traffic.sh" talk quick
expect 'after its crash another one reads all of it again' lab_wait 15 has_all_written
kill -CONT "$rgw"
same 'the crash is counted' 1 "$(metric tapbox_summary_crashes_total)"
same 'recording did not notice' '[0,0,0]' \
    "$(lab_capture "$capture" | jq -c '[.live.ledger | .queue_dropped, .spool_full, .over_budget]')"

same 'at most so many rows as asked' 2 \
    "$(lab_call GET "/v1/captures/$capture/summary?top=2" | jq '.tcp.rows | length')"

lab_call POST "/v1/captures/$capture/stop" >/dev/null
lab_wait_for_state "$capture" sealed 40 || not_ok 'the capture is sealed' "$lab_why"
summary . >"$TB_WORK/summary.json"
same 'the summary stays, and is whole' 'true 0' "$(jq -r '"\(.is_final) \(.not_read.segments)"' "$TB_WORK/summary.json")"
same 'of an ended capture, too' '2 true' \
    "$(lab_call GET "/v1/captures/$capture/summary?top=2" | jq -r '"\(.tcp.rows | length) \(.tcp.count > 2)"')"
same 'a top that is none is refused' 400 "$(lab_status_of GET "/v1/captures/$capture/summary?top=-1")"
same 'of a capture that is not there' 404 "$(lab_status_of GET /v1/captures/cap-20260102T030405Z-00000001/summary)"
lab_download >/dev/null
evidence=$(lab_evidence "$capture")
expect 'every number is tshark'\''s' /usr/bin/python3 "$cases_root/tests/support/summary_and_tshark.py" \
    "$TB_WORK/summary.json" "$evidence"/segments/*.zst
same 'the first sight is in the custody log' 1 \
    "$(grep -c '"act":"indicator_seen"' "$evidence/custody/0001.jsonl")"

# For people: at the terminal, and as a page from the service and from the folder.
client() { lab_exec capture env TAPBOX_URL="$LAB_API" TAPBOX_TOKEN="$LAB_RESPONDER_TOKEN" "$LAB_OUT/tapbox" "$@"; }
client show "$capture" >"$TB_WORK/show.txt"
expect 'tapbox show tells of the peer' grep -qE '^  SEEN +ip .* port 443: [0-9]+ packets' "$TB_WORK/show.txt"
same 'before it lists segments' 'SEEN segments' "$(awk '$1 == "SEEN" || $1 == "segments" { print $1 }' "$TB_WORK/show.txt" | xargs)"
expect 'and draws the timeline' grep -qE '^  timeline +[.:=+*#@-]' "$TB_WORK/show.txt"
expect 'a page comes from the service' client report "$capture" -o "$TB_WORK/service.html"
expect 'and from the folder' client report "$evidence" -o "$TB_WORK/folder.html"
same 'the manifest names the summary' "$(sha256sum <"$evidence/summary.json" | cut -c1-64)" \
    "$(jq -r .summary.sha256 "$evidence/manifest.json")"
expect 'tapbox verify finds nothing wrong' client verify "$evidence" --key "$LAB_DIR/state/evidence.key.pub"
cp -r "$evidence" "$TB_WORK/changed"
echo >>"$TB_WORK/changed/summary.json"
expect_failure 'a changed summary is found' 'summary.json' client verify "$TB_WORK/changed" --key "$LAB_DIR/state/evidence.key.pub"
rm "$TB_WORK/changed/summary.json"
expect_failure 'a missing one, too' 'summary.json' client verify "$TB_WORK/changed" --key "$LAB_DIR/state/evidence.key.pub"
same 'made anew of the segments it is the same' "$(jq -S '[.tcp, .udp, .dns, .tls, .timeline, .ioc_seen]' "$TB_WORK/summary.json")" \
    "$(client report "$TB_WORK/changed" --json | jq -S '.summary | [.tcp, .udp, .dns, .tls, .timeline, .ioc_seen]')"
place=$(LAB_TOKEN=$LAB_RESPONDER_TOKEN lab_call GET "/v1/captures/$capture/files" | jq -r .place)
expect 'a page comes from S3' client report "$place" -o "$TB_WORK/s3.html"
same 'which says what that of the folder does' "$(client report "$evidence" --json | jq -S . | md5sum)" "$(client report "$place" --json | jq -S . | md5sum)"
lab_s3 cp --recursive --only-show-errors "$evidence/segments" "s3://$LAB_BUCKET/bare/segments"
lab_s3 cp --recursive --only-show-errors "$evidence/alerts" "s3://$LAB_BUCKET/bare/alerts"
same 'of segments alone in S3 the numbers are made here' "$(jq -S '[.tcp, .udp, .dns, .tls, .timeline, .ioc_seen]' "$TB_WORK/summary.json" | md5sum)" \
    "$(client report "s3://$LAB_BUCKET/bare" --json | jq -S '.summary | [.tcp, .udp, .dns, .tls, .timeline, .ioc_seen]' | md5sum)"
for option in --role --policy; do
    expect_failure "$option is refused of what the service has" "$option is for files" client report "$capture" -o - "$option" x
done
# The same alert by a sender that only a policy describes, and that the manifest names.
cat >"$TB_WORK/policy.yaml" <<'END'
senders: {mine: {id: /id, type: Mine, source: /who, indicators: [{ip: /peer, port: /port}]}}
rules: [{name: none, when: {}, ignore: not here}]
END
jq '.ioc_seen[0] | {id: "1", who: "nobody", peer: .value, port}' "$TB_WORK/summary.json" >"$TB_WORK/changed/alerts/0001.json"
jq '.alerts[0].adapter = "mine"' "$evidence/manifest.json" >"$TB_WORK/changed/manifest.json"
same 'without its policy nobody reads it' '[]' "$(client report "$TB_WORK/changed" --json | jq -c .summary.ioc_seen)"
same 'with it, what it speaks of was seen' "$(jq -c '.ioc_seen[0] | [.value, .port, .seen]' "$TB_WORK/summary.json")" \
    "$(client report "$TB_WORK/changed" --json --policy "$TB_WORK/policy.yaml" | jq -c '.summary.ioc_seen[0] | [.value, .port, .seen]')"
echo 'rules: 1' >"$TB_WORK/policy.yaml"
expect_failure 'a policy that is none is refused with its line' 'policy.yaml:[0-9]' client report "$TB_WORK/changed" --json \
    --policy "$TB_WORK/policy.yaml"
for page in service folder s3; do
    for part in '<h1>'"$capture" 'indicators seen' '<svg' 'SHA-256' 'signing key'; do
        expect "the page from the $page has $part" grep -qF "$part" "$TB_WORK/$page.html"
    done
done
expect 'and the verdict' grep -qE 'class="badge (good|warn|bad)">.*complete' "$TB_WORK/folder.html"
expect_failure 'a folder without evidence is one sentence' 'neither a manifest.json nor a segment' client report "$TB_WORK/logs" -o -
lab_tapbox_stop || not_ok 'tapbox stops' "$lab_why"
finish
