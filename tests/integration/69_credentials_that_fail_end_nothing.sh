#!/bin/bash
# Credentials from a container's agent and from a program: asked again when AWS says that they have expired, while a
# capture runs; one that fails meanwhile ends nothing.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"

agent=http://127.0.0.1:9911/creds
cat >"$TB_WORK/agent.py" <<'END'
import http.server
import sys
import time

WORK = sys.argv[1]


class Agent(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(WORK + "/mode", encoding="ascii") as file:
            good = file.read().strip() == "good" and self.headers["Authorization"] == "Bearer of-the-pod"
        with open(WORK + "/asked", "a", encoding="ascii") as file:
            file.write("good\n" if good else "bad\n")
        body = open(WORK + "/credentials.json", "rb").read() if good else b'{"message": "not now"}'
        self.send_response(200 if good else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 9911), Agent).serve_forever()
END
hand_out() { # what the agent and the program give, good for an hour
    jq -n --arg id "$LAB_ACCESS_KEY" --arg secret "$LAB_SECRET_KEY" --arg until "$(date -u -d '1 hour' +%Y-%m-%dT%H:%M:%SZ)" \
        '{Version: 1, AccessKeyId: $id, SecretAccessKey: $secret, Expiration: $until}'
}
asked() { # WORD: how often with that result
    grep -c "^$1$" "$TB_WORK/asked"
}
asked_more() { [ "$(asked "$1")" -gt "$2" ]; }
expired() { # COUNT: AWS says so to the next calls
    lab_awsim_ask /faults -X PUT -d "[{\"from\": 1, \"to\": $1, \"do\": {\"expired_credentials\": true}}]" >/dev/null
}
ask_aws() { # a plan needs EC2: its result, not whether there is one, counts
    lab_call POST '/v1/captures?dry_run=1' -H 'Content-Type: application/json' \
        -d "{\"source\":\"$(lab_instance workload)\",\"reason\":\"test\"}" >/dev/null
}

lab_all_up || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
lab_tapbox_stop
: >"$TB_WORK/asked"
echo good >"$TB_WORK/mode"
hand_out >"$TB_WORK/credentials.json"
echo 'Bearer of-the-pod' >"$TB_WORK/pod-token"
lab_start capture "$LAB_DIR/logs/agent.log" /usr/bin/python3 "$TB_WORK/agent.py" "$TB_WORK"
lab_wait 10 lab_exec capture curl -s -o /dev/null "$agent" || give_up 'the agent answers' "$LAB_DIR/logs/agent.log"
: >"$TB_WORK/asked"
AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_CONTAINER_CREDENTIALS_FULL_URI=$agent \
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=$TB_WORK/pod-token lab_tapbox_start || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
expect 'the agent was asked, with its token' asked_more good 0
capture=$(lab_record workload 5m)
expect 'a capture records with its credentials' lab_wait_for_state "$capture" recording 10

before=$(asked good)
expired 1
ask_aws
expect 'credentials that AWS calls expired are asked for again' lab_wait 10 asked_more good "$before"
same 'and the capture goes on' recording "$(lab_state "$capture")"
echo bad >"$TB_WORK/mode"
expired 3
ask_aws
expect 'an agent that fails is asked' lab_wait 10 asked_more bad 0
same 'which ends nothing' recording "$(lab_state "$capture")"
expect 'and the service lives' lab_alive "$lab_tapbox_pid"
lab_awsim_ask /faults -X PUT -d '[]' >/dev/null
echo good >"$TB_WORK/mode"
lab_call POST "/v1/captures/$capture/stop" >/dev/null
expect 'when it has come back, the capture is taken down and sealed' lab_wait_for_state "$capture" sealed 40
same 'nothing is left of it' 0 "$(lab_awsim_ask /objects | jq '.sessions | length')"
lab_tapbox_stop

# a program instead, named by a profile
cat >"$TB_WORK/helper" <<END
#!/bin/sh
echo asked >>$TB_WORK/helped
[ "\$1" = 'of the team' ] && [ ! -e $TB_WORK/broken ] && cat $TB_WORK/credentials.json
END
chmod 700 "$TB_WORK/helper"
printf '[default]\ncredential_process = "%s" "of the team"\n' "$TB_WORK/helper" >"$TB_WORK/aws-config"
chmod 600 "$TB_WORK/aws-config"
AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_CONFIG_FILE=$TB_WORK/aws-config lab_tapbox_start ||
    give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
capture=$(lab_record workload 5m)
expect 'a capture records with the credentials of a program' lab_wait_for_state "$capture" recording 10
touch "$TB_WORK/broken"
before=$(wc -l <"$TB_WORK/helped")
expired 2
ask_aws
helped() { [ "$(wc -l <"$TB_WORK/helped")" -gt "$before" ]; }
expect 'a program that fails is asked' lab_wait 10 helped
same 'and ends nothing' recording "$(lab_state "$capture")"
lab_awsim_ask /faults -X PUT -d '[]' >/dev/null
rm "$TB_WORK/broken"
lab_call POST "/v1/captures/$capture/stop" >/dev/null
expect 'the capture is taken down and sealed' lab_wait_for_state "$capture" sealed 40
finish
