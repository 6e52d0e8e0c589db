#!/bin/bash
# What sweeper.yaml runs at its host's first boot, in a Debian under systemd: the unit sweeps, with all its hardening, and
# CloudWatch is told what was found and what failed.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
# shellcheck source-path=SCRIPTDIR source=../lab/box.sh
. "$cases_root/tests/lab/box.sh"

cd "$cases_root" || exit 1
mkdir -p "$LAB_DIR/logs"
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the lab is up' "$LAB_DIR/logs/lab.log"
lab_awsim_start || give_up "$lab_why" "$LAB_DIR/logs/awsim.log"
box_start || {
    skip "the sweeper's host: $box_why"
    finish
}
version=$("$TB_OUT/tapbox" --version | awk 'NR == 1 { print $2 }')
package=$(infra/debian/build.sh "$TB_WORK/package" "$version" "$TB_OUT/tapbox") || give_up 'the package is built'
cp "$package" "$(box_file /tmp/in-s3.deb)"

# What only AWS has.  (The image has the Debian packages already, but curl is not to be had before it is asked for; and
# Debian's AWS CLI does not know AWS_ENDPOINT_URL.)
mv "$(box_file /usr/bin/aws)" "$(box_file /usr/bin/aws-cli)"
cat >"$(box_file /usr/bin/aws)" <<END
#!/bin/bash
case "\$1 \$2" in
"s3 cp") cp /tmp/in-s3.deb "\${@: -1}" ;;
"cloudformation signal-resource") echo "\$*" >>/tmp/signals ;;
*) exec /usr/bin/aws-cli --endpoint-url $LAB_EC2_URL "\$@" ;;
esac
END
mv "$(box_file /usr/bin/curl)" "$(box_file /usr/bin/curl.deb)"
printf '#!/bin/sh\ncase $* in update) ;; *awscli*curl*) cp /usr/bin/curl.deb /usr/bin/curl ;; *) exec /usr/bin/apt-get "$@" ;; esac\n' \
    >"$(box_file /usr/local/sbin/apt-get)"
chmod 755 "$(box_file /usr/bin/aws)" "$(box_file /usr/local/sbin/apt-get)"
tests/support/user_data.py sweeper.yaml SweeperTemplate AWS::Region="$LAB_REGION" AWS::StackName=tapbox-sweeper Owner=tapbox \
    PackageUri=s3://p/t.deb Roles= ExternalId= MetricNamespace=tapbox | sed '/^exec > >(logger/d' >"$(box_file /tmp/boot.sh)"
expect 'the first boot ends well' box env PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin bash /tmp/boot.sh
expect 'and the stack is told' grep -q 'logical-resource-id SweeperOfOne .*SUCCESS' "$(box_file /tmp/signals)"
same 'only the timer runs' 'active inactive inactive' "$(box systemctl is-active tapbox-sweep.timer tapbox tapbox-recorder | paste -sd' ')"
expect 'it sweeps here by hand only' box systemctl stop tapbox-sweep.timer

# (An instance's credentials come from its profile, and no endpoint is configured.)
printf '%s=%s\n' AWS_ENDPOINT_URL "$LAB_EC2_URL" AWS_ACCESS_KEY_ID "$LAB_ACCESS_KEY" AWS_SECRET_ACCESS_KEY "$LAB_SECRET_KEY" \
    >>"$(box_file /etc/default/tapbox)"
sweep() { box systemctl start tapbox-sweep.service; }
expect 'the sweeper sweeps' sweep
same 'and says that it did' 'tapbox Owner=tapbox 0 tapbox Owner=tapbox 0' "$(lab_published Swept) $(lab_published SweepFailed)"
target=$(lab_ec2 create-traffic-mirror-target --network-interface-id "$(lab_eni capture)" | jq -r .TrafficMirrorTarget.TrafficMirrorTargetId)
filter=$(lab_ec2 create-traffic-mirror-filter | jq -r .TrafficMirrorFilter.TrafficMirrorFilterId)
lab_ec2 create-traffic-mirror-session --network-interface-id "$(lab_eni workload)" --session-number 1 \
    --traffic-mirror-target-id "$target" --traffic-mirror-filter-id "$filter" --tag-specifications \
    "ResourceType=traffic-mirror-session,Tags=[{Key=tapbox:owner,Value=tapbox},{Key=tapbox:expires,Value=2026-01-02T03:04:05Z}]" >/dev/null
expect 'it deletes what has expired' sweep
same 'and says how much' 'tapbox Owner=tapbox 1 tapbox Owner=tapbox 0' "$(lab_published Swept) $(lab_published SweepFailed)"
same 'nothing is left' 0 "$(lab_awsim_ask /objects | jq '.sessions | length')"
lab_awsim_ask /faults -X PUT -d '[{"action": "DescribeTrafficMirrorSessions", "do": {"error": {"status": 403, "code": "UnauthorizedOperation"}}}]' >/dev/null
expect_failure 'where EC2 refuses it fails' . sweep
same 'and says so' 'tapbox Owner=tapbox 1' "$(lab_published SweepFailed)"
lab_awsim_ask /faults -X DELETE >/dev/null
finish
