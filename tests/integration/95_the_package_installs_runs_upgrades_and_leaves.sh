#!/bin/bash
# The Debian package in a Debian under systemd: built, installed, upgraded in mid-capture, a new key, a drill and the removal,
# by the runbooks' own commands.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
# shellcheck source-path=SCRIPTDIR source=../support/runbook.sh
. "$cases_root/tests/support/runbook.sh"
in_lab "$@"
# shellcheck source-path=SCRIPTDIR source=../lab/box.sh
. "$cases_root/tests/lab/box.sh"
cd "$cases_root" || exit 1

expect 'the unit files have nothing that systemd does not know' \
    "$cases_root/tests/support/verify_units.sh" infra/systemd
mkdir -p "$LAB_DIR/logs"
lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the lab is up' "$LAB_DIR/logs/lab.log"
lab_s3_start || give_up 'radosgw is up' "$LAB_DIR/logs/radosgw.log"
lab_awsim_start || give_up "$lab_why" "$LAB_DIR/logs/awsim.log"
box_start || {
    skip "the package: $box_why"
    finish
}

# --- what the runbooks have people type, as it stands there: on the machine that they build on, then on the host.
# (Debian's AWS CLI does not know AWS_ENDPOINT_URL.)
mkdir -p "$TB_WORK/bin" "$TB_WORK/here"
cat >"$TB_WORK/bin/aws" <<END
#!/bin/sh
url=$LAB_EC2_URL
[ "\$1" != s3 ] || url=$LAB_S3_URL
[ "\$2" != mb ] || export AWS_REGION=us-east-1 # (radosgw has no Regions to make a bucket in)
exec /usr/bin/aws-cli --endpoint-url "\$url" "\$@"
END
sed 's,aws-cli,aws,' "$TB_WORK/bin/aws" >"$TB_WORK/here/aws"
# shellcheck disable=SC2016 # for the shell in the box
printf '#!/bin/sh\n[ "$1" != -u ] || { user=$2; shift 2; exec runuser -u "$user" -- "$@"; }\nexec "$@"\n' >"$TB_WORK/bin/sudo"
chmod 755 "$TB_WORK"/bin/* "$TB_WORK/here/aws"
mv "$(box_file /usr/bin/aws)" "$(box_file /usr/bin/aws-cli)"
cp "$TB_WORK"/bin/* "$(box_file /usr/bin/)"
fill_in() {
    sed "s/YOUR-PACKAGES/packages/; s/tapbox_NEW_/tapbox_$version+next_/g; s/i-0123456789abcdef0/$(lab_instance workload)/
        s/tbx_…/$LAB_ANALYST_TOKEN/; s/--duration 2m/--duration 5s/; s/cap-20[^ ]*/$id/
        s,build/tapbox_0.1.0_,$build/tapbox_${version}_,; s,make deb,& BUILD=$build,"
}
run_block() { # on the host
    cp "$1" "$(box_file /tmp/block.sh)"
    # shellcheck disable=SC2016 # for the shell in the box
    box env HOME=/root TAPBOX_TOKEN="$LAB_ANALYST_TOKEN" bash -c 'set -a; . /etc/default/tapbox; set +a; cd /root; . /tmp/block.sh'
}
LAB_ANALYST_TOKEN='' id=''
build=$(realpath --relative-to=. "$TB_OUT/..") # (as the build that is there was called: what is made by another name is made anew)
version=$("$TB_OUT/tapbox" --version | awk 'NR == 1 { print $2 }')
(
    run_block() { PATH="$TB_WORK/here:$PATH" bash "$1"; }
    run_blocks runbooks/deploy.md '1. The package'
    exit "$cases_failed"
) || cases_failed=1
expect 'a newer package is built' infra/debian/build.sh "$TB_WORK/package" "$version+next" "$TB_OUT/tapbox"
# (with another default configuration, which dpkg would ask about)
next=$TB_WORK/package/tapbox_${version}+next_amd64.deb
dpkg-deb -R "$next" "$TB_WORK/package/next" && echo '# a new default' >>"$TB_WORK/package/next/etc/tapbox/tapbox.yaml" &&
    dpkg-deb --root-owner-group --build "$TB_WORK/package/next" "$next" >/dev/null
