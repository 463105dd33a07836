/* SPDX-License-Identifier: Apache-2.0 */
/* A node's side of the control protocol: what the coordinator asks, what the node reports. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/base/log.h"
#include "emu/image.h"
#include "emu/world_real.h"

enum { RANGE_PAGES_MAX = 65536, DIGEST_HEX = 16 };

static const char *text_of(const json_t *m, const char *key)
{
    const char *s = json_string_value(json_object_get(m, key));
    return s ? s : "";
}

/** Member @key as a number in 0..@max, or -1. */
static int64_t number_of(const json_t *m, const char *key, int64_t max)
{
    const json_t *v = json_object_get(m, key);
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
    return n >= 0 && n <= max ? n : -1;
}

void rw_tell_failure(struct rw *w, int status, const char *cause)
{
    fl_log(FL_LOG_ERROR, "%s", cause);
    if (w->conn && ctl_is_up(w->conn)) {
        ctl_send(w->conn,
                 json_pack("{s:s,s:i,s:s}", "t", "failed", "status", status, "cause", cause));
        ctl_flush(w->conn, fl_clock_ns() + 2 * FL_NS_PER_S);
    }
}

static void give_up(struct rw *w, int status, const char *cause)
{
    rw_tell_failure(w, status, cause);
    rw_exit(1);
}

/* --- plan and peers ------------------------------------------------------------------------- */

static const char *const wait_names[] = {
    [COH_WAIT_ADAPTIVE] = "adaptive", [COH_WAIT_BLOCK] = "block", [COH_WAIT_SPIN] = "spin"};

static bool names_step(const json_t *m, const char *key, int step)
{
    const json_t *list = json_object_get(m, key);
    for (size_t k = 0; k < json_array_size(list); k++)
        if (json_integer_value(json_array_get(list, k)) == step)
            return true;
    return false;
}

static int take_settings(struct rw *w, const json_t *m, struct fl_errmsg *err)
{
    int rv = plan_from_json(text_of(m, "plan"), w->plan, err);
    if (!rv)
        rv = plan_validate(w->plan, err);
    if (rv)
        return rv;
    int64_t index = number_of(m, "index", w->plan->node_count - 1);
    if (index < 0 || strcmp(w->plan->nodes[index].name, w->name) != 0)
        return fl_fail(err, FL_EPROTO, "the plan has no node %s at the place it was given",
                       w->name);
    w->self = (uint16_t)index;
    snprintf(w->fabric, sizeof(w->fabric), "%s", text_of(m, "fabric"));
    w->external = json_is_true(json_object_get(m, "external"));
    if (!w->bind[0]) /* its own comes first */
        snprintf(w->bind, sizeof(w->bind), "%s", text_of(m, "bind"));
    int64_t incarnation = number_of(m, "incarnation", UINT32_MAX);
    w->incarnation = incarnation > 1 ? (uint64_t)incarnation : 1;
    for (int i = 0; i < w->plan->step_count; i++) {
        w->faults[i].spent = names_step(m, "spent", i);
        w->faults[i].early = names_step(m, "armed", i);
        w->faults[i].driver = names_step(m, "driver", i);
    }
    rv = rw_memory_map(w, (int)number_of(m, "memory_fd", 65535), err);
    if (rv)
        return rv;
    for (int i = 0; i < 3; i++)
        if (!strcmp(text_of(m, "wait"), wait_names[i]))
            w->wait = i;
    int64_t epoch = number_of(m, "epoch_ns", INT64_MAX);
    w->epoch_ns = epoch > 0 && (uint64_t)epoch < fl_clock_ns() ? (uint64_t)epoch : fl_clock_ns();
    const char *path = text_of(m, "trace");
    rv = path[0] ? history_open(path, w->plan, &w->history, err) : FL_OK;
    if (!rv && w->history && !(w->trace = fl_trace_new(history_sink, w->history)))
        rv = fl_fail(err, FL_ENOMEM, "out of memory");
    return rv;
}

static void on_life_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    give_up(arg, FL_ETIMEDOUT, "the coordinator neither ended the run nor left within its time");
}

