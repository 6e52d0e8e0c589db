#!/bin/bash
# usage: tests/lint/cppcheck.sh BUILD
# awsim is left to clang-tidy: cppcheck does not read <sys/queue.h> and takes its lists for syntax errors.
set -eu
mkdir -p "$1/test/cppcheck-cache"
folders=()
for folder in src webhooks tests/lab/tools; do
    [ ! -d "$folder" ] || folders+=("$folder")
done
exec cppcheck -q -j "$(nproc)" --cppcheck-build-dir="$1/test/cppcheck-cache" --error-exitcode=1 \
    --enable=warning,portability,performance --inline-suppr --suppressions-list=tests/lint/cppcheck.txt \
    --std=c11 --library=posix -D_GNU_SOURCE -Iinclude "${folders[@]}"
