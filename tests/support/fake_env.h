/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A scripted world for one write-back core and the memory behind it. Every call is kept in a list
 * until the test answers it; lines are version numbers, not bytes. Pages of all regions are
 * numbered through: page of region r is r * FK_PAGES + page.
 */
#ifndef TESTS_FAKE_ENV_H
#define TESTS_FAKE_ENV_H

#include "emu/base/env.h"
#include "emu/mech/memnode.h"
#include "emu/mech/writeback.h"
#include "emu/mech/writeback_rows.h"

enum {
    FK_PAGES = 64,
    FK_REGIONS = 3,
    FK_BUFS = 64,
    FK_CALLS = 4096,
    FK_RESUMES = 4096,
    FK_TIMERS = 256,
    FK_SITES = 65536
};

struct fk_call {
    enum fl_call kind;
    bool answered;
    uint64_t tag;
    uint16_t node, region;
    uint32_t page, count;
    enum fl_prot prot;
    enum fl_map_kind map;
    struct fl_rma rma;
    struct fl_msg msg;
    uint32_t lines[FL_MSG_ENTRIES_MAX][FL_PAGE_LINES]; /* send: copied during the call */
};

struct fk_page {
    enum fl_prot prot;
    bool twin, present;
    bool exact; /* stores report their lines */
    uint32_t live[FL_PAGE_LINES], old[FL_PAGE_LINES], remote[FL_PAGE_LINES];
    uint32_t shadow[FL_PAGE_LINES]; /* what the application stored last */
};

struct fake {
    struct fl_env env;
    struct wb *wb;
    struct wb_cfg cfg;
    struct fk_page pages[FK_REGIONS * FK_PAGES];
    uint32_t bufs[FK_BUFS][FL_PAGE_LINES];
    struct fk_call calls[FK_CALLS];
    uint32_t call_count;
    struct {
        uint32_t ticket;
        int status;
    } resumes[FK_RESUMES];
    uint32_t resume_count;
    struct {
        uint64_t tag, after_ns;
    } timers[FK_TIMERS];
    uint32_t timer_count;
    uint32_t sites[FL_SITE_COUNT]; /* how often each was passed */
    uint64_t now_ns;
    uint32_t version;
    uint64_t rows; /* taken by all cores of this fixture */
};

/** A configuration that works: 1 region of 8 pages on node 1, capacity 4, 1 thread. */
struct wb_cfg fk_cfg(void);

struct fake *fk_new(const struct wb_cfg *cfg);
void fk_free(struct fake **f);

/** Delivers an event. */
void fk_ev(struct fake *f, struct fl_event ev);
#define FK_EV(f, ...) fk_ev((f), (struct fl_event){__VA_ARGS__})

/** Opens the region and answers everything. */
void fk_open(struct fake *f, uint16_t region);

/** A new one with region 0 open. */
struct fake *fk_opened(const struct wb_cfg *cfg);

/** Page 0 has line @line in flight; the write is returned. */
struct fk_call *fk_in_flight(struct fake *f, unsigned line);

/** Oldest unanswered call of this kind, NULL when there is none. */
struct fk_call *fk_find(struct fake *f, enum fl_call kind);
/** As fk_find, for a page; read and write are told apart by @kind. */
struct fk_call *fk_find_page(struct fake *f, enum fl_call kind, uint32_t page);
uint32_t fk_pending(struct fake *f, enum fl_call kind);
/** All calls of this kind ever made. */
uint32_t fk_count(struct fake *f, enum fl_call kind);
/** Last message of this type that was sent; NULL when none was. */
const struct fl_msg *fk_sent(struct fake *f, uint8_t type);

/** Answers a call. FL_OK does what was asked; requests to a memory node also get their answers. */
void fk_answer(struct fake *f, struct fk_call *c, int status);
/** The same, but a message's own answer is left to the test. */
void fk_done(struct fake *f, struct fk_call *c, int status);
/** Answers everything with FL_OK until nothing is open; false after too many steps. */
bool fk_run(struct fake *f);
/** Fires the armed timer of this kind (first that is armed); false when none is. */
bool fk_fire(struct fake *f, unsigned kind);
bool fk_armed(struct fake *f, unsigned kind);

/** A thread's access: goes through or sends the miss, as a tracker would. True: went through. */
bool fk_load(struct fake *f, uint32_t ticket, uint16_t region, uint32_t page);
bool fk_store(struct fake *f, uint32_t ticket, uint16_t region, uint32_t page, unsigned line);
/** Access with everything answered; the store or load has then happened. */
void fk_touch(struct fake *f, uint32_t ticket, uint16_t region, uint32_t page);
void fk_write(struct fake *f, uint32_t ticket, uint16_t region, uint32_t page, unsigned line);

/** Last status given to this ticket; 1 when it was never resumed. */
int fk_status(struct fake *f, uint32_t ticket);
enum wb_page_state fk_state(struct fake *f, uint32_t page);
/** Lines of the region whose remote version is not what was stored last. */
uint32_t fk_differ(struct fake *f, uint16_t region);

#endif
