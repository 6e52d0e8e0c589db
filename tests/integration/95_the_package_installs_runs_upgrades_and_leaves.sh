#!/bin/bash
# The Debian package in a Debian under systemd: installed, configured, recording, upgraded in mid-capture, a drill and a
# new key by the runbooks' own commands, removed.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
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
version=$("$TB_OUT/tapbox" --version | awk 'NR == 1 { print $2 }')
for v in "$version" "$version+next"; do
    expect "the package $v is built" infra/debian/build.sh "$TB_WORK/package" "$v" "$TB_OUT/tapbox"
    cp "$TB_WORK/package/tapbox_${v}_"*.deb "$(box_file "/tmp/$v.deb")"
done

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

id=$(lab_record workload 5m)
[ -n "$id" ] || give_up 'a capture is accepted' <(box journalctl --no-pager -u tapbox -u tapbox-recorder)
lab_wait_for_state "$id" recording 10 || give_up "$lab_why" <(box journalctl --no-pager -u tapbox -u tapbox-recorder)
lab_exec workload ping -q -i 0.05 -c 200 "$(lab_field "$LAB_INTERFACES" remote 6)" >"$LAB_DIR/logs/ping.log" 2>&1 &
pinging=$!
recorder=$(box systemctl show -p MainPID --value tapbox-recorder)
service=$(box systemctl show -p MainPID --value tapbox)
sleep 1
expect 'a newer package installs over it' box dpkg -i "/tmp/$version+next.deb"
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

# --- what the runbooks have people type, as it stands there
# shellcheck disable=SC2016 # for the shell in the box
printf '#!/bin/sh\n[ "$1" != -u ] || { user=$2; shift 2; exec runuser -u "$user" -- "$@"; }\nexec "$@"\n' >"$(box_file /usr/bin/sudo)"
chmod 755 "$(box_file /usr/bin/sudo)"
typed() { # PAGE PATTERN [SED]: runs the first command in a block of that page that matches, with the place-holders filled in
    local line
    line=$(sed -n 's/^    //p' "runbooks/$1" | grep -m1 -- "$2" | sed "${3-}")
    [ -n "$line" ] || return 1
    box env TAPBOX_TOKEN="$LAB_ANALYST_TOKEN" bash -c "set -a; . /etc/default/tapbox; $line"
}
expect "operating: one capture's whole life" grep -q 'sealed' <(typed operating.md 'journalctl TAPBOX_CAPTURE' "s/cap-[^ ]*/$id/")
expect 'deploy: a token' typed deploy.md 'token add soc'
expect 'it is there' grep -q soc <(box tapbox token list --file /var/lib/tapbox/tokens)
expect 'operating: a new key' typed operating.md keygen
printf 'evidence:\n  key_file: /var/lib/tapbox/evidence-2.key\n' >>"$(box_file /etc/tapbox/tapbox.yaml)"
expect 'it is in force after a restart' box systemctl restart tapbox
same 'the service tells both keys' 2 "$(lab_call GET /v1/keys | jq '.keys | length')"
source="s/i-0123456789abcdef0/$(lab_instance workload)/"
expect 'deploy: what a drill would do' typed deploy.md 'tapbox plan' "$source"
expect 'the drill begins' typed deploy.md 'tapbox start' "$source"
drill=$(lab_call GET /v1/captures | jq -r --arg former "$id" '[.captures[].id | select(. != $former)][0]')
lab_wait_for_state "$drill" recording 10 || not_ok 'the drill records' "$lab_why"
lab_exec workload ping -q -i 0.05 -c 5 "$(lab_field "$LAB_INTERFACES" remote 6)" >/dev/null
expect 'the drill is stopped' box env TAPBOX_TOKEN="$LAB_ANALYST_TOKEN" tapbox stop "$drill"
lab_wait_for_state "$drill" sealed 30 || not_ok 'the drill is sealed' "$lab_why"
expect 'its evidence comes down' lab_download
expect 'it is proven by the new key' "$TB_OUT/tapbox" verify "$(lab_evidence "$drill")" --key "$(box_file /var/lib/tapbox/evidence-2.key.pub)"
expect 'what was before is proven by the old one' "$TB_OUT/tapbox" verify "$(lab_evidence "$id")" --key "$(box_file /var/lib/tapbox/evidence.key.pub)"
expect 'deploy: what is live is listed' typed deploy.md 'tapbox list --live'
expect 'what stands between captures is deleted' typed deploy.md 'sweep --standing  '
expect 'and then there is nothing to find' grep -q '"found": *0' <(typed deploy.md 'sweep --standing --dry-run' 's/--dry-run/& --json/')
same 'EC2 has nothing left' '0 0 0' "$(lab_left)"
expect 'deploy: it is removed' typed deploy.md 'dpkg -r'
same 'nothing of it runs' '' "$(box pgrep -x tapbox)"
same 'the store and the signing key stay' yes "$(box sh -c '[ -s /var/lib/tapbox/tapbox.db ] && [ -s /var/lib/tapbox/evidence.key ] && echo yes')"
expect 'and is purged' box dpkg -P tapbox
same 'no file of the package is left' '' "$(box sh -c 'find /usr /lib/systemd /etc -name "*tapbox*" -not -path "/usr/share/doc/*" 2>/dev/null' |
    grep -vE '^(/etc/systemd/system/tapbox.service.d|/etc/tapbox$)')"
finish
