#!/bin/bash
# The lab's S3: Ceph's radosgw over a one-machine cluster held in memory (1 monitor, 1 osd).
# usage: tests/lab/radosgw.sh start DIR [--listen ADDRESS:PORT] [--bucket NAME] [--object-lock] [--sts]
#        tests/lab/radosgw.sh stop DIR
# It works on any loopback (default 127.0.0.1:7480, virtual hosts BUCKET.s3.localhost), in the lab on the
# cloud host.  The key is $LAB_ACCESS_KEY/$LAB_SECRET_KEY, by default the lab's.  DIR is wiped by start and
# holds everything, logs too; SSE-KMS knows the key ids tapbox-key and court-key.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    sed -n '3,4s/^# //p' "$0" >&2
    exit 2
}
[ $# -ge 2 ] || usage
action=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
shift 2

end_by_pid_file() { # FILE
    [ -s "$1" ] || return 0
    local pid
    pid=$(cat "$1")
    # Nothing is kept: an orderly end of an osd in memory would write all of it down first.
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$1"
}

stop() {
    local name
    for name in client.rgw.lab osd.0 mon.lab; do
        end_by_pid_file "$dir/run/$name.pid"
    done
}

if [ "$action" = stop ]; then
    stop
    exit 0
fi
[ "$action" = start ] || usage

listen=127.0.0.1:7480 bucket='' lock='' sts=''
while [ $# -gt 0 ]; do
    case $1 in
    --listen) listen=$2 && shift 2 ;;
    --bucket) bucket=$2 && shift 2 ;;
    --object-lock) lock=yes && shift ;;
    --sts) sts=yes && shift ;;
    *) usage ;;
    esac
done
if [ -z "${LAB_ACCESS_KEY-}" ]; then
    # shellcheck source-path=SCRIPTDIR source=lab.sh
    . "$here/lab.sh"
fi

stop
cd "$dir"
fsid=$(cat /proc/sys/kernel/random/uuid)
osd_id=$(cat /proc/sys/kernel/random/uuid)
# The monitor's port follows the server's, so that two of these can share one loopback.
mon=127.0.0.1:$((${listen##*:} - 691))
prepare() {
    rm -rf mon osd rgw run log keyring monmap
    mkdir -p mon osd rgw run log
    cat >ceph.conf <<END
[global]
fsid = $fsid
mon host = [v1:$mon]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms type = async+posix
ms async op threads = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon warn on pool no redundancy = false
run dir = $dir/run
admin socket = ""
log file = $dir/log/\$name.log
mon cluster log file = $dir/log/cluster.log
pid file = $dir/run/\$name.pid
keyring = $dir/keyring
# What nobody reads is not written down: a request costs less.
debug ms = 0/0
debug rgw = 0/0
debug osd = 0/0
debug objecter = 0/0
debug rados = 0/0
debug objclass = 0/0
debug filestore = 0/0
debug monc = 0/0
debug auth = 0/0
debug tp = 0/0
debug timer = 0/0
debug memstore = 0/0
ms crc data = false
ms crc header = false
osd enable op tracker = false
[mon.lab]
mon data = $dir/mon
mon addr = $mon
mon data avail warn = 1
mon data avail crit = 0
paxos propose interval = 0.05
paxos min wait = 0.01
mon osd prime pg temp = false
[osd]
osd objectstore = memstore
osd data = $dir/osd
memstore device bytes = 4294967296
osd memory target = 939524096
osd crush update on start = false
osd numa prefer iface = false
osd class update on start = false
# Who starts without a map of the monitors does not know the cluster's id until one has come, and what it
# asks before is refused (EPERM, "wrong fsid").
monmap = $dir/monmap
[client]
monmap = $dir/monmap
[client.rgw.lab]
rgw data = $dir/rgw
rgw frontends = beast endpoint=$listen
rgw dns name = s3.localhost
rgw thread pool size = 32
rgw enable usage log = false
rgw enable ops log = false
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = tapbox-key=$(printf 'only-the-lab-knows-this-sse-key!' | base64) court-key=$(printf 'only-the-lab-knows-the-court-key' | base64)
END
    if [ -n "$sts" ]; then
        printf 'rgw s3 auth use sts = true\nrgw sts key = only-for-the-lab\n' >>ceph.conf
    fi
}

bring_up() {
    ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *' &&
        monmaptool --create --addv lab "[v1:$mon]" --fsid "$fsid" monmap &&
        ceph-mon -c ceph.conf --mkfs -i lab --monmap monmap --keyring keyring &&
        ceph-mon -c ceph.conf -i lab || return 1
    echo "$EPOCHREALTIME mon started"
    # (an osd that puts itself into the CRUSH map may do so before it knows the cluster's id, and give up)
    printf '%s\n' "osd new $osd_id" 'osd crush add osd.0 1.0 root=default host=lab' |
        timeout 60 ceph -c ceph.conf || return 1
    echo "$EPOCHREALTIME osd new"
    # (mkfs of an osd in memory leaves no superblock behind and says so; it is made again at start)
    ceph-osd -c ceph.conf -i 0 --mkfs --mkkey --osd-uuid "$osd_id" || true
    ceph-osd -c ceph.conf -i 0 || return 1
    echo "$EPOCHREALTIME osd started"
    # Until the first user is made radosgw only waits; making it also creates the pools.
    timeout 60 radosgw-admin -c ceph.conf -n client.rgw.lab user create --uid=lab --display-name=lab \
        --access-key="$LAB_ACCESS_KEY" --secret="$LAB_SECRET_KEY" || return 1
    echo "$EPOCHREALTIME user created"
    timeout 60 radosgw -c ceph.conf -n client.rgw.lab || return 1
    echo "$EPOCHREALTIME radosgw started"
}

give_up() {
    echo "radosgw.sh: $1; the last lines of $dir/log:" >&2
    tail -n 5 log/start.log log/client.rgw.lab.log >&2 2>/dev/null || true
    stop
    exit 1
}

answers() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        ! curl -s -o /dev/null --max-time 10 "http://$listen/" || return 0
        sleep 0.1
    done
    return 1
}

# A cluster that is born in a second on a busy machine now and then loses a race within itself.
for attempt in 1 2 3; do
    prepare
    if bring_up >log/start.log 2>&1 && answers; then
        break
    fi
    [ "$attempt" -lt 3 ] || give_up 'a daemon did not start'
    cp log/start.log "failed-$attempt.log"
    stop
done
echo "$EPOCHREALTIME answers" >>log/start.log
if [ -n "$bucket" ]; then
    headers=(-H 'x-amz-content-sha256: UNSIGNED-PAYLOAD')
    [ -z "$lock" ] || headers+=(-H 'x-amz-bucket-object-lock-enabled: true')
    status=$(curl -s -o log/bucket.xml -w '%{http_code}' -X PUT "${headers[@]}" \
        --aws-sigv4 aws:amz:us-east-1:s3 --user "$LAB_ACCESS_KEY:$LAB_SECRET_KEY" "http://$listen/$bucket") ||
        give_up "bucket $bucket: curl failed"
    [ "$status" = 200 ] || give_up "bucket $bucket: status $status, $(cat log/bucket.xml)"
    echo "$EPOCHREALTIME bucket" >>log/start.log
fi
