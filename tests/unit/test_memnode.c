/* SPDX-License-Identifier: Apache-2.0 */
/* The memory node's core: leases, bounds, and log batches applied once and in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "emu/mech/inspect.h"
#include "emu/mech/memnode.h"

enum { INSTALLS = 256, SENDS = 256 };

struct world {
    struct fl_env env;
    struct mn *mn;
    struct {
        uint16_t chunk;
        uint32_t page, idx;
        fl_mask mask;
    } installs[INSTALLS];
    struct fl_msg sends[SENDS];
    uint64_t tags[SENDS];
    uint16_t to[SENDS];
    int install_count, send_count;
    int sites[FL_SITE_COUNT];
    uint64_t records[8]; /* as stored */
    int installed_at[8]; /* installs before each */
    int record_count;
};

static void on_send(struct fl_env *e, uint16_t node, const struct fl_msg *m, uint64_t tag)
{
    struct world *w = (struct world *)e;

    w->sends[w->send_count] = *m;
    w->tags[w->send_count] = tag;
    w->to[w->send_count++] = node;
}

static void on_install(struct fl_env *e, uint16_t chunk, uint32_t page, fl_mask mask,
                       struct fl_src src)
{
    struct world *w = (struct world *)e;

    assert_int_equal(src.kind, FL_SRC_MSG);
    w->installs[w->install_count].chunk = chunk;
    w->installs[w->install_count].page = page;
    w->installs[w->install_count].idx = src.idx;
    w->installs[w->install_count++].mask = mask;
}

static void on_site(struct fl_env *e, enum fl_site id, uint16_t region, uint64_t a, uint64_t b)
{
    (void)region;
    (void)a;
    (void)b;
    ((struct world *)e)->sites[id]++;
}

static void on_store(struct fl_env *e, const struct fl_store *s)
{
    struct world *w = (struct world *)e;

    assert_int_equal(s->op, FL_STORE_RECORD);
    w->installed_at[w->record_count] = w->install_count;
    w->records[w->record_count++] = s->b;
}

static const struct fl_env_ops ops = {
    .send = on_send, .install = on_install, .site = on_site, .store = on_store};

static struct world *world_made(const char *plant, bool durable, uint64_t incarnation)
{
    struct mn_cfg cfg = {
        .chunk_count = 2, .chunk_pages = {8, 4}, .durable = durable, .incarnation = incarnation};
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    if (plant != NULL) {
        assert_int_equal(fl_plant_add(&cfg.plants, plant), FL_OK);
    }
    w->env.ops = &ops;
    w->mn = mn_init(calloc(1, mn_size(&cfg)), &cfg);
    return w;
}

static struct world *world_new(const char *plant)
{
    return world_made(plant, false, 1);
}

static void world_free(struct world *w)
{
    free(w->mn);
    free(w);
}

/* Delivers a message; the answer's status, 99 when there was none. */
static int deliver(struct world *w, uint16_t from, const struct fl_msg *m)
{
    int before = w->send_count;

    mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_MSG, .node = from, .msg = m});
    if (w->send_count == before) {
        return 99;
    }
    mn_step(w->mn, &w->env,
            &(struct fl_event){.kind = FL_EV_DONE, .tag = w->tags[w->send_count - 1]});
    assert_int_equal(w->to[w->send_count - 1], from);
    return w->sends[w->send_count - 1].status;
}

static int ask(struct world *w, uint8_t type, uint16_t from, uint16_t chunk, uint64_t epoch,
               uint32_t pages)
{
    return deliver(w, from,
                   &(struct fl_msg){.type = type, .chunk = chunk, .a = epoch, .count = pages});
}

static int open_chunk(struct world *w, uint16_t from, uint16_t chunk, uint64_t epoch)
{
    return ask(w, FL_MSG_OPEN_REQ, from, chunk, epoch, 4);
}

static struct fl_msg batch(uint64_t epoch, uint64_t seq, uint32_t page, uint64_t page_seq)
{
    return (struct fl_msg){.type = FL_MSG_LOG_BATCH,
                           .epoch = epoch,
                           .seq = seq,
                           .entry_count = 1,
                           .entries = {{.page = page, .mask = 5, .seq = page_seq}}};
}

