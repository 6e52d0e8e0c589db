#!/bin/bash
# tapbox plan: in a world with one thing wrong it names that thing, and it makes nothing.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

lab_up || give_up 'the lab comes up'
lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
lab_tapbox_config
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
export TAPBOX_TOKEN=$LAB_ANALYST_TOKEN
eni=$(lab_eni workload) instance=$(lab_instance workload) target=$(lab_eni capture)

# awsim and tapbox anew, in the lab's world after a change of it.
in_world() { # JQ FILTER
    lab_tapbox_stop
    kill "$lab_awsim_pid" 2>/dev/null && wait "$lab_awsim_pid" 2>/dev/null
    lab_world | jq "$1" >"$LAB_DIR/world.json"
    lab_start fabric "$LAB_DIR/logs/awsim.log" "$LAB_OUT/awsim" --world "$LAB_DIR/world.json"
    lab_awsim_pid=$lab_pid
    lab_wait 10 lab_awsim_answers || give_up "awsim takes '$1'" "$LAB_DIR/logs/awsim.log"
    rm -rf "$LAB_DIR/state"
    mkdir "$LAB_DIR/state"
    lab_tapbox_start || give_up "tapbox starts in '$1'" "$LAB_DIR/logs/tapbox.log"
}
plan() { # SOURCE [OPTION...]
    lab_exec capture "$TB_OUT/tapbox" plan --json "$@"
}
# "STATUS: the blocks and warnings, sorted"
found() { # ARGUMENTS OF plan
    local answer status
    answer=$(plan "$@")
    status=$?
    echo "$status:$(jq -r '[.checks[] | select(.severity != "info") | " \(.severity) \(.code)"] | sort | join(",")' <<<"$answer")"
}
made() { # how much EC2 was made to hold, or was asked to
    lab_awsim_ask /objects | jq -c '[(.sessions, .filters, .targets | length),
        (.requests | to_entries[] | select(.key | test("^(Create|Delete|Modify)")) | .value.ok)] | add // 0'
}
warm() { # one capture, so that target and filter are there
    id=$(lab_record workload2 10m)
    lab_wait_for_state "$id" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
    lab_call POST "/v1/captures/$id/stop" >/dev/null
    lab_wait_for_state "$id" sealed 20 || give_up 'and is sealed' "$LAB_DIR/logs/tapbox.log"
}

in_world .
same 'in a good world nothing stands against it' 0: "$(found "$instance")"
same 'and nothing was made' 0 "$(made)"
answer=$(plan "$instance" --duration 30m)
same 'it says what it would capture, for how long and for how much' "capture $eni 1800 1 0.0075" \
    "$(jq -r '"\(.decision) \(.sources[0].eni) \(.profile.duration_seconds) \(.sources[0].session_number) \(.price_usd)"' <<<"$answer")"
same 'and that packets up to 8947 octets arrive whole' 1 \
    "$(jq '[.checks[] | select(.code == "mtu" and (.text | contains("8947")))] | length' <<<"$answer")"
same 'the trial upload is gone again' '' "$(lab_s3 ls --recursive "s3://$LAB_BUCKET")"
same 'as a table it says the same' 1 \
    "$(lab_exec capture "$TB_OUT/tapbox" plan "$instance" | grep -cE "^  $eni +$instance +10.77.1.10 +1\$")"
same 'nothing at all was committed' 0 "$(lab_call GET /v1/captures | jq '.captures | length')"
same 'an unknown source is named' '1: block source_not_found' "$(found i-0123456789abcdef0)"
same 'our own target too' '1: block own_target' "$(found "$target")"

