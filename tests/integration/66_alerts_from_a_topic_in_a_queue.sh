#!/bin/bash
# SNS into a queue, by a server that somebody else wrote: the envelope is taken off; with sns.topics it also has to carry
# a good signature of one of them, whatever its age.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
# shellcheck source-path=SCRIPTDIR source=../support/queue.sh
. "$cases_root/tests/support/queue.sh"
queue_fetch
in_lab "$@"
queue_is_there || {
    skip 'SNS into a queue: npm cannot install the SQS server'
    finish
}
sns=$TB_WORK/sns
mkdir -p "$LAB_DIR/logs"
"$cases_root/tests/lab/sns.py" pki "$sns" || give_up 'authorities and certificates are made'
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the lab is up' "$LAB_DIR/logs/lab.log"
lab_awsim_start || give_up "$lab_why" "$LAB_DIR/logs/awsim.log"
printf '127.0.0.1 localhost\n10.77.0.5 sns.%s.amazonaws.com crt.lab.amazontrust.com\n' "$LAB_REGION" >"$TB_WORK/hosts"
mount --bind "$TB_WORK/hosts" /etc/hosts
lab_start cloud "$LAB_DIR/logs/sns.log" "$cases_root/tests/lab/sns.py" serve "$sns" --listen 10.77.0.5
queue_start || give_up 'the SQS server answers' "$LAB_DIR/logs/sqs.log"
aws_sns() { lab_exec cloud /usr/bin/aws --endpoint-url "$queue_url" --output json sns "$@"; }
queue_arn() {
    sqs GetQueueAttributes "{\"QueueUrl\":\"$queue\",\"AttributeNames\":[\"QueueArn\"]}" | jq -r .Attributes.QueueArn
}
topic=$(aws_sns create-topic --name guardduty-alerts | jq -r .TopicArn)
expect 'the queue is subscribed to a topic' aws_sns subscribe --topic-arn "$topic" --protocol sqs --notification-endpoint "$(queue_arn)"
publish() { aws_sns publish --topic-arn "$topic" --message "file://$1" >/dev/null; }

