/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "emu/cmd.h"
#include "emu/plan_fields.h"
#include "emu/world.h"

#define FARLINE_VERSION "0.1"

static const struct {
    const char *name;
    int (*fn)(int argc, char **argv);
    const char *doc;
} commands[] = {
    {"run", cmd_run, "run SCENARIO.lua...     run scenarios and judge them (run --help)"},
    {"plan", cmd_plan,
     "plan SCENARIO.lua       evaluate and validate only; print the plan as JSON"},
    {"swarm", cmd_swarm,
     "swarm SCENARIO.lua...   many simulated runs, faults drawn from their seeds (swarm --help)"},
    {"sweep", cmd_sweep,
     "sweep SCENARIO.lua      a fault at each passing of a site in turn (sweep --help)"},
    {"replay", cmd_replay, "replay RUN.json         repeat exactly what a run recorded"},
    {"shrink", cmd_shrink, "shrink RUN.json         the smallest schedule that still fails"},
    {"explore", cmd_explore, "explore MECHANISM       every state of small configurations"},
    {"list", cmd_list,
     "list WHAT               scenarios, trackers, fabrics, plants, sites, settings"},
    {"explain", cmd_explain, "explain ID              what W3, M-f2, a plant or a site means"},
    {"doctor", cmd_doctor,
     "doctor [--json]         what this machine offers, with the consequences"},
    {"node", emu_node_main, "node --join ...         one node, started by a launcher"},
};

static void usage(FILE *f)
{
    fputs("Farline: a software testbed for cluster memory.\nusage: farline COMMAND ...\n", f);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(f, "  %s\n", commands[i].doc);
    fputs("exit status: 0 held, 1 violated, 2 undecided, 3 no progress, 64 usage or scenario "
          "error, 77 skipped\n",
          f);
}

static int unknown(const char *word)
{
    const char *names[sizeof(commands) / sizeof(commands[0])];
    size_t n = sizeof(commands) / sizeof(commands[0]);

    for (size_t i = 0; i < n; i++)
        names[i] = commands[i].name;
    const char *near = plan_nearest(word, names, n);
    if (near != NULL)
        return cmd_usage("there is no command \"%s\"; did you mean \"%s\"?", word, near);
    return cmd_usage("there is no command \"%s\"; see `farline --help`", word);
}

int main(int argc, char **argv)
{
    emu_own_signals();
    if (argc < 2) {
        usage(stderr);
        return EMU_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return EMU_HELD;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("farline %s\n", FARLINE_VERSION);
        return EMU_HELD;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].fn(argc - 1, argv + 1);
    return unknown(argv[1]);
}
