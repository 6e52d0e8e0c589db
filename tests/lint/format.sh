#!/bin/bash
# Layout is clang-format's business.
set -eu
. tests/lint/sources.sh
sources '*.c' '*.h' | xargs -r -d '\n' clang-format --dry-run -Werror
