/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments of `farline run`. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <event2/util.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/cmd.h"
#include "emu/plan_fields.h"

const char *const cmd_fabrics[] = {"tcp", "sockets", "verbs", "sim", NULL};
const char *const cmd_trackers[] = {"mprotect", "actor", "actor-sampled", "coroutine", NULL};
static const char *const waits[] = {"adaptive", "block", "spin", NULL};

static const char help[] =
    "usage: farline run SCENARIO.lua... [options]\n"
    "  --fabric tcp|sockets|verbs|sim   what carries the traffic (tcp)\n"
    "  --bind ADDR                      address of the nodes' fabric, such as that of an RDMA\n"
    "                                   device (loopback)\n"
    "  --external all|NAME[=CONTAINER],...\n"
    "                                   nodes that others start with `farline node`; awaited\n"
    "  --token-file FILE                the run's key for them; made when it is not there\n"
    "  --listen ADDR[:PORT]             where they join (loopback, any port)\n"
    "  --join-deadline SECONDS          how long they are awaited (20)\n"
    "  --driver podman|docker           what pauses, continues and cuts off their containers\n"
    "  --driver-network NET             the network that a cut takes a container from\n"
    "  --wait adaptive|block|spin       how processes wait for completions (adaptive)\n"
    "  --tracker NAME                   how stores are seen: mprotect; with sim actor (exact\n"
    "                                   lines), actor-sampled (lines by diff) or coroutine\n"
    "                                   (real traps; programs always)\n"
    "  --seed N                         seed of everything random\n"
    "  --set PATH=VALUE                 change a setting, such as region.heap.threshold=8\n"
    "  --plant ID                       switch on a planted bug (`farline list plants`)\n"
    "  --out DIR                        where the run's files go (runs/NAME/SEED)\n"
    "  --junit FILE, --trace FILE       also write JUnit XML, Chrome trace events\n"
    "  --tap, --json                    print TAP, or one JSON object a run, instead of the "
    "report\n"
    "exit status: 0 all held, 1 violated, 2 undecided, 3 no progress, 64 usage or scenario error,\n"
    "77 skipped because this machine lacks something\n";

int cmd_usage(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("farline: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return EMU_USAGE;
}

enum { JOIN_MAX_S = 3600 };

static int one_of(const char *option, const char *value, const char *const *names)
{
    char all[128] = "";

    if (plan_name_index(names, value) >= 0)
        return EMU_HELD;
    for (size_t i = 0, used = 0; names[i] != NULL; i++)
        used +=
            (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", i > 0 ? ", " : "", names[i]);
    return cmd_usage("--%s %s: there is no such choice; use one of %s", option, value, all);
}

enum {
    OPT_FABRIC = 256,
    OPT_BIND,
    OPT_LISTEN,
    OPT_EXTERNAL,
    OPT_TOKEN_FILE,
    OPT_JOIN_DEADLINE,
    OPT_DRIVER,
    OPT_DRIVER_NETWORK,
    OPT_WAIT,
    OPT_TRACKER,
    OPT_SEED,
    OPT_SET,
    OPT_PLANT,
    OPT_OUT,
    OPT_JUNIT,
    OPT_TRACE,
    OPT_TAP,
    OPT_JSON,
    OPT_SERVE,
    OPT_HELP
};

static const struct option options[] = {
    {"fabric", required_argument, NULL, OPT_FABRIC},
    {"bind", required_argument, NULL, OPT_BIND},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"external", required_argument, NULL, OPT_EXTERNAL},
    {"token-file", required_argument, NULL, OPT_TOKEN_FILE},
    {"join-deadline", required_argument, NULL, OPT_JOIN_DEADLINE},
    {"driver", required_argument, NULL, OPT_DRIVER},
    {"driver-network", required_argument, NULL, OPT_DRIVER_NETWORK},
    {"wait", required_argument, NULL, OPT_WAIT},
    {"tracker", required_argument, NULL, OPT_TRACKER},
    {"seed", required_argument, NULL, OPT_SEED},
    {"set", required_argument, NULL, OPT_SET},
    {"plant", required_argument, NULL, OPT_PLANT},
    {"out", required_argument, NULL, OPT_OUT},
    {"junit", required_argument, NULL, OPT_JUNIT},
    {"trace", required_argument, NULL, OPT_TRACE},
    {"tap", no_argument, NULL, OPT_TAP},
    {"json", no_argument, NULL, OPT_JSON},
    {"serve", no_argument, NULL, OPT_SERVE},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0}};

