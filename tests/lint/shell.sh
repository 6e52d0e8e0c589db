#!/bin/bash
# Shell scripts: by name, and those without one by their first line.
set -eu
. tests/lint/sources.sh
{
    sources '*.sh'
    sources '*' | while IFS= read -r file; do
        case $file in *.*) [ "${file##*/}" = run ] || continue ;; esac
        if head -c 64 "$file" | head -n 1 | grep -qaE '^#!.*\b(ba|da)?sh\b'; then
            printf '%s\n' "$file"
        fi
    done
} | sort -u | xargs -r -d '\n' shellcheck -x -S warning