static void configurations_are_checked(void **state)
{
    struct mn_cfg cfg = {.chunk_count = MN_CHUNKS_MAX + 1};
    struct fl_errmsg err;

    (void)state;
    assert_int_equal(mn_check(&cfg, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "chunk_count"));
    cfg.chunk_count = 2;
    cfg.chunk_pages[0] = cfg.chunk_pages[1] = UINT32_MAX / 2;
    assert_int_equal(mn_check(&cfg, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "chunk_pages"));
    cfg.chunk_pages[1] = cfg.chunk_pages[0] = 3;
    assert_int_equal(mn_check(&cfg, &err), FL_OK);
}

static void one_writer_at_a_time(void **state)
{
    struct world *w = world_new(NULL);

    (void)state;
    assert_int_equal(open_chunk(w, 1, 0, 10), FL_OK);
    assert_int_equal(w->sends[0].type, FL_MSG_OPEN_ACK);
    assert_int_equal(w->sends[0].a, 10);
    assert_int_equal(open_chunk(w, 1, 0, 10), FL_OK);     /* asked twice */
    assert_int_equal(open_chunk(w, 2, 0, 99), FL_ELEASE); /* another node */
    assert_int_equal(open_chunk(w, 2, 1, 99), FL_OK);     /* another chunk */
    assert_int_equal(open_chunk(w, 1, 0, 11), FL_OK);     /* the same node, restarted */
    assert_int_equal(open_chunk(w, 1, 0, 10), FL_EFENCED);
    assert_int_equal(ask(w, FL_MSG_CLOSE_REQ, 1, 0, 10, 0), FL_EFENCED);
    assert_int_equal(ask(w, FL_MSG_CLOSE_REQ, 2, 0, 11, 0), FL_EFENCED);
    assert_int_equal(ask(w, FL_MSG_CLOSE_REQ, 1, 0, 11, 0), FL_OK);
    assert_int_equal(open_chunk(w, 1, 0, 11), FL_EFENCED); /* late */
    assert_int_equal(open_chunk(w, 2, 0, 1), FL_OK);
    assert_int_equal(mn_stats(w->mn)->opens, 5);
    assert_int_equal(mn_stats(w->mn)->refused, 3);
    assert_int_equal(w->sites[FL_SITE_LEASE], 8);
    /* a lease outlives its holder's connection */
    mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_PEER_DOWN, .node = 2});
    assert_int_equal(open_chunk(w, 1, 0, 50), FL_ELEASE);
    world_free(w);
}

static void bounds_are_checked(void **state)
{
    struct world *w = world_new(NULL);
    struct fl_msg m;

    (void)state;
    assert_int_equal(ask(w, FL_MSG_OPEN_REQ, 1, 2, 10, 1), FL_EINVAL);
    assert_int_equal(ask(w, FL_MSG_OPEN_REQ, 1, 1, 10, 5), FL_ENOSPC);
    assert_int_equal(ask(w, FL_MSG_CLOSE_REQ, 1, 7, 10, 0), FL_EINVAL);
    assert_int_equal(open_chunk(w, 1, 0, 10), FL_OK);
    m = batch(10, 1, 8, 1);
    assert_int_equal(deliver(w, 1, &m), FL_EPROTO); /* page */
    m = batch(10, 1, 0, 1);
    m.entries[0].chunk = 2;
    assert_int_equal(deliver(w, 1, &m), FL_EPROTO);
    m = batch(10, 1, 0, 0);
    assert_int_equal(deliver(w, 1, &m), FL_EPROTO); /* no number */
    m = batch(10, 1, 0, UINT64_C(1) << 40);
    assert_int_equal(deliver(w, 1, &m), FL_EPROTO);
    m = batch(10, 1, 0, 1);
    m.entry_count = 0;
    assert_int_equal(deliver(w, 1, &m), FL_EPROTO);
    m.entry_count = FL_MSG_ENTRIES_MAX + 1;
    assert_int_equal(deliver(w, 1, &m), FL_EPROTO);
    m = batch(10, 1, 0, 1);
    m.type = FL_MSG_LOG_ACK;
    assert_int_equal(deliver(w, 1, &m), 99); /* not for us */
    assert_int_equal(w->install_count, 0);
    world_free(w);
}

