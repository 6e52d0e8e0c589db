#!/bin/bash
# runbooks/incidents.md on a capture host under systemd: each thing that goes wrong is made to, then the commands of its
# section are run as they stand there, and show what the text says that they do.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
# shellcheck source-path=SCRIPTDIR source=../support/runbook.sh
. "$cases_root/tests/support/runbook.sh"
in_lab "$@"
# shellcheck source-path=SCRIPTDIR source=../lab/box.sh
. "$cases_root/tests/lab/box.sh"
cd "$cases_root" || exit 1

mkdir -p "$LAB_DIR/logs" "$TB_WORK/bin"
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the lab is up' "$LAB_DIR/logs/lab.log"
lab_awsim_start || give_up "$lab_why" "$LAB_DIR/logs/awsim.log"
box_start || {
    skip "the incidents: $box_why"
    finish
}
make --no-print-directory -s PROGRAM="$TB_OUT/tapbox" DESTDIR="$(box_file '')" PREFIX=/usr install >/dev/null ||
    give_up 'the program is installed'
box systemd-sysusers tapbox.conf >"$LAB_DIR/logs/users.log" 2>&1
box systemd-tmpfiles --create tapbox.conf
box systemctl daemon-reload
# There is no S3 in this lab.
lab_tapbox_config capture.duration=10m capture.rotate_seconds=2 >/dev/null
{
    printf 'region: %s\nsns:\n  topics: "arn:aws:sns:%s:%s:alerts"\n' "$LAB_REGION" "$LAB_REGION" "$LAB_ACCOUNT"
    grep -vE '^(state_dir|tokens_file|  socket):?' "$LAB_DIR/tapbox.yaml" | sed 's/^capture:/&\n  no_traffic_seconds: 1/'
} >"$(box_file /etc/tapbox/tapbox.yaml)"
printf '%s=%s\n' AWS_ENDPOINT_URL "$LAB_EC2_URL" AWS_ENDPOINT_URL_S3 "$LAB_S3_URL" AWS_REGION "$LAB_REGION" \
    AWS_ACCESS_KEY_ID "$LAB_ACCESS_KEY" AWS_SECRET_ACCESS_KEY "$LAB_SECRET_KEY" >"$(box_file /etc/default/tapbox)"
# shellcheck disable=SC2016 # for the shell in the box
printf '#!/bin/sh\nexec "$@"\n' >"$(box_file /usr/bin/sudo)"
# (Debian's AWS CLI does not know AWS_ENDPOINT_URL.)
printf '#!/bin/sh\nexec /usr/bin/aws --endpoint-url %s "$@"\n' "$LAB_EC2_URL" >"$(box_file /usr/local/bin/aws)"
chmod 755 "$(box_file /usr/bin/sudo)" "$(box_file /usr/local/bin/aws)"
LAB_ANALYST_TOKEN=$(box tapbox token add me --role alert,analyst 2>/dev/null)
box systemctl start tapbox-recorder tapbox || give_up 'the units start' <(box journalctl --no-pager -u tapbox -u tapbox-recorder)
lab_wait 10 lab_tapbox_ready || give_up 'it is ready' <(box journalctl --no-pager -u tapbox -u tapbox-recorder)

capture='' session=''
fill_in() { sed "s/tms-…/$session/; s/ens6/eth0/"; }
run_block() { # on the host
    cp "$1" "$(box_file /tmp/block.sh)"
    # shellcheck disable=SC2016 # for the shell in the box
    box env HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TAPBOX_TOKEN="$LAB_ANALYST_TOKEN" \
        CAPTURE="$capture" EVENT=/root/alert.json SOURCE="$(lab_instance workload)" \
        bash -c 'set -a; . /etc/default/tapbox; set +a; cd /root; . /tmp/block.sh' >"$1.said" 2>&1 || {
        cat "$1.said"
        return 1
    }
}
section() { # HEADING PATTERN...: its commands are run, and what they print has each of these
    local heading=$1 pattern
    shift
    run_blocks runbooks/incidents.md "$heading"
    for pattern in "$@"; do
        expect "there it says: $pattern" grep -hqE -- "$pattern" "$TB_WORK/incidents-${heading//[^A-Za-z0-9]/-}"-*.said
    done
}
refuse() { # ACTION: EC2 says no to it
    lab_awsim_ask /faults -X PUT -d "[{\"action\": \"$1\", \"do\": {\"error\": {\"status\": 403, \"code\": \"UnauthorizedOperation\"}}}]" >/dev/null
}
journal_says() { box journalctl --no-pager -u tapbox | grep -qE "$1"; }
shows() { box env TAPBOX_TOKEN="$LAB_ANALYST_TOKEN" tapbox show "$capture" | grep -qE "$1"; }
recording() {
    lab_wait_for_state "$1" recording 10 || give_up "$lab_why" <(box journalctl --no-pager -u tapbox -u tapbox-recorder)
}
talk() { lab_exec "$1" ping -q -i 0.05 -w 600 "$(lab_field "$LAB_INTERFACES" remote 6)" >/dev/null & }

