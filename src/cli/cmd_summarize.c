/* tapbox summarize: the process that parses packets for a capture's summary; for tapbox itself.
 */
#include <tapbox/summary.h>

#include "cli_int.h"

int
tb_cmd_summarize(int argc, char **argv)
{
    struct tb_fail fail = {.err = TB_OK};

    (void)argv;
    if (argc > 1) {
        return tb_cli_usage("summarize", "it is for tapbox itself");
    }
    return tb_summarizer_main(&fail) == TB_OK ? TB_EXIT_OK : tb_cli_fail("summarize", &fail);
}