/** Its end is normally the coordinator's to say; this is for one that hangs. */
static void limit_life(struct rw *w)
{
    struct timeval tv = {(time_t)(w->plan->run_deadline_ns / FL_NS_PER_S) + RW_LIFE_S, 0};
    w->life_ev = evtimer_new(w->base, on_life_over, w);
    if (!w->life_ev || evtimer_add(w->life_ev, &tv))
        give_up(w, FL_ENOMEM, "out of memory");
}

static void take_plan(struct rw *w, const json_t *m)
{
    struct fl_errmsg err = {{0}};
    struct tp_addr addr = {0};
    char hex[2 * TP_ADDR_MAX + 1];
    if (w->node)
        give_up(w, FL_EPROTO, "a second plan arrived");
    int rv = take_settings(w, m, &err);
    if (!rv)
        rv = rw_make(w, &addr, &err);
    if (rv && w->node)
        rw_hits_tell(w, false);
    if (rv)
        give_up(w, rv, err.text);
    if (w->external)
        limit_life(w);
    ctl_hex(addr.bytes, addr.len, hex);
    fl_log(FL_LOG_INFO, "ready: %s node over %s, process %d",
           w->plan->nodes[w->self].role == PLAN_COMPUTE ? "compute" : "memory", w->fabric,
           (int)getpid());
    ctl_send(w->conn, json_pack("{s:s,s:s,s:i,s:s}", "t", "ready", "addr", hex, "pid",
                                (int)getpid(), "host", w->bind));
}

void rw_connected(struct rw *w)
{
    if (!w->connecting || w->connected)
        return;
    for (uint16_t i = 0; i < w->plan->node_count; i++)
        if (w->peer_need[i] && !w->peer_up[i])
            return;
    w->connected = true;
    ctl_send(w->conn, json_pack("{s:s}", "t", "connected"));
}

/** Compute nodes connect, memory nodes wait for them. */
static void take_peers(struct rw *w, const json_t *m)
{
    const json_t *addrs = json_object_get(m, "addrs");
    struct fl_errmsg err = {{0}};
    if (!w->node || json_array_size(addrs) != w->plan->node_count)
        give_up(w, FL_EPROTO, "addresses came before the plan, or not one for each node");
    bool compute = w->plan->nodes[w->self].role == PLAN_COMPUTE;
    w->connecting = true;
    for (uint16_t i = 0; compute && i < w->plan->node_count; i++) {
        const char *hex = json_string_value(json_array_get(addrs, i));
        struct tp_addr a = {.len = (uint16_t)(hex ? strlen(hex) / 2 : 0)};
        if (!w->peer_need[i])
            continue;
        if (!hex || a.len > TP_ADDR_MAX || !ctl_unhex(hex, a.bytes, a.len))
            give_up(w, FL_EPROTO, "a peer's address cannot be read");
        if (w->port->ops->connect(w->port, i, &a, &err))
            give_up(w, FL_ECONN, err.text);
    }
    emu_node_start(w->node);
    rw_connected(w);
}

/* --- questions of the final compare --------------------------------------------------------- */

struct question {
    int64_t id, index, first, count;
};

static bool question_of(const json_t *m, const char *what, struct question *q)
{
    q->id = number_of(m, "id", UINT32_MAX);
    q->index = number_of(m, what, UINT16_MAX);
    q->first = number_of(m, "first", UINT32_MAX);
    q->count = number_of(m, "count", RANGE_PAGES_MAX);
    return q->id >= 0 && q->index >= 0 && q->first >= 0 && q->count > 0;
}

static void answer(struct rw *w, const char *type, const struct question *q, const char *hex)
{
    ctl_send(w->conn, json_pack("{s:s,s:I,s:s}", "t", type, "id", (json_int_t)q->id, "hex", hex));
}

static void answer_page(struct rw *w, const struct question *q, const uint8_t *page)
{
    char hex[2 * FL_PAGE_BYTES + 1] = "";
    if (page)
        ctl_hex(page, FL_PAGE_BYTES, hex);
    answer(w, "page", q, hex);
}

static void put_digest(char *dst, bool known, uint64_t digest)
{
    char one[DIGEST_HEX + 1];
    snprintf(one, sizeof(one), "%016" PRIx64, digest);
    memcpy(dst, known ? one : "----------------", DIGEST_HEX);
}

