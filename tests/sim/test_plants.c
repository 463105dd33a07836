/* SPDX-License-Identifier: Apache-2.0 */
/* Each planted bug of the table is caught by its own oracle within a few seeds, and blinding that
 * oracle changes exactly its id. Where a bug needs more than a plain run: CASES. */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emu/base/evq.h"
#include "emu/cmd.h"
#include "emu/mech/writeback.h"
#include "emu/node.h"
#include "tests/sim/plans.h"

enum { SEEDS = 100 };

static void plant_add(struct plan *p, const char *plant)
{
    if (plant)
        assert_int_equal(fl_plant_add(&p->plants, plant), FL_OK);
}

static struct plan *plan_of(uint64_t seed, const char *plant)
{
    struct plan *p = sim_plan(seed, 2, 32, PLAN_RANDOM, 3, 600);
    p->workloads[0].len_bytes = 100;
    p->regions[0].path = seed % 2 ? WB_DIRECT : WB_LOG;
    p->regions[0].sample_ns = FL_NEVER;
    p->nodes[0].device_memory_bytes = (12 + seed % 3 * 6) * FL_PAGE_BYTES;
    p->nodes[0].dclb_lines = seed % 4 ? 4096 : 8;
    snprintf(p->checks[p->check_count++], sizeof p->checks[0], "W6");
    plant_add(p, plant);
    return p;
}

/** Answers or requests are lost for a while, so that writes are sent again. */
static void cut(struct plan *p)
{
    struct plan_step *s =
        sim_step(p, PLAN_CUT, p->seed % 3 ? "c0" : "m0",
                 p->seed % 2 ? FL_SITE_FLUSH_POST : FL_SITE_FLUSH_ACK, 1 + p->seed % 9);
    s->target2 = (uint16_t)(s->target ? 0 : 1);
    s->for_ns = (1 + p->seed % 10) * FL_NS_PER_MS;
    p->regions[0].op_deadline_ns = 2 * FL_NS_PER_MS;
    p->nodes[0].retry_max = 20;
    p->check_count--; /* W6 bounds what waits for a period, not for a link that is cut */
}

/* --- two numbers at a memory node, the older one last ------------------------------------------ */

/* A node that sends what the test says to a real memory node, over the simulated fabric. */
struct talk {
    struct fl_evq *q;
    struct tp_simnet *net;
    struct tp_port *port; /* of the test, as node 0 */
    struct emu_node *mem;
    int up, acks;
};

static void t_done(void *arg, uint64_t tag, int status)
{
    (void)arg;
    (void)tag;
    assert_int_equal(status, FL_OK);
}

static void t_msg(void *arg, uint16_t peer, const struct fl_msg *m, const uint8_t *payload,
                  size_t payload_bytes)
{
    struct talk *t = arg;
    (void)peer;
    (void)payload;
    (void)payload_bytes;
    assert_int_equal(m->status, FL_OK);
    t->acks++;
}

static void t_credit(void *arg, uint16_t peer, enum fl_class cls)
{
    (void)arg;
    (void)peer;
    (void)cls;
}

static void t_up(void *arg, uint16_t peer, uint64_t incarnation)
{
    struct talk *t = arg;
    (void)peer;
    (void)incarnation;
    t->up++;
}

static void t_down(void *arg, uint16_t peer, uint64_t incarnation, int cause)
{
    (void)arg;
    (void)incarnation;
    fail_msg("node %u is down: %d", peer, cause);
}

static void t_landed(void *arg, uint16_t peer, uint32_t bytes)
{
    (void)arg;
    (void)peer;
    (void)bytes;
}

static uint64_t l_now(void *arg)
{
    return fl_evq_now_ns(((struct talk *)arg)->q);
}

static void l_run(void *arg, uint64_t a, uint64_t b)
{
    struct talk *t = arg;
    (void)a;
    (void)b;
    emu_node_run(t->mem);
}

static void l_wake_at(void *arg, struct emu_node *n, uint64_t at_ns)
{
    struct talk *t = arg;
    (void)n;
    if (at_ns != FL_NEVER)
        fl_evq_at(t->q, at_ns, l_run, t, 0, 0);
}

static void l_wake_soon(void *arg, struct emu_node *n)
{
    l_wake_at(arg, n, 0);
}

static void l_site(void *arg, struct emu_node *n, enum fl_site site, uint64_t nth)
{
    (void)arg;
    (void)n;
    (void)site;
    (void)nth;
}

static void l_answer(void *arg, struct emu_node *n, uint32_t ticket, int status)
{
    (void)arg;
    (void)n;
    (void)ticket;
    (void)status;
}

/* Runs until @count is reached; fails when nothing is left to happen or time runs away. */
static void talk_until(struct talk *t, const int *count, int want)
{
    while (*count < want)
        if (!fl_evq_step(t->q) || fl_evq_now_ns(t->q) > FL_NS_PER_S)
            fail_msg("%d of %d answers", *count, want);
}

