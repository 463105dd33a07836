/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite in process, its heap in a region: a table of text lines with an index, a table of words,
 * transactions of every kind, integrity check, checksum over every row.
 */
#include <mimalloc.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "emu/base/rng.h"
#include "emu/native.h"

enum { ROWS_PER_TX = 200, CHANGES_PER_TX = 50, LINE_BYTES_MAX = 2000 };

/* --- the library's allocator ---------------------------------------------------------------- */

static void *mem_malloc(int n)
{
    return native_realloc(NULL, (size_t)n);
}

static void *mem_realloc(void *p, int n)
{
    return native_realloc(p, (size_t)n);
}

static int mem_size(void *p)
{
    return p ? (int)mi_usable_size(p) : 0;
}

static int mem_roundup(int n)
{
    return (int)mi_good_size((size_t)n);
}

static int mem_init(void *arg)
{
    (void)arg;
    return SQLITE_OK;
}

static void mem_shutdown(void *arg)
{
    (void)arg;
}

static int lib_status;
static atomic_bool lib_broken; /* a thread vanished from inside the library */

/* Everything that would keep rows outside of the heap, or share a heap between threads, is off. */
static void lib_init(void)
{
    static const sqlite3_mem_methods mem = {.xMalloc = mem_malloc,
                                            .xFree = native_free,
                                            .xRealloc = mem_realloc,
                                            .xSize = mem_size,
                                            .xRoundup = mem_roundup,
                                            .xInit = mem_init,
                                            .xShutdown = mem_shutdown};
    lib_status = sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    if (!lib_status)
        lib_status = sqlite3_config(SQLITE_CONFIG_MALLOC, &mem);
    if (!lib_status)
        lib_status = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (!lib_status)
        lib_status = sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
    if (!lib_status)
        lib_status = sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
    if (!lib_status)
        lib_status = sqlite3_initialize();
}

/* --- the program ---------------------------------------------------------------------------- */

struct text {
    char *bytes;
    const char **lines;
    int *lens;
    size_t count;
};

struct job {
    const struct text *text;
    uint64_t rows, seed;
    sqlite3 *db;
    struct fl_rng rng;
    XXH64_state_t *sum;
    uint64_t checksum, rows_end;
    int rv; /* enum fl_error */
    struct fl_errmsg *err;
};

static bool ok(struct job *j, int rc)
{
    if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW)
        return true;
    if (!j->rv && (rc & 0xff) == SQLITE_NOMEM)
        j->rv = fl_fail(j->err, FL_ENOMEM,
                        "sqlite: the region is full; make it larger or load fewer rows");
    else if (!j->rv)
        j->rv = fl_fail(j->err, FL_EINVAL, "sqlite: %s", j->db ? sqlite3_errmsg(j->db) : "error");
    return false;
}

static bool run(struct job *j, const char *sql)
{
    return ok(j, sqlite3_exec(j->db, sql, NULL, NULL, NULL));
}

static bool open_db(struct job *j)
{
    return ok(j, sqlite3_open(":memory:", &j->db)) &&
           run(j, "PRAGMA temp_store=MEMORY;"
                  "CREATE TABLE line(id INTEGER PRIMARY KEY, text TEXT NOT NULL, len INTEGER,"
                  "                  version INTEGER NOT NULL DEFAULT 0);"
                  "CREATE INDEX line_by_len ON line(len, text);"
                  "CREATE TABLE word(w TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;");
}

/** Runs a prepared statement to its end and resets it. */
static bool finish(struct job *j, sqlite3_stmt *st)
{
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW)
        ;
    return ok(j, rc) && ok(j, sqlite3_reset(st));
}

static int first_word(const char *s, int len)
{
    int n = 0;
    while (n < len && s[n] != ' ')
        n++;
    return n;
}

static bool load_rows(struct job *j, sqlite3_stmt *line, sqlite3_stmt *word)
{
    for (uint64_t i = 0; i < j->rows && !j->rv; i++) {
        size_t k = i % j->text->count;
        const char *s = j->text->lines[k];
        int len = j->text->lens[k];
        if (i % ROWS_PER_TX == 0 && !run(j, i ? "COMMIT; BEGIN" : "BEGIN"))
            break;
        sqlite3_bind_int64(line, 1, (sqlite3_int64)i);
        sqlite3_bind_text(line, 2, s, len, SQLITE_STATIC);
        sqlite3_bind_int(line, 3, len);
        sqlite3_bind_text(word, 1, s, first_word(s, len), SQLITE_STATIC);
        if (!finish(j, line) || !finish(j, word))
            break;
    }
    return !j->rv && run(j, "COMMIT");
}

