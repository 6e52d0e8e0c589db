#!/bin/bash
# What cannot start says why in one line, with a status that is not 0, and leaves nothing half started.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

# The last line that is not of the log, and the status: "STATUS LINE".
start() { # HOST COMMAND...
    local host=$1 output status
    shift
    output=$(timeout 60 nsenter --net="/run/netns/$host" -- "$@" 2>&1 </dev/null)
    status=$?
    printf '%s %s' "$status" "$(grep -v '^20' <<<"$output" | tail -n 1)"
}
serve() { start capture "$LAB_OUT/tapbox" serve --config "$LAB_DIR/tapbox.yaml" "$@"; }
nothing_runs() { ! pgrep -f "$LAB_DIR/tapbox.yaml" && ! pgrep -x tapbox; }
refused() { # CASE PATTERN GOT
    if grep -qE -- "^[1-9][0-9]* $2" <<<"$3"; then ok "$1"; else not_ok "$1" "$3"; fi
    expect '  and nothing of it runs' lab_wait 1 nothing_runs
}

lab_up || give_up 'the lab comes up'
lab_awsim_start || give_up 'awsim starts' "$LAB_DIR/logs/awsim.log"
lab_tapbox_config
lab_tokens || give_up 'tokens are made' "$LAB_DIR/logs/token.log"

refused 'no Region is said to be missing' 'tapbox serve: .*AWS_REGION' \
    "$(unset AWS_REGION AWS_DEFAULT_REGION; AWS_EC2_METADATA_DISABLED=true serve --with-recorder)"
refused 'a configuration that is not there is named' 'tapbox serve: .*no-such.yaml' \
    "$(start capture "$LAB_OUT/tapbox" serve --config "$LAB_DIR/no-such.yaml")"
sed 's/^listen:.*/listen: 10.99.99.99:8480/' "$LAB_DIR/tapbox.yaml" >"$LAB_DIR/other.yaml"
refused 'an address that is not ours is named' 'tapbox serve: .*10\.99\.99\.99 port 8480' \
    "$(start capture "$LAB_OUT/tapbox" serve --config "$LAB_DIR/other.yaml" --with-recorder)"
sed 's/interface: eth0/interface: eth9/' "$LAB_DIR/tapbox.yaml" >"$LAB_DIR/other.yaml"
refused 'an interface that is not there is named' "tapbox (serve|record): .*" \
    "$(start capture "$LAB_OUT/tapbox" serve --config "$LAB_DIR/other.yaml" --with-recorder)"
printf 'capture:\n  duration: 15 min\n' >"$LAB_DIR/other.yaml"
refused 'a wrong setting is named with file, line and key' 'tapbox serve: .*other\.yaml:2: capture\.duration' \
    "$(start capture "$LAB_OUT/tapbox" serve --config "$LAB_DIR/other.yaml")"
{ cat "$LAB_DIR/tapbox.yaml"; printf 'tls:\n  certificate: /no/such.pem\n  key: /no/such.key\n'; } >"$LAB_DIR/other.yaml"
refused 'a certificate that is not there is named' 'tapbox serve: .*/no/such\.pem' \
    "$(start capture "$LAB_OUT/tapbox" serve --config "$LAB_DIR/other.yaml" --with-recorder)"
echo 'no token' >"$LAB_DIR/broken-tokens"
sed "s,^tokens_file:.*,tokens_file: $LAB_DIR/broken-tokens," "$LAB_DIR/tapbox.yaml" >"$LAB_DIR/other.yaml"
refused 'a token file that is none is named, with the line' 'tapbox serve: .*broken-tokens.*1' \
    "$(start capture "$LAB_OUT/tapbox" serve --config "$LAB_DIR/other.yaml" --with-recorder)"

# The recorder on its own.
record() { start capture "$@" "$LAB_OUT/tapbox" record --interface eth0 --socket "$LAB_DIR/r.sock" --spool "$LAB_DIR/s"; }
mkdir -p "$LAB_DIR/s"
refused 'without CAP_NET_RAW the recorder says what it needs' 'tapbox record: .*CAP_NET_RAW' \
    "$(record setpriv --bounding-set -net_raw --inh-caps -net_raw --)"
nsenter --net=/run/netns/capture -- python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 4789))
print("bound", flush=True)
time.sleep(600)' >"$LAB_DIR/holder" &
holder=$!
lab_wait 5 grep -q bound "$LAB_DIR/holder"
refused 'somebody else on UDP 4789 is an error' 'tapbox record: .*4789' "$(record)"
kill "$holder"
wait "$holder" 2>/dev/null

# Two services.
lab_tapbox_start || give_up 'tapbox starts' "$LAB_DIR/logs/tapbox.log"
got=$(serve)
if grep -qE '^[1-9][0-9]* tapbox serve: ' <<<"$got"; then ok 'a second service is told that the first one has the store'
else not_ok 'a second service is told that the first one has the store' "$got"; fi
sed "s,^state_dir:.*,state_dir: $LAB_DIR/state2," "$LAB_DIR/tapbox.yaml" >"$LAB_DIR/other.yaml"
got=$(start capture "$LAB_OUT/tapbox" serve --config "$LAB_DIR/other.yaml")
if grep -qE '^[1-9][0-9]* tapbox serve: .*127\.0\.0\.1 port 8480 is in use' <<<"$got"; then ok 'with a store of its own, that the port is in use'
else not_ok 'with a store of its own, that the port is in use' "$got"; fi
expect 'and the first one goes on' lab_tapbox_ready
lab_tapbox_stop
expect 'SIGTERM ends it and its recorder' lab_wait 1 nothing_runs
finish
