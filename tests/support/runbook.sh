# shellcheck shell=bash disable=SC2154 # TB_WORK: of those who source it
# The commands of a runbook, as they stand there.  Source it after cases.sh.
#
# A block that is fenced as `sh` is run by the test that names its page and section (check_runbooks.py looks for that):
#   run_blocks PAGE [SECTION]     PAGE as runbooks/x.md, SECTION one of its headings ('' or left out: the whole page)
# Each block becomes a file, which run_block FILE runs; the test defines that function.  If there is a function
# fill_in, the block goes through it first (place-holders).  A comment <!-- the words --> between blocks calls the
# function the_words, if the test has one: what happens meanwhile, or in whose place the reader stands then.
run_blocks() { # PAGE [SECTION]
    local page=$1 section=${2-} name=${1##*/} kind block number=0 file
    name=${name%.md}
    while IFS= read -r -d $'\1' kind && IFS= read -r -d $'\1' block; do
        if [ "$kind" = comment ]; then
            block=${block// /_}
            ! declare -F "${block,,}" >/dev/null || "${block,,}"
            continue
        fi
        number=$((number + 1))
        file=$TB_WORK/$name${section:+-${section//[^A-Za-z0-9]/-}}-$number.sh
        if declare -F fill_in >/dev/null; then block=$(fill_in <<<"$block"); fi
        printf 'set -eu -o pipefail\n%s\n' "$block" >"$file"
        expect "$name${section:+, $section}, block $number: $(grep -m1 . <<<"$block" | cut -c1-70)" run_block "$file"
    done < <(awk -v section="$section" '
        BEGIN { on = section == "" }
        /^ *```/ && !code { code = 1; sh = on && $0 ~ /^ *```sh$/; if (sh) printf "block\1"; next }
        /^ *```$/ { if (sh) printf "\1"; code = sh = 0; next }
        code { if (sh) print; next }
        /^#+ / { if (section != "") { heading = $0; sub(/^#+ /, "", heading); on = heading == section } }
        on && /^<!-- .* -->$/ { printf "comment\1%s\1", substr($0, 6, length($0) - 9) }' "$cases_root/$page")
    [ "$number" -gt 0 ] || not_ok "$page: ${section:-blocks} to run"
}
