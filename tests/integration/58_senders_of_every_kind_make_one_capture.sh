#!/bin/bash
# A GuardDuty finding that comes by Security Hub too, somebody's "capture this", and senders that the policy describes:
# one instance, one capture, one session, and each alert with its own answer.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
# shellcheck source-path=SCRIPTDIR source=../support/runbook.sh
. "$cases_root/tests/support/runbook.sh"
in_lab "$@"
instance=$(lab_instance workload)
mapping=$cases_root/webhooks/mapping

post() { # FILE [SENDER]: the answer stays in $TB_WORK/answer, its status is printed
    lab_exec capture curl -sS --max-time 20 -X POST -H "X-Api-Key: $LAB_ALERT_TOKEN" --data-binary "@$1" \
        -o "$TB_WORK/answer" -w '%{http_code}' "$LAB_API/v1/events${2:+/$2}"
}
member() { # POINTER: of the last answer
    jq -r "$1" "$TB_WORK/answer"
}
sessions() { lab_awsim_ask /objects | jq '.sessions | length'; }

# the policy that ships, and the worked senders
{
    cat "$cases_root/infra/policy/default.yaml"
    sed -n '/^senders:/,/^profiles:/p' "$mapping/policy.yaml" | sed '$d'
} >"$TB_WORK/policy.yaml"
expect 'the worked senders go with the policy that ships' "$TB_OUT/tapbox" policy check "$TB_WORK/policy.yaml"

while read -r command; do # as the documents have them
    expect "as documented: $command" env PATH="$TB_OUT:$PATH" sh -c "cd '$cases_root' && $command"
done < <(sed -nE 's/^ +(tapbox (plan --offline|policy (check|test) webhooks).*)/\1/p' \
    "$mapping/README.md")

lab_all_up || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_tapbox_stop
printf 'policy: {file: %s}\n' "$TB_WORK/policy.yaml" >>"$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"

# the same finding by both roads, Security Hub's first
lab_finding workload >"$TB_WORK/guardduty.json"
jq '.detail as $f | ($f.service.action.networkConnectionAction) as $n | {version, id: "hub-1", account, time, region,
    source: "aws.securityhub", "detail-type": "Security Hub Findings - Imported",
    resources: ["arn:aws:securityhub:\(.region)::product/aws/guardduty/\($f.arn)"],
    detail: {findings: [{SchemaVersion: "2018-10-08", Id: $f.arn, AwsAccountId: $f.accountId, Region: $f.region,
        ProductArn: "arn:aws:securityhub:\(.region)::product/aws/guardduty", GeneratorId: "detector",
        Types: ["TTPs/Command and Control/Backdoor:EC2-C&CActivity.B"], Title: $f.title, CreatedAt: $f.createdAt,
        UpdatedAt: $f.updatedAt, Severity: {Product: $f.severity, Label: "HIGH", Normalized: 80}, RecordState: "ACTIVE",
        Workflow: {Status: "NEW"},
        ProductFields: {"aws/securityhub/ProductName": "GuardDuty", "aws/guardduty/service/archived": "false",
            "aws/guardduty/service/action/networkConnectionAction/remoteIpDetails/ipAddressV4": $n.remoteIpDetails.ipAddressV4},
        Resources: [{Type: "AwsEc2Instance", Region: $f.region,
            Id: "arn:aws:ec2:\($f.region):\($f.accountId):instance/\($f.resource.instanceDetails.instanceId)"}]}]}}' \
    "$TB_WORK/guardduty.json" >"$TB_WORK/hub.json"
same 'Security Hub brings the finding' '202 capture guardduty' \
    "$(post "$TB_WORK/hub.json") $(member .decision) $(member .alert.adapter)"
id=$(member .capture.id)
lab_wait_for_state "$id" recording 15 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
same 'GuardDuty brings it again: it was here' "200 duplicate $id" \
    "$(post "$TB_WORK/guardduty.json") $(member .decision) $(member .capture.id)"

# the button, twice
jq '.["detail-type"] = "Security Hub Findings - Custom Action" | .detail.actionName = "Capture this" |
    .detail.findings[0].RecordState = "ARCHIVED" | .id = "press-1"' "$TB_WORK/hub.json" >"$TB_WORK/press.json"
same 'somebody presses the button: a wish of its own' "202 joined $id securityhub-action" \
    "$(post "$TB_WORK/press.json") $(member .decision) $(member .capture.id) $(member .alert.adapter)"
same 'that press again is the same' '200 duplicate' "$(post "$TB_WORK/press.json") $(member .decision)"
jq '.id = "press-2"' "$TB_WORK/press.json" >"$TB_WORK/again.json"
same 'another press is another' "202 joined" "$(post "$TB_WORK/again.json") $(member .decision)"

# senders that the policy describes
jq --arg i "$instance" '.output_fields.instance = $i' "$mapping/samples/falco.json" >"$TB_WORK/falco.json"
same 'a sender that is named' "202 joined $id falco" \
    "$(post "$TB_WORK/falco.json" falco) $(member .decision) $(member .capture.id) $(member .alert.adapter)"
same 'and found by its body, it is the same alert' '200 duplicate falco' \
    "$(post "$TB_WORK/falco.json") $(member .decision) $(member .alert.adapter)"
jq --arg i "$instance" '[., .] | .[0].ec2.instance_id = $i | .[1].flow_id = 7 | .[1].src_ip = "192.0.2.1"' \
    "$mapping/samples/suricata.json" >"$TB_WORK/batch.json"
same 'an array is an alert each' '202 several joined refused' \
    "$(post "$TB_WORK/batch.json" suricata) $(member '[.decision, .alerts[].decision] | join(" ")')"
expect 'the second says which address is nobody'\''s' grep -q "'192.0.2.1' names no instance or interface" "$TB_WORK/answer"
echo '{"priority": "Odd", "uuid": "u", "rule": "r"}' >"$TB_WORK/odd.json"
same 'what cannot be read is refused' 400 "$(post "$TB_WORK/odd.json" falco)"
expect 'and the pointer is named' grep -q "severity: 'Odd' at /priority" "$TB_WORK/answer"
same 'so is a sender that nobody described' 400 "$(post "$TB_WORK/odd.json" falcon)"
expect 'by its name' grep -q "describes no sender 'falcon'" "$TB_WORK/answer"

same 'one capture in all' "$id" "$(sqlite3 -readonly "$LAB_DIR/state/tapbox.db" 'SELECT group_concat(id) FROM captures')"
same 'and one session' 1 "$(sessions)"
same 'each alert once' 5 "$(sqlite3 -readonly "$LAB_DIR/state/tapbox.db" \
    "SELECT count(*) FROM alerts WHERE capture_id = '$id'")"

# the runbook, block by block as it stands there
fill_in() { sed "s,/etc/tapbox/,$TB_WORK/,; s,token add .*,& --file $LAB_DIR/tokens,"; }
run_block() {
    cd "$cases_root" && lab_exec capture env PATH="$TB_OUT:$PATH" TAPBOX_URL="$LAB_API" ALERT_TOKEN="$LAB_ALERT_TOKEN" bash "$1"
}
run_blocks runbooks/wire-other-senders.md
finish
