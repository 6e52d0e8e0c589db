# shellcheck shell=bash
# shellcheck disable=SC2154 # cases_root and lab_why are those of cases.sh and service.sh
# For tests of uploads: a capture whose one segment waits for S3, and a proxy before S3 that fails as told.
# Source it behind cases.sh; parts_up makes everything.
parts_segment_bytes=13000000

parts_rules() { # JSON list
    lab_exec cloud curl -sS -f -X POST --data "$1" "http://10.77.0.5:7490/-/rules" >/dev/null
}
parts_log() { lab_exec cloud curl -sS -f "http://10.77.0.5:7490/-/log"; }
# How often the proxy was asked for something since the case began: parts_count METHOD REGEX [STATUS]
parts_count() {
    parts_log | jq --arg m "$1" --arg r "$2" --argjson from "$parts_from" --argjson s "${3:-0}" \
        '[.[$from:][] | select(.method == $m and (.path | test($r)) and ($s == 0 or .status == $s))] | length'
}
parts_left() { # uploads of the present prefix that are begun and not ended
    lab_exec cloud curl -sS -f "http://10.77.0.5:7490/-/uploads/$LAB_BUCKET/$parts_prefix/"
}
parts_proxy_start() {
    lab_start cloud "$LAB_DIR/logs/proxy.log" "$cases_root/tests/support/s3_proxy.py" 10.77.0.5:7490 "$LAB_S3_LISTEN"
    lab_wait 10 parts_log
}

parts_up() { # [SETTING OF s3: VALUE...]
    mkdir -p "$LAB_DIR/logs"
    lab_up || give_up 'the lab comes up'
    lab_s3_start || give_up 'radosgw starts' "$LAB_DIR/logs/radosgw.log"
    lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
    parts_proxy_start || give_up 'the proxy starts' "$LAB_DIR/logs/proxy.log"
    export AWS_ENDPOINT_URL_S3=http://10.77.0.5:7490
    lab_tapbox_config
    sed -i 's/^s3:/s3:\n  prefix: first\n  part_above: 6MiB\n  part_size: 5MiB/' "$LAB_DIR/tapbox.yaml"
    lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"
    parts_rules '[{"match": "/segments/", "do": "refuse", "status": 503, "code": "SlowDown", "times": 1000000}]'
    lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
    parts_id=$(lab_record workload 5m)
    lab_wait_for_state "$parts_id" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
    lab_exec remote /usr/bin/python3 -c "
import os, socket
s = socket.create_server(('198.51.100.10', 7000))
c, _ = s.accept()
c.sendall(os.urandom($parts_segment_bytes))" &
    lab_exec workload /usr/bin/python3 -c "
import socket, time
for _ in range(1200):
    try:
        s = socket.create_connection(('198.51.100.10', 7000))
        break
    except OSError:
        time.sleep(0.05)
while s.recv(1 << 20):
    pass"
    lab_call POST "/v1/captures/$parts_id/stop" >/dev/null
    lab_wait_for_state "$parts_id" sealing 20 || give_up 'the capture is sealing' "$LAB_DIR/logs/tapbox.log"
    lab_wait 10 parts_waits || give_up 'its segment waits for S3' "$LAB_DIR/logs/tapbox.log"
}
parts_waits() { [ "$(lab_capture "$parts_id" | jq '[.segments[] | select(.bytes > 12000000)] | length')" = 1 ]; }

# Stops tapbox and keeps its state for any number of cases.
parts_keep() {
    lab_tapbox_stop
    mv "$LAB_DIR/state" "$LAB_DIR/kept"
    parts_name=$(cd "$LAB_DIR/kept/spool/$parts_id" && echo *.zst)
    parts_sum=$(sha256sum <"$LAB_DIR/kept/spool/$parts_id/$parts_name")
}

# Each case has the kept state and a prefix of its own.
parts_case=0
parts_begin() { # RULES
    parts_case=$((parts_case + 1)) parts_prefix=case-$parts_case
    rm -rf "$LAB_DIR/state"
    cp -a "$LAB_DIR/kept" "$LAB_DIR/state"
    sed -i "s/^  prefix: .*/  prefix: $parts_prefix/" "$LAB_DIR/tapbox.yaml"
    parts_rules "$1"
    parts_from=$(parts_log | jq length)
}
# To its end: what S3 has is what was sealed, and nothing that was begun is left.
parts_end() { # CASE
    local what=$1 got
    if ! lab_wait_for_state "$parts_id" sealed 25; then
        not_ok "$what" "$lab_why"
        lab_tapbox_stop
        return
    fi
    lab_tapbox_stop
    got=$(lab_exec cloud curl -sS -f "http://10.77.0.5:7490/-/object/$LAB_BUCKET/$parts_prefix/$(sed -E 's/cap-(....)(..)(..).*/\1\/\2\/\3/' <<<"$parts_id")/$parts_id/segments/$parts_name" | sha256sum)
    same "$what" "$parts_sum, 0 left" "$got, $(parts_left) left"
}
