/*
 * A few lines at the end of a terminal that are drawn again and again in place, with plain
 * ANSI; whatever was above them stays.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "screen_int.h"

enum {
    ROWS_IF_UNKNOWN = 24
};

bool
tb_screen_begin(struct tb_screen *screen)
{
    const char *term = getenv("TERM");

    *screen = (struct tb_screen){.is_terminal = isatty(STDOUT_FILENO) && term != NULL &&
                                                strcmp(term, "dumb") != 0};
    if (screen->is_terminal) {
        tb_screen_resume(screen);
    }
    return screen->is_terminal;
}

void
tb_screen_resume(struct tb_screen *screen)
{
    fputs("\033[?25l", stdout); /* no cursor that jumps about */
    screen->lines = 0;
}

void
tb_screen_end(struct tb_screen *screen)
{
    if (screen->is_terminal) {
        fputs("\033[?7h\033[?25h", stdout);
        (void)fflush(stdout);
    }
}

static size_t
rows(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1 ? size.ws_row
                                                                           : ROWS_IF_UNKNOWN;
}

/* Lines of `text`, each clearing what stood there before; at most `most`. */
static size_t
put_lines(const char *text, size_t most)
{
    size_t lines = 0;

    while (*text != '\0' && lines < most) {
        int len = (int)strcspn(text, "\n");

        printf("%.*s\033[K\n", len, text);
        text += len + (text[len] == '\n' ? 1 : 0);
        lines++;
    }
    return lines;
}

void
tb_screen_draw(struct tb_screen *screen, const char *above, const char *text)
{
    if (screen->lines > 0) {
        printf("\033[%zuA", screen->lines);
    }
    fputs("\r", stdout);
    (void)put_lines(above, SIZE_MAX);
    /* long lines are cut by the terminal: wrapped ones could not be counted */
    fputs("\033[?7l", stdout);
    screen->lines = put_lines(text, rows() - 1);
    fputs("\033[J\033[?7h", stdout);
    (void)fflush(stdout);
}
