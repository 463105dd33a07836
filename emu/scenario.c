/* SPDX-License-Identifier: Apache-2.0 */
/* One evaluation of a scenario's text, inside this process. */
#include "emu/scenario.h"

#include <stdio.h>
#include <string.h>

#include "emu/plan_fields.h"

struct run {
    struct scn *s;
    const char *file, *text;
    size_t text_len;
    const char *const *sets;
    int set_count;
};

/** Puts the nearest line of the script before a message that has none, as errors raised inside
 * library functions do. */
static int with_line(lua_State *L)
{
    const char *msg = lua_tostring(L, 1);

    if (msg == NULL)
        msg = "the script raised an error that is not a text";
    if (strncmp(msg, "scenario:", 9) == 0)
        return 1;
    lua_pushfstring(L, "scenario:%d: %s", scn_line(L), msg);
    return 1;
}

static void seed_random(lua_State *L, uint64_t seed)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "farline.randomseed");
    lua_pushinteger(L, (lua_Integer)seed);
    lua_call(L, 1, 0);
}

/** Seed settings count from the first line on, so that math.random follows them. */
static void apply_seed(lua_State *L, const struct run *r)
{
    struct fl_errmsg err;

    for (int i = 0; i < r->set_count; i++) {
        if (strncmp(r->sets[i], "seed=", 5) != 0)
            continue;
        if (plan_set(r->s->p, r->sets[i], &err) != FL_OK)
            scn_fail(L, "--set: %s", err.text);
        r->s->seed_fixed = true;
    }
    seed_random(L, r->s->p->seed);
}

/** Objects that were begun and never finished. */
static void check_pending(lua_State *L, const struct scn *s)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "farline.pending");
    for (int i = 1; i <= s->pending_next; i++) {
        if (lua_rawgeti(L, -1, i) == LUA_TSTRING)
            lua_error(L);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/** Settings of variants are tried now, while their line is known. */
static void check_variants(lua_State *L, const struct scn *s)
{
    struct fl_errmsg err;
    struct plan *v = lua_newuserdatauv(L, sizeof(*v), 0);

    for (int i = 0; i < s->p->variant_count; i++)
        if (plan_variant_apply(s->p, i, v, &err) != FL_OK) {
            lua_pushfstring(L, "scenario:%d: %s", s->variant_line[i], err.text);
            lua_error(L);
        }
    lua_pop(L, 1);
}

static void apply_sets(lua_State *L, const struct run *r)
{
    struct fl_errmsg err;

    for (int i = 0; i < r->set_count; i++)
        if (plan_set(r->s->p, r->sets[i], &err) != FL_OK) {
            lua_pushfstring(L, "--set %s: %s", r->sets[i], err.text);
            lua_error(L);
        }
}

/** Runs protected; argument 1 is the struct run. */
static int evaluate(lua_State *L)
{
    const struct run *r = lua_touserdata(L, 1);

    apply_seed(L, r);
    if (luaL_loadbufferx(L, r->text, r->text_len, "=scenario", "t") != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 0);
    check_pending(L, r->s);
    if (!r->s->judged) {
        lua_pushliteral(L, "scenario:0: nothing is judged; add check { \"W1\", \"W3\" } or an "
                           "expectation");
        return lua_error(L);
    }
    apply_sets(L, r);
    check_variants(L, r->s);
    return 0;
}

/** "scenario:12: text" becomes "FILE:12: text"; only the first line counts. */
static int report(const char *file, int status, const char *msg, const struct scn *s,
                  struct fl_errmsg *err)
{
    int line = 0, used = 0;

    if (status == LUA_ERRMEM)
        return fl_fail(err, FL_EINVAL,
                       "%.200s: the script needs more than %zu MiB; a scenario only builds a plan: "
                       "look for a loop that collects or joins too much",
                       file, s->limits.memory_bytes >> 20);
    if (msg == NULL)
        msg = "the script failed without a message";
    if (sscanf(msg, "scenario:%d: %n", &line, &used) == 1 && used > 0)
        msg += used;
    int len = (int)strcspn(msg, "\n");
    if (line > 0)
        return fl_fail(err, FL_EINVAL, "%.200s:%d: %.*s", file, line, len, msg);
    return fl_fail(err, FL_EINVAL, "%.200s: %.*s", file, len, msg);
}

int scn_eval(const char *file, const char *text, size_t text_len, const char *const *sets,
             int set_count, const struct scn_limits *limits, struct plan *ret,
             struct fl_errmsg *err)
{
    struct scn s = {.p = ret, .limits = *limits};
    struct run r = {&s, file, text, text_len, sets, set_count};

    plan_init(ret);
    if (strlen(file) >= sizeof(ret->file))
        return fl_fail(err, FL_EINVAL, "%.80s...: the path is longer than %zu bytes", file,
                       sizeof(ret->file) - 1);
    memcpy(ret->file, file, strlen(file));
    lua_State *L = scn_lua_new(&s);
    if (L == NULL)
        return fl_fail(err, FL_ENOMEM, "%s: no memory for the interpreter", file);
    lua_pushcfunction(L, with_line);
    lua_pushcfunction(L, evaluate);
    lua_pushlightuserdata(L, &r);
    int status = lua_pcall(L, 1, 0, 1);
    int rc = status == LUA_OK ? FL_OK : report(file, status, lua_tostring(L, -1), &s, err);
    lua_close(L);
    return rc;
}
