/* SPDX-License-Identifier: Apache-2.0 */
/* farline plan, list, explain, doctor: what there is and what it means. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emu/base/ids.h"
#include "emu/cmd.h"
#include "emu/doctor.h"
#include "emu/plan_fields.h"
#include "transport/filter.h"

/* --- plan ----------------------------------------------------------------------------------- */

static int print_plan(const struct plan *p)
{
    char *text = plan_to_json(p);
    json_t *j = text != NULL ? json_loads(text, 0, NULL) : NULL;
    int bad = j == NULL ||
              json_dumpf(j, stdout, JSON_SORT_KEYS | JSON_INDENT(2) | JSON_REAL_PRECISION(17));

    putchar('\n');
    json_decref(j);
    free(text);
    return bad || fflush(stdout) != 0 ? cmd_usage("plan: cannot write the plan") : EMU_HELD;
}

int cmd_plan(int argc, char **argv)
{
    struct cmd_opts o;
    struct fl_errmsg err;
    int rc = cmd_opts_parse(&o, argc, argv);

    if (rc != EMU_HELD)
        return rc < 0 ? EMU_HELD : rc;
    if (o.file_count != 1)
        return cmd_usage("plan: name one scenario");
    struct plan *p = malloc(sizeof(*p));
    if (p == NULL)
        return cmd_usage("out of memory");
    if (plan_load(o.files[0], o.sets, o.set_count, p, &err) != FL_OK) {
        rc = cmd_usage("%s", err.text);
    } else {
        p->plants = o.plants;
        rc = print_plan(p);
    }
    free(p);
    return rc;
}

/* --- list ----------------------------------------------------------------------------------- */

/** Where the scenarios are: here, where the environment says, beside the program, installed. */
static bool scenario_dir(char *ret, size_t size)
{
    char exe[PATH_MAX];
    const char *env = getenv("FARLINE_SCENARIOS");
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash != NULL)
        *slash = '\0';
    static const char *const beside[] = {"../scenarios", "../share/farline/scenarios"};
    snprintf(ret, size, "%s", env != NULL ? env : "scenarios");
    if (access(ret, R_OK | X_OK) == 0)
        return true;
    for (size_t i = 0; i < 2; i++) {
        snprintf(ret, size, "%s/%s", exe, beside[i]);
        if (access(ret, R_OK | X_OK) == 0)
            return true;
    }
    return false;
}

static int only_lua(const struct dirent *d)
{
    size_t n = strlen(d->d_name);

    return n > 4 && strcmp(d->d_name + n - 4, ".lua") == 0;
}

static int only_mechanisms(const struct dirent *d)
{
    return d->d_name[0] != '.' && strcmp(d->d_name, "workloads") != 0;
}

static void list_dir(const char *dir)
{
    struct dirent **files;
    struct plan *p = malloc(sizeof(*p));
    int n = scandir(dir, &files, only_lua, alphasort);
    char path[2 * PATH_MAX];

    for (int i = 0; i < n; i++) {
        struct fl_errmsg err;

        snprintf(path, sizeof(path), "%s/%s", dir, files[i]->d_name);
        if (p != NULL && plan_load(path, NULL, 0, p, &err) == FL_OK)
            printf("%-44s %s\n", path, p->title);
        else
            printf("%-44s (does not load: %s)\n", path, p != NULL ? err.text : "out of memory");
        free(files[i]);
    }
    if (n >= 0)
        free(files);
    free(p);
}

static int list_scenarios(void)
{
    char dir[PATH_MAX + 64], sub[2 * PATH_MAX];
    struct dirent **dirs;

    if (!scenario_dir(dir, sizeof(dir)))
        return cmd_usage("list scenarios: no directory of scenarios here; name it in "
                         "FARLINE_SCENARIOS");
    list_dir(dir);
    int n = scandir(dir, &dirs, only_mechanisms, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(sub, sizeof(sub), "%.*s/%s", PATH_MAX, dir, dirs[i]->d_name);
        list_dir(sub);
        free(dirs[i]);
    }
    if (n >= 0)
        free(dirs);
    return EMU_HELD;
}

static int list_trackers(void)
{
    puts("mprotect       page protection and SIGSEGV; lines by comparing with a twin (real, "
         "default)");
    puts("actor          exact: the generator says what it stores (simulator, default)");
    puts("actor-sampled  pages, and lines by comparing with a twin, as mprotect (simulator)");
    puts("coroutine      mprotect's own traps in virtual time: threads are coroutines (simulator, "
         "for programs)");
    return EMU_HELD;
}

static int list_fabrics(void)
{
    puts("tcp        libfabric, connected endpoints over TCP (default)");
    puts("sockets    libfabric's older sockets provider");
    puts("verbs      libfabric over RDMA devices, soft-RoCE among them");
    puts("sim        all nodes in one process, virtual time, everything from one seed");
    return EMU_HELD;
}

