/* Lines that are drawn in place (screen.c). */
#ifndef TAPBOX_CLI_SCREEN_INT_H
#define TAPBOX_CLI_SCREEN_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct tb_screen {
    bool is_terminal;
    size_t lines; /* drawn, above the cursor */
};

/* False, and nothing is changed, when standard output is no terminal that can do it. */
bool tb_screen_begin(struct tb_screen *screen);
/* Draws `text` in place of what was drawn last; `above` goes above it and stays. */
void tb_screen_draw(struct tb_screen *screen, const char *above, const char *text);
/* The terminal as it was.  Again after the process was stopped: _resume. */
void tb_screen_end(struct tb_screen *screen);
void tb_screen_resume(struct tb_screen *screen);

#endif
