#!/bin/bash
# A shell in a lab where everything runs.  usage: tests/lab/shell.sh [--build DIR] [--mode MODE] [COMMAND...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=build mode=debug inside=''
arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2 && shift 2 ;;
    --mode) mode=$2 && shift 2 ;;
    --inside) inside=yes && shift ;;
    *) break ;;
    esac
done
[ -n "$inside" ] || exec "$root/tests/lab/enter" "$0" --inside "${arguments[@]}"

case $build in /*) ;; *) build=$root/$build ;; esac
LAB_OUT=$build/$mode LAB_DIR=$build/lab-shell
# shellcheck source-path=SCRIPTDIR source=service.sh
. "$root/tests/lab/service.sh"
trouble() { # SENTENCE
    echo "shell.sh: $1; logs: $LAB_DIR/logs/" >&2
    exit 1
}

rm -rf "$LAB_DIR"
mkdir -p "$LAB_DIR/logs"
lab_all_up || trouble "$lab_why"

export -f lab_exec
export PATH=$LAB_OUT:$PATH TAPBOX_TOKEN=$LAB_ANALYST_TOKEN TAPBOX_ALERT_TOKEN=$LAB_ALERT_TOKEN LAB_DIR
lab_finding workload >"$LAB_DIR/finding.json"
cat <<END
hosts       workload workload2 capture cloud remote:   lab_exec HOST COMMAND...   (this shell is on the capture host)
talk        tests/lab/traffic.sh talk quick | demo | jumbo | bulk
alert       curl $LAB_API/v1/events -H "X-Api-Key: \$TAPBOX_ALERT_TOKEN" -d @$LAB_DIR/finding.json
capture     tapbox start $(lab_instance workload) --duration 5m --reason drill;  tapbox list
evidence    /usr/bin/aws --endpoint-url $LAB_S3_URL s3 ls --recursive s3://$LAB_BUCKET
what AWS mirrored   curl -s --unix-socket $LAB_CONTROL http://awsim/counters | jq .
logs        $LAB_DIR/logs/
END
cd "$root"
if [ $# -eq 0 ]; then
    set -- bash --norc
    export PS1='lab:\w\$ '
fi
lab_exec capture "$@"