expect 'and put where hosts find it' lab_s3 cp --only-show-errors "$next" s3://packages/
lab_s3 cp --only-show-errors "s3://packages/tapbox_${version}_amd64.deb" "$(box_file "/tmp/$version.deb")"

expect 'it brings the authorities that certificates of AWS are checked by' grep -q ca-certificates <(dpkg-deb -f "$next" Depends)
expect 'it installs' box dpkg -i "/tmp/$version.deb"
expect_failure 'without a bucket the configuration is refused, and says so' 's3.bucket' box tapbox check-config
same 'and nothing was started' inactive "$(box systemctl is-active tapbox.service)"
expect 'the manual page is there' box test -s /usr/share/man/man1/tapbox.1.gz
expect 'completion knows the commands' box bash -c '
    . /usr/share/bash-completion/completions/tapbox
    COMP_WORDS=(tapbox ver) COMP_CWORD=1; _tapbox; [ "${COMPREPLY[*]}" = verify ]'
expect 'completion knows the options' box bash -c '
    . /usr/share/bash-completion/completions/tapbox
    COMP_WORDS=(tapbox sweep --dry) COMP_CWORD=2; _tapbox; [ "${COMPREPLY[*]}" = --dry-run ]'
if command -v zsh >/dev/null; then
    # shellcheck disable=SC2016 # zsh's variables
    same 'and in zsh' '--help --version plan verify|--dry-run' "$(box zsh -fc '
        compadd() { shift; print -rn -- "${(@M)argv:#(${~words[CURRENT]}*|--help|--version|plan)}" }
        words=(tapbox ver) CURRENT=2; source /usr/share/zsh/vendor-completions/_tapbox; print -rn "|"
        words=(tapbox sweep --dry) CURRENT=3; source /usr/share/zsh/vendor-completions/_tapbox' | sed 's/|--help /|/')"
else
    skip 'completion in zsh: zsh is not installed'
fi
same 'what restarts services after upgrades leaves the recorder alone' 'tapbox-recorder.service' "$(box perl -e '
    our %nrconf; do "/etc/needrestart/conf.d/tapbox.conf"; die $@ if $@;
    for my $unit (qw(tapbox-recorder.service tapbox.service)) {
        for my $r (keys %{$nrconf{override_rc}}) { print $unit if $unit =~ $r && !$nrconf{override_rc}{$r}; }
    }')"

lab_tapbox_config capture.duration=10m >/dev/null
{
    printf 'region: %s\n' "$LAB_REGION"
    grep -vE '^(state_dir|tokens_file|  socket):?' "$LAB_DIR/tapbox.yaml"
} >"$(box_file /etc/tapbox/tapbox.yaml)"
printf 'AWS_ENDPOINT_URL=%s\nAWS_ENDPOINT_URL_S3=%s\nAWS_REGION=%s\nAWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n' \
    "$LAB_EC2_URL" "$LAB_S3_URL" "$LAB_REGION" "$LAB_ACCESS_KEY" "$LAB_SECRET_KEY" \
    >"$(box_file /etc/default/tapbox)"
expect 'the configuration is accepted' box tapbox check-config
LAB_ANALYST_TOKEN=$(box tapbox token add me --role analyst,responder 2>/dev/null)
expect 'the units start' box systemctl start tapbox-recorder tapbox tapbox-sweep.timer
expect 'and it is ready' lab_wait 10 lab_tapbox_ready
same 'the service has no capability, the recorder gave up its own' '0000000000000000 0000000000000000' "$(for u in '' -recorder; do
    awk '/^CapEff/ { print $2 }' "$(box_file "/proc/$(box systemctl show -p MainPID --value tapbox$u)/status")"
done | paste -sd' ')"
same 'both run as tapbox' 'tapbox tapbox' "$(box ps -o user= -C tapbox | paste -sd' ')"
for unit in tapbox tapbox-recorder tapbox-sweep; do
    exposure=$(box systemd-analyze security --no-pager "$unit.service" | grep -oE 'Overall exposure level for .*: [0-9.]+')
    expect "systemd-analyze security: ${exposure##*for }" awk -v e="${exposure##* }" 'BEGIN { exit e == "" || e > 2.0 }'
