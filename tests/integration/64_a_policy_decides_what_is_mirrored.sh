#!/bin/bash
# A policy of the user's own, from the finding to the mirror: peers only, wider for a second alert, decided by
# what EC2 says of the source, and ended by news of the instance.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
remote=$(lab_field "$LAB_INTERFACES" remote 6)

tapbox() {
    lab_exec capture env TAPBOX_URL="$LAB_API" TAPBOX_TOKEN="$LAB_ANALYST_TOKEN" "$LAB_OUT/tapbox" "$@"
}
post() { # FILE: the answer stays in $TB_WORK/answer
    lab_exec capture curl -sS --max-time 20 -X POST -H "X-Api-Key: $LAB_ALERT_TOKEN" --data-binary "@$1" \
        -o "$TB_WORK/answer" "$LAB_API/v1/events"
}
member() { # POINTER: of the last answer
    jq -r "$1" "$TB_WORK/answer"
}
rules_of() { # CAPTURE: what its filter accepts, as EC2 has it
    lab_ec2 describe-traffic-mirror-filters | jq -r --arg id "$1" '[.TrafficMirrorFilters[]
        | select(any(.Tags[]; .Key == "tapbox:capture" and .Value == $id))
        | .IngressFilterRules[].SourceCidrBlock, .EgressFilterRules[].DestinationCidrBlock] | sort | unique | join(" ")'
}
finding() { # HOST JQ-CHANGE
    lab_finding "$1" | jq "$2"
}
packets() { # CAPTURE FILTER: how many frames of its evidence tshark shows
    find "$(lab_evidence "$1")/segments" -name '*.zst' -exec tshark -r {} -Y "$2" \; 2>/dev/null | wc -l
}

cat >"$TB_WORK/policy.yaml" <<END
guard: {deny_tags: [purpose=nobody]}
profiles:
  peers: {filter: peers, duration: 10m, packet_length: 200}
  other: {filter: all, duration: 11m}
rules:
  - {name: not-here, when: {vpc: vpc-00000000000000000}, ignore: another network}
  - {name: quiet, when: {tag: "quiet=*"}, ignore: it is to be left alone}
  - {name: c2, when: {type: "Backdoor:EC2/*", severity: ">=7"}, capture: peers}
  - {name: rest, when: {}, capture: other}
END
expect 'the policy is good' "$TB_OUT/tapbox" policy check "$TB_WORK/policy.yaml"

lab_all_up || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_tapbox_stop
printf 'policy: {file: %s, cooldown: 0}\n' "$TB_WORK/policy.yaml" >>"$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"

# the second phase: the finding's tags and VPC are taken out, so that only EC2 knows them
finding workload 'del(.detail.resource.instanceDetails.tags, .detail.resource.instanceDetails.networkInterfaces[].vpcId)' \
    >"$TB_WORK/first.json"
post "$TB_WORK/first.json"
same 'a finding is captured' capture "$(member .decision)"
expect 'by a rule that EC2 has still to confirm' grep -q "unless the source's VPC, subnet or tags" "$TB_WORK/answer"
id=$(member .capture.id)
lab_wait_for_state "$id" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
same 'its filter has the peer alone, in both directions' "$remote/32" "$(rules_of "$id")"
same 'and its rule decided' '600 c2' "$(lab_capture "$id" | jq -r '"\(.request.duration_seconds) \(.request.rule)"')"
expect 'the source talks to the peer' lab_exec workload ping -q -c 3 -i 0.2 "$remote"
expect 'and to somebody else' lab_exec workload ping -q -c 3 -i 0.2 "$(lab_field "$LAB_INTERFACES" workload2 6)"
sleep 0.3

# a second alert names another peer
finding workload '.detail.service.action.networkConnectionAction.remoteIpDetails.ipAddressV4 = "198.51.100.77"' \
    >"$TB_WORK/second.json"
post "$TB_WORK/second.json"
same 'a second finding joins' "joined $id" "$(member .decision) $(member .capture.id)"
both_peers() { [ "$(rules_of "$id")" = "$(printf '%s\n' "$remote/32" 198.51.100.77/32 | sort | paste -sd' ')" ]; }
expect 'and its peer is let through too' lab_wait 5 both_peers

# a third one needs everything: the session moves to the filter for all
finding workload '.detail.service.action = {actionType: "DNS_REQUEST", dnsRequestAction: {domain: "bad.example", protocol: "UDP", blocked: false}}' \
    >"$TB_WORK/third.json"
post "$TB_WORK/third.json"
expect 'a finding about a domain, which is of the whole instance, is taken in' grep -qE '"(capture|joined)"' "$TB_WORK/answer"
no_own_filter() { [ -z "$(rules_of "$id")" ]; }
expect 'its own filter goes, as its session uses the one for everything' lab_wait 5 no_own_filter
expect 'the source talks to somebody else again' lab_exec workload ping -q -c 2 -i 0.2 -s 99 \
    "$(lab_field "$LAB_INTERFACES" workload2 6)"
