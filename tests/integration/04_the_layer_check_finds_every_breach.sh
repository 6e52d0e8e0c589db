#!/bin/bash
# tests/lint/layers.py on a small tree of its own.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
tree=$TB_WORK/tree
check=$cases_root/tests/lint/layers.py

fresh() {
    rm -rf "$tree"
    mkdir -p "$tree"/{include/tapbox,src/base,src/store,src/aws,src/http,webhooks/x,tests/lab/awsim}
    echo '#include <tapbox/bytes.h>' >"$tree/include/tapbox/store.h"
    echo '#include <stddef.h>' >"$tree/include/tapbox/bytes.h"
    echo '#include <tapbox/bytes.h>' >"$tree/src/store/store.c"
}
breach() { # CASE PATTERN FILE LINE...
    local name=$1 pattern=$2 file=$3
    shift 3
    fresh
    printf '%s\n' "$@" >"$tree/$file"
    expect_failure "$name" "^$file:.*$pattern" "$check" "$tree"
}

fresh
expect 'a tree that keeps to the layers passes' "$check" "$tree"
breach 'an include that points up' 'base may not include tapbox/store.h' src/base/a.c '#include <tapbox/store.h>'
breach 'an include of a neighbour' 'aws may not include tapbox/store.h' src/aws/a.c '#include <tapbox/store.h>'
breach 'a public header that points up' 'base may not include' include/tapbox/io.h '#include <tapbox/store.h>'
breach 'a header without a module' 'give it a module' include/tapbox/zzz.h ''
breach 'a module without a place' "no module 'zzz" src/zzz.c ''
breach "another folder's private header" 'not in this folder' src/aws/a.c '#include "../store/store_int.h"'
breach "another folder's library" 'belongs into store' src/http/a.c '#include <sqlite3.h>'
breach 'SQL outside the store' 'SQL' src/http/a.c 'const char *q = "SELECT id" " FROM captures";'
breach 'awsim using tapbox' 'shares nothing' tests/lab/awsim/a.c '#include <tapbox/bytes.h>'
fresh
echo '/* SELECT a FROM b */ // #include <sqlite3.h>' >"$tree/src/http/a.c"
expect 'comments are not code' "$check" "$tree"
finish