lab_finding workload >"$TB_WORK/finding.json"
same 'an alert is planned like a request' "0 capture $eni 198.51.100.10" "$(
    answer=$(plan --event "$TB_WORK/finding.json")
    echo "$? $(jq -r '"\(.decision) \(.sources[0].eni) \(.indicators[0].value)"' <<<"$answer")"
)"
jq '.detail.severity = 2 | .detail.type = "Recon:EC2/PortProbeUnprotectedPort"' "$TB_WORK/finding.json" >"$TB_WORK/low.json"
same 'one that policy ignores is told so' "0 ignore" "$(
    answer=$(plan --event "$TB_WORK/low.json")
    echo "$? $(jq -r .decision <<<"$answer")"
)"
jq '.region = "us-east-1" | .detail.region = "us-east-1"' "$TB_WORK/finding.json" >"$TB_WORK/far.json"
same 'one about another Region is refused' '1: block other_region' "$(found --event "$TB_WORK/far.json")"
jq '.account = "999988887777" | .detail.accountId = "999988887777"' "$TB_WORK/finding.json" >"$TB_WORK/foreign.json"
same 'one about another account too' '1: block other_account' "$(found --event "$TB_WORK/foreign.json")"
same 'an analyst may plan an alert, and not post it' '200 403' \
    "$(lab_status_of POST '/v1/events?dry_run=1' -d "@$TB_WORK/finding.json") $(
        lab_status_of POST /v1/events -d "@$TB_WORK/finding.json"
    )"
same 'a responder may not plan' 403 \
    "$(LAB_TOKEN=$LAB_RESPONDER_TOKEN lab_status_of POST '/v1/captures?dry_run=1' -d '{"source":"i-0123456789abcdef0","reason":"x"}')"
same 'dry_run is 1 or 0' 400 "$(lab_status_of POST '/v1/captures?dry_run=maybe' -d '{"source":"i-0123456789abcdef0","reason":"x"}')"
same 'still nothing was committed' 0 "$(lab_call GET /v1/captures | jq '.captures | length')"

same 'offline nobody is asked' capture \
    "$(env -i "$TB_OUT/tapbox" plan --offline --json --config "$LAB_DIR/tapbox.yaml" --event "$TB_WORK/finding.json" | jq -r .decision)"

# --- with target and filter in place EC2 itself is asked, too
warm
before=$(made)
same 'the very request is tried dry' 0: "$(found "$instance")"
same 'and made nothing' "$before" "$(made)"
running=$(lab_record workload 10m)
lab_wait_for_state "$running" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
same 'what is captured already would be joined' "$running" "$(plan "$instance" | jq -r .joins)"
lab_call POST "/v1/captures/$running/stop" >/dev/null
lab_wait_for_state "$running" sealed 20 || give_up 'and is sealed' "$LAB_DIR/logs/tapbox.log"
filter=$(lab_ec2 create-traffic-mirror-filter | jq -r .TrafficMirrorFilter.TrafficMirrorFilterId)
target_id=$(lab_ec2 describe-traffic-mirror-targets | jq -r '.TrafficMirrorTargets[0].TrafficMirrorTargetId')
foreign() { # NUMBER
    lab_ec2 create-traffic-mirror-session --network-interface-id "$eni" --session-number "$1" \
        --traffic-mirror-target-id "$target_id" --traffic-mirror-filter-id "$filter" >/dev/null
}
foreign 5
same 'a session of others is told' '0: warn foreign_sessions' "$(found "$instance")"
same 'with the number that ours would get' 6 "$(plan "$instance" | jq '.sources[0].session_number')"
foreign 7
foreign 9
same 'three are the most' '1: block ec2_refuses, block sessions_full' "$(found "$instance")"

# --- a body of many alerts: it is bounded, and nothing else waits for it
jq --arg eni "$eni" --arg instance "$instance" '.detail |= (.type = "AttackSequence:EC2/CompromisedInstanceGroup" | .id += "5e9" | del(.resource)
    | .service = {serviceName: "guardduty", detectorId: "d", detection: {sequence: {resources: ([{uid: $eni, resourceType: "EC2_NETWORK_INTERFACE"},
        {uid: $instance, resourceType: "EC2_INSTANCE", data: {ec2Instance: {ec2NetworkInterfaceUids: [$eni]}}}]
        + [range(19) | {uid: "i-0a1b2c3d4e5f601\(. + 10)", resourceType: "EC2_INSTANCE"}])}}})' "$TB_WORK/finding.json" >"$TB_WORK/many.json"
