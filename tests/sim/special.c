/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/special.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "emu/base/evq.h"
#include "emu/cmd.h"
#include "emu/node.h"
#include "tests/support/runs.h"

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
struct result *sim_old_numbers(uint64_t seed, const char *plant, const char *blind)
{
    struct plan *p = sim_plan(seed, 1, 32, PLAN_RANDOM, 1, 1);
    struct talk t = {0};
    struct result *r = result_new();
    sim_plant(p, plant);
    sim_plant(p, blind);
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
struct result *sim_thresholds(uint64_t seed, const char *plant, const char *blind)
{
    char number[24], path[700];
    const char *out = runs_path("thresholds");
    const char *argv[16] = {"run", "scenarios/writeback/threshold.lua", "--fabric", "sim"};
    int argc = 4, keep = dup(STDOUT_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_true(null >= 0 && keep >= 0);
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
    return r;
}
