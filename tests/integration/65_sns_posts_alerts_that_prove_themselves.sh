#!/bin/bash
# SNS over HTTPS: signed messages of allowed topics are taken without a token, whatever is forged, altered, old or comes
# from elsewhere is refused, each with its own counted reason; subscriptions are confirmed for allowed topics only.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
sns=$TB_WORK/sns
mkdir -p "$LAB_DIR/logs"
"$cases_root/tests/lab/sns.py" pki "$sns" || give_up 'authorities and certificates are made'
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the lab is up' "$LAB_DIR/logs/lab.log"
lab_awsim_start || give_up "$lab_why" "$LAB_DIR/logs/awsim.log"
# The name that tapbox asks for is a host of the lab (the mounts of this test are its own).
printf '127.0.0.1 localhost\n10.77.0.5 sns.%s.amazonaws.com crt.lab.amazontrust.com\n' "$LAB_REGION" >"$TB_WORK/hosts"
mount --bind "$TB_WORK/hosts" /etc/hosts
lab_start cloud "$LAB_DIR/logs/sns.log" "$cases_root/tests/lab/sns.py" serve "$sns" --listen 10.77.0.5
sns_answers() { lab_exec cloud curl -sf -o /dev/null --cacert "$sns/root.pem" "https://sns.$LAB_REGION.amazonaws.com/SimpleNotificationService-whole.pem"; }
lab_wait 20 sns_answers || give_up "the lab's SNS answers" "$LAB_DIR/logs/sns.log"

LAB_API=https://10.77.2.10:8443
topic=arn:aws:sns:$LAB_REGION:111122223333:guardduty-alerts
lab_tapbox_config
sed -i "s/^listen: .*/listen: ${LAB_API#https://}/" "$LAB_DIR/tapbox.yaml"
printf 'tls:\n  certificate: %s\n  key: %s\n' "$sns/host.pem" "$sns/host.key" >>"$LAB_DIR/tapbox.yaml"
printf 'sns:\n  topics: "arn:aws:sns:us-east-1:111122223333:others, %s"\n  ca_file: %s\n' "$topic" "$sns/root.pem" >>"$LAB_DIR/tapbox.yaml"
lab_tokens || give_up 'tokens are made'
scraper=$("$LAB_OUT/tapbox" token add scraper --role scraper --file "$LAB_DIR/tokens" 2>/dev/null)
export CURL_CA_BUNDLE=$sns/root.pem
lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"

