# shellcheck shell=bash
# The files the checks look at: what git knows or would add, or in an exported tree what lies there.

sources() { # PATTERN...: git's pathspecs, e.g. '*.c'
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files --cached --others --exclude-standard -- "$@"
    else
        local pattern
        for pattern in "$@"; do
            find . -path ./build -prune -o -type f -path "./$pattern" -print | sed 's,^\./,,'
        done
    fi | sort -u | while IFS= read -r file; do
        [ ! -f "$file" ] || printf '%s\n' "$file"
    done
}
