#!/bin/bash
# What capture-host.yaml runs at a host's first boot, in a Debian under systemd: it takes over volume and interface, and
# records.  The host dies in mid-capture; its replacement finds store, spool and key, and the capture goes on.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
# shellcheck source-path=SCRIPTDIR source=../support/runbook.sh
. "$cases_root/tests/support/runbook.sh"
in_lab "$@"
# shellcheck source-path=SCRIPTDIR source=../lab/box.sh
. "$cases_root/tests/lab/box.sh"
cd "$cases_root" || exit 1

mkdir -p "$LAB_DIR/logs"
if ! grep -qw xfs /proc/filesystems || ! command -v mkfs.xfs >/dev/null; then
    skip 'the first boot: no xfs on this machine'
    finish
fi
truncate -s 400M "$TB_WORK/volume"
disk=$(losetup --show -f "$TB_WORK/volume" 2>/dev/null) || {
    skip 'the first boot: no loop device on this machine'
    finish
}
trap 'losetup -d "$disk"' EXIT
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the lab is up' "$LAB_DIR/logs/lab.log"
lab_s3_start || give_up 'radosgw is up' "$LAB_DIR/logs/radosgw.log"
lab_awsim_start || give_up "$lab_why" "$LAB_DIR/logs/awsim.log"
version=$("$TB_OUT/tapbox" --version | awk 'NR == 1 { print $2 }')
package=$(infra/debian/build.sh "$TB_WORK/package" "$version" "$TB_OUT/tapbox") || give_up 'the package is built'
lab_s3 cp --only-show-errors "$package" "s3://$LAB_BUCKET/packages/tapbox.deb" || give_up 'the package is in S3'

volume=vol-0a1b2c3d4e5f60001 eni=$(lab_eni capture)
tests/support/user_data.py capture-host.yaml HostTemplate AWS::Region="$LAB_REGION" \
    AWS::StackName=tapbox-host StateVolume=$volume CaptureInterface="$eni" Owner=response MetricNamespace=tapbox Bucket="$LAB_BUCKET" KmsKey=tapbox-key \
    CaptureInterface.PrimaryPrivateIpAddress="$(lab_field "$LAB_INTERFACES" capture 6)" \
    QueueUrl="$LAB_EC2_URL/$LAB_ACCOUNT/alerts" PackageUri="s3://$LAB_BUCKET/packages/tapbox.deb" \
    ReaderRole.Arn="arn:aws:iam::$LAB_ACCOUNT:role/reader" |
    sed '/^exec > >(logger/d' >"$TB_WORK/boot.sh" # (what it says is wanted here)

# A new machine: its root disk, and around it what only AWS has.  Volume and interface are the former host's at first and
# refused until it has let go of them; NVMe shows a volume's id as the serial number.  (The image has the Debian packages
# already, as there is no mirror in the lab; but curl is not to be had before it is asked for.)
machine() {
    box_start || {
        skip "the first boot: $box_why"
        finish
    }
    mv "$(box_file /usr/bin/aws)" "$(box_file /usr/bin/aws-cli)"
    cat >"$(box_file /usr/bin/aws)" <<END
#!/bin/bash
state=/tmp/\$2
case "\$1 \$2" in
"ec2 describe-volumes") cat /tmp/attach-volume.done 2>/dev/null || echo i-0aaaaaaaaaaaaaaaa ;;
"ec2 describe-network-interfaces")
    case "\$*" in
    *Attachment*) cat /tmp/attach-network-interface.done 2>/dev/null || echo i-0aaaaaaaaaaaaaaaa ;;
    *) exec /usr/bin/aws-cli --endpoint-url $LAB_EC2_URL "\$@" ;;
    esac
    ;;
"ec2 attach-volume" | "ec2 attach-network-interface")
    case "\$*" in
    "ec2 attach-volume --volume-id $volume --instance-id "*" --device /dev/sdf") ;;
    "ec2 attach-network-interface --network-interface-id $eni --instance-id "*" --device-index 1") ;;
    *) exit 252 ;;
    esac
    if [ ! -e "\$state.refused" ]; then
        touch "\$state.refused"
        echo 'in use' >&2
        exit 254
    fi
    echo "\$6" >"\$state.done"
    ;;
"cloudformation signal-resource") echo "\$*" >>/tmp/signals ;;
s3*)
    if [ ! -e /tmp/s3.refused ]; then
        touch /tmp/s3.refused
        echo 'no way there yet' >&2
        exit 1
    fi
    exec /usr/bin/aws-cli --endpoint-url $LAB_S3_URL "\$@"
    ;;