static void take_expect(struct rw *w, const struct question *q)
{
    char *hex = calloc((size_t)q->count * DIGEST_HEX + 1, 1);
    struct oracle *o = emu_node_oracle(w->node);
    for (int64_t i = 0; hex && i < q->count; i++) {
        uint64_t d = 0;
        bool known = o && q->index < w->plan->region_count &&
                     w->plan->regions[q->index].on == w->self && !w->close_status[q->index] &&
                     w->close_asked[q->index] &&
                     oracle_expect_digest(o, (uint16_t)q->index, (uint32_t)(q->first + i), &d);
        put_digest(hex + i * DIGEST_HEX, known, d);
    }
    answer(w, "digests", q, hex ? hex : "");
    free(hex);
}

static void take_image(struct rw *w, const struct question *q)
{
    uint32_t pages = 0;
    const uint8_t *mem = emu_node_chunk(w->node, (uint16_t)q->index, &pages);
    char *hex =
        mem && q->first + q->count <= pages ? calloc((size_t)q->count * DIGEST_HEX + 1, 1) : NULL;
    for (int64_t i = 0; hex && i < q->count; i++)
        put_digest(hex + i * DIGEST_HEX, true,
                   emu_image_page(mem + (q->first + i) * FL_PAGE_BYTES));
    answer(w, "digests", q, hex ? hex : "");
    free(hex);
}

static void take_expect_page(struct rw *w, const struct question *q)
{
    uint8_t page[FL_PAGE_BYTES];
    struct oracle *o = emu_node_oracle(w->node);
    bool known = o && q->index < w->plan->region_count &&
                 w->plan->regions[q->index].on == w->self &&
                 oracle_expect_page(o, (uint16_t)q->index, (uint32_t)q->first, page);
    answer_page(w, q, known ? page : NULL);
}

static void take_image_page(struct rw *w, const struct question *q)
{
    uint32_t pages = 0;
    const uint8_t *mem = emu_node_chunk(w->node, (uint16_t)q->index, &pages);
    answer_page(w, q, mem && q->first < pages ? mem + q->first * FL_PAGE_BYTES : NULL);
}

/** Who stored last in the line of byte @count - 1 of a page. */
static void take_writer(struct rw *w, const struct question *q)
{
    struct oracle *o = emu_node_oracle(w->node);
    struct result_first f = {.writer = ""};
    if (o && q->index < w->plan->region_count && w->plan->regions[q->index].on == w->self)
        (void)oracle_writer(o, (uint16_t)q->index,
                            (uint64_t)(q->first * FL_PAGE_BYTES + q->count - 1), &f);
    ctl_send(w->conn, json_pack("{s:s,s:I,s:s,s:I}", "t", "writer", "id", (json_int_t)q->id,
                                "writer", f.writer, "writer_ns", (json_int_t)f.writer_ns));
}

static const struct {
    const char *type, *what;
    void (*take)(struct rw *w, const struct question *q);
} questions[] = {{"expect", "region", take_expect},
                 {"image", "chunk", take_image},
                 {"expect_page", "region", take_expect_page},
                 {"image_page", "chunk", take_image_page},
                 {"writer", "region", take_writer}};

static bool take_question(struct rw *w, const char *type, const json_t *m)
{
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        struct question q;
        if (strcmp(type, questions[i].type) != 0)
            continue;
        if (!w->node || !question_of(m, questions[i].what, &q))
            give_up(w, FL_EPROTO, "a question of the coordinator cannot be read");
        questions[i].take(w, &q);
        return true;
    }
    return false;
}

/* --- reports -------------------------------------------------------------------------------- */

static void add_metric(void *arg, const char *name, double value)
{
    json_object_set_new(arg, name, json_real(value));
}

static void run_text(json_t *run, const char *what, const char *name, const char *text)
{
    char key[64];
    snprintf(key, sizeof(key), "%s.%.30s", what, name);
    json_object_set_new(run, key, json_string(text));
}

static void run_number(json_t *run, const char *what, const char *name, double v)
{
    char key[64];
    snprintf(key, sizeof(key), "%.30s.%s", what, name);
    json_object_set_new(run, key, json_real(v));
}