static bool load(struct job *j)
{
    sqlite3_stmt *line = NULL, *word = NULL;
    bool good = ok(j, sqlite3_prepare_v2(j->db, "INSERT INTO line(id, text, len) VALUES(?,?,?)", -1,
                                         &line, NULL)) &&
                ok(j, sqlite3_prepare_v2(j->db,
                                         "INSERT INTO word VALUES(?,1)"
                                         " ON CONFLICT(w) DO UPDATE SET n=n+1",
                                         -1, &word, NULL)) &&
                load_rows(j, line, word);
    sqlite3_finalize(line);
    sqlite3_finalize(word);
    return good;
}

enum { UPDATE, DELETE, INSERT, COUNT, CHANGES };

static const char *const change_sql[CHANGES] = {
    [UPDATE] = "UPDATE line SET version=version+1, text=text||'.', len=len+1 WHERE id=?1",
    [DELETE] = "DELETE FROM line WHERE id=?1",
    [INSERT] = "INSERT INTO line(text, len) SELECT text||?1, len+1 FROM line WHERE id>=?1 LIMIT 1",
    [COUNT] = ("UPDATE word SET n=n+1 WHERE w=(SELECT min(w) FROM word WHERE w>=(SELECT text FROM"
               " line WHERE id>=?1 LIMIT 1))"),
};

/** Random changes; every seventh transaction is taken back. */
static bool change_rows(struct job *j, sqlite3_stmt *const st[CHANGES])
{
    uint64_t txs = j->rows / 4 / CHANGES_PER_TX + 1;
    for (uint64_t t = 0; t < txs && !j->rv; t++) {
        if (!run(j, "BEGIN"))
            break;
        for (int i = 0; i < CHANGES_PER_TX && !j->rv; i++) {
            uint64_t pick = fl_rng_below(&j->rng, 10);
            int kind = pick < 6 ? UPDATE : pick < 7 ? DELETE : pick < 9 ? INSERT : COUNT;
            sqlite3_bind_int64(st[kind], 1, (sqlite3_int64)fl_rng_below(&j->rng, j->rows));
            finish(j, st[kind]);
        }
        run(j, t % 7 == 6 ? "ROLLBACK" : "COMMIT");
    }
    return !j->rv;
}

static bool change(struct job *j)
{
    sqlite3_stmt *st[CHANGES] = {NULL};
    bool good = true;
    for (int i = 0; i < CHANGES && good; i++)
        good = ok(j, sqlite3_prepare_v2(j->db, change_sql[i], -1, &st[i], NULL));
    good = good && change_rows(j, st);
    for (int i = 0; i < CHANGES; i++)
        sqlite3_finalize(st[i]);
    return good;
}

