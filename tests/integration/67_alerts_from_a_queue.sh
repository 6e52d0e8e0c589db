#!/bin/bash
# Alerts by way of SQS, from a server that somebody else wrote: committed before they are deleted, once each, also
# when the service dies in the middle of a batch; what cannot be read becomes a dead letter.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
# shellcheck source-path=SCRIPTDIR source=../support/runbook.sh
. "$cases_root/tests/support/runbook.sh"
# shellcheck source-path=SCRIPTDIR source=../support/queue.sh
. "$cases_root/tests/support/queue.sh"
queue_fetch
in_lab "$@"
queue_is_there || {
    skip 'alerts from a queue: npm cannot install the SQS server'
    finish
}
mkdir -p "$LAB_DIR/logs"
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the lab is up' "$LAB_DIR/logs/lab.log"
lab_awsim_start || give_up "$lab_why" "$LAB_DIR/logs/awsim.log"

queue_start || give_up 'the SQS server answers' "$LAB_DIR/logs/sqs.log"
alerts() { # how many findings the store has, and how many different ones
    sqlite3 -readonly "$LAB_DIR/state/tapbox.db" "SELECT count(*) || ' ' || count(DISTINCT key) FROM alerts WHERE token_name = 'sqs'"
}
start() { AWS_ENDPOINT_URL_SQS=$queue_url lab_tapbox_start; }

lab_tapbox_config
printf 'sqs:\n  queue_url: %s\n  pollers: 3\n  visibility_seconds: 8\n' "$queue" >>"$LAB_DIR/tapbox.yaml"
lab_tokens || give_up 'tokens are made'
scraper=$("$LAB_OUT/tapbox" token add scraper --role scraper --file "$LAB_DIR/tokens" 2>/dev/null)
start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"

lab_finding workload >"$TB_WORK/finding.json"
for _ in 1 2 3; do send "$TB_WORK/finding.json" >/dev/null; done
expect 'three deliveries of a finding are taken' lab_wait 15 at_least 3 'tapbox_sqs_messages_total{result="committed"}'
same 'and are one capture' 1 "$(lab_call GET /v1/captures | jq '.captures | length')"
same 'one of them made it, two were known' '1 2' "$(metric 'tapbox_intake_total{decision="capture"}') $(metric 'tapbox_intake_total{decision="duplicate"}')"
expect 'the queue is empty' lab_wait 5 is '0 0' depth "$queue"
same 'the store says where it came from' 'sqs:alerts sqs' \
    "$(sqlite3 -readonly -separator ' ' "$LAB_DIR/state/tapbox.db" 'SELECT remote, token_name FROM alerts LIMIT 1')"

echo 'this is no event' >"$TB_WORK/poison"
send "$TB_WORK/poison" >/dev/null
expect 'what cannot be read is counted' lab_wait 10 at_least 1 'tapbox_sqs_messages_total{result="not_understood"}'

# Killed in the middle: some are committed and not deleted, some in hand, some still wait.
lab_tapbox_stop
for i in $(seq 60); do
    jq -c --arg id "$(printf '%032x' "$i")" '.detail.id = $id | .id = $id' "$TB_WORK/finding.json" >"$TB_WORK/body"
    send "$TB_WORK/body" >/dev/null
done
AWS_ENDPOINT_URL_SQS=$queue_url TAPBOX_CRASH=intake:after#4 lab_start capture "$LAB_DIR/logs/tapbox.log" "$LAB_OUT/tapbox" serve \
    --config "$LAB_DIR/tapbox.yaml" --with-recorder
{ wait "$lab_pid"; } 2>/dev/null
same 'it is killed behind one of its commits' 137 $?
in_store=$(alerts | cut -d' ' -f1)
expect 'some are in the store, not all' test "$in_store" -gt 1 -a "$in_store" -lt 61
left=$(depth "$queue")
start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
ok "killed with '$left' messages waiting and in hand, and started again"
expect 'every one of them arrives' lab_wait 30 is '61 61' alerts
expect 'the queue is empty again' lab_wait 30 is '0 0' depth "$queue"
same 'it is still one capture' 1 "$(lab_call GET /v1/captures | jq '.captures | length')"
expect 'what cannot be read has become a dead letter' lab_wait 40 is '1 0' depth "$dead"

began=$SECONDS
lab_tapbox_stop
expect 'a poll that waits does not hold up the end' test $((SECONDS - began)) -le 15
grep -q 'taking alerts from queue alerts, 3 pollers' "$LAB_DIR/logs/tapbox.log" && ok 'the log names the queue'

# runbooks/wire-guardduty.md, block by block as it stands there.  (Debian's AWS CLI speaks the older protocol of SQS,
# which this server does not know: its words are turned into the newer one.)
start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
mkdir -p "$TB_WORK/desk" "$TB_WORK/bin"
cat >"$TB_WORK/bin/aws" <<'END'
#!/bin/bash
set -eu
case $2 in
send-message)
    body=$(jq -n --arg url "$4" --rawfile body "${6#file://}" '{QueueUrl: $url, MessageBody: $body}')
    operation=SendMessage
    ;;
get-queue-attributes)
    body=$(jq -n --arg url "$4" --arg name "$6" '{QueueUrl: $url, AttributeNames: [$name]}')
    operation=GetQueueAttributes
    ;;
*) exit 2 ;;
esac
exec curl -sS --fail -H 'Content-Type: application/x-amz-json-1.0' -H "X-Amz-Target: AmazonSQS.$operation" \
    -H "Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=x" \
    -d "$body" "$SQS_URL/"
END
chmod +x "$TB_WORK/bin/aws"
cp "$TB_WORK/finding.json" "$cases_root/webhooks/guardduty/samples/sample.json" "$TB_WORK/desk"
run_block() {
    cd "$TB_WORK/desk" && lab_exec capture env PATH="$TB_WORK/bin:$LAB_OUT:$PATH" TAPBOX_URL="$LAB_API" \
        TAPBOX_TOKEN="$LAB_ANALYST_TOKEN" ALERT_TOKEN="$LAB_ALERT_TOKEN" SCRAPER_TOKEN="$scraper" \
        QUEUE_URL="$queue" SQS_URL="$queue_url" bash "$1"
}
run_blocks runbooks/wire-guardduty.md
lab_tapbox_stop

# A queue that is not there, or a way that is barred: said once, tried again.
sed -i 's,/alerts$,/nowhere,' "$LAB_DIR/tapbox.yaml"
start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
expect 'a queue that does not exist is counted' lab_wait 10 at_least 2 tapbox_sqs_poll_failures_total
same 'and told once' 1 "$(grep -c 'queue nowhere: .*QueueDoesNotExist' "$LAB_DIR/logs/tapbox.log")"
lab_tapbox_stop
expect_failure 'a URL that is none is refused with its line' ':[0-9]+: sqs.queue_url' \
    "$LAB_OUT/tapbox" check-config --config <(sed "s,queue_url: .*,queue_url: alerts," "$LAB_DIR/tapbox.yaml")
finish