static int add_set(struct cmd_opts *o, const char *set)
{
    if (o->set_count == CMD_SETS_MAX - 1) /* one is kept for the seed */
        return cmd_usage("more than %d settings", CMD_SETS_MAX - 1);
    if (strchr(set, '=') == NULL)
        return cmd_usage("--set %s: write PATH=VALUE, such as region.heap.threshold=8", set);
    o->sets[o->set_count++] = set;
    return EMU_HELD;
}

bool cmd_number(const char *text, uint64_t *ret)
{
    char *end;

    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 || v > INT64_MAX)
        return false;
    *ret = v;
    return true;
}

static int set_seed(struct cmd_opts *o, const char *text)
{
    uint64_t v;

    if (!cmd_number(text, &v))
        return cmd_usage("--seed %s: it must be a whole number from 0 to 2^63-1", text);
    snprintf(o->seed_set, sizeof(o->seed_set), "seed=%llu", (unsigned long long)v);
    return EMU_HELD;
}

int cmd_bind(struct run_opts *o, const char *addr)
{
    struct in_addr in;

    if (inet_pton(AF_INET, addr, &in) != 1)
        return cmd_usage("--bind %s: it must be a numeric IPv4 address without a port, such as "
                         "10.0.0.1",
                         addr);
    o->bind = addr;
    return EMU_HELD;
}

static int set_listen(struct cmd_opts *o, const char *addr)
{
    struct sockaddr_in sin;
    int len = sizeof(sin);

    if (evutil_parse_sockaddr_port(addr, (struct sockaddr *)&sin, &len) != 0 ||
        sin.sin_family != AF_INET)
        return cmd_usage("--listen %s: it must be a numeric IPv4 address with or without a port, "
                         "such as 10.0.0.1:7000",
                         addr);
    o->run.listen = addr;
    return EMU_HELD;
}

static int set_join_deadline(struct cmd_opts *o, const char *text)
{
    uint64_t s;

    if (!cmd_number(text, &s) || s == 0 || s > JOIN_MAX_S)
        return cmd_usage("--join-deadline %s: it must be a number of seconds from 1 to %d", text,
                         JOIN_MAX_S);
    o->run.join_ms = s * 1000;
    return EMU_HELD;
}

/** What external nodes have to be started with. */
static int take_external(struct cmd_opts *o, int opt, const char *arg)
{
    static const char *const drivers[] = {"podman", "docker", NULL};

    switch (opt) {
    case OPT_LISTEN:
        return set_listen(o, arg);
    case OPT_EXTERNAL:
        o->run.external = arg;
        return EMU_HELD;
    case OPT_TOKEN_FILE:
        o->run.token_file = arg;
        return EMU_HELD;
    case OPT_JOIN_DEADLINE:
        return set_join_deadline(o, arg);
    case OPT_DRIVER:
        o->run.driver = arg;
        return one_of("driver", arg, drivers);
    default:
        o->run.driver_network = arg;
        return EMU_HELD;
    }
}

int cmd_plant_add(struct fl_plants *plants, const char *id)
{
    const char *names[FL_PLANT_COUNT];

    if (fl_plant_add(plants, id) == FL_OK)
        return EMU_HELD;
    for (int i = 0; i < FL_PLANT_COUNT; i++)
        names[i] = fl_plant_info((enum fl_plant)i)->id;
    const char *near = plan_nearest(id, names, FL_PLANT_COUNT);
    if (near != NULL)
        return cmd_usage("--plant %s: there is no such planted bug; did you mean \"%s\"?", id,
                         near);
    return cmd_usage("--plant %s: there is no such planted bug; `farline list plants`", id);
}

