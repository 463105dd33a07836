/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Lua interpreter whose state lies in a region. The program is a chunk that is called with
 * (rounds, seed) and returns text or a number that stands for everything it computed. It gets
 * string, table, math and utf8; nothing that reaches outside.
 *
 * Two runs with one seed touch the same memory. What would prevent that: the seed of the string
 * hashes, which is given here; a cache of the interpreter that is indexed by addresses of C
 * strings, which lies in a state's first block and stays out of the region; and table.sort, which
 * asks the clock for a pivot when a range of more than 256 elements falls into very unequal parts.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "emu/native.h"

/* --- the seed of the hashes ----------------------------------------------------------------- */

enum { ROOT_BYTES_MAX = 16384, PROBES = 4, NO_SEED = -1, NOT_LOOKED = -2 };

/* Lua mixes the time and addresses into the seed and takes none from outside. It is a word of a
 * state's first block, and written when the second block is asked for: states that are begun in the
 * same place, but at different depths of the stack, differ in this word, and in addresses of the
 * stack, which differ by as much as the depths. */
struct probe {
    uint32_t block[ROOT_BYTES_MAX / 4], seen[ROOT_BYTES_MAX / 4];
    uintptr_t stack;
    unsigned allocs;
};

static void *probe_mem(void *ud, void *ptr, size_t osize, size_t nsize)
{
    struct probe *p = ud;
    (void)ptr;
    (void)osize;
    if (nsize == 0)
        return NULL;
    if (p->allocs++ == 0)
        return nsize <= sizeof(p->block) ? p->block : NULL;
    if (p->allocs == 2)
        memcpy(p->seen, p->block, sizeof(p->seen));
    return NULL;
}

static __attribute__((noinline)) bool probe_at(struct probe *p, size_t depth)
{
    volatile char room[depth];
    room[0] = 0;
    memset(p, 0, sizeof(*p));
    p->stack = (uintptr_t)room;
    return lua_newstate(probe_mem, p) == NULL && p->allocs >= 2;
}

/** Number of the only such word, NO_SEED when there is none or more than one. */
static int word_that_differs(const struct probe *a, const struct probe *b)
{
    uint32_t depth = (uint32_t)(a->stack - b->stack);
    int found = NO_SEED;
    for (int i = 0; i < ROOT_BYTES_MAX / 4; i++)
        if (a->seen[i] != b->seen[i] && a->seen[i] - b->seen[i] != depth) {
            if (found != NO_SEED)
                return NO_SEED;
            found = i;
        }
    return found;
}

static int find_seed(void)
{
    static struct probe now;
    struct probe *first = calloc(1, sizeof(*first));
    int word = NO_SEED;
    if (!first)
        return NO_SEED;
    for (size_t i = 0; i < PROBES; i++) {
        if (!probe_at(&now, 16 + i * 1040))
            word = NO_SEED;
        else if (i == 0)
            *first = now;
        else if (i == 1)
            word = word_that_differs(first, &now);
        else if (word != word_that_differs(first, &now))
            word = NO_SEED;
        if (i > 0 && word == NO_SEED)
            break;
    }
    free(first);
    return word;
}

static int seed_word(void)
{
    static int word = NOT_LOOKED;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (word == NOT_LOOKED)
        word = find_seed();
    pthread_mutex_unlock(&lock);
    return word;
}

int native_repeatable(enum plan_work_kind kind, struct fl_errmsg *err)
{
    if (kind == PLAN_LUA && seed_word() == NO_SEED)
        return fl_fail(err, FL_EUNSUPPORTED,
                       "this build of Lua hides the seed of its hashes, so that no run of a "
                       "program is like another; use --fabric tcp");
    return FL_OK;
}

/* --- the state ------------------------------------------------------------------------------ */

struct job {
    const char *code, *name;
    size_t code_len;
    uint64_t rounds, seed;
    uint64_t checksum;
    uint32_t *root; /* a state's first block, in plain memory */
    bool seeded;
    int rv;
    struct fl_errmsg *err;
};

static void *lua_mem(void *ud, void *ptr, size_t osize, size_t nsize)
{
    struct job *j = ud;
    (void)osize;
    if (nsize == 0) {
        if (ptr != NULL && ptr == j->root) {
            free(ptr);
            j->root = NULL;
        } else {
            native_free(ptr);
        }
        return NULL;
    }
    if (!ptr && !j->root) {
        j->root = malloc(nsize);
        j->seeded = false;
        return j->root;
    }
    if (!j->seeded && seed_word() != NO_SEED)
        j->root[seed_word()] = (uint32_t)(j->seed ^ j->seed >> 32) | 1;
    j->seeded = true;
    return native_realloc(ptr, nsize);
}

