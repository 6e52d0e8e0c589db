/* What lies among evidence and is none: of no capture, no log, no extract, and no key. */
#include "verify_int.h"

#include <stdio.h>
#include <string.h>

#include <tapbox/ids.h>

enum {
    NAME_BYTES = 4096
};

static bool
is_unit_name(const char *name, size_t len)
{
    char id[TB_CAPTURE_ID_SIZE];

    if (len >= sizeof(id)) {
        return false;
    }
    memcpy(id, name, len);
    id[len] = '\0';
    return tb_capture_id_valid(id) || tb_log_id_valid(id);
}

/* What "<the first len octets of name><end>" is; too long a name is of nothing that we made. */
static bool
is_there(const struct verify_run *run, const char *name, size_t len, const char *end)
{
    char whole[NAME_BYTES];

    return snprintf(whole, sizeof(whole), "%.*s%s", (int)len, name, end) < (int)sizeof(whole) &&
           tb_place_find(&run->list, whole) != NULL;
}

bool
verify_is_stranger(const struct verify_run *run, const struct tb_place_file *file)
{
    const char *place = tb_place_name(run->place), *from = file->name, *slash;

    if (file->kind == TB_PLACE_FOLDER || is_unit_name(place, strlen(place)) ||
        is_there(run, "", 0, "manifest.json")) {
        return false;
    }
    for (; (slash = strchr(from, '/')) != NULL; from = slash + 1) {
        if (is_unit_name(from, (size_t)(slash - from)) ||
            is_there(run, file->name, (size_t)(slash - file->name) + 1, "manifest.json")) {
            return false;
        }
    }
    if (file->kind == TB_PLACE_OTHER && is_unit_name(from, strlen(from))) {
        return false; /* told as a capture that is a link */
    }
    return !tb_cli_keys_is_name(file->name) &&
           !is_there(run, file->name, strlen(file->name), ".proof/manifest.json");
}