*) exec /usr/bin/aws-cli --endpoint-url $LAB_EC2_URL "\$@" ;;
esac
END
    printf '#!/bin/sh\necho %s %s\n' "$disk" "${volume/-/}" >"$(box_file /usr/local/sbin/lsblk)"
    mv "$(box_file /usr/bin/curl)" "$(box_file /usr/bin/curl.deb)"
    printf '#!/bin/sh\ncase $* in update) ;; *awscli*curl*) cp /usr/bin/curl.deb /usr/bin/curl ;; *) exec /usr/bin/apt-get "$@" ;; esac\n' \
        >"$(box_file /usr/local/sbin/apt-get)"
    printf '#!/bin/sh\nexec /usr/bin/sleep 0.1\n' >"$(box_file /usr/local/sbin/sleep)"
    chmod 755 "$(box_file /usr/bin/aws)" "$(box_file /usr/local/sbin)"/*
    printf '%s=%s\n' AWS_ENDPOINT_URL "$LAB_EC2_URL" AWS_ENDPOINT_URL_S3 "$LAB_S3_URL" \
        AWS_ACCESS_KEY_ID "$LAB_ACCESS_KEY" AWS_SECRET_ACCESS_KEY "$LAB_SECRET_KEY" >"$(box_file /etc/default/tapbox)"
    cp "$TB_WORK/boot.sh" "$(box_file /tmp/boot.sh)"
}

# (An instance's credentials come from its profile; radosgw knows only those of the lab.)
boot() {
    box timeout 400 env HOME=/root AWS_ACCESS_KEY_ID="$LAB_ACCESS_KEY" AWS_SECRET_ACCESS_KEY="$LAB_SECRET_KEY" \
        PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin bash /tmp/boot.sh
}
ready() { box curl -sf -o /dev/null http://127.0.0.1:8480/readyz; }
beats() { lab_awsim_ask /history | jq '[.events[] | select(.kind == "metric" and .metric == "Ready")] | length'; }
beats_more_than() { [ "$(beats)" -gt "$1" ]; }

machine
signals() { sed 's/.*--logical-resource-id \([^ ]*\) .*--status /\1 /' "$(box_file /tmp/signals)" | paste -sd' '; }
box touch /var/lib/tapbox
expect_failure 'a first boot that cannot go on ends' 'mkdir' boot
same 'and the stack is told' 'HostOfOne FAILURE' "$(signals)"
box rm /var/lib/tapbox
expect 'the first boot ends well, after S3 could not be reached at first' boot
same 'and the stack is told, too' 'HostOfOne FAILURE HostOfOne SUCCESS' "$(signals)"
mtu() { box sh -c 'ip -o link show eth0 | sed "s/.* mtu \([0-9]*\) .*/\1/"'; }
box ip link set eth0 mtu 1500
expect 'what a reboot leaves is the units' box systemctl restart tapbox-recorder
same 'with the recorder the capture interface comes up again' 9001 "$(mtu)"
expect 'the volume is mounted where the state is' box mountpoint -q /var/lib/tapbox
same 'nobody else may look into it' 'tapbox 700' "$(box stat -c '%U %a' /var/lib/tapbox)"
expect 'the configuration is valid' box tapbox check-config
expect 'tapbox is ready' lab_wait 10 ready
run_block() { cp "$1" "$(box_file /tmp/block.sh)" && box bash /tmp/block.sh; }
run_blocks runbooks/deploy.md '3. The capture host'
expect 'and gives a sign of life' lab_wait 10 beats_more_than 0
same 'where the alarm looks for it' 'tapbox Owner=response 1' "$(lab_published Ready)"
target=$(lab_ec2 create-traffic-mirror-target --network-interface-id "$eni" | jq -r .TrafficMirrorTarget.TrafficMirrorTargetId)
filter=$(lab_ec2 create-traffic-mirror-filter | jq -r .TrafficMirrorFilter.TrafficMirrorFilterId)
lab_ec2 create-traffic-mirror-session --network-interface-id "$(lab_eni workload)" --session-number 1 \
    --traffic-mirror-target-id "$target" --traffic-mirror-filter-id "$filter" --tag-specifications \
    "ResourceType=traffic-mirror-session,Tags=[{Key=tapbox:owner,Value=response},{Key=tapbox:expires,Value=2026-01-02T03:04:05Z}]" >/dev/null