static void sum_int(struct job *j, uint64_t v)
{
    uint8_t b[8];
    for (unsigned i = 0; i < 8; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    XXH64_update(j->sum, b, sizeof(b));
}

/** Hashes every value of a query's rows; returns how many rows there were. */
static uint64_t sum_query(struct job *j, const char *sql)
{
    sqlite3_stmt *st = NULL;
    uint64_t rows = 0;
    int rc = sqlite3_prepare_v2(j->db, sql, -1, &st, NULL);
    while (ok(j, rc) && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        for (int c = 0; c < sqlite3_column_count(st); c++) {
            if (sqlite3_column_type(st, c) == SQLITE_TEXT) {
                const void *s = sqlite3_column_text(st, c);
                XXH64_update(j->sum, s, (size_t)sqlite3_column_bytes(st, c));
            } else {
                sum_int(j, (uint64_t)sqlite3_column_int64(st, c));
            }
        }
        rows++;
    }
    ok(j, rc);
    sqlite3_finalize(st);
    return rows;
}

static bool integrity(struct job *j)
{
    sqlite3_stmt *st = NULL;
    bool good = ok(j, sqlite3_prepare_v2(j->db, "PRAGMA integrity_check", -1, &st, NULL)) &&
                ok(j, sqlite3_step(st));
    const char *s = good ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (good && (!s || strcmp(s, "ok") != 0)) {
        good = false;
        j->rv = fl_fail(j->err, FL_ECORRUPT, "sqlite: integrity_check says: %s", s ? s : "nothing");
    }
    sqlite3_finalize(st);
    return good;
}

static void program(void *arg)
{
    struct job *j = arg;
    fl_rng_init(&j->rng, j->seed, 0, FL_RNG_WORK, 0x5917);
    /* The library's own randomness (journal headers) repeats with the seed. */
    (void)sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(j->seed & 0x3fffffff) + 1, NULL);
    XXH64_reset(j->sum, 0);
    if (open_db(j) && load(j) && change(j) && integrity(j)) {
        j->rows_end = sum_query(j, "SELECT id, text, len, version FROM line ORDER BY id");
        sum_query(j, "SELECT w, n FROM word ORDER BY w");
        sum_query(j, "SELECT len, count(*), sum(version) FROM line GROUP BY len ORDER BY len");
        sum_query(j, "SELECT count(*), sum(word.n) FROM line JOIN word ON"
                     " word.w=substr(line.text,1,instr(line.text||' ',' ')-1)");
        j->checksum = XXH64_digest(j->sum);
    }
    sqlite3_close(j->db);
    j->db = NULL;
}

/* --- the text ------------------------------------------------------------------------------- */

static int text_split(struct text *t, size_t len, struct fl_errmsg *err)
{
    size_t max = 1;
    for (size_t i = 0; i < len; i++)
        max += t->bytes[i] == '\n';
    t->lines = calloc(max, sizeof(*t->lines));
    t->lens = calloc(max, sizeof(*t->lens));
    if (!t->lines || !t->lens)
        return fl_fail(err, FL_ENOMEM, "out of memory");
    for (size_t i = 0; i < len;) {
        const char *s = t->bytes + i;
        const char *end = memchr(s, '\n', len - i);
        size_t n = end ? (size_t)(end - s) : len - i;
        i += n + 1;
        if (n > 0) {
            t->lines[t->count] = s;
            t->lens[t->count++] = n > LINE_BYTES_MAX ? LINE_BYTES_MAX : (int)n;
        }
    }
    if (!t->count)
        return fl_fail(err, FL_EINVAL, "the source file has no text; name another one");
    return FL_OK;
}

static void text_free(struct text *t)
{
    free(t->bytes);
    free(t->lines);
    free(t->lens);
}

/** Both runs: plain memory first, so that a failing region cannot spoil the library for it. */
static int both(struct job *j, const struct native_mem *mem, struct native_result *ret,
                struct fl_errmsg *err)
{
    program(j);
    if (j->rv)
        return fl_wrap(err, j->rv, "on plain memory");
    ret->plain = j->checksum;
    j->checksum = 0;
    int rv = native_in_region(mem, program, j, &ret->heap_bytes, err);
    if (rv == FL_EPOISONED || rv == FL_ECORRUPT)
        lib_broken = true;
    if (rv || j->rv)
        return rv ? rv : j->rv;
    ret->rows = j->rows_end;
    ret->checksum = j->checksum;
    ret->match = ret->checksum == ret->plain;
    return FL_OK;
}

int native_sqlite(const struct plan *p, const struct plan_workload *w, const struct native_mem *mem,
                  struct native_result *ret, struct fl_errmsg *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct text text = {0};
    size_t len;
    pthread_once(&once, lib_init);
    if (lib_status || lib_broken)
        return fl_fail(err, FL_EINVAL, "sqlite cannot be used: %s",
                       lib_broken ? "a failed access interrupted it before"
                                  : sqlite3_errstr(lib_status));
    int rv = native_read_file(w->source, &text.bytes, &len, err);
    if (!rv)
        rv = text_split(&text, len, err);
    struct job j = {.text = &text,
                    .rows = w->ops ? w->ops : 1,
                    .seed = p->seed,
                    .sum = XXH64_createState(),
                    .err = err};
    if (!rv)
        rv = j.sum ? both(&j, mem, ret, err) : fl_fail(err, FL_ENOMEM, "out of memory");
    XXH64_freeState(j.sum);
    text_free(&text);
    return rv;
}