static void talk_start(struct talk *t, const struct plan *p)
{
    struct tp_handler test = {t, t_done, t_msg, t_credit, t_up, t_down, t_landed};
    struct tp_addr addr;
    struct tp_port *port;
    struct tp_cfg cfg;
    const struct emu_node_cfg node = {.plan = p,
                                      .self = 1,
                                      .incarnation = 1,
                                      .loop = {.arg = t,
                                               .now_ns = l_now,
                                               .wake_at = l_wake_at,
                                               .wake_soon = l_wake_soon,
                                               .site = l_site,
                                               .answer = l_answer},
                                      .oracles = true};
    t->q = fl_evq_new();
    t->net = tp_simnet_new(t->q, p->seed, p->node_count);
    assert_int_equal(emu_node_new(&node, &t->mem, NULL), FL_OK);
    struct tp_handler mem = emu_node_handler(t->mem);
    emu_node_port_cfg(p, 1, &cfg);
    assert_int_equal(tp_sim_new(t->net, &cfg, &mem, &port, NULL), FL_OK);
    assert_int_equal(emu_node_attach(t->mem, port, NULL), FL_OK);
    assert_int_equal(port->ops->listen(port, &addr, NULL), FL_OK);
    emu_node_port_cfg(p, 0, &cfg);
    assert_int_equal(tp_sim_new(t->net, &cfg, &test, &t->port, NULL), FL_OK);
    emu_node_start(t->mem);
    assert_int_equal(t->port->ops->connect(t->port, 1, &addr, NULL), FL_OK);
    talk_until(t, &t->up, 1);
}

static void talk_send(struct talk *t, const struct fl_msg *m)
{
    static uint8_t page[FL_PAGE_BYTES];
    const uint8_t *lines[FL_MSG_ENTRIES_MAX] = {page};
    page[0] = (uint8_t)m->seq;
    t->port->ops->send(t->port, 1, m, lines, m->seq);
    talk_until(t, &t->acks, t->acks + 1);
}

/* Write-backs 1 and 2 of a page; then 2 comes again, as from a network that repeats, then 1. */
static struct result *old_numbers(uint64_t seed, const char *plant, const char *blind)
{
    struct plan *p = sim_plan(seed, 1, 32, PLAN_RANDOM, 1, 1);
    struct talk t = {0};
    struct result *r = result_new();
    plant_add(p, plant);
    plant_add(p, blind);
    talk_start(&t, p);
    talk_send(&t, &(struct fl_msg){.type = FL_MSG_OPEN_REQ, .count = 32, .epoch = 1, .a = 1});
    static const uint64_t numbers[] = {1, 2, 2, 1};
    for (uint64_t i = 0; i < 4; i++)
        talk_send(&t, &(struct fl_msg){.type = FL_MSG_LOG_BATCH,
                                       .epoch = 1,
                                       .seq = i + 1,
                                       .count = 1,
                                       .entry_count = 1,
                                       .entries = {{.page = 3, .mask = 1, .seq = numbers[i]}}});
    oracle_report(emu_node_oracle(t.mem), r);
    t.port->ops->close(&t.port);
    emu_node_free(&t.mem);
    tp_simnet_free(&t.net);
    fl_evq_free(&t.q);
    free(p);
    return r;
}

/* --- the image of several thresholds, judged by the command ------------------------------------- */

/* Runs the command silently; its verdict.json as a result's checks. */
static struct result *thresholds(uint64_t seed, const char *plant, const char *blind)
{
    char dir[] = "/tmp/plants-XXXXXX", out[64], number[24], path[96];
    const char *argv[16] = {"run", "scenarios/writeback/threshold.lua", "--fabric", "sim"};
    int argc = 4, keep = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_non_null(mkdtemp(dir));
    snprintf(out, sizeof out, "%s/run", dir);
    snprintf(number, sizeof number, "%llu", (unsigned long long)seed);
    const char *more[] = {
        "--out", out, "--seed", number, plant ? "--plant" : NULL, plant, blind ? "--plant" : NULL,
        blind};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (more[i])
            argv[argc++] = more[i];
    fflush(stdout);
    assert_true(dup2(null, STDOUT_FILENO) >= 0);
    int rc = cmd_run(argc, (char **)(uintptr_t)argv);
    fflush(stdout);
    assert_true(dup2(keep, STDOUT_FILENO) >= 0);
    close(keep);
    close(null);
    assert_int_equal(rc, plant ? EMU_VIOLATED : EMU_HELD);
    snprintf(path, sizeof path, "%s/verdict.json", out);
    json_t *j = json_load_file(path, 0, NULL), *checks = json_object_get(j, "checks"), *v;
    size_t i;
    struct result *r = result_new();
    json_array_foreach(checks, i, v)
    {
        struct result_check *c = result_check(r, json_string_value(json_object_get(v, "id")),
                                              json_string_value(json_object_get(v, "unit")));
        c->checked = (uint64_t)json_integer_value(json_object_get(v, "checked"));
        c->violated = (uint64_t)json_integer_value(json_object_get(v, "violated"));
    }
    assert_true(r->check_count > 0);
    json_decref(j);
    snprintf(path, sizeof path, "rm -rf %s", dir);
    assert_int_equal(system(path), 0); /* NOLINT(cert-env33-c): a name of our own */
    return r;
}

