#!/bin/bash
# Python files are Debian's Python's, and compile.
set -eu
. tests/lint/sources.sh
sources '*.py' | while IFS= read -r file; do
    /usr/bin/python3 -W error -c 'import pathlib, sys; compile(pathlib.Path(sys.argv[1]).read_bytes(), sys.argv[1], "exec")' "$file"
    if [ -x "$file" ] && [ "$(head -n 1 "$file")" != '#!/usr/bin/python3' ]; then
        echo "$file: begins with $(head -n 1 "$file"), not with #!/usr/bin/python3"
        exit 1
    fi
done
