#!/bin/bash
# What --help says of every command is in the manual page too, and the page itself is sound.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
tapbox=$TB_OUT/tapbox
page=$cases_root/src/cli/tapbox.1

section() { # COMMAND: what the page says under a heading that names it
    awk -v command="$1" '/^\.S[hs] / { sub(/^\.S[hs] (tapbox )?/, ""); gsub(/ /, ""); on = index("," $0 ",", "," command ",") } on' "$page"
}
commands=$("$tapbox" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z-]+) .*/\1/p')
expect 'help lists commands' grep -q '^check-config$' <(echo "$commands")
for command in $commands; do
    options=$("$tapbox" "$command" --help | sed -nE 's/^ +(-[a-z], +)?(--[a-z][a-z-]+).*/\2/p')
    expect "help lists the options of '$command'" test -n "$options"
    missing=$(for option in $options; do
        # "Fl -name", alone or behind a short one ("Fl n , -name")
        section "$command" | grep -qE -- "Fl ([a-z] , )?${option#-}( |\$)" || [ "$option" = --help ] || echo "$option"
    done)
    same "the manual has every option of '$command'" '' "$missing"
    expect_failure "'$command' refuses an option it does not know" "tapbox $command --help" "$tapbox" "$command" --no-such-option
    same "with status 2" 2 "$("$tapbox" "$command" --no-such-option >/dev/null 2>&1; echo $?)"
done
same 'a command that is none is refused' 2 "$("$tapbox" frobnicate >/dev/null 2>&1; echo $?)"
same 'as is no command at all' 2 "$("$tapbox" >/dev/null 2>&1; echo $?)"
same 'output that cannot be written is a failure' 1 "$("$tapbox" --help >/dev/full 2>/dev/null; echo $?)"
if command -v man >/dev/null; then
    same 'the manual page has no mistake' '' "$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -l "$page" 2>&1 >/dev/null)"
else
    skip 'the manual page has no mistake: there is no man here'
fi
finish
