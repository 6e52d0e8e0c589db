#!/bin/bash
# What the workload says to the world, with ordinary programs; the amounts are always the same.
# usage, inside the lab: tests/lab/traffic.sh serve DIR     start the servers; pages, keys and logs in DIR
#                        tests/lab/traffic.sh talk PROFILE  quick | demo | jumbo | bulk; ends by itself
#                        tests/lab/traffic.sh stop DIR
#   quick  1 s: a query, a page, an echo, over IPv4 and IPv6
#   demo   3 s: DNS, HTTP, TLS, ICMP, UDP over both, both ways, small, large and in fragments
#   jumbo  within the VPC, frames of up to 9015 octets: longer than a mirror session carries whole
#   bulk   HTTP both ways, 76 MB on the wire, of which 64 MB do not compress (BULK_RATE=8M each way)
# talk says nothing and ends with 0 if every program got its answer.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lab.sh
. "$here/lab.sh"

REMOTE4=$(lab_field "$LAB_INTERFACES" remote 6)
REMOTE6=$(lab_field "$LAB_INTERFACES" remote 7)
NEAR4=$(lab_field "$LAB_INTERFACES" workload2 6)
NEAR6=$(lab_field "$LAB_INTERFACES" workload2 7)
OWN4=$(lab_field "$LAB_INTERFACES" workload 6)
OWN6=$(lab_field "$LAB_INTERFACES" workload 7)

incompressible() { # MEGABYTES: the same octets every time
    openssl enc -aes-128-ctr -K 746170626f78 -iv 6c6162 -in /dev/zero 2>/dev/null | head -c "$1"000000
}

text() { # MEGABYTES
    yes 'GET /index.html HTTP/1.1 200 the quick brown fox jumps over the lazy dog' | head -c "$1"000000
}

serve() {
    mkdir -p "$1/www/out" "$1/log"
    cd "$1"
    [ -s www/bulk ] || {
        echo 'hello from the remote host' >www/index.html
        text 1 >www/page
        {
            text 3
            incompressible 32
            text 3
        } >www/bulk
        cp www/bulk www/out/bulk
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
            -keyout key.pem -out cert.pem -subj /CN=www.lab.test -addext subjectAltName=DNS:www.lab.test \
            2>log/openssl.log
    }
    : >pids
    start_server remote dns dnsmasq --no-daemon --no-resolv --no-hosts --conf-file=/dev/null \
        --pid-file= --bind-interfaces --interface=eth0 --except-interface=lo \
        --address="/www.lab.test/$REMOTE4" --address="/www.lab.test/$REMOTE6" \
        "--txt-record=long.lab.test$(printf ',%.0sthis text record is long enough to be cut off in UDP' {1..20})"
    start_server remote http /usr/bin/python3 -m http.server --bind :: --directory www 80
    start_server remote tls sh -c 'cd www && exec openssl s_server -quiet -accept 443 -cert ../cert.pem -key ../key.pem -WWW'
    start_server remote udp /usr/bin/python3 "$here/udp.py" serve 9999
    start_server workload http /usr/bin/python3 -m http.server --bind :: --directory www/out 80
    start_server workload2 http /usr/bin/python3 -m http.server --bind :: --directory www 80
    start_server workload2 udp /usr/bin/python3 "$here/udp.py" serve 9999
    local host
    wait_for remote t 53
    wait_for remote t 443
    for host in remote workload workload2; do
        wait_for "$host" t 80
    done
    wait_for remote u 9999
    wait_for workload2 u 9999
}

start_server() { # HOST NAME COMMAND...
    local host=$1 name=$2
    shift 2
    lab_start "$host" "log/$host-$name.log" "$@"
    echo "$lab_pid" >>pids
}

wait_for() { # HOST t|u PORT: a listening socket, without touching the wire
    local tries
    for ((tries = 0; tries < 1200; tries++)); do
        [ -z "$(lab_exec "$1" ss -Hln"$2" "sport = :$3")" ] || return 0
        sleep 0.05
    done
    echo "traffic.sh: nothing listens on $2 port $3 of $1" >&2
    exit 1
}

failed=0

from() { # HOST COMMAND...: quiet, unless it fails
    local host=$1 output
    shift
    if ! output=$(lab_exec "$host" "$@" 2>&1 </dev/null); then
        echo "traffic.sh: on $host: $*: ${output:0:400}" >&2
        failed=1
    fi
}

look_up() { # SERVER NAME TYPE [OPTION...]
    from workload dig "@$1" "$2" "$3" +short +tries=2 +timeout=15 "${@:4}"
}

fetch() { # URL [OPTION...], from the workload
    from workload curl -sS -f -o /dev/null --max-time 120 --noproxy '*' \
        --resolve "www.lab.test:443:$TLS_ADDRESS" "${@:2}" "$1"
}
TLS_ADDRESS=$REMOTE4