/* W7 */
static void numbers_apply_once_and_in_order(void **state)
{
    struct world *w = world_new(NULL);
    struct fl_msg m;

    (void)state;
    open_chunk(w, 1, 0, 10);
    m = batch(10, 100, 3, 5);
    assert_int_equal(deliver(w, 1, &m), FL_OK);
    assert_int_equal(w->sends[w->send_count - 1].type, FL_MSG_LOG_ACK);
    assert_int_equal(w->sends[w->send_count - 1].seq, 100);
    assert_int_equal(w->install_count, 1);
    assert_int_equal(w->installs[0].page, 3);
    assert_int_equal(w->installs[0].mask, 5);
    assert_int_equal(deliver(w, 1, &m), FL_OK); /* twice: acknowledged, not applied */
    m = batch(10, 101, 3, 4);
    assert_int_equal(deliver(w, 1, &m), FL_OK); /* older */
    assert_int_equal(w->install_count, 1);
    assert_int_equal(mn_stats(w->mn)->stale, 2);
    assert_int_equal(w->sites[FL_SITE_LOG_STALE], 2);
    m = batch(10, 102, 3, 6);
    assert_int_equal(deliver(w, 1, &m), FL_OK);
    m = batch(10, 103, 4, 1);
    assert_int_equal(deliver(w, 1, &m), FL_OK); /* pages count on their own */
    assert_int_equal(w->install_count, 3);
    assert_int_equal(mn_applied_seq(w->mn, 0, 3), 6);
    assert_int_equal(mn_stats(w->mn)->lines, 6);
    assert_int_equal(mn_stats(w->mn)->payload_bytes, 6 * 64);
    assert_int_equal(w->sites[FL_SITE_LOG_RX], 5);
    assert_int_equal(w->sites[FL_SITE_LOG_COMMIT], 5);
    assert_int_equal(w->sites[FL_SITE_LOG_APPLY], 3);
    world_free(w);
}

static void a_batch_applies_whole_or_not_at_all(void **state)
{
    struct world *w = world_new(NULL);
    struct fl_msg m = batch(10, 1, 0, 1);

    (void)state;
    open_chunk(w, 1, 0, 10);
    m.entry_count = 3;
    m.entries[1] = (struct fl_msg_entry){.page = 1, .mask = 1, .seq = 1};
    m.entries[2] = (struct fl_msg_entry){.chunk = 1, .page = 1, .mask = 1, .seq = 1};
    assert_int_equal(deliver(w, 1, &m), FL_EFENCED); /* no lease of the last one's chunk */
    assert_int_equal(w->install_count, 0);
    assert_int_equal(w->sites[FL_SITE_LOG_COMMIT], 0);
    open_chunk(w, 1, 1, 10);
    assert_int_equal(deliver(w, 1, &m), FL_OK);
    assert_int_equal(w->install_count, 3);
    assert_int_equal(w->installs[2].idx, 2);
    world_free(w);
}

/* W-f7: the opener restarts and counts from the beginning; its late batches are fenced off. */
static void a_new_opener_counts_from_the_beginning(void **state)
{
    struct world *w = world_new(NULL);
    struct fl_msg old = batch(10, 1, 0, 900), m = batch(11, 1, 0, 1);

    (void)state;
    open_chunk(w, 1, 0, 10);
    assert_int_equal(deliver(w, 1, &old), FL_OK);
    assert_int_equal(deliver(w, 1, &m), FL_EFENCED);
    open_chunk(w, 1, 0, 11);
    old = batch(10, 2, 0, 901);
    assert_int_equal(deliver(w, 1, &old), FL_EFENCED);
    assert_int_equal(deliver(w, 1, &m), FL_OK);
    assert_int_equal(deliver(w, 2, &m), FL_EFENCED);
    assert_int_equal(w->install_count, 2);
    world_free(w);
}

static void answers_wait_for_credit(void **state)
{
    struct world *w = world_new(NULL);
    struct fl_msg m = {.type = FL_MSG_OPEN_REQ, .chunk = 0, .a = 10, .count = 1};

    (void)state;
    mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_MSG, .node = 1, .msg = &m});
    mn_step(w->mn, &w->env,
            &(struct fl_event){.kind = FL_EV_DONE, .tag = w->tags[0], .status = FL_EAGAIN});
    mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_CREDIT, .node = 2});
    assert_int_equal(w->send_count, 1);
    mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_CREDIT, .node = 1});
    assert_int_equal(w->send_count, 2);
    assert_memory_equal(&w->sends[0], &w->sends[1], sizeof w->sends[0]);
    mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_DONE, .tag = w->tags[1]});
    mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_CREDIT, .node = 1});
    assert_int_equal(w->send_count, 2);
    world_free(w);
}

