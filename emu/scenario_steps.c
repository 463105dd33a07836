/* SPDX-License-Identifier: Apache-2.0 */
/* What happens and what is expected: at, event, expect, check. */
#include "emu/scenario.h"

#include <stdio.h>
#include <string.h>

#include "emu/plan_fields.h"

static const char EVENT[] = "farline.event", STEP[] = "farline.step", EXPECT[] = "farline.expect";

struct pending_step {
    struct plan_step s;
    int id;
};

struct pending_expect {
    struct plan_expect e;
    int id;
};

/* --- event and at --------------------------------------------------------------------------- */

static uint16_t find_site(lua_State *L, const char *name)
{
    const char *names[FL_SITE_COUNT];
    size_t n = 0;
    enum fl_site site = fl_site_find(name);

    if (site != FL_SITE_NONE)
        return (uint16_t)site;
    for (int i = FL_SITE_NONE + 1; i < FL_SITE_COUNT; i++)
        names[n++] = fl_site_info((enum fl_site)i)->name;
    const char *near = plan_nearest(name, names, n);
    if (near != NULL)
        scn_fail(L, "event: there is no site \"%.40s\"; did you mean \"%s\"?", name, near);
    scn_fail(L, "event: there is no site \"%.40s\"; `farline list sites` prints them", name);
    return 0;
}

/** event("c0.page_fetched", 12) */
static int api_event(lua_State *L)
{
    char node[PLAN_NAME_MAX];
    const char *text = scn_text(L, 1, "event", 100);
    const char *dot = strchr(text, '.');
    lua_Integer nth = 1;

    if (dot == NULL || dot == text || (size_t)(dot - text) >= sizeof(node))
        return scn_fail(L, "event: \"%.60s\" is not NODE.SITE, such as \"c0.page_fetched\"", text);
    memcpy(node, text, (size_t)(dot - text));
    node[dot - text] = '\0';
    if (!lua_isnoneornil(L, 2)) {
        if (!lua_isinteger(L, 2) || (nth = lua_tointeger(L, 2)) < 1)
            return scn_fail(L, "event: the number of the passing must be a whole number from 1");
    }
    struct plan_step *s = lua_newuserdatauv(L, sizeof(*s), 0);
    memset(s, 0, sizeof(*s));
    luaL_setmetatable(L, EVENT);
    s->when = PLAN_AT_SITE;
    s->node = scn_node(L, node);
    s->site = find_site(L, dot + 1);
    s->nth = (uint64_t)nth;
    return 1;
}

static int api_at(lua_State *L)
{
    struct plan_step *ev = luaL_testudata(L, 1, EVENT);
    struct plan_step s = {.for_ns = FL_NEVER};

    if (ev != NULL) {
        s = *ev;
        s.for_ns = FL_NEVER;
    } else {
        const char *text = scn_text(
            L, 1, "at: the moment (an event(...), a time such as \"5ms\", or \"start\")", 64);
        if (strcmp(text, "start") == 0)
            s.when = PLAN_AT_START;
        else if (plan_parse_time(text, &s.at_ns) && s.at_ns <= INT64_MAX)
            s.when = PLAN_AT_TIME;
        else
            return scn_fail(L,
                            "at: \"%.40s\" is neither \"start\" nor a time such as \"5ms\"; a "
                            "logical moment is event(\"c0.page_fetched\", 12)",
                            text);
    }
    s.line = scn_line(L);
    struct pending_step *ps = lua_newuserdatauv(L, sizeof(*ps), 0);
    ps->s = s;
    ps->id = 0;
    luaL_setmetatable(L, STEP);
    ps->id = scn_begin(L, "at (...) says when, but not what",
                       "add an action, as in at (...) : kill (\"m0\")");
    return 1;
}

/* --- actions -------------------------------------------------------------------------------- */

struct step_options {
    struct plan_step *s;
    const char *action;
    bool one_way;
};

static void step_option(lua_State *L, const char *key, void *arg)
{
    struct step_options *o = arg;
    bool cut = o->s->action == PLAN_CUT;
    char buf[64];

    if ((o->s->action == PLAN_PAUSE || cut) &&
        (strcmp(key, "for_") == 0 || (cut && strcmp(key, "heal_after") == 0))) {
        const char *text = scn_value_text(L, -1, key, buf, sizeof(buf));

        if (!plan_parse_time(text, &o->s->for_ns) || o->s->for_ns == 0 || o->s->for_ns > INT64_MAX)
            scn_fail(L, "%s: %s is \"%.40s\"; it must be a time such as \"2ms\"", o->action, key,
                     text);
        return;
    }
    if ((cut || o->s->action == PLAN_HEAL) && strcmp(key, "one_way") == 0) {
        if (!lua_isboolean(L, -1))
            scn_fail(L, "%s: one_way must be true or false", o->action);
        o->one_way = lua_toboolean(L, -1);
        return;
    }
    scn_fail(L, "%s: unknown option \"%.40s\"%s", o->action, key,
             o->s->action == PLAN_PAUSE  ? "; there is for_"
             : cut                       ? "; there are for_ and one_way"
             : o->s->action == PLAN_HEAL ? "; there is one_way"
                                         : "; there is none");
}

