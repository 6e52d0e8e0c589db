#!/bin/bash
# The API with a certificate of its own: modern TLS only, renewed without a restart, and client certificates for people.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
pki=$TB_WORK/pki
mkdir -p "$pki" "$LAB_DIR/logs"
authority() { # NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" -keyout "$pki/$1.key" \
        -out "$pki/$1.pem" 2>/dev/null
}
certificate() { # NAME AUTHORITY SERIAL
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$pki/$1.key" -out "$pki/$1.csr" 2>/dev/null
    openssl x509 -req -in "$pki/$1.csr" -CA "$pki/$2.pem" -CAkey "$pki/$2.key" -set_serial "$3" -days 1 -out "$pki/$1.pem" \
        -extfile <(echo 'subjectAltName=IP:10.77.2.10') 2>/dev/null
}
authority ours
authority strangers
certificate server ours 1001
certificate analyst ours 2001
certificate stranger strangers 3001

lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || give_up 'the lab is up' "$LAB_DIR/logs/lab.log"
lab_awsim_start || give_up "$lab_why" "$LAB_DIR/logs/awsim.log"
lab_tapbox_config
sed -i 's/^listen: .*/listen: 10.77.2.10:8443/' "$LAB_DIR/tapbox.yaml"
printf 'tls:\n  certificate: %s\n  key: %s\n' "$pki/server.pem" "$pki/server.key" >>"$LAB_DIR/tapbox.yaml"
lab_tokens || give_up 'tokens are made'

sed "s,$pki/server.key,$pki/analyst.key," "$LAB_DIR/tapbox.yaml" >"$TB_WORK/wrong.yaml"
expect_failure "another's key is refused at start" 'analyst.key is not the key of the certificate in .*server.pem' \
    lab_exec capture "$LAB_OUT/tapbox" serve --config "$TB_WORK/wrong.yaml" --with-recorder
grep -v '  key:' "$LAB_DIR/tapbox.yaml" >"$TB_WORK/half.yaml"
expect_failure 'a certificate without a key is refused' 'go together' "$LAB_OUT/tapbox" check-config --config "$TB_WORK/half.yaml"

api=https://10.77.2.10:8443
call() { lab_exec remote curl -sS --max-time 60 --cacert "$pki/ours.pem" "$@"; }
ready() { call -f -o /dev/null "$api/readyz"; }
start() {
    lab_start capture "$LAB_DIR/logs/tapbox.log" "$LAB_OUT/tapbox" serve --config "$LAB_DIR/tapbox.yaml" --with-recorder
    lab_tapbox_pid=$lab_pid
    lab_wait 15 ready || give_up 'tapbox is ready, over TLS' "$LAB_DIR/logs/tapbox.log"
}
status() { call -o /dev/null -w '%{http_code}' "$@" -H "Authorization: Bearer $LAB_ANALYST_TOKEN" "$api/v1/captures"; }
serial() { lab_exec remote openssl s_client -connect 10.77.2.10:8443 </dev/null 2>/dev/null | openssl x509 -noout -serial; }
start
same 'an analyst is answered' 200 "$(status)"
expect 'the command line too, with the authority' lab_exec remote env TAPBOX_URL=$api TAPBOX_TOKEN="$LAB_ANALYST_TOKEN" \
    TAPBOX_CA_BUNDLE="$pki/ours.pem" "$LAB_OUT/tapbox" list
expect_failure 'and without it is told so' 'certificate' lab_exec remote env TAPBOX_URL=$api TAPBOX_TOKEN="$LAB_ANALYST_TOKEN" \
    "$LAB_OUT/tapbox" list
expect_failure 'plain HTTP gets no answer' . call http://10.77.2.10:8443/healthz
expect_failure 'TLS 1.1 is refused' . call --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 "$api/healthz"
for version in 1.2 1.3; do
    expect "TLS $version is spoken" call -f --tlsv$version --tls-max $version "$api/healthz"
done
expect 'a finding comes in over it' call -f -H "X-Api-Key: $LAB_ALERT_TOKEN" -d "$(lab_finding workload)" "$api/v1/events"

same 'the certificate is the first' serial=03E9 "$(serial)"
certificate server ours 1002
is_new() { [ "$(serial)" = serial=03EA ]; }
expect 'a renewed one is used without a restart' lab_wait 10 is_new
head -c 100 "$pki/server.pem" >"$pki/half.pem"
cat "$pki/half.pem" >"$pki/server.pem"
told() { serial && grep -q 'certificate stays as it was: .*server.pem' "$LAB_DIR/logs/tapbox.log"; } # (who connects makes it look)
expect 'one that is half written is told' lab_wait 10 told
same 'and changes nothing' serial=03EA "$(serial)"
certificate server ours 1003
is_new() { [ "$(serial)" = serial=03EB ]; }
expect 'the next whole one counts' lab_wait 10 is_new
lab_tapbox_stop

printf '  client_ca: %s\n' "$pki/ours.pem" >>"$LAB_DIR/tapbox.yaml"
start
same 'without a client certificate an analyst is refused' 403 "$(status)"
same 'with one she is answered' 200 "$(status --cert "$pki/analyst.pem" --key "$pki/analyst.key")"
same "a stranger's does not count" 403 "$(status --cert "$pki/stranger.pem" --key "$pki/stranger.key")"
expect 'senders of alerts need none' call -f -H "X-Api-Key: $LAB_ALERT_TOKEN" -d "$(lab_finding workload)" "$api/v1/events"
lab_tapbox_stop
finish