static int take(struct cmd_opts *o, int opt, const char *arg)
{
    switch (opt) {
    case OPT_FABRIC:
        o->run.fabric = arg;
        return one_of("fabric", arg, cmd_fabrics);
    case OPT_BIND:
        return cmd_bind(&o->run, arg);
    case OPT_LISTEN:
    case OPT_EXTERNAL:
    case OPT_TOKEN_FILE:
    case OPT_JOIN_DEADLINE:
    case OPT_DRIVER:
    case OPT_DRIVER_NETWORK:
        return take_external(o, opt, arg);
    case OPT_WAIT:
        o->run.wait = arg;
        return one_of("wait", arg, waits);
    case OPT_TRACKER:
        o->run.tracker = arg;
        return one_of("tracker", arg, cmd_trackers);
    case OPT_SEED:
        return set_seed(o, arg);
    case OPT_SET:
        return add_set(o, arg);
    case OPT_PLANT:
        return cmd_plant_add(&o->plants, arg);
    case OPT_OUT:
        o->out = arg;
        return EMU_HELD;
    case OPT_JUNIT:
        o->junit = arg;
        return EMU_HELD;
    case OPT_TRACE:
        o->trace = arg;
        return EMU_HELD;
    case OPT_TAP:
        o->tap = true;
        return EMU_HELD;
    case OPT_JSON:
        o->json = true;
        return EMU_HELD;
    case OPT_SERVE:
        return cmd_usage("--serve: the live page is not in this version");
    case OPT_HELP:
        fputs(help, stdout);
        return -1;
    default:
        return cmd_usage("see `farline run --help`"); /* getopt has named the option */
    }
}

static int check_external(const struct cmd_opts *o, bool sim)
{
    const struct run_opts *r = &o->run;

    if (sim && (r->external != NULL || r->listen != NULL))
        return cmd_usage("--external and --listen are for real fabrics; the simulator has no "
                         "processes");
    if (r->external != NULL && r->token_file == NULL)
        return cmd_usage("--external: name the file of the run's key with --token-file, here and "
                         "at each node");
    if (r->external == NULL && (r->token_file != NULL || r->driver != NULL))
        return cmd_usage("--token-file and --driver are for nodes that others start; name them "
                         "with --external");
    if (r->driver_network != NULL && r->driver == NULL)
        return cmd_usage("--driver-network: name what takes a container from it with --driver");
    if (r->external != NULL && o->file_count > 1)
        return cmd_usage("external nodes join one run and end with it; run one scenario at a time");
    return EMU_HELD;
}

static int check_together(struct cmd_opts *o)
{
    bool sim = strcmp(o->run.fabric, "sim") == 0;

    if (o->run.tracker == NULL)
        o->run.tracker = sim ? "actor" : "mprotect";
    if (sim == (strcmp(o->run.tracker, "mprotect") == 0))
        return cmd_usage("tracker %s does not go with fabric %s; %s", o->run.tracker, o->run.fabric,
                         sim ? "the simulator uses actor, actor-sampled or coroutine"
                             : "real processes use mprotect");
    if (sim && o->run.bind != NULL)
        return cmd_usage("--bind is for real fabrics; the simulator has no addresses");
    if (check_external(o, sim) != EMU_HELD)
        return EMU_USAGE;
    if (o->tap && o->json)
        return cmd_usage("--tap and --json both print on stdout; choose one");
    if (o->file_count == 0)
        return cmd_usage("run: name a scenario, such as scenarios/writeback/basic.lua");
    if (o->file_count > CMD_FILES_MAX)
        return cmd_usage("more than %d scenarios", CMD_FILES_MAX);
    if (o->trace != NULL && o->file_count > 1)
        return cmd_usage("--trace writes one file; run one scenario at a time with it");
    return EMU_HELD;
}

int cmd_opts_parse(struct cmd_opts *o, int argc, char **argv)
{
    int opt, rc;

    memset(o, 0, sizeof(*o));
    o->run.fabric = "tcp";
    o->run.wait = "adaptive";
    optind = 1;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
        if ((rc = take(o, opt, optarg)) != EMU_HELD)
            return rc;
    o->files = (const char *const *)argv + optind;
    o->file_count = argc - optind;
    if (o->seed_set[0] != '\0')
        o->sets[o->set_count++] = o->seed_set;
    return check_together(o);
}