same 'of a body of many alerts 16 are looked at, the others are told that they were not' 'several 20 15 4' "$(
    plan --event "$TB_WORK/many.json" | jq -r '"\(.decision) \(.alerts | length) \([.alerts[].checks[] | select(.code == "source_not_found")] | length) \(
        [.alerts[16:][].checks[] | select(.code == "not_looked_at")] | length)"'
)"
running=$(lab_record workload2 5m)
lab_wait_for_state "$running" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
many_plans() { # of ten clients, as long as EC2 is slow
    local i pids=()
    for i in 1 2 3 4 5 6 7 8 9 10; do
        lab_call POST '/v1/events?dry_run=1' --max-time 400 -d "@$TB_WORK/many.json" >"$TB_WORK/plan.$i" &
        pids+=($!)
    done
    wait "${pids[@]}"
}
described() { lab_awsim_ask /objects | jq '.requests.DescribeInstances.ok // 0'; }
described_more() { [ "$(described)" -gt "$1" ]; }
before=$(described)
lab_awsim_ask /faults -X PUT -d '[{"action": "DescribeInstances", "do": {"latency_ms": 5000}}]' >/dev/null
many_plans &
plans=$!
expect 'ten such plans of a slow EC2 are being made' lab_wait 20 described_more "$before"
same 'an extension is answered meanwhile' 200 "$(lab_status_of POST "/v1/captures/$running/extend" -d '{"duration": "1m"}')"
alert() { # what it is answered, and whether in less time than EC2 takes for one answer
    jq --arg id "$(openssl rand -hex 16)" '.detail.id = $id' "$TB_WORK/finding.json" >"$TB_WORK/live.json"
    LAB_TOKEN=$LAB_ALERT_TOKEN lab_call POST /v1/events -d "@$TB_WORK/live.json" -o "$TB_WORK/live" \
        -w '%{http_code} %{time_total}' | awk '{print $1, ($2 < 5) ? "true" : $2}'
}
for _ in 1 2 3 4; do # (a machine that stood still for so long gets another try)
    alerted=$(alert)
    [ "$alerted" != '202 true' ] || break
done
same 'and an alert, before EC2 has answered anything' '202 true' "$alerted"
expect 'before the plans are there' kill -0 "$plans"
lab_awsim_ask /faults -X PUT -d '[]' >/dev/null
wait "$plans"
same 'each of which has its answer' 10 "$(jq -r .decision "$TB_WORK"/plan.* | grep -c '^several$')"
lab_call POST "/v1/captures/$running/stop" >/dev/null
lab_wait_for_state "$running" sealed 20 || give_up 'and is sealed' "$LAB_DIR/logs/tapbox.log"

# one part of it that was stored is planned alone
LAB_TOKEN=$LAB_ALERT_TOKEN lab_call POST /v1/events -d "@$TB_WORK/many.json" >/dev/null
part=$(lab_call GET /v1/alerts?limit=1 | jq -r '.alerts[0].id')
same 'a stored part of a body of many is planned alone' 'refuse i-0a1b2c3d4e5f60128' "$(
    lab_call POST "/v1/alerts/$part/replay?dry_run=1" | jq -r '"\(.decision) \(.sources[0].instance)"'
)"

# --- one thing wrong at a time
change() { # CASE EXPECTED JQ-FILTER [ARGUMENTS OF plan]
    local name=$1 expected=$2
    in_world "$3"
    shift 3
    same "$name" "$expected" "$(found "${@:-$instance}")"
}
change 'a tag on the interface forbids it' '1: block deny_tag' \
    "(.enis[] | select(.id == \"$eni\")).tags = {\"tapbox:deny\": \"\"}"
