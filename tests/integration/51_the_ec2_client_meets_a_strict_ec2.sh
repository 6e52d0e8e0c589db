#!/bin/bash
# Every call of the EC2, STS and metadata clients against awsim, which is as strict as the service model.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
driver=$TB_OUT/bench/aws_driver
[ -n "${LAB_CASE-}" ] || make -s -C "$cases_root" MODE="$(basename "$TB_OUT")" BUILD="$(dirname "$TB_OUT")" "$driver" || exit 1
in_lab "$@"

aws_call() { # driver's arguments, on the capture host
    lab_exec capture "$driver" "$@"
}
value() { # NAME: of the last answer
    sed -n "s/^$1 //p" <<<"$answer"
}
answered() { # CASE driver's arguments: keeps what it printed in $answer
    local name=$1
    shift
    if answer=$(aws_call "$@" 2>&1); then ok "$name"; else not_ok "$name" "$answer"; fi
}

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
eni=$(lab_eni workload) instance=$(lab_instance workload) target_eni=$(lab_eni capture)

answered 'the caller is known' identity
same 'and is the account of the lab' "$LAB_ACCOUNT" "$(value account)"
answered 'an instance is described' instance "$instance"
same 'with its interface' "$eni $instance" "$(value interface | cut -d' ' -f1,2)"
same 'the interface alone says the same' "$(value interface)" "$(aws_call interfaces "$eni" | sed -n 's/^interface //p')"
answered 'interfaces are found by instance' interfaces "$(lab_instance workload2)"
same 'all of them' 2 "$(grep -c ^interface <<<"$answer")"
answered 'an instance that is not there has none' interfaces i-0123456789abcdef0
same '(none)' '' "$answer"
expect_failure 'an instance that is not there is not found' '^not_found InvalidInstanceID.NotFound 400 .*\[[0-9a-f-]{36}\]' \
    aws_call instance i-0123456789abcdef0
expect_failure 'one unknown interface among two is not found' '^not_found InvalidNetworkInterfaceID.NotFound' \
    aws_call interfaces "$eni" eni-0123456789abcdef0
expect_failure 'an id that is none is wrong input' '^invalid InvalidInstanceID.Malformed' aws_call instance i-xyz
expect_failure 'no ids at all are refused before anything is sent' '^invalid - 0 ' aws_call interfaces

answered 'a target is made' target token-t "$target_eni" tapbox:owner=test 'odd=a b+c&d=é'
target=$(value id)
answered 'the same request again' target token-t "$target_eni" tapbox:owner=test 'odd=a b+c&d=é'
same 'gives the same target' "$target" "$(value id)"
expect_failure 'the token with another request does not' '^exists IdempotentParameterMismatch' \
    aws_call target token-t "$target_eni" tapbox:owner=other
answered 'targets are listed' targets
same 'with odd tags whole' "target $target $target_eni $LAB_ACCOUNT odd=a b+c&d=é tapbox:owner=test" \
    "$(grep ^target <<<"$answer" | sed 's/ tapbox:owner=test odd=\(.*\)/ odd=\1 tapbox:owner=test/')"
answered 'and found by interface' targets "$target_eni"
same 'that one' "$target" "$(value target | cut -d' ' -f1)"
answered 'none for another interface' targets "$eni"
same '(no target)' '' "$answer"

answered 'a filter is made' filter token-f tapbox:owner=test
filter=$(value id)
answered 'a rule that takes everything' rule token-r1 "$filter" ingress 100 0.0.0.0/0 0.0.0.0/0
answered 'a rule for IPv6' rule token-r2 "$filter" egress 100 ::/0 ::/0
answered 'a rule for one port' rule token-r3 "$filter" egress 200 0.0.0.0/0 10.77.0.0/16 6 443
rule=$(value id)
expect_failure 'a rule number that is taken' '^exists TrafficMirrorFilterRuleAlreadyExists' \
    aws_call rule token-r4 "$filter" egress 200 0.0.0.0/0 10.77.0.0/16