lab_tapbox_config
printf 'sqs:\n  queue_url: %s\n  visibility_seconds: 8\n' "$queue" >>"$LAB_DIR/tapbox.yaml"
lab_tokens || give_up 'tokens are made'
scraper=$("$LAB_OUT/tapbox" token add scraper --role scraper --file "$LAB_DIR/tokens" 2>/dev/null)
start() { AWS_ENDPOINT_URL_SQS=$queue_url lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"; }
start
lab_finding workload >"$TB_WORK/finding.json"
publish "$TB_WORK/finding.json"
expect 'what was published becomes a capture' lab_wait 15 at_least 1 'tapbox_intake_total{decision="capture"}'
same 'and is kept in its envelope' "Notification $topic" \
    "$(sqlite3 -readonly "$LAB_DIR/state/tapbox.db" 'SELECT body FROM alerts' | jq -r '"\(.Type) \(.TopicArn)"')"
expect 'the queue is empty' lab_wait 5 is '0 0' depth "$queue"
lab_tapbox_stop

# With an allowed topic signatures count in the queue, too.
printf 'sns:\n  topics: arn:aws:sns:%s:111122223333:guardduty-alerts\n  ca_file: %s\n' "$LAB_REGION" "$sns/root.pem" >>"$LAB_DIR/tapbox.yaml"
start
signed() { # WISH: a message of SNS into the queue, with another finding inside
    lab_exec cloud curl -sS --max-time 30 -d "$(jq -cn --argjson finding "$(lab_finding workload | jq -c tojson)" "{only: true, message: \$finding} + $1")" \
        http://10.77.0.5:8080/ >"$TB_WORK/message"
    send "$TB_WORK/message" >/dev/null
}
signed '{age: 200000}'
expect 'a signed one is taken, days later' lab_wait 15 at_least 1 'tapbox_intake_total{decision="joined"}'
signed '{key: "stranger"}'
expect 'a forged one is not' lab_wait 15 at_least 1 'tapbox_sns_refusals_total{why="bad_signature"}'
signed '{topic: "arn:aws:sns:eu-central-1:444455556666:theirs"}'
expect 'nor one of another topic' lab_wait 15 at_least 1 'tapbox_sns_refusals_total{why="topic_not_allowed"}'
publish "$TB_WORK/finding.json"
expect 'nor one that only looks signed' lab_wait 15 at_least 2 'tapbox_sqs_messages_total{result="not_understood"}'
signed '{type: "SubscriptionConfirmation"}'
expect 'a subscription is confirmed from the queue' lab_wait 15 at_least 1 'tapbox_sns_confirmations_total{result="confirmed"}'
cat "$TB_WORK/finding.json" >"$TB_WORK/bare"
send "$TB_WORK/bare" >/dev/null
expect "without an envelope the queue's policy is enough" lab_wait 15 at_least 1 'tapbox_intake_total{decision="duplicate"}'
expect 'what was refused becomes dead letters, the rest is gone' lab_wait 40 is '3 0' depth "$dead"
same 'one capture' 1 "$(lab_call GET /v1/captures | jq '.captures | length')"
expect 'the log has the reason' grep -q 'dead letter.*the signature of the SNS message' "$LAB_DIR/logs/tapbox.log"
lab_tapbox_stop

# Senders of every kind, each bare and then inside a signed envelope; the last one of each pair is known from the first.
{
    cat "$cases_root/infra/policy/default.yaml"
    sed -n '/^senders:/,/^profiles:/p' "$cases_root/webhooks/mapping/policy.yaml" | sed '$d'
} >"$TB_WORK/policy.yaml"
printf 'policy: {file: %s}\n' "$TB_WORK/policy.yaml" >>"$LAB_DIR/tapbox.yaml"
start
hub=$cases_root/webhooks/securityhub/samples here=$(lab_instance workload)
as_ours() { jq --arg here "$here" "${2-.}" "$1" | sed "s/i-[0-9a-f]\{17\}/$here/g"; } # SAMPLE [CHANGE]
taken() { # SENDER: alerts that became a capture, or joined one
    LAB_TOKEN=$scraper lab_call GET /metrics |
        awk -v sender="sender=\"$1\"" '/^tapbox_alerts_total/ && index($1, sender) && /"(capture|joined)"/ { n += $2 } END { print n + 0 }'
}
both_ways() { # CASE SENDER SAMPLE [CHANGE]
    local known
    known=$(metric "tapbox_alerts_total{sender=\"$2\",decision=\"duplicate\"}")
    as_ours "$3" "${4-.}" >"$TB_WORK/body"
    send "$TB_WORK/body" >/dev/null
    expect "$1 in a queue" lab_wait 15 is 1 taken "$2"
    signed "{message: $(jq -c tojson "$TB_WORK/body")}"
    expect "$1 from a topic in a queue: known" lab_wait 15 at_least $((${known:-0} + 1)) "tapbox_alerts_total{sender=\"$2\",decision=\"duplicate\"}"
}
both_ways 'a finding that Security Hub imported' securityhub "$hub/network.json"
both_ways 'the button' securityhub-action "$hub/custom-action.json"
both_ways 'a finding of GuardDuty as OCSF' guardduty "$hub/guardduty-cnc-ocsf.json"
# shellcheck disable=SC2016 # $here is jq's
both_ways 'a sender that the policy describes' falco "$cases_root/webhooks/mapping/samples/falco.json" '.output_fields.instance = $here'
as_ours "$hub/several.json" >"$TB_WORK/body"
send "$TB_WORK/body" >/dev/null
expect 'three findings in one message are an alert each' lab_wait 15 is "$(jq '.detail.findings | length' "$TB_WORK/body")" \
    sqlite3 -readonly "$LAB_DIR/state/tapbox.db" "SELECT count(*) FROM alerts WHERE body = readfile('$TB_WORK/body')"
expect 'and the queue is empty' lab_wait 5 is '0 0' depth "$queue"
lab_tapbox_stop
finish
