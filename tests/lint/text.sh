#!/bin/bash
# Text files end their lines as they should.
set -eu
. tests/lint/sources.sh
mapfile -t files < <(sources '*.c' '*.h' '*.sh' '*.py' '*.md' '*.sql' '*.yaml' 'Makefile')
status=0
if grep -nP '[ \t]+$' /dev/null "${files[@]}" | sed 's/$/ (space at the end of the line)/' | grep .; then
    status=1
fi
# (to -z a file is one line)
if grep -LPz '\n\z' "${files[@]}" | while IFS= read -r file; do [ ! -s "$file" ] || echo "$file: no newline at the end"; done | grep .; then
    status=1
fi
exit $status