static void add_step(lua_State *L, const struct plan_step *s)
{
    struct plan *p = scn_of(L)->p;

    if (p->step_count == PLAN_STEPS_MAX)
        scn_fail(L, "more than %d steps", PLAN_STEPS_MAX);
    p->steps[p->step_count++] = *s;
}

/** Method of what at() returns: upvalue 1 is the action. */
static int step_action(lua_State *L)
{
    struct pending_step *ps = luaL_testudata(L, 1, STEP);
    int action = (int)lua_tointeger(L, lua_upvalueindex(1));
    const char *name = plan_action_names[action];

    if (ps == NULL)
        return scn_fail(L, "%s: write at (...) : %s (...), with a colon", name, name);
    if (ps->id == 0)
        return scn_fail(L, "%s: this at (...) already has an action; write at (...) again", name);
    struct plan_step s = ps->s;
    s.action = (enum plan_action)action;
    bool pair = s.action == PLAN_CUT || s.action == PLAN_HEAL;
    int opts = pair ? 4 : 3;
    s.target = scn_node(L, scn_text(L, 2, "the node", 200));
    if (pair) {
        s.target2 = scn_node(L, scn_text(L, 3, "the second node", 200));
        if (s.target2 == s.target)
            return scn_fail(L, "%s needs two different nodes", name);
    }
    struct step_options o = {.s = &s, .action = name};
    if (!lua_isnoneornil(L, opts)) {
        if (!lua_istable(L, opts))
            return scn_fail(L, "%s: options belong in braces, as in { for_ = \"2ms\" }", name);
        scn_each(L, opts, name, step_option, &o);
    }
    add_step(L, &s);
    if (pair && !o.one_way) { /* a link drops in both directions */
        uint16_t from = s.target;

        s.target = s.target2;
        s.target2 = from;
        add_step(L, &s);
    }
    scn_finished(L, ps->id);
    ps->id = 0;
    return 0;
}

/* --- expect --------------------------------------------------------------------------------- */

static int api_expect(lua_State *L)
{
    const char *metric = scn_text(L, 1, "expect: the figure", 63);
    struct pending_expect *pe = lua_newuserdatauv(L, sizeof(*pe), 0);

    memset(pe, 0, sizeof(*pe));
    memcpy(pe->e.metric, metric, strlen(metric));
    pe->e.line = scn_line(L);
    luaL_setmetatable(L, EXPECT);
    pe->id = scn_begin(L, "expect (...) names a figure, but no value",
                       "add a comparison, as in expect (\"evictions\") : above (0)");
    scn_of(L)->judged = true;
    return 1;
}

static const struct {
    const char *name;
    enum plan_cmp cmp;
    bool text;
} compares[] = {{"above", PLAN_GT, false},    {"below", PLAN_LT, false},
                {"at_least", PLAN_GE, false}, {"at_most", PLAN_LE, false},
                {"equals", PLAN_EQ, false},   {"differs", PLAN_NE, false},
                {"is", PLAN_EQ, true},        {"is_not", PLAN_NE, true}};

/** A number, or a text with a unit that suits the figure's name. */
static double expect_value(lua_State *L, const char *metric, const char *method)
{
    uint64_t v;

    if (lua_type(L, 2) == LUA_TNUMBER)
        return lua_tonumber(L, 2);
    const char *text = scn_text(L, 2, method, 64);
    if (strstr(metric, "_ns") != NULL && plan_parse_time(text, &v))
        return (double)v;
    if (strstr(metric, "bytes") != NULL && plan_parse_size(text, &v))
        return (double)v;
    scn_fail(L,
             "%s: \"%.40s\" is not a number; figures in _ns take times, figures in bytes take "
             "sizes, words take is (\"...\")",
             method, text);
    return 0;
}

