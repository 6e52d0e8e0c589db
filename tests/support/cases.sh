# shellcheck shell=bash
# For integration scripts: a line per case, and the lab around them.
# Begin with:  . "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"; in_lab "$@"   and end with:  finish

cases_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# By hand, outside the runner: the debug build, and a folder of one's own.
TB_OUT=${TB_OUT:-$cases_root/build/debug}
TB_WORK=${TB_WORK:-$cases_root/build/test/$(basename "$0")}
export TB_OUT TB_WORK
cases_failed=0

# The rest of the script runs in a lab of its own.
in_lab() { # SCRIPT'S ARGUMENTS
    if [ "${LAB_CASE-}" != "$0" ]; then
        rm -rf "$TB_WORK"
        mkdir -p "$TB_WORK"
        LAB_CASE=$0 exec "$cases_root/tests/lab/enter" "$0" "$@"
    fi
    # shellcheck disable=SC2034 # for service.sh
    LAB_OUT=$TB_OUT LAB_DIR=$TB_WORK
    # shellcheck source-path=SCRIPTDIR source=../lab/service.sh
    . "$cases_root/tests/lab/service.sh"
    lab_environment
}

ok() { printf 'ok - %s\n' "$1"; }
skip() { printf 'skip - %s\n' "$1"; }
not_ok() { # CASE [DETAIL]
    printf 'not ok - %s\n' "$1"
    [ -z "${2-}" ] || printf '#   %s\n' "${2//$'\n'/$'\n'#   }"
    cases_failed=1
}

# One case that is a command: its output is shown only if it fails.
expect() { # CASE COMMAND...: in a shell of its own: variables that it sets are lost
    local name=$1 output
    shift
    if output=$("$@" 2>&1 </dev/null); then ok "$name"; else not_ok "$name" "$* (status $?): $output"; fi
}
expect_failure() { # CASE PATTERN COMMAND...: it fails, and says why
    local name=$1 pattern=$2 output
    shift 2
    if output=$("$@" 2>&1 </dev/null); then
        not_ok "$name" "$* succeeded: $output"
    elif ! grep -qE -- "$pattern" <<<"$output"; then
        not_ok "$name" "no '$pattern' in: $output"
    else
        ok "$name"
    fi
}
same() { # CASE EXPECTED GOT
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected '$2', got '$3'"; fi
}

# tcpdump on a file.  (A user namespace's root may not change its groups, and tcpdump insists.)
tcpdump_reads() { # FILE [FILTER...]
    local file=$1 program=(tcpdump)
    shift
    [ "$(cat /proc/self/setgroups)" != deny ] || program=("$cases_root/tests/lab/setgroups-ok.py" tcpdump)
    "${program[@]}" -nr "$file" "$@"
}

# What cannot go on ends here, with the log that tells why.
give_up() { # CASE [LOG]
    not_ok "$1" "$([ -z "${2-}" ] || tail -n 20 "$2")"
    exit 1
}

finish() { exit "$cases_failed"; }
