#!/bin/bash
# clang-tidy with the checks of .clang-tidy.
set -eu
. tests/lint/sources.sh
sources 'src/*.c' 'webhooks/*.c' 'tests/lab/*.c' |
    xargs -r -d '\n' -P "$(nproc)" -n 4 sh -c \
        'clang-tidy --quiet "$@" -- -std=c17 -D_GNU_SOURCE -Iinclude "-DTB_VERSION=\"lint\"" 2>/dev/null' tidy
