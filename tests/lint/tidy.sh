#!/bin/bash
# clang-tidy with the checks of .clang-tidy.  usage: tests/lint/tidy.sh BUILD
# A file that was clean is not looked at again until what the compiler reads of it, or the checks, are other ones.
set -eu
. tests/lint/sources.sh
export known=$1/test/tidy-cache
mkdir -p "$known"
find "$known" -type f -mtime +30 -delete
checks=$({ clang-tidy --version; cat .clang-tidy; } | sha256sum)
export checks

tidy() { # FILE: comments (NOLINT) and the macros' definitions are looked at, too
    local flags=(-std=c17 -D_GNU_SOURCE -Iinclude '-DTB_VERSION="lint"') key
    # (of what the compiler could not read, nothing says what it was: all of that would be one file)
    key=$(set -o pipefail && { echo "$checks" && clang "${flags[@]}" -E -C -dD "$1"; } | sha256sum) || return 1
    key=$known/${key%% *}
    if [ -e "$key" ]; then
        touch "$key"
    else
        clang-tidy --quiet "$1" -- "${flags[@]}" 2>/dev/null && : >"$key"
    fi
}
export -f tidy
# shellcheck disable=SC2016 # for the shells that xargs starts
sources 'src/*.c' 'webhooks/*.c' 'tests/lab/*.c' | xargs -r -d '\n' -P "$(nproc)" -n 1 bash -c 'tidy "$1"' tidy
