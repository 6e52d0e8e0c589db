/* The bar that is drawn on a terminal for what takes longer than a second. */
#include <stdio.h>
#include <unistd.h>

#include <tapbox/clock.h>

#include "cli_int.h"

static const int64_t quiet_ns = TB_NS_PER_S; /* no progress is shown for less */
static const int64_t redraw_ns = TB_NS_PER_S / 5;

void
tb_cli_progress_begin(struct tb_cli_progress *progress)
{
    *progress = (struct tb_cli_progress){.is_terminal = isatty(STDERR_FILENO) == 1,
                                         .began_ns = tb_clock_boot_ns()};
}

void
tb_cli_progress_show(struct tb_cli_progress *progress, uint64_t done, uint64_t total)
{
    int64_t now = tb_clock_boot_ns();
    unsigned percent = total == 0 || done >= total ? 100 : (unsigned)(done * 100 / total);

    if (!progress->is_terminal || now - progress->began_ns < quiet_ns ||
        now - progress->drawn_ns < redraw_ns) {
        return;
    }
    fprintf(stderr, "\r[%-40.*s] %3u %%  %llu of %llu MiB\033[K", (int)(percent * 40 / 100),
            "########################################", percent,
            (unsigned long long)(done >> 20), (unsigned long long)(total >> 20));
    progress->drawn_ns = now;
    progress->is_drawn = true;
}

void
tb_cli_progress_clear(struct tb_cli_progress *progress)
{
    if (progress->is_drawn) {
        fputs("\r\033[K", stderr);
        progress->is_drawn = false;
    }
}