talk_quick() {
    look_up "$REMOTE4" www.lab.test A
    look_up "$REMOTE6" www.lab.test AAAA
    fetch "http://$REMOTE4/"
    fetch "http://[$REMOTE6]/"
    from workload ping -q -c 2 -i 0.2 "$REMOTE4"
    from workload ping -q -c 2 -i 0.2 "$REMOTE6"
}

talk_demo() {
    local server size
    for server in "$REMOTE4" "$REMOTE6"; do
        look_up "$server" www.lab.test A
        look_up "$server" www.lab.test AAAA
        look_up "$server" no-such-name.lab.test A
        look_up "$server" www.lab.test A +tcp
        look_up "$server" long.lab.test TXT # cut off, asked again over TCP
        TLS_ADDRESS=$server
        [ "$server" = "$REMOTE4" ] || TLS_ADDRESS="[$server]"
        fetch "http://${TLS_ADDRESS}/"
        fetch "http://${TLS_ADDRESS}/page"
        fetch https://www.lab.test/index.html --insecure
        fetch https://www.lab.test/page --insecure --tlsv1.2 --tls-max 1.2
        for size in 0 56 1300 4000; do
            from workload ping -q -c 2 -i 0.2 -W 20 -s "$size" "$server"
        done
        from workload /usr/bin/python3 "$here/udp.py" talk "$server" 9999 0 1 17 18 64 512 1200 1400 1452 3000
    done
    # The edge of what one frame takes: 20 + 8 or 40 + 8 octets of headers in 1500.
    from workload ping -q -c 1 -W 20 -s 1472 "$REMOTE4"
    from workload ping -q -c 1 -W 20 -s 1473 "$REMOTE4"
    from workload ping -q -c 1 -W 20 -s 1452 "$REMOTE6"
    from workload ping -q -c 1 -W 20 -s 1453 "$REMOTE6"
    # Questions from outside, an error from the router, one from a closed port.
    from remote curl -sS -f -o /dev/null --max-time 60 "http://$OWN4/"
    from remote curl -sS -f -o /dev/null --max-time 60 "http://[$OWN6]/"
    from remote ping -q -c 2 -i 0.2 -s 1200 "$OWN4"
    lab_exec workload ping -q -c 1 -t 1 -W 1 "$REMOTE4" >/dev/null 2>&1 || true
    lab_exec workload curl -s -o /dev/null --max-time 2 "http://$REMOTE4:81/" || true
    # Within the VPC, and to what AWS never mirrors.
    from workload ping -q -c 2 -i 0.2 -s 4000 "$NEAR4"
    from workload ping -q -c 2 -i 0.2 -s 4000 "$NEAR6"
    lab_exec workload curl -s -o /dev/null --max-time 1 "$LAB_IMDS_URL/latest/meta-data/" || true
}

talk_jumbo() {
    # 9001 - 54 octets are what a session to a 9001 target carries of a packet (74 over IPv6).
    local udp4=$((9001 - 54 - 28)) udp6=$((9001 - 74 - 48))
    from workload /usr/bin/python3 "$here/udp.py" talk "$NEAR4" 9999 100 4000 $((udp4 - 1)) $udp4 $((udp4 + 1)) 8972 8973
    from workload /usr/bin/python3 "$here/udp.py" talk "$NEAR6" 9999 100 4000 $((udp6 - 1)) $udp6 $((udp6 + 1)) 8952 8953
    from workload ping -q -c 2 -i 0.2 -M 'do' -s 8973 "$NEAR4"
    fetch "http://$NEAR4/page"
    fetch "http://[$NEAR6]/page"
}

# (curl catches up on what a machine that stood still kept from it, 3 s of the rate at most: awsim's ring holds that)
talk_bulk() {
    fetch "http://$REMOTE4/bulk" --limit-rate "${BULK_RATE:-8M}" &
    local inbound=$!
    from remote curl -sS -f -o /dev/null --max-time 120 --limit-rate "${BULK_RATE:-8M}" "http://[$OWN6]/bulk"
    wait "$inbound"
}

stop() {
    local pid
    [ -f "$1/pids" ] || return 0
    while read -r pid; do
        kill "$pid" 2>/dev/null || true
    done <"$1/pids"
    rm -f "$1/pids"
}

# All of it on one processor: on several, the two ends of a veth see the packets of one connection in
# different orders, and a comparison would find differences that nobody made.
one_processor() {
    taskset -cp "$(taskset -cp $$ | sed 's/.*[^0-9]//')" $$ >/dev/null
}

case ${1-}:${2-} in
serve:?*)
    one_processor
    serve "$2"
    ;;
talk:quick | talk:demo | talk:jumbo | talk:bulk)
    one_processor
    "talk_$2"
    exit "$failed"
    ;;
stop:?*) stop "$2" ;;
*)
    sed -n '3,10s/^# //p' "$0" >&2
    exit 2
    ;;
esac