/** Method of what expect() returns: upvalue 1 is the index of the comparison. */
static int expect_compare(lua_State *L)
{
    struct plan *p = scn_of(L)->p;
    struct pending_expect *pe = luaL_testudata(L, 1, EXPECT);
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(1));
    const char *name = compares[i].name;

    if (pe == NULL)
        return scn_fail(L, "%s: write expect (...) : %s (...), with a colon", name, name);
    if (pe->id == 0)
        return scn_fail(L, "%s: this expect (...) already has a comparison", name);
    if (lua_isnoneornil(L, 2))
        return scn_fail(L, "%s: the expected value is missing", name);
    pe->e.cmp = compares[i].cmp;
    if (compares[i].text) {
        const char *text = scn_text(L, 2, name, sizeof(pe->e.text) - 1);

        if (text[0] == '\0')
            return scn_fail(L, "%s: the expected word is empty", name);
        memcpy(pe->e.text, text, strlen(text));
    } else {
        pe->e.value = expect_value(L, pe->e.metric, name);
        if (pe->e.value - pe->e.value != 0.0)
            return scn_fail(L, "%s: the expected value is not a finite number", name);
    }
    if (p->expect_count == PLAN_EXPECTS_MAX)
        return scn_fail(L, "more than %d expectations", PLAN_EXPECTS_MAX);
    p->expects[p->expect_count++] = pe->e;
    scn_finished(L, pe->id);
    pe->id = 0;
    return 0;
}

/* --- check ---------------------------------------------------------------------------------- */

static int api_check(lua_State *L)
{
    struct plan *p = scn_of(L)->p;

    if (!lua_istable(L, 1))
        return scn_fail(L, "check needs a list, as in check { \"W1\", \"W3\" }");
    lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
    if (n == 0 || (lua_Integer)scn_keys(L, 1) != n)
        return scn_fail(L, "check needs a list, as in check { \"W1\", \"W3\" }");
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        const char *id = scn_text(L, -1, "check: the id of an invariant", 200);

        if (!plan_check_known(id))
            return scn_fail(L, "check: there is no invariant \"%.40s\"; known are W1 to W9", id);
        for (int k = 0; k < p->check_count; k++)
            if (strcmp(p->checks[k], id) == 0)
                return scn_fail(L, "check: \"%s\" is listed twice", id);
        if (p->check_count == PLAN_CHECKS_MAX)
            return scn_fail(L, "check: more than %d invariants", PLAN_CHECKS_MAX);
        memset(p->checks[p->check_count], 0, sizeof(p->checks[0]));
        memcpy(p->checks[p->check_count++], id, strlen(id));
        lua_pop(L, 1);
    }
    scn_of(L)->judged = true;
    return 0;
}

/* --- methods with strict names -------------------------------------------------------------- */

/** __index of steps and expectations: upvalues are the methods and what to say. */
static int method_get(lua_State *L)
{
    const char *names[16];
    size_t n = 0;

    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    for (lua_pushnil(L); lua_next(L, lua_upvalueindex(1)) != 0; lua_pop(L, 1))
        if (n < 16)
            names[n++] = lua_tostring(L, -2);
    const char *what = lua_tostring(L, lua_upvalueindex(2));
    const char *word = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    const char *near = plan_nearest(word, names, n);
    if (near != NULL)
        return scn_fail(L, "%s has no \"%.40s\"; did you mean \"%s\"?", what, word, near);
    return scn_fail(L, "%s has no \"%.40s\"; see farline-scenario(5)", what, word);
}

/** Metatable @type whose methods are the table on top; pops it. */
static void set_methods(lua_State *L, const char *type, const char *what)
{
    luaL_newmetatable(L, type);
    lua_insert(L, -2);
    lua_pushstring(L, what);
    lua_pushcclosure(L, method_get, 2);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void scn_api_steps(lua_State *L)
{
    static const luaL_Reg fns[] = {{"event", api_event},
                                   {"at", api_at},
                                   {"expect", api_expect},
                                   {"check", api_check},
                                   {NULL, NULL}};

    luaL_newmetatable(L, EVENT);
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_newtable(L);
    for (int i = 0; plan_action_names[i] != NULL; i++) {
        lua_pushinteger(L, i);
        lua_pushcclosure(L, step_action, 1);
        lua_setfield(L, -2, plan_action_names[i]);
    }
    set_methods(L, STEP, "at (...)");
    lua_newtable(L);
    for (size_t i = 0; i < sizeof(compares) / sizeof(compares[0]); i++) {
        lua_pushinteger(L, (lua_Integer)i);
        lua_pushcclosure(L, expect_compare, 1);
        lua_setfield(L, -2, compares[i].name);
    }
    set_methods(L, EXPECT, "expect (...)");
    luaL_setfuncs(L, fns, 0);
}
