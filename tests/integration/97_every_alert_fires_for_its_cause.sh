#!/bin/bash
# The alerting rules in Debian's Prometheus, scraping a running tapbox: quiet before, and each fires when its cause is
# made.  The rules' waiting times are cut down; what they look at is as it ships.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
peer=$cases_root/build/peers/prometheus
rules=$cases_root/infra/prometheus/tapbox.rules.yml
if [ -z "${LAB_CASE-}" ] && [ ! -x "$peer/usr/bin/prometheus" ]; then
    # Only unpacked: installing the package would start a server on this machine.
    mkdir -p "$peer"
    (cd "$peer" && timeout 120 apt-get -qq download prometheus && dpkg -x prometheus_*.deb .) >/dev/null 2>&1
fi
# shellcheck source-path=SCRIPTDIR source=../support/queue.sh
. "$cases_root/tests/support/queue.sh"
queue_fetch
in_lab "$@"
[ -x "$peer/usr/bin/prometheus" ] || {
    skip 'the alerts: apt-get cannot download prometheus'
    finish
}
expect 'promtool finds nothing to say' "$peer/usr/bin/promtool" check rules --lint=all --lint-fatal "$rules"
expect 'every metric in the rules is one that is documented' sh -c "
    grep -oE 'tapbox_[a-z0-9_]+' '$rules' | sort -u | while read -r metric; do
        grep -q \"\$metric\" '$cases_root'/runbooks/*.md || { echo \"\$metric\"; exit 1; }
    done"
expect 'every runbook that they name is there' sh -c "
    sed -n 's/.*runbook: //p' '$rules' | sort -u | while IFS='#' read -r page heading; do
        sed -n 's/^## //p' '$cases_root'/\$page | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9\n-' | grep -qx \"\$heading\" ||
            { echo \"\$page#\$heading\"; exit 1; }
    done"

mkdir -p "$LAB_DIR/logs"
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the lab is up' "$LAB_DIR/logs/lab.log"
lab_awsim_start || give_up "$lab_why" "$LAB_DIR/logs/awsim.log"
sns=$TB_WORK/sns
"$cases_root/tests/lab/sns.py" pki "$sns" || give_up 'authorities and certificates are made'
printf '127.0.0.1 localhost\n10.77.0.5 sns.%s.amazonaws.com crt.lab.amazontrust.com\n' "$LAB_REGION" >"$TB_WORK/hosts"
mount --bind "$TB_WORK/hosts" /etc/hosts
lab_start cloud "$LAB_DIR/logs/sns.log" "$cases_root/tests/lab/sns.py" serve "$sns" --listen 10.77.0.5
lab_tapbox_config capture.duration=10m capture.rotate_seconds=2
sed -i 's/^capture:/&\n  max_concurrent: 1\n  no_traffic_seconds: 3/; s/^recorder:/&\n  ring: 1MiB/' "$LAB_DIR/tapbox.yaml"
printf 'sns:\n  topics: arn:aws:sns:%s:111122223333:guardduty-alerts\n  ca_file: %s\n' "$LAB_REGION" "$sns/root.pem" >>"$LAB_DIR/tapbox.yaml"
lab_tokens || give_up 'tokens are made'
"$LAB_OUT/tapbox" token add prometheus --role scraper --file "$LAB_DIR/tokens" 2>/dev/null >"$LAB_DIR/scraper"
# (who keeps the clock is this machine's own business; the kernel's word on it is made here)
cc -O1 -shared -fPIC -o "$TB_WORK/set_clock.so" "$cases_root/tests/chaos/set_clock.c" || give_up 'set_clock.so is built'
keeps_clock() { printf '\0\0\0\0\0\0\0\0%b\0\0\0\0\0\0\0' "$1" | dd of="$TB_WORK/clock" conv=notrunc status=none; } # '\1': somebody, '\2': nobody
keeps_clock '\1'
LD_PRELOAD=$TB_WORK/set_clock.so SET_CLOCK=$TB_WORK/clock ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0 lab_tapbox_start ||
    give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"

sed -E 's/for: [0-9a-z]+/for: 1s/; s/\[10m\]/[15s]/g; s/\[[0-9]+m\]/[1m]/g' "$rules" >"$LAB_DIR/rules.yml"
cat >"$LAB_DIR/prometheus.yml" <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$LAB_DIR/rules.yml]
scrape_configs:
  - job_name: tapbox
    authorization: {credentials_file: $LAB_DIR/scraper}
    static_configs: [{targets: ['127.0.0.1:8480']}]
