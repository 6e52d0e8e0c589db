#!/bin/bash
# The main job, shown: an alert arrives, a tap opens, its traffic lands in S3 with proof, the tap goes away.
# usage: tests/lab/demo.sh [--build DIR] [--mode MODE]      (make demo)
# Everything happens in namespaces of its own.  DIR/demo/ keeps result.json, evidence/ as downloaded, logs/.
# Exit status 0 only if all of it held.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=build mode=release inside=''
arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2 && shift 2 ;;
    --mode) mode=$2 && shift 2 ;;
    --inside) inside=yes && shift ;;
    *)
        sed -n '3s/^# //p' "$0" >&2
        exit 2
        ;;
    esac
done
[ -n "$inside" ] || exec "$root/tests/lab/enter" "$0" "${arguments[@]}" --inside

case $build in /*) ;; *) build=$root/$build ;; esac
LAB_OUT=$build/$mode LAB_DIR=$build/demo
LAB_LOG=''
# shellcheck source-path=SCRIPTDIR source=service.sh
. "$root/tests/lab/service.sh"

# --- how it is told ---

bold='' dim='' green='' red='' plain=''
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi
began=$SECONDS step='start'

step() { # NUMBER TITLE
    step=$2
    printf '\n%s%s  %s%s\n' "$bold" "$1" "$2" "$plain"
}
say() { printf '   %s\n' "$1"; }
show() { printf '   %s$ %s%s\n' "$dim" "$1" "$plain"; }
good() { printf '   %sok%s  %s\n' "$green" "$plain" "$1"; }

fail() { # SENTENCE [LOG]
    local log=${2:-$LAB_LOG}
    printf '\n%sFAILED%s in "%s": %s\n' "$red" "$plain" "$step" "$1" >&2
    if [ -n "$log" ] && [ -s "$log" ]; then
        printf '   the last lines of %s:\n' "$log" >&2
        tail -n 15 "$log" | sed 's/^/   | /' >&2
    fi
    lab_awsim_ask /counters >"$LAB_DIR/logs/counters.json" 2>/dev/null || true
    printf '   all logs: %s/logs/\n' "$LAB_DIR" >&2
    trap - EXIT
    exit 1
}
trap 'fail "it ended unexpectedly (line $LINENO)"' EXIT

# --- pieces ---

# Talk, in rounds, as long as one more surely ends before UNTIL (seconds since 1970).
talk_until() { # UNTIL
    local started took=3
    rounds=0
    while [ $((EPOCHSECONDS + took + 2)) -lt "$1" ]; do
        started=$EPOCHSECONDS
        "$root/tests/lab/traffic.sh" talk demo >>"$LAB_DIR/logs/traffic.log" 2>&1 ||
            fail "the workload's programs did not get their answers" "$LAB_DIR/logs/traffic.log"
        rounds=$((rounds + 1)) took=$((EPOCHSECONDS - started + 1))
    done
}

follow() { # CAPTURE: one line for each new state, until it is final
    local state last='' until=$((SECONDS + 60))
    while [ $SECONDS -lt $until ]; do
        state=$(lab_state "$1") || state=''
        if [ -n "$state" ] && [ "$state" != "$last" ]; then
            printf '   %s  %-10s\n' "$(date -u +%H:%M:%S)" "$state"
            last=$state
        fi
        case $state in
        sealed) return 0 ;;
        failed | refused) break ;;
        esac
        sleep 0.1
    done
    lab_capture "$1" >"$LAB_DIR/logs/$1.json" || true
    fail "capture $1 is '$last', not sealed" "$LAB_DIR/logs/$1.json"
}

# What everyone counted for one capture, appended to `accounts` as JSON; the download and the witness have
# to agree frame by frame.
accounts=''
account_for() { # CAPTURE WITNESS
    local folder shown mirrored=0 seen session
    folder=$(dirname "$(find "$LAB_DIR/evidence" -path "*/$1/manifest.json")")
    shown=$(lab_capture "$1")
    printf '%s\n' "$shown" >"$LAB_DIR/logs/$1.json"
    for session in $(jq -r '.resources[] | select(.kind == "session") | .id' <<<"$shown"); do
        mirrored=$((mirrored + $(lab_mirrored "$session")))
    done
    seen=$("$root/tests/support/frames.py" compare --drop-never-mirrored --json \
        --mac "$(lab_field "$LAB_INTERFACES" workload 5)" "$2" "$folder"/segments/*.pcapng.zst \
        2>"$LAB_DIR/logs/compare-$1.log") ||
        fail "capture $1 is not what tcpdump saw: $seen" "$LAB_DIR/logs/compare-$1.log"
    accounts+=$(jq -n --argjson shown "$shown" --argjson mirrored "$mirrored" --argjson seen "$seen" \
        --argjson bytes "$(cat "$folder"/segments/* | wc -c)" --argjson files "$(find "$folder/segments" -type f | wc -l)" '
        {id: $shown.id, state: $shown.state, segments: $files, packets_mirrored: $mirrored,
         packets_written: $shown.ledger.written, packets_seen_by_tcpdump: $seen.expected, bytes_uploaded: $bytes}')
}

left_behind() { # sessions, filters and targets that EC2 still has, as JSON
    local sessions filters targets
    sessions=$(lab_ec2 describe-traffic-mirror-sessions --query 'length(TrafficMirrorSessions)')
    filters=$(lab_ec2 describe-traffic-mirror-filters --query 'length(TrafficMirrorFilters)')
    targets=$(lab_ec2 describe-traffic-mirror-targets --query 'length(TrafficMirrorTargets)')
    printf '{"sessions": %d, "filters": %d, "targets": %d}\n' "$sessions" "$filters" "$targets"
}

# --- the demo ---

rm -rf "$LAB_DIR"
mkdir -p "$LAB_DIR/logs" "$LAB_DIR/witness" "$LAB_DIR/evidence"

printf '%stapbox: an alert, a tap, the evidence, and nothing left behind%s\n' "$bold" "$plain"

step 1 'A small AWS, in network namespaces'
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || fail 'the hosts did not come up' "$LAB_DIR/logs/lab.log"
lab_environment
say "workload  $(lab_field "$LAB_INTERFACES" workload 6)     EC2 instance $(lab_instance workload), interface $(lab_eni workload)"
say "remote    $(lab_field "$LAB_INTERFACES" remote 6)  a host on the Internet: DNS, HTTP, TLS"
say "capture   $(lab_field "$LAB_INTERFACES" capture 6)     the host tapbox runs on"
say "cloud     $(lab_field "$LAB_INTERFACES" cloud 6)      EC2 (awsim) and S3 (Ceph radosgw), reached by AWS_ENDPOINT_URL_..."
lab_s3_start &
s3=$!
"$root/tests/lab/traffic.sh" serve "$LAB_DIR/traffic" >"$LAB_DIR/logs/traffic.log" 2>&1 ||
    fail "the remote host's servers did not start" "$LAB_DIR/logs/traffic.log"
lab_awsim_start || fail "$lab_why" "$LAB_DIR/logs/awsim.log"
wait "$s3" || fail 'radosgw did not start' "$LAB_DIR/logs/radosgw.log"
"$root/tests/lab/traffic.sh" talk quick >>"$LAB_DIR/logs/traffic.log" 2>&1 ||
    fail 'the hosts do not reach each other' "$LAB_DIR/logs/traffic.log"
good "everybody answers, over IPv4 and IPv6 ($((SECONDS - began)) s)"

step 2 'tapbox starts on the capture host'
LAB_LOG=$LAB_DIR/logs/tapbox.log
lab_tapbox_config capture.duration=20s capture.rotate_seconds=5
show 'tapbox check-config --config tapbox.yaml'
lab_exec capture "$LAB_OUT/tapbox" check-config --config "$LAB_DIR/tapbox.yaml" >"$LAB_DIR/logs/check-config.log" 2>&1 ||
    fail 'the configuration is refused' "$LAB_DIR/logs/check-config.log"
show 'tapbox token add --role alert ...'
lab_tokens || fail 'no tokens' "$LAB_DIR/logs/token.log"
show 'tapbox serve --config tapbox.yaml --with-recorder'
lab_tapbox_start || fail "$lab_why"
good 'it is ready; its recorder is a process of its own, without AWS credentials'

step 3 'GuardDuty raises an alert: Backdoor:EC2/C&CActivity.B on the workload'
"$root/tests/lab/witness.sh" start workload eth0 "$LAB_DIR/witness/first.pcap" || fail 'no tcpdump'
lab_finding workload >"$LAB_DIR/finding.json"
show "curl -X POST $LAB_API/v1/events -H 'X-Api-Key: ...' -d @finding.json    (as EventBridge sends it)"
answer=$(lab_exec capture curl -sS --max-time 10 -H "X-Api-Key: $LAB_ALERT_TOKEN" -H 'Content-Type: application/json' \
    --data-binary @"$LAB_DIR/finding.json" "$LAB_API/v1/events") || fail "no answer to the alert: $answer"
first=$(jq -r '.capture.id // empty' <<<"$answer")
[ -n "$first" ] || fail "the alert was not taken: $answer"
say "$(jq -c '{decision, capture: .capture.id, reason}' <<<"$answer")"
lab_wait_for_state "$first" recording 15 || fail "$lab_why"
deadline=$(lab_capture "$first" | jq -r '.deadline | sub("[.][0-9]+Z$"; "Z") | fromdateiso8601')
good "recording until $(date -u -d "@$deadline" +%H:%M:%S): target, filter and session are there, the recorder was armed first"
say 'the workload talks: DNS, HTTP, TLS, ICMP and UDP, over IPv4 and IPv6, small, large and in fragments'
talk_until "$deadline"
good "$rounds rounds of it; now the deadline comes, and nobody has to do anything"
follow "$first"
"$root/tests/lab/witness.sh" stop "$LAB_DIR/witness/first.pcap" || fail 'tcpdump missed packets'

step 4 'An analyst asks for a second capture, and stops it early'
"$root/tests/lab/witness.sh" start workload eth0 "$LAB_DIR/witness/second.pcap" || fail 'no tcpdump'
body="{\"source\":\"$(lab_instance workload)\",\"duration\":\"10m\",\"reason\":\"is it still talking?\",\"case\":\"IR-1\"}"
show "curl -X POST $LAB_API/v1/captures -H 'Authorization: Bearer ...' -d '$body'"
answer=$(lab_call POST /v1/captures -H 'Content-Type: application/json' -d "$body") || fail "no answer: $answer"
second=$(jq -r '.capture.id // empty' <<<"$answer")
[ -n "$second" ] || fail "the request was not taken: $answer"
lab_wait_for_state "$second" recording 15 || fail "$lab_why"
good "$second records for ten minutes"
talk_until $((EPOCHSECONDS + 13))
# What the workload just said is under way for a moment.
sleep 0.5
show "curl -X POST $LAB_API/v1/captures/$second/stop"
lab_call POST "/v1/captures/$second/stop" >"$LAB_DIR/logs/stop.log" || fail 'no answer to stop' "$LAB_DIR/logs/stop.log"
follow "$second"
"$root/tests/lab/witness.sh" stop "$LAB_DIR/witness/second.pcap" || fail 'tcpdump missed packets'
good "stopped after $rounds rounds, reason: $(lab_capture "$second" | jq -r .stop_reason)"

step 5 'The evidence'
show "aws --endpoint-url $LAB_S3_URL s3 ls --recursive s3://$LAB_BUCKET"
lab_s3 ls --recursive "s3://$LAB_BUCKET" 2>&1 | tee "$LAB_DIR/logs/s3.log" | sed 's/^/   /'
show "aws --endpoint-url $LAB_S3_URL s3 cp --recursive s3://$LAB_BUCKET build/demo/evidence"
lab_s3 cp --recursive --only-show-errors "s3://$LAB_BUCKET" "$LAB_DIR/evidence" >>"$LAB_DIR/logs/s3.log" 2>&1 ||
    fail 'the download failed' "$LAB_DIR/logs/s3.log"

show 'sha256sum -c SHA256SUMS'
sums_ok=true
for id in "$first" "$second"; do
    for file in manifest.json SHA256SUMS alerts/0001.json; do
        [ -n "$(find "$LAB_DIR/evidence" -path "*/$id/$file")" ] || fail "capture $id has no $file"
    done
    (cd "$(dirname "$(find "$LAB_DIR/evidence" -path "*/$id/SHA256SUMS")")" && sha256sum -c --strict SHA256SUMS &&
        # and there is no segment that it does not name
        for file in segments/*; do grep -qF "  $file" SHA256SUMS; done) >>"$LAB_DIR/logs/sha256sum.log" 2>&1 ||
        sums_ok=false
done
[ $sums_ok = true ] || fail 'a file is not what SHA256SUMS says' "$LAB_DIR/logs/sha256sum.log"
cmp -s "$LAB_DIR/finding.json" "$(find "$LAB_DIR/evidence" -path "*/$first/alerts/0001.json")" ||
    fail 'alerts/0001.json is not the alert as it was sent'
good "$(grep -c ': OK$' "$LAB_DIR/logs/sha256sum.log") files are what SHA256SUMS says; the alert is there as it was sent"

show 'tapbox verify build/demo/evidence --key key.pem --deep      (key.pem: from GET /v1/keys)'
lab_exec capture curl -sS "$LAB_API/v1/keys" | jq -r '.keys[] | select(.current) | .pem' >"$LAB_DIR/key.pem"
"$LAB_OUT/tapbox" verify "$LAB_DIR/evidence" --key "$LAB_DIR/key.pem" --deep >"$LAB_DIR/logs/verify.log" 2>&1 ||
    fail 'the evidence does not hold' "$LAB_DIR/logs/verify.log"
good 'signatures, chain, custody log and all hashes hold'

show 'tshark -r segments/....pcapng.zst      (every segment)'
tshark_packets=0
printf '   %-44s %9s %12s %14s\n' segment packets bytes conversations
for id in "$first" "$second"; do
    lines=$("$root/tests/support/tshark.sh" "$(dirname "$(find "$LAB_DIR/evidence" -path "*/$id/manifest.json")")"/segments/* \
        2>"$LAB_DIR/logs/tshark.log") || fail 'tshark complains' "$LAB_DIR/logs/tshark.log"
    while read -r name packets bytes conversations; do
        printf '   %-44s %9d %12d %14d\n' "$name" "$packets" "$bytes" "$conversations"
        tshark_packets=$((tshark_packets + packets))
    done <<<"$lines"
done
account_for "$first" "$LAB_DIR/witness/first.pcap"
account_for "$second" "$LAB_DIR/witness/second.pcap"
result=$(jq -s . <<<"$accounts")
jq -r '.[] | "   \(.id): tcpdump saw \(.packets_seen_by_tcpdump), mirrored \(.packets_mirrored), written \(.packets_written), segments: \(.segments)"' <<<"$result"
jq -e --argjson tshark "$tshark_packets" 'length == 2 and ([.[].packets_written] | add) == $tshark and all(.[];
    .state == "sealed" and .packets_written > 100 and .packets_written == .packets_mirrored
    and .packets_written == .packets_seen_by_tcpdump) and .[0].segments > 1' <<<"$result" >/dev/null ||
    fail "the counts differ: $(jq -c . <<<"$result"), tshark $tshark_packets" "$LAB_DIR/logs/$first.json"
good 'frame for frame what tcpdump saw at the workload (less what AWS never mirrors)'

step 6 'What is left in the account'
sessions=$(left_behind | jq .sessions)
[ "$sessions" = 0 ] || fail "$sessions mirror sessions are still there"
show 'tapbox sweep --standing      (the target is kept for the next alert, unless told otherwise)'
lab_exec capture "$LAB_OUT/tapbox" sweep --standing >"$LAB_DIR/logs/sweep.log" 2>&1 ||
    fail 'sweep failed' "$LAB_DIR/logs/sweep.log"
left=$(left_behind)
jq -n --argjson captures "$result" --argjson left "$left" --argjson tshark "$tshark_packets" --argjson sums $sums_ok \
    '{captures: $captures, left: $left, tshark_packets: $tshark, sha256_ok: $sums}' >"$LAB_DIR/result.json"
[ "$(jq 'add' <<<"$left")" = 0 ] || fail "left behind: $left" "$LAB_DIR/logs/sweep.log"
good 'no session, no filter, no target'
lab_tapbox_stop || fail 'tapbox did not end with status 0'

printf '\n%sAll of it held, in %d s.%s  %s/: result.json, evidence/, logs/\n' "$bold$green" $((SECONDS - began)) "$plain" \
    "${LAB_DIR#"$root/"}"
trap - EXIT
