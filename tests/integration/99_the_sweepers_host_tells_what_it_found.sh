#!/bin/bash
# The script that sweeper.yaml puts on its host: it sweeps, and CloudWatch is told what was found and what failed.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

cd "$cases_root" || exit 1
mkdir -p "$LAB_DIR/logs" "$TB_WORK/bin"
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the lab is up' "$LAB_DIR/logs/lab.log"
lab_awsim_start || give_up "$lab_why" "$LAB_DIR/logs/awsim.log"

# (Debian's AWS CLI does not know AWS_ENDPOINT_URL.)
cat >"$TB_WORK/bin/aws" <<END
#!/bin/sh
exec /usr/bin/aws --endpoint-url "$LAB_EC2_URL" "\$@"
END
chmod +x "$TB_WORK/bin/aws"

tests/support/user_data.py sweeper.yaml SweeperTemplate AWS::Region="$LAB_REGION" Owner=tapbox PackageUri=s3://p/t.deb Roles= ExternalId= MetricNamespace=tapbox |
    sed -n "/^cat >.usr.local.lib.tapbox.sweep /,/^END$/p" | sed '1d;$d' | sed "s,/usr/bin/tapbox,$TB_OUT/tapbox," >"$TB_WORK/sweep"
sweep() { lab_exec remote env PATH="$TB_WORK/bin:$PATH" bash "$TB_WORK/sweep"; }
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