sleep 0.3

# news of the instance
jq -n --arg i "$(lab_instance workload)" '{id: "e1", "detail-type": "EC2 Instance State-change Notification",
    source: "aws.ec2", detail: {"instance-id": $i, state: "terminated"}}' >"$TB_WORK/news.json"
post "$TB_WORK/news.json"
same 'news is noted for the capture' "noted $id" "$(member .decision) $(member .capture.id)"
sleep 1.2
same 'and ends nothing that EC2 does not confirm' recording "$(lab_state "$id")"
lab_awsim_ask /world -X POST -d "[{\"instance_state\":{\"$(lab_instance workload)\":\"terminated\"}}]" >/dev/null
jq '.id = "e2"' "$TB_WORK/news.json" >"$TB_WORK/news2.json"
post "$TB_WORK/news2.json"
expect 'an instance that is gone ends its capture at once' lab_wait 5 lab_state_is "$id" draining sealing sealed
expect 'sealed' lab_wait_for_state "$id" sealed 20
same 'for that reason' source_gone "$(lab_capture "$id" | jq -r .stop_reason)"
same 'nothing of it is left' 0 "$(lab_awsim_ask /objects | jq '.sessions | length')"
expect 'the evidence comes down' lab_download
same 'it holds the peer' yes "$([ "$(packets "$id" "ip.addr == $remote")" -ge 6 ] && echo yes)"
same 'of the others only what came after the filter was widened' "$(packets "$id" 'icmp && !(frame.len < 100)')" \
    "$(packets "$id" "icmp && !(ip.addr == $remote)")"
expect 'its custody log tells of the policy and of the wider filter' \
    grep -qE '"act":"widen_filter"' "$(lab_evidence "$id")"/custody/0001.jsonl
expect 'and of what the policy decided' grep -q '"act":"policy"' "$(lab_evidence "$id")"/custody/0001.jsonl
signed=$(lab_evidence "$id")/manifest.json
same 'the manifest names the rule of each alert, and what each wanted mirrored' 'c2 peers, c2 peers, c2 all' \
    "$(jq -r '[.alerts[] | select(.rule) | "\(.rule) \(.filter.kind)"] | join(", ")' "$signed")"
same 'that the mirror was widened, to everything' 'true all true' \
    "$(jq -r '.filter | "\(.widened) \(.kind) \(.in_place)"' "$signed")"
same 'and each object of AWS as it was asked for' true \
    "$(jq '[.aws_objects[] | .request | contains("CreateTrafficMirror")] | all' "$signed")"
expect 'the manifest fits its schema' /usr/bin/python3 -c "
import json, sys, jsonschema
jsonschema.validate(json.load(open(sys.argv[1])), json.load(open(sys.argv[2])))" "$signed" "$cases_root/src/evidence/manifest.schema.json"

# what only EC2 can tell may also be a no
lab_ec2 create-tags --resources "$(lab_eni workload2)" --tags Key=quiet,Value=yes
finding workload2 'del(.detail.resource.instanceDetails.tags)' >"$TB_WORK/quiet.json"
post "$TB_WORK/quiet.json"
quiet=$(member .capture.id)
expect 'a tag that only EC2 knows refuses it' lab_wait_for_state "$quiet" refused 5
same 'with the reason of the rule' "rule 'quiet': it is to be left alone" \
    "$(lab_capture "$quiet" | jq -r .error.text)"

# An alert that one policy ignores is decided again when there is another.
lab_tapbox_stop
sed -i '/name: quiet/d; s/capture: peers}$/ignore: not while we rehearse}/' "$TB_WORK/policy.yaml"
lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
finding workload2 '.detail.id = "0123456789abcdef0123456789abcdef"' >"$TB_WORK/later.json"
post "$TB_WORK/later.json"
same 'a finding is ignored by its rule' "ignored rule 'c2': not while we rehearse" "$(member '"\(.decision) \(.reason)"')"
alert=$(tapbox alerts --decision ignored --json | jq -r '.alerts[0].id')
expect 'the list of alerts says so to people' grep -qE "^$alert .* ignored +Backdoor:EC2/.* rule 'c2': not while we rehearse" \
    <(tapbox alerts)
lab_tapbox_stop
sed -i 's/ignore: not while we rehearse}$/capture: peers}/' "$TB_WORK/policy.yaml"
lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
same 'the policy of now would capture it' capture "$(tapbox plan --alert "$alert" --json | jq -r .decision)"
same 'which makes nothing' 0 "$(lab_call GET '/v1/captures?live=1' | jq '.captures | length')"
expect 'and it does when it is asked to' tapbox alerts replay 0123456789abcdef0123456789abcdef
again=$(tapbox alerts --decision capture --limit 1 --json | jq -r '.alerts[0].capture')
expect 'it records' lab_wait_for_state "$again" recording 10
same 'and the alert names who asked' lab-analyst "$(tapbox alerts --limit 1 --json | jq -r '.alerts[0].by')"
finish