static void report_regions(struct rw *w, json_t *run)
{
    for (uint16_t r = 0; r < w->plan->region_count; r++) {
        const char *name = w->plan->regions[r].name;
        if (w->open_asked[r])
            run_text(run, "open", name, fl_errname(w->open_status[r]));
        if (w->close_asked[r]) {
            run_text(run, "close", name, fl_errname(w->close_status[r]));
            run_number(run, "close_ns", name, (double)w->close_ns[r]);
        }
    }
}

static void report_program(const struct rw_thread *t, const char *what, json_t *run)
{
    const struct native_result *n = &t->native;
    char hex[DIGEST_HEX + 1], key[64];
    run_number(run, what, "rows", (double)n->rows);
    run_number(run, what, "match", n->match && !t->status);
    run_number(run, what, "heap_bytes", (double)n->heap_bytes);
    snprintf(hex, sizeof(hex), "%016" PRIx64, n->checksum);
    snprintf(key, sizeof(key), "%.30s.checksum", what);
    json_object_set_new(run, key, json_string(hex));
}

/** By workload: its first error, and what a program found. "sqlite.rows" stands for the only
 * workload of its kind, NAME.rows for each. */
static void report_threads(struct rw *w, json_t *run, json_t *metrics)
{
    uint64_t accesses = 0, errors = 0;
    for (unsigned i = 0; i < w->thread_count; i++) {
        const struct rw_thread *t = &w->threads[i];
        const struct plan_workload *wl = &w->plan->workloads[t->workload];
        accesses += t->run.accesses;
        errors += t->errors;
        char key[64];
        snprintf(key, sizeof(key), "error.%.30s", wl->name);
        if (t->status || !json_object_get(run, key))
            json_object_set_new(run, key, json_string(fl_errname(t->status)));
        if (!work_is_actor(wl->kind)) {
            report_program(t, wl->name, run);
            report_program(t, wl->kind == PLAN_SQLITE ? "sqlite" : "lua", run);
        }
    }
    if (w->thread_count) {
        json_object_set_new(metrics, "accesses", json_real((double)accesses));
        json_object_set_new(metrics, "access_errors", json_real((double)errors));
    }
}

static void report_checks(struct rw *w, json_t *checks)
{
    struct oracle *o = emu_node_oracle(w->node);
    struct result *r = o ? result_new() : NULL;
    if (!r)
        return;
    oracle_report(o, r);
    for (size_t i = 0; i < r->check_count; i++) {
        const struct result_check *k = &r->checks[i];
        json_array_append_new(
            checks,
            json_pack("{s:s,s:s,s:I,s:I,s:s,s:s,s:s,s:s,s:I,s:I}", "id", k->id, "unit", k->unit,
                      "checked", (json_int_t)k->checked, "violated", (json_int_t)k->violated,
                      "first", k->first, "expected", k->what.expected, "seen", k->what.seen,
                      "writer", k->what.writer, "writer_ns", (json_int_t)k->what.writer_ns, "t_ns",
                      (json_int_t)k->what.t_ns));
    }
    result_free(&r);
}

void rw_report(struct rw *w, const char *type)
{
    json_t *metrics = json_object(), *run = json_object(), *checks = json_array();
    rw_hits_tell(w, false);
    emu_node_metrics(w->node, add_metric, metrics);
    report_regions(w, run);
    report_threads(w, run, metrics);
    report_checks(w, checks);
    ctl_send(w->conn, json_pack("{s:s,s:o,s:o,s:o,s:s}", "t", type, "metrics", metrics, "run", run,
                                "checks", checks, "trouble", w->trouble.text));
}

/* --- steps of the plan at sites ------------------------------------------------------------- */

/** The coordinator does it while this node stands still inside the site. */
static void site_ask(struct rw *w, int step)
{
    json_t *m = NULL;
    uint64_t deadline_ns = fl_clock_ns() + (uint64_t)RW_SITE_MS * FL_NS_PER_MS;
    ctl_send(w->conn, json_pack("{s:s,s:i}", "t", "site", "step", step));
    int rv = ctl_wait(w->conn, "fired", deadline_ns, &m);
    if (!rv && number_of(m, "step", step) != step)
        rv = FL_EPROTO;
    json_decref(m);
    if (rv == FL_ECONN)
        rw_exit(1); /* the coordinator is gone */
    if (rv)
        give_up(w, rv, "the coordinator did not carry out a step of the plan in time");
}