/* Raw, with lengths: what names C strings goes through the cache of addresses. */
static void set_global(lua_State *L, const char *name)
{
    lua_pushglobaltable(L);
    lua_insert(L, -2);
    lua_pushlstring(L, name, strlen(name));
    lua_insert(L, -2);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static void seed_random(lua_State *L, lua_Integer seed)
{
    static const char name[] = "randomseed";
    lua_pushlstring(L, name, sizeof(name) - 1);
    lua_rawget(L, -2);
    lua_pushinteger(L, seed);
    lua_call(L, 1, 0);
}

static void open_libs(lua_State *L, uint64_t seed)
{
    static const luaL_Reg libs[] = {{LUA_GNAME, luaopen_base},
                                    {LUA_TABLIBNAME, luaopen_table},
                                    {LUA_STRLIBNAME, luaopen_string},
                                    {LUA_MATHLIBNAME, luaopen_math},
                                    {LUA_UTF8LIBNAME, luaopen_utf8}};
    static const char *const outside[] = {"dofile", "loadfile", "load", "print", "collectgarbage"};
    for (size_t i = 0; i < sizeof(libs) / sizeof(libs[0]); i++) {
        lua_pushcfunction(L, libs[i].func);
        lua_pushlstring(L, libs[i].name, strlen(libs[i].name));
        lua_call(L, 1, 1);
        if (libs[i].func == luaopen_math)
            seed_random(L, (lua_Integer)seed);
        set_global(L, libs[i].name);
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        lua_pushnil(L);
        set_global(L, outside[i]);
    }
}

/** Everything that can raise an error, below one protected call. */
static int protected_main(lua_State *L)
{
    struct job *j = lua_touserdata(L, 1);
    size_t len;
    open_libs(L, j->seed);
    if (luaL_loadbufferx(L, j->code, j->code_len, j->name, "t"))
        return lua_error(L);
    lua_pushinteger(L, (lua_Integer)j->rounds);
    lua_pushinteger(L, (lua_Integer)j->seed);
    lua_call(L, 2, 1);
    if (!lua_isstring(L, -1))
        return luaL_error(L, "the program must return text or a number");
    const char *s = lua_tolstring(L, -1, &len);
    j->checksum = XXH64(s, len, 0);
    return 0;
}

static void program(void *arg)
{
    struct job *j = arg;
    lua_State *L = lua_newstate(lua_mem, j);
    if (!L) {
        j->rv = fl_fail(j->err, FL_ENOMEM, "lua: the region is full; make it larger");
        return;
    }
    lua_pushcfunction(L, protected_main);
    lua_pushlightuserdata(L, j);
    int rc = lua_pcall(L, 1, 0, 0);
    if (rc == LUA_ERRMEM)
        j->rv = fl_fail(j->err, FL_ENOMEM, "lua: the region is full; make it larger");
    else if (rc)
        j->rv = fl_fail(j->err, FL_EINVAL, "lua: %s", lua_tostring(L, -1));
    lua_close(L);
}

/** As named, below the current directory's scenarios/workloads, or beside the scenario file. */
static int find_program(const struct plan *p, const char *source, char *ret, size_t cap,
                        struct fl_errmsg *err)
{
    static const char *const pattern[] = {"%s", "scenarios/workloads/%s",
                                          "scenarios/workloads/%s.lua"};
    for (size_t i = 0; i < sizeof(pattern) / sizeof(pattern[0]); i++) {
        /* The patterns are the three above. */
        const char *at = strstr(pattern[i], "%s");
        snprintf(ret, cap, "%.*s%s%s", (int)(at - pattern[i]), pattern[i], source, at + 2);
        if (!access(ret, R_OK))
            return FL_OK;
    }
    const char *slash = strrchr(p->file, '/');
    for (int dot = 0; slash && dot < 2; dot++) {
        snprintf(ret, cap, "%.*s/../workloads/%s%s", (int)(slash - p->file), p->file, source,
                 dot ? ".lua" : "");
        if (!access(ret, R_OK))
            return FL_OK;
    }
    return fl_fail(err, FL_EINVAL, "no program %s here or in scenarios/workloads", source);
}

int native_lua(const struct plan *p, const struct plan_workload *w, const struct native_mem *mem,
               struct native_result *ret, struct fl_errmsg *err)
{
    char path[1024], name[1040];
    char *code = NULL;
    size_t len = 0;
    int rv = find_program(p, w->source, path, sizeof(path), err);
    if (!rv)
        rv = native_read_file(path, &code, &len, err);
    if (rv)
        return rv;
    snprintf(name, sizeof(name), "@%s", path);
    struct job j = {
        .code = code, .name = name, .code_len = len, .rounds = w->ops, .seed = p->seed, .err = err};
    program(&j);
    ret->plain = j.checksum;
    j.checksum = 0;
    rv = j.rv ? fl_wrap(err, j.rv, "on plain memory")
              : native_in_region(mem, program, &j, &ret->heap_bytes, err);
    if (!rv)
        rv = j.rv;
    free(code);
    free(j.root); /* of a state that was lost with its heap; otherwise it is closed */
    if (rv)
        return rv;
    ret->rows = w->ops;
    ret->checksum = j.checksum;
    ret->match = ret->checksum == ret->plain;
    return FL_OK;
}
