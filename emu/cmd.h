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
int cmd_swarm(int argc, char **argv);
int cmd_sweep(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_shrink(int argc, char **argv);

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

/** Adds a planted bug by its id; EMU_USAGE: the message was printed. */
int cmd_plant_add(struct fl_plants *plants, const char *id);

/** A whole number from 0 to 2^63-1; false: it is none. */
bool cmd_number(const char *text, uint64_t *ret);
/** --bind: EMU_HELD, or EMU_USAGE with the message printed. Whether the address is one of this
 * machine's shows when the nodes take it. */
int cmd_bind(struct run_opts *o, const char *addr);

/** From now on SIGINT and SIGTERM set emu_interrupted, a second one ends this process. */
void cmd_watch_signals(void);

/** Runs @p in the world that @ro names. What the machine lacks is a result, not an error. */
int cmd_world_run(const struct plan *p, const struct run_opts *ro, struct result *r,
                  struct fl_errmsg *err);

/** runs/NAME/LAST, the place of a run's files when --out names none. */
void cmd_default_dir(const struct plan *p, const char *last, char *ret, size_t size);

struct out_run;

/** Runs @p with its files in @dir, where it replaces an earlier run, and judges it. The result in
 * @ret is the caller's to free. */
int cmd_run_into(const struct plan *p, const struct run_opts *ro, const char *variant,
                 const char *dir, struct out_run *ret, struct fl_errmsg *err);

/** Fabrics and trackers of this version; NULL-terminated. */
extern const char *const cmd_fabrics[], *const cmd_trackers[];

#endif