static void too_many_waiting_answers_are_dropped(void **state)
{
    struct world *w = world_new(NULL);
    struct fl_msg m = {.type = FL_MSG_CLOSE_REQ, .chunk = 0, .a = 10};

    (void)state;
    for (int i = 0; i < 70; i++) {
        mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_MSG, .node = 1, .msg = &m});
    }
    assert_int_equal(w->send_count, 64);
    for (int i = 0; i < 64; i++) {
        mn_step(w->mn, &w->env,
                &(struct fl_event){.kind = FL_EV_DONE, .tag = w->tags[i], .status = FL_EAGAIN});
    }
    mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_PEER_DOWN, .node = 1});
    mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_CREDIT, .node = 1});
    assert_int_equal(w->send_count, 64); /* nobody is there to hear them */
    assert_int_equal(open_chunk(w, 2, 0, 1), FL_OK);
    world_free(w);
}

/* The record names what applies, before the first line and until after the last. */
static void a_lasting_pool_gets_a_record_around_each_batch(void **state)
{
    struct world *w = world_made(NULL, true, 1);
    struct fl_msg m = batch(10, 2, 3, 2);

    (void)state;
    assert_int_equal(open_chunk(w, 1, 0, 10), FL_OK);
    assert_int_equal(deliver(w, 1, &m), FL_OK);
    m.entry_count = 2; /* page 3 again with an old number, page 4 anew */
    m.entries[1] = (struct fl_msg_entry){.page = 4, .mask = 5, .seq = 1};
    assert_int_equal(deliver(w, 1, &m), FL_OK);
    assert_int_equal(w->record_count, 4);
    assert_true(w->records[0] == 1 && w->records[1] == 0);
    assert_true(w->records[2] == 2 && w->records[3] == 0);
    assert_int_equal(w->installed_at[0], 0);
    assert_int_equal(w->installed_at[1], 1);
    assert_int_equal(w->installed_at[2], 1);
    assert_int_equal(w->installed_at[3], 2);
    world_free(w);
}

static void coming_back_passes_a_site(void **state)
{
    (void)state;
    for (uint64_t life = 1; life <= 2; life++) {
        struct world *w = world_made(NULL, true, life);

        mn_step(w->mn, &w->env, &(struct fl_event){.kind = FL_EV_START});
        assert_int_equal(w->sites[FL_SITE_RESTART], life - 1);
        /* No lease has outlived it: whoever asks first gets one. */
        assert_int_equal(open_chunk(w, 2, 0, 1), FL_OK);
        world_free(w);
    }
}

static void plant_no_commit_record(void **state)
{
    struct world *w = world_made("W-no-commit-record", true, 1);
    struct fl_msg m = batch(10, 2, 3, 2);

    (void)state;
    assert_int_equal(open_chunk(w, 1, 0, 10), FL_OK);
    assert_int_equal(deliver(w, 1, &m), FL_OK);
    assert_int_equal(w->record_count, 0);
    assert_int_equal(w->install_count, 1);
    world_free(w);
}

static void plant_stale_seq(void **state)
{
    struct world *w = world_new("W-stale-seq");
    struct fl_msg m = batch(10, 1, 3, 5);

    (void)state;
    open_chunk(w, 1, 0, 10);
    deliver(w, 1, &m);
    deliver(w, 1, &m);
    assert_int_equal(w->install_count, 2);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations_are_checked),
        cmocka_unit_test(one_writer_at_a_time),
        cmocka_unit_test(bounds_are_checked),
        cmocka_unit_test(numbers_apply_once_and_in_order),
        cmocka_unit_test(a_batch_applies_whole_or_not_at_all),
        cmocka_unit_test(a_new_opener_counts_from_the_beginning),
        cmocka_unit_test(answers_wait_for_credit),
        cmocka_unit_test(too_many_waiting_answers_are_dropped),
        cmocka_unit_test(plant_stale_seq),
        cmocka_unit_test(a_lasting_pool_gets_a_record_around_each_batch),
        cmocka_unit_test(coming_back_passes_a_site),
        cmocka_unit_test(plant_no_commit_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