END
lab_start capture "$LAB_DIR/logs/prometheus.log" "$peer/usr/bin/prometheus" --config.file="$LAB_DIR/prometheus.yml" \
    --storage.tsdb.path="$LAB_DIR/prometheus" --web.listen-address=127.0.0.1:9090
firing() { # the alerts that fire, in one line
    lab_exec capture curl -s http://127.0.0.1:9090/api/v1/alerts |
        jq -r '[.data.alerts[] | select(.state == "firing") | .labels.alertname] | unique | join(" ")'
}
fires() { case " $(firing) " in *" $1 "*) return 0 ;; *) return 1 ;; esac }
fired() { # ALERT, CAUSE
    if lab_wait 45 fires "$1"; then ok "$1: $2"; else not_ok "$1: $2" "firing: $(firing)"; fi
}

# There is no S3 in this lab, from the start.
fired TapboxS3Fails 'S3 cannot be reached'
sleep 3
only() { [ "$(firing)" = "$1" ]; } # (a scrape that the machine was too busy for fires, too, for a moment)
expect 'nothing else fires' lab_wait 1 only TapboxS3Fails
keeps_clock '\2'
fired TapboxClockUnsynchronised 'nobody keeps the clock'
keeps_clock '\1'

one=$(lab_record workload 10m)
two=$(lab_record workload2 20s)
lab_wait_for_state "$one" recording 10 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
# (the account is looked through for them four times a minute: the next alerts do not wait for that)
target=$(lab_awsim_ask /objects | jq -r '.targets[0].id') filter=$(lab_awsim_ask /objects | jq -r '.filters[0].id')
lab_ec2 create-traffic-mirror-session --network-interface-id "$(lab_eni workload2)" --traffic-mirror-target-id "$target" \
    --traffic-mirror-filter-id "$filter" --session-number 900 --virtual-network-id 4711 >/dev/null
lab_exec workload2 ping -q -i 0.01 -c 300 "$(lab_field "$LAB_INTERFACES" remote 6)" >/dev/null &
fired TapboxQueueWaits 'a capture finds no place'
fired TapboxNoTraffic 'a capture has no packets'
# (and from here on it has some, in segments that S3 does not take)
lab_exec workload ping -q -i 0.05 -w 1800 "$(lab_field "$LAB_INTERFACES" remote 6)" >/dev/null &
fired TapboxForeignSession 'somebody else mirrors'
fired TapboxUnknownVni 'its packets arrive here'
lab_ec2 delete-traffic-mirror-filter-rule --traffic-mirror-filter-rule-id "$(lab_ec2 describe-traffic-mirror-filters \
    --traffic-mirror-filter-ids "$filter" | jq -r '.TrafficMirrorFilters[0].IngressFilterRules[0].TrafficMirrorFilterRuleId')" >/dev/null
fired TapboxMirrorChanged 'somebody deletes a rule of its filter'
for _ in $(seq 25); do LAB_TOKEN=tbx_wrong lab_status_of GET /v1/captures >/dev/null; done
fired TapboxRefusals 'somebody tries tokens'
LAB_TOKEN=$LAB_ALERT_TOKEN lab_status_of POST /v1/events -d '{"what": "is this"}' >/dev/null
fired TapboxAlertsNotUnderstood 'an alert that nobody can read'
deliver() { # WISH: a message of SNS
    lab_exec cloud curl -sS --max-time 30 -d "$(jq -cn "{only: true} + $1")" http://10.77.0.5:8080/ >"$TB_WORK/message"
    lab_exec capture curl -sS --max-time 30 -o /dev/null -H 'x-amz-sns-message-type: any' --data-binary @"$TB_WORK/message" "$LAB_API/v1/events"
}
head -c 1000 /dev/zero >"$sns/confirm-fails"
deliver '{type: "SubscriptionConfirmation", token: "0123abcd"}'
fired TapboxSnsUnconfirmed 'SNS does not confirm a subscription'
deliver '{type: "UnsubscribeConfirmation"}'
fired TapboxSnsUnsubscribed 'a subscription is ended'
deliver '{cert: "none"}'
fired TapboxSnsCertificates 'a certificate of SNS is not to be had'
deliver '{topic: "arn:aws:sns:us-east-1:444455556666:theirs"}'
fired TapboxSnsRefusals 'a message of a topic that is not allowed'

