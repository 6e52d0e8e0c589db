#!/bin/bash
# tapbox sweep --role: each account is swept with the credentials of a role there.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

two=222233334444 three=333344445555
role() { echo "arn:aws:iam::$1:role/tapbox-tap"; }

lab_up || give_up 'the lab comes up'
# shellcheck disable=SC2016 # jq's own
lab_world | jq --arg two $two --arg three $three --arg one "$LAB_ACCOUNT" '
    def account(id; key): {id: id, keys: [{access_key: key, secret_key: "secret"}],
        roles: [{arn: "arn:aws:iam::\(id):role/tapbox-tap", external_id: "ex-\(id)", trusts: [$one]}]};
    def network(id; n): .vpcs += [{id: "vpc-0a1b2c3d4e5f6770\(n)", owner: id, cidr: "10.\(n).0.0/16"}]
        | .subnets += [{id: "subnet-0a1b2c3d4e5f6f00\(n)", owner: id, vpc: "vpc-0a1b2c3d4e5f6770\(n)",
            cidr: "10.\(n).1.0/24", az: "eu-central-1a"}]
        | .instances += [{id: "i-0a1b2c3d4e5f6900\(n)", owner: id, type: "m5.large", subnet: "subnet-0a1b2c3d4e5f6f00\(n)"}]
        | .enis += [range(2) as $i | {id: "eni-0a1b2c3d4e5f690\($i)\(n)", owner: id, mac: "02:4c:ab:9\(n):00:0\($i)",
            subnet: "subnet-0a1b2c3d4e5f6f00\(n)", private_ips: ["10.\(n).1.1\($i)"], device_index: $i,
            instance: "i-0a1b2c3d4e5f6900\(n)"}];
    .accounts += [account($two; "AKIATWO0000000000002"), account($three; "AKIATHREE00000000003")]
    | network($two; 2) | network($three; 3)' >"$LAB_DIR/world.json"
mkdir -p "$LAB_DIR/logs"
lab_start fabric "$LAB_DIR/logs/awsim.log" "$LAB_OUT/awsim" --world "$LAB_DIR/world.json"
lab_wait 10 lab_awsim_answers || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"

# In the account of that key: a session that expired long ago, of this owner.
leave() { # KEY N OWNER EXPIRES
    local target filter
    export AWS_ACCESS_KEY_ID=$1 AWS_SECRET_ACCESS_KEY=secret
    target=$(lab_ec2 create-traffic-mirror-target --network-interface-id "eni-0a1b2c3d4e5f6900$2" |
        jq -r .TrafficMirrorTarget.TrafficMirrorTargetId)
    filter=$(lab_ec2 create-traffic-mirror-filter | jq -r .TrafficMirrorFilter.TrafficMirrorFilterId)
    lab_ec2 create-traffic-mirror-session --network-interface-id "eni-0a1b2c3d4e5f6901$2" --session-number 1 \
        --traffic-mirror-target-id "$target" --traffic-mirror-filter-id "$filter" --tag-specifications \
        "ResourceType=traffic-mirror-session,Tags=[{Key=tapbox:owner,Value=$3},{Key=tapbox:expires,Value=$4}]" >/dev/null
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
}
leave AKIATWO0000000000002 2 tapbox 2026-01-02T03:04:05Z
leave AKIATHREE00000000003 3 tapbox 2026-01-02T03:04:05Z
sessions_of() { # ACCOUNT
    lab_awsim_ask /objects | jq --arg account "$1" '[.sessions[] | select(.owner == $account)] | length'
}
sweep() { lab_exec remote "$TB_OUT/tapbox" sweep "$@"; }
same 'there is an expired session in each account' '1 1' "$(sessions_of $two) $(sessions_of $three)"
expect 'a sweep of our own account finds nothing' grep -q '0 sessions' <(sweep)
expect_failure 'a role that asks for another external id is not given' "cannot assume $(role $two).*AccessDenied" \
    sweep --role "$(role $two)" --external-id wrong
expect 'a dry run names what it would delete' grep -q 'would delete session tms-' \
    <(sweep --dry-run --role "$(role $two)" --external-id ex-$two)
same 'and deletes nothing' 1 "$(sessions_of $two)"

answer=$(sweep --role "$(role $three)" --role "$(role $two)" --external-id ex-$two 2>"$TB_WORK/errors")
same 'an account that cannot be reached is a failure' 1 $?
expect 'and is named' grep -q "cannot assume $(role $three)" "$TB_WORK/errors"
expect 'and counted' grep -q '1 of 2 accounts' <(echo "$answer")
same 'and does not keep the next from being swept' '0 1' "$(sessions_of $two) $(sessions_of $three)"

# Credentials that expire on the way are fetched anew.
lab_awsim_ask /faults -X PUT -d "[{\"account\": \"$three\", \"nth\": 1, \"do\": {\"expired_credentials\": true}},
    {\"account\": \"$three\", \"nth\": 2, \"do\": {\"throttle\": true}}]" >/dev/null
expect 'keys of a role that have expired are renewed in the middle' \
    sweep --role "$(role $three)" --external-id ex-$three
same 'nothing is left' '0 0' "$(sessions_of $two) $(sessions_of $three)"
finish
