#!/bin/bash
# Text files end their lines as they should, and C files stay below what one noun needs.
set -eu
. tests/lint/sources.sh
status=0
while IFS= read -r file; do
    if grep -nP '[ \t]+$' "$file" | head -n 3 | sed "s,^,$file:,; s,\$, (space at the end of the line)," | grep .; then
        status=1
    fi
    if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then
        echo "$file: no newline at the end"
        status=1
    fi
done < <(sources '*.c' '*.h' '*.sh' '*.py' '*.md' '*.sql' '*.yaml' 'Makefile')
exit $status