same 'an alert without a type is refused' 400 "$(lab_status_of POST /v1/events -d '{"source": "aws.guardduty"}')"
printf '{"source": "aws.guardduty"}\n' >"$(box_file /root/alert.json)"
section 'An alert was not understood' "an alert from [0-9.]+ of token 'me' is not understood: ." 'cannot|unknown|missing|understood'
printf '{"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:%s:%s:findings", "Message": "{}", "Timestamp": "%s", "SignatureVersion": "2", "Signature": "AAAA", "SigningCertURL": "https://sns.%s.amazonaws.com/SimpleNotificationService-0.pem"}' \
    "$LAB_REGION" "$LAB_ACCOUNT" "$(date -u +%Y-%m-%dT%H:%M:%S.000Z)" "$LAB_REGION" >"$TB_WORK/forged.json"
same 'a message of a topic that nobody allowed is refused' 403 "$(lab_exec capture curl -sS -o /dev/null -w '%{http_code}' \
    -H 'x-amz-sns-message-type: Notification' -d @"$TB_WORK/forged.json" "$LAB_API/v1/events")"
section 'SNS brings nothing' 'SNS from [0-9.]+: topic_not_allowed: .*:findings, is not in sns.topics'
same 'a call with a token that nobody gave out is refused' 401 "$(LAB_TOKEN=stolen lab_status_of GET /v1/captures)"
section 'Calls are refused' 'refused GET /v1/captures from [0-9.]+: .'

capture=$(lab_record workload 10m)
recording "$capture"
lab_wait 10 shows 'NO TRAFFIC'
section 'No traffic arrives' 'NO TRAFFIC.*Look at:' 'UDP 4789 from 10.77.1.10' 'joins eni-.*captures it already' 'No mirror session was made by others'

target=$(lab_awsim_ask /objects | jq -r '.targets[0].id') filter=$(lab_awsim_ask /objects | jq -r '.filters[0].id')
foreign=$(lab_ec2 create-traffic-mirror-session --network-interface-id "$(lab_eni workload2)" --traffic-mirror-target-id "$target" \
    --traffic-mirror-filter-id "$filter" --session-number 900 --virtual-network-id 4711 | jq -r .TrafficMirrorSession.TrafficMirrorSessionId)
section 'A foreign session' "$foreign +$(lab_eni workload2) +900 +4711"
lab_ec2 delete-traffic-mirror-filter-rule --traffic-mirror-filter-rule-id "$(lab_ec2 describe-traffic-mirror-filters \
    --traffic-mirror-filter-ids "$filter" | jq -r '.TrafficMirrorFilters[0].IngressFilterRules[0].TrafficMirrorFilterRuleId')" >/dev/null
lab_wait 60 shows 'its filter was changed .*put right by'
section 'Somebody changes the mirror' "somebody changed the filter $filter: 1 rules? of ours" 'its filter was changed .1 rules? gone'
section 'Nobody keeps the clock' 'System clock synchronized|Unit (chrony|systemd-timesyncd).service could not be found'
talk workload2
section 'Packets of nobody' 'IP 10.77.1.20.* vni 4711'

talk workload
lab_wait 20 journal_says 'cannot upload'
section 'S3 cannot be reached or the disk fills' 'stays in the spool and is tried again: .*connect' 'warn +bucket: nothing can be written' \
    '[0-9]K.*/var/lib/tapbox/spool'
section 'Packets are dropped' 'packets +[1-9][0-9]* received, [1-9][0-9]* written'
box kill -STOP "$(box systemctl show -p MainPID --value tapbox-recorder)"
not_ready() { ! lab_tapbox_ready; }
expect 'a recorder that hangs is noticed' lab_wait 20 not_ready
section 'The recorder is down' 'recorder.*does not answer|not answer.*recorder' "$capture: armed"
armed_again() { [ "$(box journalctl --no-pager -u tapbox-recorder | grep -c "$capture: armed")" -ge 2 ]; }
expect 'after its restart the capture is taken up' lab_wait 10 armed_again
section 'Captures wait for a place' "$capture +recording"

refuse DeleteTrafficMirrorSession
# shellcheck disable=SC2034 # for fill_in
session=$(lab_awsim_ask /objects | jq -r --arg foreign "$foreign" '[.sessions[].id | select(. != $foreign)][0]')
(
    run_block_as_before=$(declare -f run_block)
    eval "as_before${run_block_as_before#run_block}"
    run_block() { # the last one is an administrator's, whom nothing is refused
        if grep -q delete-traffic "$1"; then
            box systemctl stop tapbox
            lab_awsim_ask /faults -X DELETE >/dev/null
        fi
        as_before "$1"
    }
    lab_call POST "/v1/captures/$capture/stop" >/dev/null
    lab_wait 20 shows UnauthorizedOperation
    section 'A session is left over' 'code +UnauthorizedOperation' 'request +[0-9a-f-]+' "session +$session +deleting" '0 sessions, 0 filters, 0 targets'
    exit "$cases_failed"
) || cases_failed=1
box systemctl start tapbox
expect 'it is noticed that the session is gone' lab_wait 20 lab_state_is "$capture" sealing
refuse '*'
lab_call POST '/v1/captures?dry_run=1' -d "{\"source\":\"$(lab_instance workload)\",\"reason\":\"x\"}" >/dev/null
second=$(lab_record workload 1m)
lab_wait 10 journal_says "$second: .*UnauthorizedOperation"
section 'Credentials do not work' 'code=UnauthorizedOperation' "as arn:aws:iam::$LAB_ACCOUNT:"
finish