answered 'Amazon DNS is added' dns "$filter"
same 'to that filter' "$filter" "$(value id)"
answered 'and again' dns "$filter"
answered 'filters are listed' filters
same 'with their rules' "$filter 1 2 dns tapbox:owner=test" "$(value filter)"
answered 'a rule goes' delete "$rule"
expect_failure 'and is gone' '^not_found InvalidTrafficMirrorFilterRule' aws_call delete "$rule"

answered 'a session is made' session token-s "$eni" "$target" "$filter" 7 1234567 0 tapbox:owner=test tapbox:expires=2026-01-02T03:04:05Z
session=$(value id)
same 'the answer has a request id' 36 "$(value request_id | tr -d '\n' | wc -c)"
now=$(date +%s) then=$(value server_utc_s)
expect 'and the time' test $((now - then)) -lt 60 -a $((now - then)) -ge 0
expect_failure 'a session number that is taken' '^exists ' aws_call session token-s2 "$eni" "$target" "$filter" 7 99
expect_failure 'a VNI over 24 bits never leaves' '^invalid - 0 VNI 16777216' aws_call session x "$eni" "$target" "$filter" 8 16777216
expect_failure 'a filter in use stays' '^state TrafficMirrorFilterInUse' aws_call delete "$filter"
expect_failure 'a target in use stays' '^state TrafficMirrorTargetInUse' aws_call delete "$target"
answered 'tags are changed' tags "$session" tapbox:expires=2026-01-02T04:04:05Z
answered 'sessions are listed' sessions "$eni"
same 'as it is now' "$session $eni $target $filter 7 1234567 $LAB_ACCOUNT tapbox:expires=2026-01-02T04:04:05Z tapbox:owner=test" \
    "$(value session | sed 's/ tapbox:owner=test tapbox:expires=\(.*\)/ tapbox:expires=\1 tapbox:owner=test/')"
answered 'no session on another interface' sessions "$target_eni"
same '(no session)' 0 "$(value count)"
answered 'the session goes' delete "$session"
expect_failure 'and is gone, too' '^not_found InvalidTrafficMirrorSession' aws_call delete "$session"
for id in "$filter" "$target"; do
    answered "${id%%-*} goes" delete "$id"
done
answered 'no session is left' sessions
same '(none at all)' 0 "$(value count)"

# Credentials and identity from the metadata service.
unset AWS_SHARED_CREDENTIALS_FILE AWS_REGION AWS_DEFAULT_REGION
export HOME=$TB_WORK/nobody
answered 'credentials and Region come from the instance' identity
same 'of the role' "arn:aws:sts::$LAB_ACCOUNT:assumed-role/tapbox-capture-host/$(lab_instance capture)" "$(value arn)"
same 'in the Region' "$LAB_REGION" "$(value region)"
answered 'the host knows itself' self
same 'and its interface' "$(lab_instance capture) $target_eni $LAB_ACCOUNT $LAB_REGION" "$(value self | cut -d' ' -f1-4)"

# Refusals.
export AWS_REGION=$LAB_REGION AWS_ACCESS_KEY_ID=$LAB_ACCESS_KEY AWS_SECRET_ACCESS_KEY=wrong
expect_failure 'a wrong secret is denied' '^denied SignatureDoesNotMatch 403' aws_call sessions
expect_failure 'an unknown key is denied' '^denied AuthFailure 401' env AWS_ACCESS_KEY_ID=AKIANOBODY0000000000 \
    nsenter --net=/run/netns/capture -- "$driver" sessions
export AWS_SECRET_ACCESS_KEY=$LAB_SECRET_KEY
expect_failure 'another Region in the signature is denied' '^denied ' env AWS_REGION=us-east-1 \
    nsenter --net=/run/netns/capture -- "$driver" sessions
expect_failure 'nobody there is a passing fault' '^retry - 0 .*10\.77\.0\.5:9' env AWS_ENDPOINT_URL_EC2=http://10.77.0.5:9 \
    nsenter --net=/run/netns/capture -- "$driver" sessions
expect_failure 'a server that is not EC2 is told from one' '^format - 405 ' env AWS_ENDPOINT_URL_EC2="$LAB_IMDS_URL" \
    nsenter --net=/run/netns/capture -- "$driver" delete tms-0123456789abcdef0
finish