done

id=$(lab_record workload 30m)
[ -n "$id" ] || give_up 'a capture is accepted' <(box journalctl --no-pager -u tapbox -u tapbox-recorder)
lab_wait_for_state "$id" recording 10 || give_up "$lab_why" <(box journalctl --no-pager -u tapbox -u tapbox-recorder)
lab_exec workload ping -q -i 0.05 -c 200 "$(lab_field "$LAB_INTERFACES" remote 6)" >"$LAB_DIR/logs/ping.log" 2>&1 &
pinging=$!
recorder=$(box systemctl show -p MainPID --value tapbox-recorder)
service=$(box systemctl show -p MainPID --value tapbox)
pids() { box systemctl show -p MainPID --value tapbox tapbox-recorder | paste -sd' '; }
runs_on() { # CASE: neither process is another one, and the capture goes on
    same "$1" "$before recording" "$(pids) $(lab_state "$id")"
}
before=$(pids)
cp "$next" "$(box_file /tmp/next.deb)"
box mount -t tmpfs -o size=16k full /usr/share/doc/tapbox
expect_failure 'where the disk is full it does not install' 'No space left' box dpkg --force-confold -i /tmp/next.deb
runs_on 'and what runs goes on'
same 'the program is the one before' "$version" "$(box tapbox --version | awk 'NR == 1 { print $2 }')"
box umount /usr/share/doc/tapbox
cp "$(box_file /etc/tapbox/tapbox.yaml)" "$TB_WORK/tapbox.yaml.kept"
echo 'by_hand: 1' >>"$(box_file /etc/tapbox/tapbox.yaml)"
run_blocks runbooks/deploy.md 'Upgrade'
runs_on 'a configuration that would be refused restarts nothing'
rm "$(box_file /etc/tapbox/tapbox.yaml)"
expect 'one that somebody deleted is no reason to fail' box dpkg --force-confold -i /tmp/next.deb
runs_on 'and restarts nothing'
cp "$TB_WORK/tapbox.yaml.kept" "$(box_file /etc/tapbox/tapbox.yaml)"
expect 'and back to the version before' box dpkg --force-confold -i "/tmp/$version.deb"
expect 'the service is back' lab_wait 10 lab_tapbox_ready
run_blocks runbooks/deploy.md 'Upgrade'
same 'the newer package is there' "$version+next" "$(box dpkg-query -W -f '${Version}' tapbox)"
expect 'the service is back' lab_wait 10 lab_tapbox_ready
same 'the recorder never stopped' "$recorder" "$(box systemctl show -p MainPID --value tapbox-recorder)"
expect 'the service is a new process' test "$service" != "$(box systemctl show -p MainPID --value tapbox)"
same 'the settings are still there' 0 "$(box tapbox check-config >/dev/null 2>&1; echo $?)"
same 'the capture goes on' recording "$(lab_state "$id")"

mkdir -p "$(box_file /etc/systemd/system/tapbox.service.d)"
printf '[Service]\nWatchdogSec=2\n' >"$(box_file /etc/systemd/system/tapbox.service.d/test.conf)"
expect 'the service starts again' box systemctl daemon-reload
expect 'the service starts again' box systemctl restart tapbox
service=$(box systemctl show -p MainPID --value tapbox)
box kill -STOP "$service"
service_is_new() {
    local now
    now=$(box systemctl show -p MainPID --value tapbox)
    [ "$now" != "$service" ] && [ "$now" != 0 ] && lab_tapbox_ready
}
expect 'a service that hangs is replaced by the watchdog' lab_wait 20 service_is_new
rm "$(box_file /etc/systemd/system/tapbox.service.d/test.conf)" # (a machine that stands still for two seconds is not what comes next)
expect 'and has the patience that ships again' box sh -c 'systemctl daemon-reload && systemctl restart tapbox'
wait "$pinging"
same 'stop is accepted' 202 "$(lab_status_of POST "/v1/captures/$id/stop")"
expect 'the capture is sealed' lab_wait_for_state "$id" sealed 30
expect 'the evidence comes down' lab_download
folder=$(lab_evidence "$id")
expect 'it is proven' "$TB_OUT/tapbox" verify "$folder" --key "$(box_file /var/lib/tapbox/evidence.key.pub)"
same 'no packet of the ping is missing' 400 "$(for file in "$folder"/segments/*; do zstd -q -dc "$file" |
    tcpdump_reads - icmp 2>/dev/null; done | wc -l)"
