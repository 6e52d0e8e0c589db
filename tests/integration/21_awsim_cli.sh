#!/bin/bash
# Debian's aws command works against awsim for every mirror call.
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
awsim=${BUILD:-build}/${MODE:-debug}/awsim
[ "${awsim#/}" != "$awsim" ] || awsim=$top/$awsim
[ -x "$awsim" ] || { echo "not ok - awsim is built: $awsim"; exit 1; }
[ -x /usr/bin/aws ] || { echo "skip - /usr/bin/aws is not installed"; exit 0; }
[ -n "${LAB_INSIDE:-}" ] || exec "$top/tests/lab/enter" "$0" "$@"
dir=$(mktemp -d -p /run) # on the namespaces' own /run: it goes when they go
failed=0

is() { # sentence, wanted, got
    if [ "$2" = "$3" ]; then
        echo "ok - $1"
    else
        echo "not ok - $1"
        echo "#   got '$3', wanted '$2'"
        failed=1
    fi
}

/usr/bin/python3 -c "
import json, sys
sys.path.insert(0, '$top/tests/lab/awsim')
import testkit
json.dump(testkit.WORLD, open('$dir/world.json', 'w'))" || exit 1
"$awsim" --world "$dir/world.json" --port-file "$dir/port" 2>"$dir/log" &
pid=$!
for _ in $(seq 200); do
    [ -s "$dir/port" ] && break
    sleep 0.05
done
export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
export AWS_DEFAULT_REGION=us-east-1 AWS_PAGER='' AWS_MAX_ATTEMPTS=1 AWS_EC2_METADATA_DISABLED=true HOME=$dir
url=http://127.0.0.1:$(cat "$dir/port")
# every call names the endpoint: nothing here may reach the real service
ec2() { /usr/bin/aws --endpoint-url "$url" --output text ec2 "$@" 2>"$dir/error"; }
tags() { echo "ResourceType=$1,Tags=[{Key=tapbox:owner,Value=cli}]"; }

target=$(ec2 create-traffic-mirror-target --network-interface-id eni-0a000000000000002 \
    --tag-specifications "$(tags traffic-mirror-target)" --query TrafficMirrorTarget.TrafficMirrorTargetId)
is "create-traffic-mirror-target" tmt- "${target:0:4}"
filter=$(ec2 create-traffic-mirror-filter --description "made by the cli" \
    --tag-specifications "$(tags traffic-mirror-filter)" --query TrafficMirrorFilter.TrafficMirrorFilterId)
is "create-traffic-mirror-filter" tmf- "${filter:0:4}"
rule=$(ec2 create-traffic-mirror-filter-rule --traffic-mirror-filter-id "$filter" --traffic-direction ingress \
    --rule-number 1 --rule-action accept --protocol 6 --destination-port-range FromPort=1,ToPort=100 \
    --source-cidr-block ::/0 --destination-cidr-block ::/0 --query TrafficMirrorFilterRule.TrafficMirrorFilterRuleId)
is "create-traffic-mirror-filter-rule" tmfr- "${rule:0:5}"
session=$(ec2 create-traffic-mirror-session --network-interface-id eni-0a000000000000001 \
    --traffic-mirror-target-id "$target" --traffic-mirror-filter-id "$filter" --session-number 1 \
    --virtual-network-id 77 --tag-specifications "$(tags traffic-mirror-session)" \
    --query TrafficMirrorSession.TrafficMirrorSessionId)
is "create-traffic-mirror-session" tms- "${session:0:4}"

is "describe-traffic-mirror-sessions with a filter" "$session 77 cli" "$(ec2 describe-traffic-mirror-sessions \
    --filters Name=network-interface-id,Values=eni-0a000000000000001 \
    --query 'TrafficMirrorSessions[].[TrafficMirrorSessionId,VirtualNetworkId,Tags[0].Value]' | tr '\t' ' ')"
is "describe-traffic-mirror-filters" "made by the cli" \
    "$(ec2 describe-traffic-mirror-filters --query 'TrafficMirrorFilters[].Description')"
is "describe-traffic-mirror-targets" "$target" \
    "$(ec2 describe-traffic-mirror-targets --query 'TrafficMirrorTargets[].TrafficMirrorTargetId')"
is "modify-traffic-mirror-session" 9 "$(ec2 modify-traffic-mirror-session --traffic-mirror-session-id "$session" \
    --session-number 9 --query TrafficMirrorSession.SessionNumber)"
is "modify-traffic-mirror-filter-rule" reject "$(ec2 modify-traffic-mirror-filter-rule \
    --traffic-mirror-filter-rule-id "$rule" --rule-action reject --query TrafficMirrorFilterRule.RuleAction)"
is "modify-traffic-mirror-filter-network-services" amazon-dns "$(ec2 modify-traffic-mirror-filter-network-services \
    --traffic-mirror-filter-id "$filter" --add-network-services amazon-dns \
    --query TrafficMirrorFilter.NetworkServices)"
is "describe-tags" 3 "$(ec2 describe-tags --filters Name=key,Values=tapbox:owner --query 'length(Tags)')"
is "describe-instances" m5.large "$(ec2 describe-instances --instance-ids i-0a000000000000001 \
    --query 'Reservations[].Instances[].InstanceType')"
is "describe-network-interfaces" 10.0.1.10 "$(ec2 describe-network-interfaces \
    --network-interface-ids eni-0a000000000000001 --query 'NetworkInterfaces[].PrivateIpAddress')"
is "sts get-caller-identity" 111122223333 "$(/usr/bin/aws --endpoint-url "$url" --output text sts get-caller-identity \
    --query Account)"
is "the cli's own paging" 6 "$(ec2 describe-network-interfaces --page-size 5 --query 'NetworkInterfaces[].NetworkInterfaceId' \
    | wc -w)"

ec2 delete-traffic-mirror-filter --traffic-mirror-filter-id "$filter"
is "an error is shown with its code" 1 "$(grep -c '(TrafficMirrorFilterInUse)' "$dir/error")"
is "delete-traffic-mirror-session" "$session" \
    "$(ec2 delete-traffic-mirror-session --traffic-mirror-session-id "$session")"
is "delete-traffic-mirror-filter-rule" "$rule" \
    "$(ec2 delete-traffic-mirror-filter-rule --traffic-mirror-filter-rule-id "$rule")"
is "delete-traffic-mirror-filter" "$filter" "$(ec2 delete-traffic-mirror-filter --traffic-mirror-filter-id "$filter")"
is "delete-traffic-mirror-target" "$target" "$(ec2 delete-traffic-mirror-target --traffic-mirror-target-id "$target")"
ec2 delete-traffic-mirror-session --traffic-mirror-session-id "$session"
is "a second delete is not found" 1 "$(grep -c '(InvalidTrafficMirrorSessionId.NotFound)' "$dir/error")"

kill -TERM "$pid"
wait "$pid"
is "awsim ends cleanly on SIGTERM" 0 $?
exit "$failed"
