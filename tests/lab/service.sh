# shellcheck shell=bash
# What runs in the lab besides the hosts: awsim, radosgw, tapbox.  Source it; it brings lab.sh along.
#
# Everything a run leaves (configuration, logs, state) lies below $LAB_DIR; the programs come from $LAB_OUT.
lab_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lab.sh
. "$lab_here/lab.sh"

LAB_API=http://127.0.0.1:8480 # tapbox's, on the capture host
lab_awsim_pid='' lab_tapbox_pid='' lab_why=''

# Wait until a command succeeds.  lab_wait SECONDS COMMAND...
# The seconds are those of a machine that has nothing else to do.  It gets a minute more, for what it does besides is not
# what is tested; and the command is tried the more seldom the longer it took and the longer it was waited, for it keeps what
# it waits for from the processor.
lab_wait() {
    local first=${EPOCHREALTIME/./} limit=$((($1 + 60) * 1000000)) began now pause
    shift
    while began=${EPOCHREALTIME/./} && ! "$@" >/dev/null 2>&1; do
        now=${EPOCHREALTIME/./}
        [ $((now - first)) -lt "$limit" ] || return 1
        pause=$(((now - first) / 10 + now - began))
        if [ "$pause" -lt 50000 ]; then pause=50000; elif [ "$pause" -gt 999999 ]; then pause=999999; fi
        printf -v pause 0.%06d "$pause"
        sleep "$pause"
    done
}

lab_alive() { # PID
    kill -0 "$1" 2>/dev/null
}

# What programs on the lab's hosts need to take it for AWS, and never to find the real one.
lab_environment() {
    local name
    for name in "${!AWS_@}"; do unset "$name"; done
    export AWS_REGION=$LAB_REGION AWS_DEFAULT_REGION=$LAB_REGION
    export AWS_ENDPOINT_URL=$LAB_EC2_URL AWS_ENDPOINT_URL_EC2=$LAB_EC2_URL AWS_ENDPOINT_URL_STS=$LAB_EC2_URL
    export AWS_ENDPOINT_URL_S3=$LAB_S3_URL
    export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=$LAB_DIR/aws-credentials
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
        "$LAB_ACCESS_KEY" "$LAB_SECRET_KEY" >"$LAB_DIR/aws-credentials"
    chmod 600 "$LAB_DIR/aws-credentials"
}

# Debian's AWS CLI, on the capture host.  It does not know AWS_ENDPOINT_URL, so the address is an argument.
lab_ec2() { # OPERATION [ARGUMENT...]
    lab_exec capture /usr/bin/aws --endpoint-url "$LAB_EC2_URL" --output json ec2 "$@"
}
lab_s3() {
    lab_exec capture /usr/bin/aws --endpoint-url "$LAB_S3_URL" s3 "$@"
}

lab_awsim_start() {
    mkdir -p "$LAB_DIR/logs"
    lab_world >"$LAB_DIR/world.json"
    lab_start fabric "$LAB_DIR/logs/awsim.log" "$LAB_OUT/awsim" --world "$LAB_DIR/world.json"
    # shellcheck disable=SC2034 # for those who source this
    lab_awsim_pid=$lab_pid
    lab_wait 10 lab_awsim_answers || {
        lab_why="awsim does not answer"
        return 1
    }
}
lab_awsim_answers() {
    # `curl -f` would fail on the error that a request without a signature deserves.
    lab_exec cloud curl -s -o /dev/null --max-time 10 "$LAB_EC2_URL/"
}

lab_s3_start() { # [radosgw.sh option...]
    mkdir -p "$LAB_DIR/logs"
    lab_exec cloud "$lab_here/radosgw.sh" start "$LAB_DIR/radosgw" --listen "$LAB_S3_LISTEN" \
        --bucket "$LAB_BUCKET" "$@" >"$LAB_DIR/logs/radosgw.log" 2>&1
}

# Ask awsim over its control socket.
lab_awsim_ask() { # PATH [curl option...]
    local path=$1
    shift
    curl -sS --max-time 60 --unix-socket "$LAB_CONTROL" "$@" "http://awsim$path"
}