same 'the manifest knows whether the clock was synchronised' true \
    "$(jq '.host.clock.max_error_ns != null' "$folder/manifest.json")"
same 'nothing is missing, and the manifest knows' yes "$(jq -r .completeness.complete "$folder/manifest.json")"
# (journald writes down what it has been sent a moment later)
journal_has() { [ "$(box journalctl -o json --no-pager "$@" | jq -s length)" -gt 0 ]; }
expect "the journal has the capture by a field of its own" lab_wait 10 journal_has "TAPBOX_CAPTURE=$id"
expect 'the service is its unit there' lab_wait 10 journal_has "TAPBOX_CAPTURE=$id" _SYSTEMD_UNIT=tapbox.service PRIORITY=6
expect 'the sweep of the timer runs' box systemctl start tapbox-sweep.service

run_blocks runbooks/operating.md 'Operating tapbox'
expect "one capture's whole life is in the journal" grep -q sealed <(box journalctl "TAPBOX_CAPTURE=$id")
run_blocks runbooks/deploy.md '4. Who may call'
expect 'the token is there' grep -q soc <(box tapbox token list --file /var/lib/tapbox/tokens)
mkdir "$(box_file /root/events)"
lab_finding workload | tee "$(box_file /root/finding.json)" >"$(box_file /root/events/cnc.json)"
echo '{"decision": "capture", "rule": "command-and-control"}' >"$(box_file /root/events/cnc.expect.json)"
run_blocks runbooks/policy.md 'The policy: what is captured, and how'
run_blocks runbooks/speed.md
run_blocks runbooks/operating.md 'A new key, a new token'
printf 'evidence:\n  key_file: /var/lib/tapbox/evidence-2.key\npolicy: {file: /etc/tapbox/policy.yaml}\n' >>"$(box_file /etc/tapbox/tapbox.yaml)"
expect 'key and policy are in force after a restart' box systemctl restart tapbox
same 'the service tells both keys' 2 "$(lab_call GET /v1/keys | jq '.keys | length')"
lab_exec workload ping -q -i 0.1 -w 600 "$(lab_field "$LAB_INTERFACES" remote 6)" >/dev/null &
pinging=$!
run_blocks runbooks/deploy.md '6. The drill'
kill "$pinging"
drill=$(lab_call GET /v1/captures | jq -r --arg former "$id" '[.captures[].id | select(. != $former)][0]')
same 'watch ends when it is sealed' sealed "$(lab_state "$drill")"
expect 'its evidence comes down' lab_download
expect 'it is proven by the new key' "$TB_OUT/tapbox" verify "$(lab_evidence "$drill")" --key "$(box_file /var/lib/tapbox/evidence-2.key.pub)"
expect 'what was before is proven by the old one' "$TB_OUT/tapbox" verify "$(lab_evidence "$id")" --key "$(box_file /var/lib/tapbox/evidence.key.pub)"
run_blocks runbooks/deploy.md 'Uninstall, without leaving anything that is billed'
same 'EC2 has nothing left' '0 0 0' "$(lab_left)"
same 'nothing of it runs' '' "$(box pgrep -x tapbox)"
same 'the store and the signing key stay' yes "$(box sh -c '[ -s /var/lib/tapbox/tapbox.db ] && [ -s /var/lib/tapbox/evidence.key ] && echo yes')"
expect 'and is purged' box dpkg -P tapbox
same 'they stay even then' yes "$(box sh -c '[ -s /var/lib/tapbox/tapbox.db ] && [ -s /var/lib/tapbox/evidence.key ] && echo yes')"
same 'no file of the package is left' '' "$(box sh -c 'find /usr /lib/systemd /etc -name "*tapbox*" -not -path "/usr/share/doc/*" 2>/dev/null' |
    grep -vE '^(/etc/systemd/system/tapbox.service.d|/etc/tapbox$)')"
finish
