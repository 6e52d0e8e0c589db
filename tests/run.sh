#!/bin/bash
# The test runner.
# usage: tests/run.sh [--mode MODE] [--build DIR] GROUP...
#   unit         cmocka programs of MODE (default debug)
#   corpus       every fuzz corpus, replayed in MODE
#   integration  tests/integration/NN_*, real programs in the lab, with the programs of MODE
#   lint         layout, layers, headers, shell, Python, static analysis
#   fuzz         every fuzzer for some seconds of a processor (SECONDS_EACH=5), starting from its corpus
#   all          all that has to pass: unit (debug, asan, tsan), corpus (debug, asan), integration with the release
#                build, and beside these lint and fuzz
# It builds what it needs.  JOBS programs run side by side (default: three on two cores, for most wait now and then;
# of lint and the fuzzers, one a core).  Logs are kept in DIR/test/, how long each took in DIR/test/GROUP/seconds
# (elapsed, of the processor for itself, of the processor for the kernel); a failed case's log is shown at the end.
# The very last line is "N passed, N failed", with ", N skipped" behind it if any; the exit status is 1 if any failed.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

usage() {
    sed -n '3,10s/^# //p' tests/run.sh >&2
    exit 2
}

mode=debug build=build groups=()
while [ $# -gt 0 ]; do
    case $1 in
    --mode | --build)
        [ $# -ge 2 ] || usage
        if [ "$1" = --mode ]; then mode=$2; else build=$2; fi
        shift 2
        ;;
    unit | corpus | integration | lint | fuzz | all) groups+=("$1") && shift ;;
    *) usage ;;
    esac