swept() { box systemctl start tapbox-sweep.service && [ "$(lab_awsim_ask /objects | jq '.sessions | length')" = 0 ]; }
expect 'its own sweeper deletes what is of this owner' lab_wait 10 swept
key=$(box cat /var/lib/tapbox/evidence.key.pub)
expect 'it has made its signing key' test -n "$key"

# The settings that the operator keeps on the volume, and a token.
box sh -c '(cat /etc/tapbox/tapbox.yaml && printf "store:\n  keep: 1s\n") >/var/lib/tapbox/tapbox.yaml'
LAB_ANALYST_TOKEN=$(box runuser -u tapbox -- tapbox token add me --role alert,analyst,responder --file /var/lib/tapbox/tokens 2>/dev/null)
alert=$(lab_finding workload | jq '.detail.service.archived = true' | lab_call POST /v1/events -d @- | jq -r .decision)
same 'an alert is ignored' ignored "$alert"
id=$(lab_record workload 30m)
[ -n "$id" ] || give_up 'a capture is accepted' <(box journalctl --no-pager -u tapbox -u tapbox-recorder)
lab_wait_for_state "$id" recording 10 || give_up "$lab_why" <(box journalctl --no-pager -u tapbox -u tapbox-recorder)
remote=$(lab_field "$LAB_INTERFACES" remote 6)
lab_exec workload ping -q -i 0.01 -c 40 "$remote" >/dev/null
on_disk_80() { # (a segment that is written to has no end, which its readers complain of)
    [ "$(find "$(box_file /var/lib/tapbox/spool)" -type f -name '*.pcapng.zst*' -exec zstd -q -dc {} \; 2>/dev/null |
        tcpdump_reads - icmp 2>/dev/null | wc -l)" = 80 ]
}
expect 'it records' lab_wait 10 on_disk_80

box_kill
before=$(beats)
machine
expect 'the host dies, and its replacement boots' boot
expect 'it is ready' lab_wait 10 ready
same 'the signing key is the same' "$key" "$(box cat /var/lib/tapbox/evidence.key.pub)"
expect 'there is life again' lab_wait 10 beats_more_than "$before"
same 'the capture goes on' recording "$(lab_state "$id")"
armed() { # (installing the package starts a recorder, too, which the boot's last step replaces)
    # shellcheck disable=SC2016 # for the shell in the box
    box sh -c 'journalctl --no-pager "_SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID tapbox-recorder)"' | grep -q "$id: armed"
}
expect 'its packets are waited for again' lab_wait 10 armed
size() { box df --output=size -B1M /var/lib/tapbox | tail -n 1; }
small=$(size)
truncate -s 600M "$TB_WORK/volume"
losetup -c "$disk"
expect 'the volume grows while it records' box xfs_growfs /var/lib/tapbox
expect 'and has room' test "$(size)" -ge $((small + 150))
lab_exec workload ping -q -i 0.01 -c 40 "$remote" >/dev/null
expect 'in the same session' test "$(lab_awsim_ask /objects | jq '.sessions | length')" = 1
run_block() {
    cp "$1" "$(box_file /tmp/block.sh)" && box env TAPBOX_TOKEN="$LAB_ANALYST_TOKEN" \
        bash -c 'set -a; . /etc/default/tapbox; set +a; . /tmp/block.sh'
}
run_blocks runbooks/incidents.md 'The capture host died'
ended() { lab_state_is "$id" draining sealing sealed; }
expect 'with its last command every capture ends' lab_wait 10 ended
alert=$(lab_call GET /v1/alerts | jq -r '.alerts[0].id')
forgotten() { [ "$(lab_status_of POST "/v1/alerts/$alert/replay")" = 409 ]; }
expect "the operator's settings are in force: what was ignored is not kept for longer" lab_wait 10 forgotten
lab_wait_for_state "$id" sealed 20 || give_up "$lab_why" <(box journalctl --no-pager -u tapbox -u tapbox-recorder)
expect 'the evidence comes down' lab_download
folder=$(lab_evidence "$id")
expect 'it is proven' "$TB_OUT/tapbox" verify "$folder" --key "$(box_file /var/lib/tapbox/evidence.key.pub)"
same 'with the packets of before and after' 160 "$(for file in "$folder"/segments/*; do zstd -q -dc "$file" |
    tcpdump_reads - icmp 2>/dev/null; done | wc -l)"
same 'and that there was none between is said' 'no recovered' "$(jq -r '.completeness |
    "\(.complete) \(.gaps | map(select(.kind == "recovered"))[0].kind)"' "$folder/manifest.json")"
same 'EC2 has no session left' 0 "$(lab_awsim_ask /objects | jq '.sessions | length')"
finish