for source in "$instance" "$eni"; do
    id=$(lab_call POST /v1/captures -d "{\"source\":\"$source\",\"reason\":\"test\"}" | jq -r .capture.id)
    lab_wait 10 lab_state_is "$id" refused
    same "and refuses a capture of $source" refused "$(lab_state "$id")"
done
change 'a tag on the instance forbids it' '1: block deny_tag' \
    "(.instances[] | select(.id == \"$instance\")).tags = {\"tapbox:deny\": \"1\"}"
for source in "$instance" "$eni"; do
    id=$(lab_call POST /v1/captures -d "{\"source\":\"$source\",\"reason\":\"test\"}" | jq -r .capture.id)
    lab_wait 10 lab_state_is "$id" refused
    same "and refuses a capture of $source" refused "$(lab_state "$id")"
done
same 'no session was made for any of them' 0 "$(lab_awsim_ask /objects | jq '.sessions | length')"
change 'a type that AWS does not list is warned of' '0: warn instance_type' \
    "(.instances[] | select(.id == \"$instance\")).type = \"t2.micro\""
warm
same 'and EC2 has the last word' '1: block source_unsupported, warn instance_type' "$(found "$instance")"
change 'an interface that is attached to nothing cannot be mirrored' '1: block not_attached' \
    "(.enis[] | select(.id == \"$eni\")) |= del(.instance, .device_index)" "$eni"
change 'nor can one whose instance is terminated' '1: block instance_gone' \
    "(.instances[] | select(.id == \"$instance\")).state = \"terminated\"" "$eni"
change 'an instance that is stopped is told' '0: warn instance_state' \
    "(.instances[] | select(.id == \"$instance\")).state = \"stopped\""
change 'the security group of the target has to let it in' '1: block target_group' \
    '(.security_groups[] | select(.name == "tapbox-capture")).ingress[0].cidr = "10.77.9.0/24"'
another_vpc() { # ROUTES: a world with an instance in a VPC of its own
    cat <<END
.vpcs += [{id: "vpc-0a1b2c3d4e5f67799", cidr: "10.99.0.0/16"}]
| .subnets += [{id: "subnet-0a1b2c3d4e5f6f099", vpc: "vpc-0a1b2c3d4e5f67799", cidr: "10.99.1.0/24", az: "eu-central-1a"}]
| .route_tables += [{id: "rtb-0a1b2c3d4e5f60099", vpc: "vpc-0a1b2c3d4e5f67799", main: true, routes: [$1]}]
| .security_groups[0].ingress += [{protocol: "udp", from: 4789, to: 4789, cidr: "10.99.0.0/16"}]
| .instances += [{id: "i-0a1b2c3d4e5f60099", type: "m5.large", subnet: "subnet-0a1b2c3d4e5f6f099"}]
| .enis += [{id: "eni-0a1b2c3d4e5f60990", mac: "02:4c:ab:00:99:10", subnet: "subnet-0a1b2c3d4e5f6f099",
    private_ips: ["10.99.1.10"], instance: "i-0a1b2c3d4e5f60099"}]
END
}
change 'in another VPC a route is needed' '1: block no_route' "$(another_vpc '')" i-0a1b2c3d4e5f60099
change 'a peering is one' 0: \
    "$(another_vpc '{cidr: "10.77.0.0/16", via: "pcx-0a1b2c3d4e5f60001"}')" i-0a1b2c3d4e5f60099
change 'credentials that may not make a filter are told before there is one' '1: block iam_denied' \
    '.accounts[0].keys[0].deny = ["ec2:CreateTrafficMirrorFilter"]'
change 'what may not be looked at is said' '0: warn not_known' \
    '.accounts[0].keys[0].deny = ["ec2:DescribeSecurityGroups"]'

# --- the bucket
lab_tapbox_stop
sed -i "s/bucket: $LAB_BUCKET/bucket: no-such-bucket/" "$LAB_DIR/tapbox.yaml"
in_world .
same 'a bucket that is not there is told' '1: block bucket' "$(found "$instance")"
lab_tapbox_stop
finish