done
[ ${#groups[@]} -gt 0 ] || usage
logs=$build/test
mkdir -p "$logs"

passed=0 failed=0 skipped=0 failures=()
part='' part_passed=0 part_failed=0 part_skipped=0 part_began=0

begin() { # PART
    part=$1 part_passed=$passed part_failed=$failed part_skipped=$skipped part_began=$SECONDS
    rm -rf "${logs:?}/$part"
    mkdir -p "$logs/$part"
}

finish() {
    local p f s
    judge
    p=$((passed - part_passed)) f=$((failed - part_failed)) s=$((skipped - part_skipped))
    printf '%-20s %5d passed %4d failed %4d skipped %5d s\n' "$part" $p $f $s $((SECONDS - part_began))
    if [ $((p + f + s)) -eq 0 ]; then
        # A part that silently runs nothing is the worst kind of green.
        fail 'nothing to run' /dev/null
    fi
}

fail() { # CASE LOG
    failed=$((failed + 1))
    failures+=("$part: $1"$'\t'"$2")
    printf '  FAILED %s: %s\n' "$part" "$1"
}

# What runs side by side leaves its log, its status and its seconds; `judge` reads them afterwards, in order.
jobs=${JOBS:-$((($(nproc) * 3 + 1) / 2))} running=0 order=()
case $jobs in '' | *[!0-9]* | 0) echo "run.sh: JOBS is '$jobs': a number from 1 on" >&2 && exit 2 ;; esac

beside=''
interrupted() {
    local job
    for job in $(jobs -p); do pkill -P "$job" timeout; done
    [ -z "$beside" ] || kill "$beside"
    exit 130
}
trap interrupted INT TERM

start() { # KIND NAME SECONDS COMMAND...
    local kind=$1 name=$2 limit=$3 log=$logs/$part/${2//\//.}.log
    shift 3
    if [ "$running" -ge "$jobs" ]; then
        wait -n
        running=$((running - 1))
    fi
    order+=("$kind"$'\t'"$name"$'\t'"$limit"$'\t'"$log")
    (
        TIMEFORMAT="%0R %0U %0S $name"
        {
            # Through a pipe: a test that limits the size of files would cut its own log.
            # (A shell gives what it starts in the background an ignored SIGINT.)
            time timeout -k 10 "$limit" env --default-signal=INT "$@" 2>&1 </dev/null | cat >"$log"
            echo "${PIPESTATUS[0]}" >"$log.status"
        } 2>>"$logs/$part/seconds"
    ) &
    running=$((running + 1))
}

judge() {
    local each kind name limit log status
    wait
    running=0
    for each in "${order[@]}"; do
        IFS=$'\t' read -r kind name limit log <<<"$each"
        status=$(cat "$log.status")
        rm -f "$log.status"
        "judge_$kind" "$name" "$limit" "$log" "${status:-1}"
    done
    order=()
}

# One case that is a command: passed if it ends with 0.
judge_command() { # NAME SECONDS LOG STATUS
    if [ "$4" -eq 0 ]; then
        passed=$((passed + 1))
    else
        echo "exit status $4" >>"$3"
        fail "$1" "$3"
    fi
}

# A program that prints a line per case: "ok 1 - name", "not ok 2 - name", "ok 3 # SKIP", "skip - why".
judge_cases() { # NAME SECONDS LOG STATUS
    local name=$1 limit=$2 log=$3 status=$4 good bad=0 skips planned line
    skips=$(grep -cE '^(skip\b|(not )?ok\b.*# *SKIP)' "$log")
    good=$(grep -E '^ok\b' "$log" | grep -cvE '# *SKIP')
    planned=$(sed -nE 's/^1\.\.([0-9]+)$/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    while IFS= read -r line; do
        bad=$((bad + 1))
        fail "$name: ${line#not ok }" "$log"
    done < <(grep -E '^not ok\b' "$log" | grep -vE '# *SKIP')
    passed=$((passed + good))
    skipped=$((skipped + skips))
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        echo "no end after $limit s" >>"$log"
        fail "$name: no end after $limit s" "$log"
    elif [ "$status" -gt 128 ] || { [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; }; then
        echo "exit status $status" >>"$log"
        fail "$name: ended with status $status" "$log"
    elif [ "$status" -eq 0 ] && [ "$bad" -gt 0 ]; then
        fail "$name: reported failures but ended with status 0" "$log"
    elif [ $((good + bad + skips)) -eq 0 ]; then
        fail "$name: not one case" "$log"
    elif [ $((good + bad + skips)) -lt "$planned" ]; then
        fail "$name: planned $planned cases, told of $((good + bad + skips))" "$log"
    fi
}

built() { # MODE TARGET...: failing to build is a failed case, and what needs it is left out
    local which=$1 log=$logs/$part/build.log
    shift
    if ! make -s -j"$(nproc)" MODE="$which" BUILD="$build" "$@" >"$log" 2>&1 </dev/null; then
        fail "build of $which" "$log"
        return 1
    fi
}

export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
# No test reaches the real AWS, whatever is set in the shell that starts it.
unset "${!AWS_@}"
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null

run_unit() { # MODE
    local program plain=()
    begin "unit-$1"
    if built "$1" unit-programs; then
        # The thread sanitizer does not get along with much randomness in where memory lies.
        if [ "$1" = tsan ] && setarch -R true 2>/dev/null; then
            plain=(setarch -R)
        fi
        while IFS= read -r program; do
            start cases "${program#"$build/$1/unit/"}" 600 "${plain[@]}" "$program"
        done < <(find "$build/$1/unit" -type f -name 'test_*' -perm -u+x 2>/dev/null | sort |
            while IFS= read -r path; do # not what was built from a source that is gone
                [ ! -f "tests/unit/${path#"$build/$1/unit/"}.c" ] || echo "$path"
            done)
    fi
    finish
}

run_corpus() { # MODE
    local source name
    begin "corpus-$1"
    if built "$1" check-build; then
        for source in tests/fuzz/fuzz_*.c; do
            [ -f "$source" ] || continue
            name=$(basename "$source" .c)
            start command "$name" 600 "$build/$1/fuzz/$name" "tests/fuzz/corpus/${name#fuzz_}/"
        done
    fi
    finish
}

run_fuzz() {
    local source name found jobs=${JOBS:-$(nproc)}
    begin fuzz
    if built fuzz fuzzers; then
        mkdir -p "$build/test/fuzz/crashes"
        for source in tests/fuzz/fuzz_*.c; do
            [ -f "$source" ] || continue
            name=$(basename "$source" .c)
            found=$build/fuzz/found/$name
            mkdir -p "$found"
            start command "$name" 900 tests/fuzz/fuzz_for.sh "${SECONDS_EACH:-5}" "$build/fuzz/fuzz/$name" \
                -max_total_time=600 -timeout=120 -rss_limit_mb=2048 -print_final_stats=1 \
                -artifact_prefix="$build/test/fuzz/crashes/$name-" "$found" "tests/fuzz/corpus/${name#fuzz_}/"
        done
    fi
    finish
}

run_integration() { # MODE
    local script
    begin "integration"
    if built "$1" all; then
        # (a lab has its own metadata service, and no other is in reach from there)
        unset AWS_EC2_METADATA_DISABLED
        # From the last to the first: the longest have the highest numbers, and would run alone at the end.
        while IFS= read -r script; do
            mkdir -p "$logs/integration/$(basename "$script")"
            start cases "$(basename "$script")" 900 env MODE="$1" TB_OUT="$PWD/$build/$1" \
                TB_WORK="$PWD/$logs/integration/$(basename "$script")" "$script"
        done < <(printf '%s\n' tests/integration/[0-9][0-9]_*.sh tests/integration/[0-9][0-9]_*.py | sort -r)
    fi
    finish
}

run_lint() {
    local jobs=${JOBS:-$(nproc)}
    begin lint
    start command layers 1800 tests/lint/layers.py
    start command format 1800 tests/lint/format.sh
    start command headers 1800 tests/lint/headers.sh "$build"
    start command shell 1800 tests/lint/shell.sh
    start command python 1800 tests/lint/python.sh
    start command text 1800 tests/lint/text.sh
    start command cppcheck 1800 tests/lint/cppcheck.sh "$build"
    start command clang-tidy 1800 tests/lint/tidy.sh "$build"
    finish
}

# Lint and the fuzzers only compute: they have what the tests, which wait a lot, leave of the processors, in a run of
# their own.
beside_begin() {
    nice -n 19 tests/run.sh --build "$build" lint fuzz >"$logs/beside.log" 2>&1 </dev/null &
    beside=$!
    disown "$beside" # no `wait` of the tests' waits for it
}

beside_end() {
    local last
    tail -f /dev/null --pid="$beside"
    beside='' part='lint and fuzz' last=$(tail -n 1 "$logs/beside.log")
    head -n -1 "$logs/beside.log"
    if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
    else
        fail 'the run came to no end' "$logs/beside.log"
    fi
}

for group in "${groups[@]}"; do
    case $group in
    unit) run_unit "$mode" ;;
    corpus) run_corpus "$mode" ;;
    integration) run_integration "$mode" ;;
    lint) run_lint ;;
    fuzz) run_fuzz ;;
    all)
        beside_begin
        run_unit debug
        run_corpus debug
        run_unit asan
        run_corpus asan
        run_unit tsan
        run_integration release
        beside_end
        ;;
    esac
done

shown=''
for failure in "${failures[@]}"; do
    log=${failure#*$'\t'}
    case $shown in *"|$log|"*) continue ;; esac
    shown="$shown|$log|"
    printf '\n--- %s (%s)\n' "${failure%%$'\t'*}" "$log"
    tail -n 40 "$log"
done
[ ${#failures[@]} -eq 0 ] || echo
printf '%d passed, %d failed' "$passed" "$failed"
[ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
echo
[ "$failed" -eq 0 ]