static int list_plants(void)
{
    for (int i = 0; i < FL_PLANT_COUNT; i++) {
        const struct fl_plant_info *info = fl_plant_info((enum fl_plant)i);

        printf("%-24s %-4s %s\n", info->id, info->check, info->doc);
    }
    return EMU_HELD;
}

static int list_sites(void)
{
    for (int i = FL_SITE_NONE + 1; i < FL_SITE_COUNT; i++) {
        const struct fl_site_info *info = fl_site_info((enum fl_site)i);

        printf("%-16s %-2s a: %-12s b: %-12s %s\n", info->name, info->mech, info->a, info->b,
               info->doc);
    }
    return EMU_HELD;
}

static int list_faults(void)
{
    for (int i = 0; i < TP_FAULT_COUNT; i++) {
        const struct tp_fault_info *info = tp_fault_info((enum tp_fault_kind)i);

        printf("%-18s %s\n", info->name, info->doc);
    }
    return EMU_HELD;
}

/** The table that the loader, --set and the plan follow. */
static int list_settings(void)
{
    for (int o = PLAN_OBJ_RUN; o <= PLAN_OBJ_WORKLOAD; o++) {
        size_t n;
        const struct plan_field *f = plan_fields((enum plan_obj)o, &n);

        for (size_t i = 0; i < n; i++)
            printf("%-10s %-16s %-9s %s%s\n", plan_obj_name((enum plan_obj)o), f[i].key,
                   f[i].dflt == NULL      ? "(needed)"
                   : f[i].dflt[0] != '\0' ? f[i].dflt
                                          : "-",
                   f[i].doc,
                   f[i].roles == PLAN_ROLE_COMPUTE  ? " (compute nodes)"
                   : f[i].roles == PLAN_ROLE_MEMORY ? " (memory nodes)"
                                                    : "");
    }
    return EMU_HELD;
}

static const struct {
    const char *name;
    int (*fn)(void);
} lists[] = {{"scenarios", list_scenarios}, {"trackers", list_trackers},
             {"fabrics", list_fabrics},     {"plants", list_plants},
             {"sites", list_sites},         {"settings", list_settings},
             {"faults", list_faults}};

int cmd_list(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < sizeof(lists) / sizeof(lists[0]); i++)
        if (strcmp(argv[1], lists[i].name) == 0)
            return lists[i].fn();
    return cmd_usage("usage: farline list scenarios|trackers|fabrics|plants|sites|settings|faults");
}

/* --- explain -------------------------------------------------------------------------------- */

static void part(const char *label, const char *text)
{
    if (text != NULL && text[0] != '\0')
        printf("  %-10s %s\n", label, text);
}

static void explain_id(const struct fl_id_info *id)
{
    const char *mech = fl_id_mech_name(id->mech);

    printf("%s  %s\n", id->id, id->title);
    part("mechanism", mech);
    part(id->kind == FL_ID_FAULT ? "fault" : "invariant", id->text);
    part("why", id->why);
    part(id->kind == FL_ID_FAULT ? "wrong" : "violation", id->violation);
    part("checked by", id->oracle != NULL ? id->oracle : "not checked in this version");
    part("scenario", id->scenario);
    part("plant", id->plant);
}

static bool explain_other(const char *word)
{
    enum fl_site site = fl_site_find(word);

    for (int i = 0; i < FL_PLANT_COUNT; i++) {
        const struct fl_plant_info *info = fl_plant_info((enum fl_plant)i);

        if (strcmp(info->id, word) != 0)
            continue;
        printf("%s  planted bug: %s\n", info->id, info->doc);
        part("check", info->check);
        return true;
    }
    if (site == FL_SITE_NONE)
        return false;
    const struct fl_site_info *info = fl_site_info(site);
    printf("%s  site: %s\n", info->name, info->doc);
    part("mechanism", info->mech);
    part("a", info->a);
    part("b", info->b);
    return true;
}

int cmd_explain(int argc, char **argv)
{
    if (argc != 2)
        return cmd_usage("usage: farline explain ID, such as W3, M-f2, a plant or a site");
    const struct fl_id_info *id = fl_id_find(argv[1]);
    if (id != NULL) {
        explain_id(id);
        return EMU_HELD;
    }
    if (explain_other(argv[1]))
        return EMU_HELD;
    return cmd_usage("explain %s: there is no such id; invariants are W1 to W9, C1 to C8, M1 to "
                     "M8, P1 to P8, faults such as W-f2; see also `farline list plants` and "
                     "`farline list sites`",
                     argv[1]);
}

/* --- doctor --------------------------------------------------------------------------------- */

int cmd_doctor(int argc, char **argv)
{
    bool json = argc == 2 && strcmp(argv[1], "--json") == 0;

    if (argc > 2 || (argc == 2 && !json))
        return cmd_usage("usage: farline doctor [--json]");
    return emu_doctor(stdout, json);
}
