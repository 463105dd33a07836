/* SPDX-License-Identifier: Apache-2.0 */
/** The subcommands of `farline`: each gets its own arguments, argv[0] being its name, and returns
 * the exit status. */
#ifndef EMU_CMD_H
#define EMU_CMD_H

#include "emu/result.h"

int cmd_run(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_explore(int argc, char **argv);

/** Says "farline: ..." on stderr; returns EMU_USAGE. */
int cmd_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- what `run` and `plan` take ------------------------------------------------------------- */

enum { CMD_SETS_MAX = 64, CMD_FILES_MAX = 256 };

struct cmd_opts {
    struct run_opts run;
    const char *sets[CMD_SETS_MAX];
    int set_count;
    char seed_set[64];
    struct fl_plants plants;
    const char *out, *junit, *trace;
    bool tap, json;
    const char *const *files; /* into argv */
    int file_count;
};

/** Reads the arguments; EMU_HELD, or EMU_USAGE with the message printed, or -1: help was printed. */
int cmd_opts_parse(struct cmd_opts *o, int argc, char **argv);

/** Fabrics and trackers of this version; NULL-terminated. */
extern const char *const cmd_fabrics[], *const cmd_trackers[];

#endif
