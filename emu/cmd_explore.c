/* SPDX-License-Identifier: Apache-2.0 */
/* farline explore: every state of small configurations. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "emu/cmd.h"
#include "emu/explore.h"

static int judge(const struct explore_result *r)
{
    if (r->violated) {
        printf("verdict   VIOLATED: %s: %s\n", r->check, r->what);
        return EMU_VIOLATED;
    }
    if (r->configs == 0 || r->complete < r->configs) {
        printf("verdict   UNDECIDED: %" PRIu32 " of %" PRIu32 " configurations were explored to "
               "the end\n",
               r->complete, r->configs);
        return EMU_UNDECIDED;
    }
    printf("verdict   HELD: every order of %" PRIu64 " states was stepped through", r->states);
    if (r->rows_missing > 0)
        printf("; %" PRIu32 " rows of the state table lie outside these configurations",
               r->rows_missing);
    putchar('\n');
    return EMU_HELD;
}

int cmd_explore(int argc, char **argv)
{
    struct explore_result r;
    struct fl_plants plants = {{0, 0}};
    const char *mechanism = NULL;
    bool quick = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--plant") == 0 && i + 1 < argc) {
            if (fl_plant_add(&plants, argv[++i]) != FL_OK)
                return cmd_usage("--plant %s: there is no such planted bug; `farline list plants`",
                                 argv[i]);
        } else if (strcmp(argv[i], "--quick") == 0) {
            quick = true;
        } else if (argv[i][0] == '-' || mechanism != NULL) {
            return cmd_usage("usage: farline explore MECHANISM [--quick] [--plant ID]");
        } else {
            mechanism = argv[i];
        }
    }
    if (mechanism == NULL)
        return cmd_usage(
            "usage: farline explore MECHANISM [--quick] [--plant ID]; this version explores "
            "writeback");
    memset(&r, 0, sizeof(r));
    int rc = quick ? emu_explore_quick(mechanism, &plants, stdout, &r)
                   : emu_explore(mechanism, &plants, stdout, &r);
    if (rc == FL_EINVAL)
        return cmd_usage("explore %s: there is no such mechanism; this version explores writeback",
                         mechanism);
    if (rc != FL_OK)
        return cmd_usage("explore %s: %s", mechanism, fl_strerror(rc));
    return judge(&r);
}
