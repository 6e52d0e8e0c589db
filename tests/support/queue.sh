# shellcheck shell=bash disable=SC2154 # cases_root, LAB_DIR: of those who source it
# An SQS server that somebody else wrote, on the lab's cloud host.  Source it after cases.sh.
# Before in_lab: queue_fetch (the lab has no way out).  In the lab: queue_start, then sqs, send, depth; with a
# token in $scraper: metric, at_least.
queue_peer=$cases_root/build/peers/fauxqs
queue_url=http://10.77.0.5:4566

queue_fetch() {
    [ -z "${LAB_CASE-}" ] && [ ! -d "$queue_peer/node_modules/fauxqs" ] && command -v npm >/dev/null || return 0
    mkdir -p "$queue_peer"
    timeout 120 npm install --silent --no-audit --no-fund --prefix "$queue_peer" fauxqs@1.9.2 >/dev/null 2>&1
}
queue_is_there() { [ -d "$queue_peer/node_modules/fauxqs" ]; }

# Two queues, $queue and, for what is received twice in vain, $dead.
queue_start() {
    local dead_arn
    cat >"$queue_peer/fq.mjs" <<'END'
import { buildApp } from 'fauxqs';
const app = buildApp({ logger: false });
await app.listen({ port: 4566, host: '10.77.0.5' });
END
    lab_start cloud "$LAB_DIR/logs/sqs.log" node "$queue_peer/fq.mjs"
    # shellcheck disable=SC2034,SC2154 # lab_start sets it, for those who stop it
    queue_pid=$lab_pid
    lab_wait 20 lab_exec cloud curl -sf "$queue_url/health" || return 1
    dead=$(sqs CreateQueue '{"QueueName":"dead"}' | jq -r .QueueUrl)
    dead_arn=$(sqs GetQueueAttributes "{\"QueueUrl\":\"$dead\",\"AttributeNames\":[\"QueueArn\"]}" | jq -r .Attributes.QueueArn)
    queue=$(sqs CreateQueue "$(jq -n --arg dead "$dead_arn" '{QueueName: "alerts",
        Attributes: {RedrivePolicy: ({deadLetterTargetArn: $dead, maxReceiveCount: 2} | tojson)}}')" | jq -r .QueueUrl)
    [ -n "$queue" ]
}
sqs() { # OPERATION JSON
    lab_exec cloud curl -sS --max-time 30 -H 'Content-Type: application/x-amz-json-1.0' -H "X-Amz-Target: AmazonSQS.$1" \
        -H "Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/$LAB_REGION/sqs/aws4_request, SignedHeaders=host, Signature=x" \
        -d "$2" "$queue_url/"
}
send() { # BODY FILE
    sqs SendMessage "$(jq -n --arg q "$queue" --rawfile body "$1" '{QueueUrl: $q, MessageBody: $body}')" | jq -r .MessageId
}
depth() { # QUEUE: messages that wait and that are in somebody's hands
    sqs GetQueueAttributes "{\"QueueUrl\":\"$1\",\"AttributeNames\":[\"All\"]}" |
        jq -r '.Attributes | "\(.ApproximateNumberOfMessages) \(.ApproximateNumberOfMessagesNotVisible)"'
}
is() { [ "$("${@:2}")" = "$1" ]; }
metric() { # NAME{LABELS}
    LAB_TOKEN=$scraper lab_call GET /metrics | awk -v m="$1" '$1 == m { print $2 }'
}
at_least() { # N METRIC
    local now
    now=$(metric "$2")
    [ "${now:-0}" -ge "$1" ]
}