# A metric's last point in awsim's CloudWatch: "namespace dimensions value".
lab_published() { # METRIC
    lab_awsim_ask /history | jq -r --arg m "$1" '[.events[] | select(.kind == "metric" and .metric == $m)] | last |
        "\(.namespace) \(.dimensions) \(.value)"'
}

# Packets that awsim mirrored for one session, whether or not it is still there.
lab_mirrored() { # SESSION
    lab_awsim_ask /counters | jq --arg id "$1" '.sessions[] | select(.session == $id).mirrored'
}

# tapbox.yaml; settings for one test replace these: lab_tapbox_config 'capture.duration=20s' ...
lab_tapbox_config() {
    local setting
    declare -A value=([capture.duration]=10m [capture.max_duration]=1h [capture.rotate_seconds]=60
        [capture.rotate_bytes]=134217728 [state_dir]=$LAB_DIR/state [log]=info)
    for setting in "$@"; do
        value[${setting%%=*}]=${setting#*=}
    done
    mkdir -p "$LAB_DIR/logs" "${value[state_dir]}"
    cat >"$LAB_DIR/tapbox.yaml" <<END
listen: ${LAB_API#http://}
state_dir: ${value[state_dir]}
tokens_file: $LAB_DIR/tokens
log: ${value[log]}
target:
  eni: $(lab_eni capture)
recorder:
  interface: eth0
  socket: /run/tapbox-recorder.sock
s3:
  bucket: $LAB_BUCKET
  path_style: true
capture:
  duration: ${value[capture.duration]}
  max_duration: ${value[capture.max_duration]}
  rotate_seconds: ${value[capture.rotate_seconds]}
  rotate_bytes: ${value[capture.rotate_bytes]}
END
}

# One token for each role, in $LAB_ALERT_TOKEN and so on.
lab_tokens() {
    local role
    for role in alert analyst responder; do
        printf -v "LAB_${role^^}_TOKEN" %s "$("$LAB_OUT/tapbox" token add "lab-$role" \
            --file "$LAB_DIR/tokens" --role "$role" 2>>"$LAB_DIR/logs/token.log")"
    done
    [ -n "${LAB_ALERT_TOKEN-}" ] && [ -n "${LAB_ANALYST_TOKEN-}" ] && [ -n "${LAB_RESPONDER_TOKEN-}" ]
}

lab_tapbox_start() { # [tapbox serve option...]
    lab_start capture "$LAB_DIR/logs/tapbox.log" "$LAB_OUT/tapbox" serve --config "$LAB_DIR/tapbox.yaml" \
        --with-recorder "$@"
    lab_tapbox_pid=$lab_pid
    if ! lab_wait 10 lab_tapbox_ready_or_dead || ! lab_alive "$lab_tapbox_pid"; then
        lab_why="tapbox is not ready"
        return 1
    fi
}
lab_tapbox_ready() {
    lab_exec capture curl -s -f -o /dev/null --max-time 10 "$LAB_API/readyz"
}
lab_tapbox_ready_or_dead() {
    ! lab_alive "$lab_tapbox_pid" || lab_tapbox_ready
}
lab_tapbox_stop() { # [SIGNAL]
    kill -s "${1:-TERM}" "$lab_tapbox_pid" 2>/dev/null || true
    wait "$lab_tapbox_pid" 2>/dev/null
}

# The API as an analyst with curl meets it.  Answers go to stdout, the status to $lab_status.
lab_call() { # METHOD PATH [curl option...]
    local method=$1 path=$2
    shift 2
    lab_exec capture curl -sS --max-time 60 -X "$method" -H "Authorization: Bearer ${LAB_TOKEN:-$LAB_ANALYST_TOKEN}" \
        "$@" "$LAB_API$path"
}
lab_status_of() { # METHOD PATH [curl option...]: only the status
    lab_call "$@" -o /dev/null -w '%{http_code}'
}
lab_capture() { # ID: the capture as JSON
    lab_call GET "/v1/captures/$1"
}
lab_state() { # ID
    lab_capture "$1" | jq -r .state
}
lab_state_is() { # ID STATE...
    local id=$1 state
    shift
    state=$(lab_state "$id") || return 1
    case " $* " in *" $state "*) return 0 ;; esac
    return 1
}

# Wait for a state.  A capture that ended otherwise ends the waiting too.
lab_wait_for_state() { # ID STATE SECONDS
    lab_wait "$3" lab_state_is "$1" "$2" sealed failed refused
    lab_state_is "$1" "$2" || {
        # shellcheck disable=SC2034 # for the caller
        lab_why="capture $1 is '$(lab_state "$1")', not '$2'"
        return 1
    }
}

# Everything up and ready: lab_all_up [SETTING=VALUE...] takes tapbox's settings.
# shellcheck disable=SC2034 # lab_why is for the caller
lab_all_up() {
    mkdir -p "$LAB_DIR/logs"
    lab_why='the hosts did not come up'
    lab_up >"$LAB_DIR/logs/lab.log" 2>&1 || return 1
    lab_environment
    lab_why='radosgw did not start'
    lab_s3_start || return 1
    lab_why="the servers of the lab's hosts did not start"
    "$lab_here/traffic.sh" serve "$LAB_DIR/traffic" >"$LAB_DIR/logs/traffic.log" 2>&1 || return 1
    lab_awsim_start || return 1
    lab_tapbox_config "$@"
    lab_why='no tokens'
    lab_tokens || return 1
    lab_tapbox_start
}

# Starts a capture and prints its id.  lab_record HOST DURATION [JSON MEMBERS, e.g. '"snaplen":96']
lab_record() {
    lab_call POST /v1/captures -H 'Content-Type: application/json' \
        -d "{\"source\":\"$(lab_instance "$1")\",\"duration\":\"$2\",\"reason\":\"test\"${3:+,$3}}" |
        jq -r '.capture.id // empty'
}

# Everything in the bucket below $LAB_DIR/evidence; the folder of one capture.
lab_download() {
    rm -rf "$LAB_DIR/evidence"
    mkdir -p "$LAB_DIR/evidence"
    lab_s3 cp --recursive --only-show-errors "s3://$LAB_BUCKET" "$LAB_DIR/evidence"
}
lab_evidence() { # CAPTURE
    dirname "$(find "$LAB_DIR/evidence" -path "*/$1/manifest.json")"
}

# Until all that the workload has sent is on disk in the spool below FOLDER: a packet behind it is there.  (Only while the
# capture has one lane, which keeps the order.)  A new one every two seconds or so: a segment may be uploaded before it is
# looked into, and nobody finds its packet there any more.
lab_put_down() { # FOLDER
    local mark tries
    for ((tries = 0; tries < 250; tries++)); do
        if [ $((tries % 8)) -eq 0 ]; then
            mark=$(openssl rand -hex 16)
            lab_exec workload ping -q -c 1 -s 100 -p "$mark" "$(lab_field "$LAB_INTERFACES" remote 6)" >/dev/null || return
        fi
        ! lab_is_on_disk "$1" "$mark" || return 0
        sleep 0.2 # (a chunk is put down when it is a second old)
    done
    return 1
}
lab_is_on_disk() { # FOLDER MARK: (a segment that is written to has no end, which zstd complains of)
    find "$1" -type f -name '*.pcapng.zst*' -exec zstd -q -dc {} \; 2>/dev/null | od -An -v -tx1 | tr -d ' \n' | grep -q "$2"
}

# A capture has a segment of more than 50 MB, be it one that is written to.
lab_has_long_segment() { # CAPTURE
    [ -n "$(find "$LAB_DIR/state/spool/$1" -name '*.pcapng.zst' -size +50000000c)" ] ||
        [ "$(lab_capture "$1" | jq '[.segments[].bytes] | max // 0')" -gt 50000000 ]
}
# The workload talks until that is so: the first segments of a capture are short, for a machine that takes its time.
lab_talk_much() { # CAPTURE
    local tries
    for ((tries = 0; tries < 30; tries++)); do
        [ $((tries % 6)) -ne 0 ] || "$lab_here/traffic.sh" talk bulk || return
        ! lab_has_long_segment "$1" || return 0
        sleep 0.5 # (a chunk is put down when it is a second old)
    done
    return 1
}

# How many objects EC2 still has: "sessions filters targets".
lab_left() {
    lab_awsim_ask /objects | jq -r '"\(.sessions | length) \(.filters | length) \(.targets | length)"'
}

# A GuardDuty finding about a host of the lab, as EventBridge delivers it, seen just now.
lab_finding() { # HOST
    local now
    now=$(date -u +%Y-%m-%dT%H:%M:%S)
    jq -n --arg region "$LAB_REGION" --arg account "$LAB_ACCOUNT" --arg now "$now" \
        --arg instance "$(lab_instance "$1")" --arg type "$(lab_field "$LAB_INSTANCES" "$1" 3)" \
        --arg eni "$(lab_eni "$1")" --arg v4 "$(lab_field "$LAB_INTERFACES" "$1" 6)" \
        --arg v6 "$(lab_field "$LAB_INTERFACES" "$1" 7)" --arg remote "$(lab_field "$LAB_INTERFACES" remote 6)" \
        --arg id "$(openssl rand -hex 16)" --arg event "$(cat /proc/sys/kernel/random/uuid)" '
        "a1b2c3d4e5f60718293a4b5c6d7e8f90" as $detector
        | {
            version: "0", id: $event, "detail-type": "GuardDuty Finding", source: "aws.guardduty",
            account: $account, time: ($now + "Z"), region: $region, resources: [],
            detail: {
                schemaVersion: "2.0", accountId: $account, region: $region, partition: "aws", id: $id,
                arn: "arn:aws:guardduty:\($region):\($account):detector/\($detector)/finding/\($id)",
                type: "Backdoor:EC2/C&CActivity.B",
                resource: {
                    resourceType: "Instance",
                    instanceDetails: {
                        instanceId: $instance, instanceType: $type, launchTime: "2026-01-02T03:04:05.000Z",
                        platform: null, productCodes: [], iamInstanceProfile: null, outpostArn: null,
                        networkInterfaces: [{
                            ipv6Addresses: [$v6], networkInterfaceId: $eni, privateDnsName: "ip-10-77-1-10.ec2.internal",
                            privateIpAddress: $v4,
                            privateIpAddresses: [{privateDnsName: "ip-10-77-1-10.ec2.internal", privateIpAddress: $v4}],
                            subnetId: "subnet-0a1b2c3d4e5f6a001", vpcId: "vpc-0a1b2c3d4e5f67700",
                            securityGroups: [{groupName: "web", groupId: "sg-0a1b2c3d4e5f60bed"}],
                            publicDnsName: "", publicIp: null}],
                        tags: [{key: "Name", value: "workload"}, {key: "purpose", value: "suspect"}],
                        instanceState: "running", availabilityZone: ($region + "a"),
                        imageId: "ami-0123456789abcdef0", imageDescription: "Debian 12"}},
                service: {
                    serviceName: "guardduty", detectorId: $detector,
                    action: {
                        actionType: "NETWORK_CONNECTION",
                        networkConnectionAction: {
                            connectionDirection: "OUTBOUND", protocol: "TCP", blocked: false,
                            localNetworkInterface: $eni,
                            localIpDetails: {ipAddressV4: $v4},
                            localPortDetails: {port: 40022, portName: "Unknown"},
                            remotePortDetails: {port: 443, portName: "HTTPS"},
                            remoteIpDetails: {ipAddressV4: $remote,
                                country: {countryName: "Nowhere"}, city: {cityName: ""},
                                geoLocation: {lat: 0.0, lon: 0.0},
                                organization: {asn: "64500", asnOrg: "Example", isp: "Example", org: "Example"}}}},
                    resourceRole: "ACTOR",
                    additionalInfo: {threatListName: "Lab", value: "{\"threatListName\":\"Lab\"}", type: "default"},
                    evidence: {threatIntelligenceDetails: [{threatListName: "Lab", threatNames: ["example"]}]},
                    eventFirstSeen: ($now + ".000Z"), eventLastSeen: ($now + ".000Z"), archived: false, count: 1},
                severity: 8, createdAt: ($now + ".011Z"), updatedAt: ($now + ".246Z"),
                title: "Command and Control server name contacted by EC2 instance \($instance).",
                description: "EC2 instance \($instance) is contacting a Command & Control server at \($remote)."}}'
}