/** Ends this process where it stands. Process 1 of a container has no SIGKILL for itself. */
static _Noreturn void die(struct rw *w, int step)
{
    if (w->external && step >= 0) {
        ctl_send(w->conn, json_pack("{s:s,s:i}", "t", "dying", "step", step));
        ctl_flush(w->conn, fl_clock_ns() + 2 * FL_NS_PER_S);
    }
    kill(getpid(), SIGKILL);
    rw_exit(128 + SIGKILL);
}

void rw_site(void *arg, struct emu_node *n, enum fl_site site, uint64_t nth)
{
    struct rw *w = arg;
    (void)n;
    for (int i = 0; i < w->plan->step_count; i++) {
        const struct plan_step *s = &w->plan->steps[i];
        if (s->when != PLAN_AT_SITE || s->node != w->self || s->site != site || s->nth != nth ||
            w->faults[i].spent)
            continue;
        w->faults[i].spent = true;
        if (w->history)
            history_flush(w->history);
        if (s->action == PLAN_KILL && s->target == w->self)
            die(w, i);
        if (!w->faults[i].driver)
            rw_site_faults(w, i);
        site_ask(w, i);
    }
}

static void take_arm(struct rw *w, const json_t *m)
{
    int64_t step = number_of(m, "step", w->plan->step_count - 1);
    bool on = json_is_true(json_object_get(m, "on"));
    if (step < 0)
        give_up(w, FL_EPROTO, "the coordinator arms a step that the plan does not have");
    rw_step_set(w, (int)step, on);
    if (on)
        ctl_send(w->conn, json_pack("{s:s,s:I}", "t", "armed", "step", (json_int_t)step));
}

/** A node that was killed is back, at another address. */
static void take_peer(struct rw *w, const json_t *m)
{
    int64_t node = number_of(m, "node", w->plan->node_count - 1);
    const char *hex = text_of(m, "addr");
    struct tp_addr a = {.len = (uint16_t)(strlen(hex) / 2)};
    if (node < 0 || a.len > TP_ADDR_MAX || !ctl_unhex(hex, a.bytes, a.len))
        give_up(w, FL_EPROTO, "the address of a restarted node cannot be read");
    if (w->peer_need[node] && w->plan->nodes[w->self].role == PLAN_COMPUTE)
        rw_peer_back(w, (uint16_t)node, &a);
}

/* --- messages ------------------------------------------------------------------------------- */

static void on_msg(void *arg, struct ctl_conn *conn, const char *type, const json_t *m)
{
    struct rw *w = arg;
    (void)conn;
    if (!strcmp(type, "plan")) {
        take_plan(w, m);
    } else if (!strcmp(type, "peers")) {
        take_peers(w, m);
    } else if (!strcmp(type, "start") && w->connected) {
        rw_start(w);
    } else if (!strcmp(type, "finish") && w->node) {
        if (w->plan->nodes[w->self].role == PLAN_MEMORY)
            rw_report(w, "report");
    } else if (!strcmp(type, "arm") && w->node) {
        take_arm(w, m);
    } else if (!strcmp(type, "peer") && w->node) {
        take_peer(w, m);
    } else if (!strcmp(type, "die") && w->external) {
        die(w, -1);
    } else if (!strcmp(type, "stop")) {
        w->quit = true;
    } else if (!take_question(w, type, m)) {
        give_up(w, FL_EPROTO, "the coordinator sent an unexpected message");
    }
}

static bool on_up(void *arg, struct ctl_conn *conn, const char *name)
{
    (void)arg;
    (void)conn;
    (void)name;
    return true;
}

/** Nothing that this node does is of use without its coordinator. */
static void on_down(void *arg, struct ctl_conn *conn, int cause, const char *why)
{
    (void)arg;
    (void)conn;
    fl_log(FL_LOG_ERROR, "control connection: %s (%s)", why, fl_errname(cause));
    rw_exit(1);
}

const struct ctl_handler rw_ctl_handler = {.up = on_up, .msg = on_msg, .down = on_down};
