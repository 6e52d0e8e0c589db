#!/bin/bash
# usage: tests/lint/cppcheck.sh BUILD
set -eu
mkdir -p "$1/test/cppcheck-cache"
folders=()
for folder in src webhooks tests/lab; do
    [ ! -d "$folder" ] || folders+=("$folder")
done
exec cppcheck -q -j "$(nproc)" --cppcheck-build-dir="$1/test/cppcheck-cache" --error-exitcode=1 \
    --enable=warning,portability,performance --inline-suppr --suppressions-list=tests/lint/cppcheck.txt \
    --std=c11 --library=posix -D_GNU_SOURCE -Iinclude "${folders[@]}"
