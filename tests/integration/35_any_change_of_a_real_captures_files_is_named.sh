#!/bin/bash
# Evidence of a whole service (two lanes, several segments, joined alerts, two keys, the host's log, entries after
# sealing) is changed at random, one thing at a time: bits, lengths, names, files of another capture, older
# manifests, custody logs cut or mixed.  verify names the file and the capture each time.
# Before that it is verified where there is nothing but the program and the keys.
# CHANGES=N: how many (default 200); SEED=N.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

finding() { lab_finding workload | jq ".detail.type = \"$1\"" >"$TB_WORK/finding.json"; }
post() {
    lab_exec capture curl -sS --max-time 20 -X POST -H "X-Api-Key: $LAB_ALERT_TOKEN" --data-binary "@$TB_WORK/finding.json" "$LAB_API/v1/events" |
        jq -r '.capture.id // empty'
}
capture() { # one with two alerts; its id in $id
    finding 'Backdoor:EC2/C&CActivity.B'
    id=$(post)
    lab_wait_for_state "$id" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
    finding 'Trojan:EC2/DNSDataExfiltration'
    post >/dev/null
    lab_exec workload ping -q -c 30 -i 0.05 -s 700 198.51.100.10 >/dev/null
    lab_exec workload ping -q -c 10 -i 0.05 198.51.100.10 >/dev/null
    lab_call POST "/v1/captures/$id/stop" >/dev/null
    lab_wait_for_state "$id" sealed 30 || give_up 'it is sealed' "$LAB_DIR/logs/tapbox.log"
}

lab_all_up capture.rotate_seconds=1 recorder.lanes=2 || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
capture
capture
lab_tapbox_stop
"$TB_OUT/tapbox" keygen "$LAB_DIR/new.key" >/dev/null 2>&1
printf 'evidence: {key_file: %s}\n' "$LAB_DIR/new.key" >>"$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up 'tapbox starts with another key' "$LAB_DIR/logs/tapbox.log"
capture
lab_call POST "/v1/captures/$id/extend" -d '{"duration":"5m"}' >/dev/null # refused, which is an act after sealing
lab_tapbox_stop
lab_download
keys=(--key "$LAB_DIR/state/evidence.key.pub" --key "$LAB_DIR/new.key.pub")
expect 'the evidence holds' "$TB_OUT/tapbox" verify "$LAB_DIR/evidence" "${keys[@]}" --whole

# A bare machine: the program with the libraries it names, the keys and the evidence; no /proc, /dev, /etc, /tmp, no network.
bare=$TB_WORK/bare
mkdir "$bare"
ldd "$TB_OUT/tapbox" | grep -oE '/[^ ]+' | while read -r library; do install -D "$library" "$bare$library"; done
cp "$TB_OUT/tapbox" "$bare/tapbox"
cp "$LAB_DIR/state/evidence.key.pub" "$bare/first.pub"
cp "$LAB_DIR/new.key.pub" "$bare/second.pub"
cp -a "$LAB_DIR/evidence" "$bare/evidence"
on_bare_machine() { env -i /usr/bin/unshare -n /usr/sbin/chroot "$bare" /tapbox verify /evidence --key /first.pub --key /second.pub --whole --deep "$@"; }
expect 'it holds on a bare machine' on_bare_machine
segment=$(find "$bare/evidence" -name '*.zst' -size +1k | head -n 1)
printf x | dd of="$segment" bs=1 seek=700 conv=notrunc status=none
same 'where a changed segment is named, too' "segments/${segment##*/} hash" \
    "$(on_bare_machine --json | jq -r '.findings[] | select(.kind == "hash") | "\(.file) \(.kind)"')"
rm -rf "$bare"
expect 'every change is named' /usr/bin/python3 "$cases_root/tests/support/change_evidence.py" "$TB_OUT/tapbox" "$LAB_DIR/evidence" \
    "${CHANGES:-200}" "${SEED:-1}" "${keys[@]}"
finish