/* --- the table ---------------------------------------------------------------------------------- */

static struct result *simulated(uint64_t seed, const char *plant, const char *blind, bool with_cut)
{
    struct plan *p = plan_of(seed, plant);
    if (with_cut)
        cut(p);
    plant_add(p, blind);
    struct result *r = sim_run(p, "actor");
    free(p);
    return r;
}

static struct result *plain(uint64_t seed, const char *plant, const char *blind)
{
    return simulated(seed, plant, blind, false);
}

static struct result *with_a_cut(uint64_t seed, const char *plant, const char *blind)
{
    return simulated(seed, plant, blind, true);
}

typedef struct result *run_fn(uint64_t seed, const char *plant, const char *blind);

/* Where a bug shows; a plain run for those that are not named. */
static const struct {
    enum fl_plant plant;
    run_fn *run;
} CASES[] = {
    {FL_PLANT_SKIP_FENCE, with_a_cut},
    {FL_PLANT_STALE_SEQ, old_numbers},
    {FL_PLANT_COARSE_LINES, thresholds},
};

static run_fn *run_of(enum fl_plant x)
{
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        if (CASES[i].plant == x)
            return CASES[i].run;
    return plain;
}

/* The first seed at which @x is caught by its own check; its result. */
static struct result *first_catch(enum fl_plant x, uint64_t *ret_seed)
{
    const struct fl_plant_info *info = fl_plant_info(x);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct result *r = run_of(x)(seed, info->id, NULL);
        if (sim_violated(r, info->check) > 0) {
            *ret_seed = seed;
            return r;
        }
        result_free(&r);
    }
    fail_msg("%s was not caught by %s within %d seeds", info->id, info->check, SEEDS);
    return NULL;
}

static const struct result_check *check_in(const struct result *r, const char *id)
{
    for (size_t k = 0; k < r->check_count; k++)
        if (strcmp(r->checks[k].id, id) == 0)
            return &r->checks[k];
    fail_msg("no check %s", id);
    return NULL;
}

/* The run without the plant holds, the same oracle having looked. */
static void holds_without(enum fl_plant x, uint64_t seed)
{
    struct result *r = run_of(x)(seed, NULL, NULL);
    for (size_t k = 0; k < r->check_count; k++)
        assert_int_equal(r->checks[k].violated, 0);
    assert_true(check_in(r, fl_plant_info(x)->check)->checked > 0);
    result_free(&r);
}

static void blinding_changes_only(enum fl_plant x, uint64_t seed, const struct result *r)
{
    const struct fl_plant_info *info = fl_plant_info(x);
    char blind[32];
    snprintf(blind, sizeof blind, "blind-%s", info->check);
    struct result *b = run_of(x)(seed, info->id, blind);
    assert_true(b->trace_hash == r->trace_hash); /* oracles only watch */
    assert_int_equal(b->check_count, r->check_count);
    for (size_t k = 0; k < r->check_count; k++) {
        const struct result_check *was = &r->checks[k], *is = check_in(b, was->id);
        bool own = strcmp(was->id, info->check) == 0;
        assert_int_equal(is->violated, own ? 0 : was->violated);
        assert_int_equal(is->checked, own ? 0 : was->checked);
    }
    result_free(&b);
}

static void every_planted_bug_is_caught_and_only_its_oracle_goes_blind(void **state)
{
    (void)state;
    bool seen[10] = {false};
    for (int i = 0; i < FL_PLANT_COUNT; i++) {
        const struct fl_plant_info *info = fl_plant_info((enum fl_plant)i);
        uint64_t seed = 0;
        if (strncmp(info->id, "blind-", 6) == 0)
            continue;
        struct result *r = first_catch((enum fl_plant)i, &seed);
        print_message("%s: caught by %s at seed %d\n", info->id, info->check, (int)seed);
        holds_without((enum fl_plant)i, seed);
        blinding_changes_only((enum fl_plant)i, seed, r);
        seen[info->check[1] - '0'] = true;
        result_free(&r);
    }
    for (int w = 1; w <= 9; w++)
        if (!seen[w])
            fail_msg("no planted bug for W%d", w);
}

/* The same plans without a plant: what is caught is the plant. */
static void nothing_is_caught_where_nothing_is_planted(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        for (int with_cut = 0; with_cut < 2; with_cut++) {
            struct plan *p = plan_of(seed, NULL);
            if (with_cut)
                cut(p);
            struct result *r = sim_run(p, "actor");
            for (size_t k = 0; k < r->check_count; k++)
                if (r->checks[k].violated)
                    fail_msg("seed %d: %s: %s", (int)seed, r->checks[k].id, r->checks[k].first);
            result_free(&r);
            free(p);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_planted_bug_is_caught_and_only_its_oracle_goes_blind),
        cmocka_unit_test(nothing_is_caught_where_nothing_is_planted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