recorder=$(pgrep -P "$lab_tapbox_pid" -f 'tapbox record')
kill -STOP "$recorder"
lab_exec workload ping -q -f -s 1400 -c 4000 -W 1 "$(lab_field "$LAB_INTERFACES" remote 6)" >/dev/null 2>&1
fired TapboxRecorderDown 'the recorder hangs'
kill -CONT "$recorder"
fired TapboxPacketsLost 'and its ring has run over'
fired TapboxSpoolGrows 'segments gather'

lab_awsim_ask /faults -X PUT -d '[{"action": "DeleteTrafficMirrorSession", "do": {"error": {"status": 500, "code": "InternalError"}}}]' >/dev/null
lab_call POST "/v1/captures/$one/stop" >/dev/null
fired TapboxDeleteFailures 'EC2 deletes nothing'
lab_awsim_ask /faults -X PUT -d '[]' >/dev/null
lab_wait 30 lab_state_is "$two" recording draining sealing
lab_awsim_ask /faults -X PUT -d '[{"action": "DeleteTrafficMirrorSession", "do": {"error": {"status": 500, "code": "InternalError"}}}]' >/dev/null
fired TapboxPastDeadline 'a time box is over and the session is there'
lab_awsim_ask /faults -X PUT -d '[{"action": "*", "do": {"error": {"status": 403, "code": "UnauthorizedOperation"}}}]' >/dev/null
for _ in 1 2 3 4 5 6; do
    lab_call POST '/v1/captures?dry_run=1' -H 'Content-Type: application/json' -d "{\"source\":\"$(lab_instance workload)\",\"reason\":\"x\"}" >/dev/null
done
fired TapboxAwsDenied 'AWS refuses everything'
lab_tapbox_stop KILL
lab_awsim_ask /faults -X PUT -d '[]' >/dev/null
fired TapboxDown 'the service is dead'

# Alerts from a queue: one that nobody can read, and then the queue cannot be asked.
sed -i "s,^s3:,sqs:\n  queue_url: $queue_url/$LAB_ACCOUNT/alerts\ns3:," "$LAB_DIR/tapbox.yaml"
if queue_is_there; then
    queue_start || give_up 'the SQS server answers' "$LAB_DIR/logs/sqs.log"
    sed -i "s,queue_url: .*,queue_url: $queue," "$LAB_DIR/tapbox.yaml"
fi
AWS_ENDPOINT_URL_SQS=$queue_url lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
scraped() { # the new process's counters, as Prometheus has them
    lab_exec capture curl -s --data-urlencode 'query=tapbox_sqs_messages_total{result="not_understood"} == 0 and on() up{job="tapbox"} == 1' \
        http://127.0.0.1:9090/api/v1/query | jq -e '.data.result != []'
}
if queue_is_there; then
    lab_wait 20 scraped >/dev/null || not_ok 'Prometheus has seen that nothing was misunderstood yet'
    echo 'this is no event' >"$TB_WORK/poison"
    send "$TB_WORK/poison" >/dev/null
    fired TapboxAlertsNotUnderstood 'a message that nobody can read'
    kill "$queue_pid"
else
    skip 'TapboxAlertsNotUnderstood: npm cannot install the SQS server'
fi
fired TapboxQueueUnreachable 'the queue does not answer'
untested=$(sed -n 's/.*alert: //p' "$rules" | while read -r alert; do
    grep -qE "^ *fired $alert " "${BASH_SOURCE[0]}" || echo "$alert"
done)
same 'no alert is left out' '' "$untested"
finish