deliver() { # WISH: what SNS is to do otherwise than SNS does; gives "STATUS WORD"
    lab_exec cloud curl -sS --max-time 30 -d "$(jq -cn --arg to "$LAB_API/v1/events" "{to: \$to} + $1")" http://10.77.0.5:8080/
}
metric() { # FAMILY LABEL VALUE
    LAB_TOKEN=$scraper lab_call GET /metrics | awk -v m="$1{$2=\"$3\"}" '$1 == m { print $2 }'
}
finding() { # HOST: as text inside a wish
    lab_finding "$1" | jq -c 'tojson'
}
declare -A refusals=()
refused() { # CASE "STATUS REASON" WISH
    same "$1" "$2" "$(deliver "$3")"
    refusals[${2#* }]=$((${refusals[${2#* }]:-0} + 1))
}
counts() { # FAMILY: what is not zero, in order
    LAB_TOKEN=$scraper lab_call GET /metrics | sed -n "s/^$1{[a-z]*=\"\(.*\)\"} \([1-9]\)/\1 \2/p" | sort
}

# Good ones.
body=$(finding workload)
same 'a finding, version 1: the first one needs the certificate, and its issuer' '202 capture' "$(deliver "{message: $body}")"
same 'delivered again it is known' '200 duplicate' "$(deliver '{again: true}')"
same 'and counted as replayed' 1 "$(metric tapbox_sns_messages_total type replayed)"
same 'version 2, with a subject' '202 joined' "$(deliver "{version: \"2\", subject: \"GuardDuty \u00e4\", message: $(finding workload)}")"
same 'with the chain in the file' '202 joined' "$(deliver "{cert: \"whole\", message: $(finding workload)}")"
same 'of an authority directly' '202 joined' "$(deliver "{cert: \"direct\", message: $(finding workload)}")"
same 'five that are genuine' 5 "$(metric tapbox_sns_messages_total type notification)"
same 'each certificate was fetched once' '1 1' "$(grep -c Service-alone "$sns/asked") $(grep -c Service-direct "$sns/asked")"
same 'the store says who sent it' 'sns:guardduty-alerts' "$(sqlite3 -readonly "$LAB_DIR/state/tapbox.db" 'SELECT DISTINCT token_name FROM alerts')"
same 'and keeps the envelope as it came' Notification \
    "$(sqlite3 -readonly "$LAB_DIR/state/tapbox.db" 'SELECT body FROM alerts LIMIT 1' | jq -r .Type)"
same 'one capture' 1 "$(lab_call GET /v1/captures | jq '.captures | length')"

# Whatever is not SNS's.
deliver '{cert: "slow"}' >"$TB_WORK/slow" & # takes its time
slow=$!

refused 'an altered message' '403 bad_signature' "{message: $body, alter: {Message: \"{}\"}}"
refused 'a subject that was not signed' '403 bad_signature' '{alter: {Subject: "x"}}'
refused 'an altered time' '403 bad_signature' "{alter: {Timestamp: \"$(date -u +%Y-%m-%dT%H:%M:%S.000Z)\"}}"
refused "a stranger's key" '403 bad_signature' "{key: \"stranger\", message: $body}"
refused 'no signature' '403 bad_signature' '{drop: ["Signature"]}'
refused 'a signature of another version' '403 bad_signature' '{version: "2", digest: "1"}'
refused 'a version that is none' '403 bad_version' '{alter: {SignatureVersion: "3"}}'
refused 'a genuine message of a topic that was not allowed' '403 topic_not_allowed' "{topic: \"arn:aws:sns:$LAB_REGION:444455556666:theirs\", message: $body}"
refused 'no message at all' '400 malformed' '{drop: ["MessageId"]}'
refused 'a type that is none' '400 malformed' '{alter: {Type: 1}}'
refused 'an hour later' '403 stale' "{age: 3700, message: $body}"
refused 'before its time' '503 ahead' "{age: -900, message: $body}"
for url in "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-whole.pem" "https://evil.example/SimpleNotificationService-whole.pem" \
    "https://sns.$LAB_REGION.amazonaws.com@evil.example/SimpleNotificationService-whole.pem" "http://sns.$LAB_REGION.amazonaws.com/SimpleNotificationService-whole.pem" \
    "https://sns.$LAB_REGION.amazonaws.com:8443/SimpleNotificationService-whole.pem" "https://sns.$LAB_REGION.amazonaws.com/SimpleNotificationService-whole.pem?x"; do
    refused "certificate at ${url#http*://}" '403 bad_cert_url' "{cert_url: \"$url\", message: $body}"
done
refused 'a certificate that is not there' '503 cert_unavailable' '{cert: "none"}'
refused 'one whose issuer cannot be fetched' '503 cert_unavailable' '{cert: "gone"}'
refused 'one that has moved' '503 cert_redirected' '{cert: "moved"}'
refused 'one that has no end' '503 cert_too_large' '{cert: "huge"}'
refused 'one that is none' '503 cert_malformed' '{cert: "text"}'
refused 'one of another authority' '403 cert_untrusted' '{cert: "otherca"}'
refused 'the same once more' '403 cert_untrusted' '{cert: "otherca"}'
same 'is not asked for again at once' 1 "$(grep -c Service-otherca "$sns/asked")"
refused 'one that signed itself' '403 cert_untrusted' '{cert: "self", key: "stranger"}'
refused 'one whose issuer is nowhere' '403 cert_untrusted' '{cert: "lonely"}'
refused 'one whose issuer is where nobody asks' '403 cert_untrusted' '{cert: "lured"}'
refused 'one that is over' '403 cert_expired' '{cert: "expired"}'
refused 'one that has not begun' '403 cert_expired' '{cert: "unborn"}'
refused 'one of another name' '403 cert_wrong_name' '{cert: "otherhost"}'
refused 'one of many names' '403 cert_wrong_name' '{cert: "wildcard"}'
same 'plain text inside' '400 the Message inside the SNS notification is plain text, no alert' "$(deliver '{}' | cut -d: -f1)"
refusals[not_understood]=1
wait "$slow"
same 'a server that takes its time' '503 cert_timeout' "$(cat "$TB_WORK/slow")"
refusals[cert_timeout]=1
same 'each refusal is counted by its reason, and nothing else' \
    "$(for why in "${!refusals[@]}"; do echo "$why ${refusals[$why]}"; done | sort)" "$(counts tapbox_sns_refusals_total)"
expect 'a reason and the topic are in the log' grep -q 'bad_signature: .*topic arn:aws:sns:.*:guardduty-alerts' "$LAB_DIR/logs/tapbox.log"
same 'it is still one capture' 1 "$(lab_call GET /v1/captures | jq '.captures | length')"
same 'nobody asked the metadata service for a certificate' 0 "$(grep -c middle.cer "$LAB_DIR/logs/awsim.log")"

# Subscriptions.
confirms() { grep -c Action=ConfirmSubscription "$sns/asked"; }
confirmed() { [ "$(metric tapbox_sns_confirmations_total result confirmed)" = "$1" ]; }
same 'to another topic' '403 topic_not_allowed' "$(deliver "{type: \"SubscriptionConfirmation\", topic: \"$topic-x\"}")"
same 'by a stranger' '403 bad_signature' "$(deliver '{type: "SubscriptionConfirmation", key: "stranger"}')"
same 'at another host' '403 bad_subscribe_url' "$(deliver "{type: \"SubscriptionConfirmation\", subscribe_url: \"https://evil.example/?Action=ConfirmSubscription&TopicArn=$topic&Token=abc\", token: \"abc\"}")"
same 'none of these was asked for' 0 "$(confirms)"
printf xx >"$sns/confirm-fails"
same 'a subscription is answered at once' '200 confirming' "$(deliver '{type: "SubscriptionConfirmation", token: "0123abcd"}')"
expect 'and confirmed, though SNS failed twice' lab_wait 15 confirmed 1
same 'with its own token' 3 "$(grep -c "ConfirmSubscription&TopicArn=$topic&Token=0123abcd\$" "$sns/asked")"
expect 'the log names the topic' grep -q "the subscription to $topic is confirmed" "$LAB_DIR/logs/tapbox.log"
expect_failure 'and never the token' '' grep -q 0123abcd "$LAB_DIR/logs/tapbox.log"

# One that SNS cannot confirm yet outlives whatever happens to the service.
head -c 1000 /dev/zero >"$sns/confirm-fails"
same 'a subscription that SNS cannot confirm yet is taken' '200 confirming' "$(deliver '{type: "SubscriptionConfirmation", token: "4567cafe"}')"
unconfirmed() { LAB_TOKEN=$scraper lab_call GET /metrics | grep -qx 'tapbox_sns_subscriptions_unconfirmed 1'; }
expect 'and told' lab_wait 5 unconfirmed
lab_tapbox_stop KILL
TAPBOX_CRASH=subscription_put:after lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
expect 'it is known after a kill' lab_wait 5 unconfirmed
deliver '{type: "SubscriptionConfirmation", token: "89abbeef"}' >/dev/null # dies between the commit and the answer
lab_tapbox_stop KILL
: >"$sns/confirm-fails"
lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
expect 'and both are confirmed by a later life' lab_wait 15 confirmed 2
same 'and none is left to ask for' 0 "$(sqlite3 -readonly "$LAB_DIR/state/tapbox.db" 'SELECT count(*) FROM subscriptions')"
: >"$sns/asked"
same 'its end is told' '200 noted' "$(deliver '{type: "UnsubscribeConfirmation", version: "2"}')"
same 'and counted' 1 "$(metric tapbox_sns_messages_total type unsubscription)"
same 'and not undone' 0 "$(confirms)"

# Without an envelope there is no signature: a token, which SNS sends when it is asked for one.
same 'raw delivery is asked for its token' '401 Basic realm="tapbox"' "$(deliver "{raw: true, message: $body}" )"
basic=$(printf 'sns:%s' "$LAB_ALERT_TOKEN" | base64 -w0)
same 'and taken with it' '200 duplicate' "$(deliver "{raw: true, message: $body, headers: {Authorization: \"Basic $basic\"}}")"
deliver "{only: true, message: $body}" >"$TB_WORK/message.json"
same 'an envelope that somebody with a token hands on' duplicate \
    "$(LAB_TOKEN=$LAB_ALERT_TOKEN lab_call POST /v1/events --data-binary @"$TB_WORK/message.json" | jq -r .decision)"
same 'a plan reads it too' '"capture"' "$("$LAB_OUT/tapbox" plan --offline --config "$LAB_DIR/tapbox.yaml" --json --event "$TB_WORK/message.json" | jq .decision)"
lab_tapbox_stop

# Only version 2; and the same message after a restart.
sed -i 's/^sns:/&\n  signature_version: 2/' "$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
same 'version 1 is refused where 2 is asked for' '403 bad_version' "$(deliver "{message: $body}")"
same 'and 2 is known from before the restart' '200 duplicate' "$(deliver "{version: \"2\", message: $body}")"
lab_tapbox_stop

# No topic: SNS is somebody without a token.
sed -i '/^  topics:/d' "$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
same 'with no topic nobody comes in without a token' '401 Basic realm="tapbox"' "$(deliver "{version: \"2\", message: $body}")"
lab_tapbox_stop
expect_failure 'a topic that is none is refused with its line' ':[0-9]+: sns.topics' \
    "$LAB_OUT/tapbox" check-config --config <(sed 's/^sns:/&\n  topics: guardduty-alerts/' "$LAB_DIR/tapbox.yaml")
finish
