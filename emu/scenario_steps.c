/* SPDX-License-Identifier: Apache-2.0 */
/* What happens and what is expected: at, event, expect, check. */
#include "emu/scenario.h"

#include <stdio.h>
#include <string.h>

#include "emu/plan_fields.h"
#include "emu/plan_steps.h"

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

/** { from = 1, to = 200 }: the seed says which of them. */
static void passing_range(lua_State *L, const char *key, void *arg)
{
    struct plan_step *s = arg;
    bool from = strcmp(key, "from") == 0;
    lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;

    if (!from && strcmp(key, "to") != 0)
        scn_fail(L, "event: unknown option \"%.40s\"; there are from and to", key);
    if (n < 1)
        scn_fail(L, "event: %s must be a whole number from 1", key);
    *(from ? &s->nth : &s->to) = (uint64_t)n;
}

/** { between = { "1ms", "20ms" } } */
static void time_range(lua_State *L, const char *key, void *arg)
{
    struct plan_step *s = arg;
    uint64_t *const ends[] = {&s->at_ns, &s->to};

    if (strcmp(key, "between") != 0)
        scn_fail(L, "at: unknown option \"%.40s\"; there is between", key);
    if (!lua_istable(L, -1) || lua_rawlen(L, -1) != 2)
        scn_fail(L, "at: between takes two times, as in { between = { \"1ms\", \"20ms\" } }");
    for (int i = 0; i < 2; i++) {
        char buf[64];

        lua_rawgeti(L, -1, i + 1);
        const char *text = scn_value_text(L, -1, "between", buf, sizeof(buf));
        if (!plan_parse_time(text, ends[i]) || *ends[i] > INT64_MAX)
            scn_fail(L, "at: between: \"%.40s\" is not a time such as \"5ms\"", text);
        lua_pop(L, 1);
    }
}

/** event("c0.page_fetched", 12) */
static int api_event(lua_State *L)
{
    char node[PLAN_NAME_MAX];
    const char *text = scn_text(L, 1, "event", 100);
    const char *dot = strchr(text, '.');
    struct plan_step range = {.nth = 1};

    if (dot == NULL || dot == text || (size_t)(dot - text) >= sizeof(node))
        return scn_fail(L, "event: \"%.60s\" is not NODE.SITE, such as \"c0.page_fetched\"", text);
    memcpy(node, text, (size_t)(dot - text));
    node[dot - text] = '\0';
    if (!lua_isnoneornil(L, 2)) {
        if (lua_istable(L, 2))
            scn_each(L, 2, "event", passing_range, &range);
        else if (lua_isinteger(L, 2) && lua_tointeger(L, 2) >= 1)
            range.nth = (uint64_t)lua_tointeger(L, 2);
        else
            return scn_fail(L, "event: the number of the passing must be a whole number from 1, or "
                               "a range, as in { from = 1, to = 200 }");
        if (lua_istable(L, 2) && range.to <= range.nth)
            return scn_fail(L, "event: to must be larger than from");
    }
    struct plan_step *s = lua_newuserdatauv(L, sizeof(*s), 0);
    memset(s, 0, sizeof(*s));
    s->to = range.to;
    luaL_setmetatable(L, EVENT);
    s->when = PLAN_AT_SITE;
    s->node = scn_node(L, node);
    s->site = find_site(L, dot + 1);
    s->nth = range.nth;
    return 1;
}

static int api_at(lua_State *L)
{
    struct plan_step *ev = luaL_testudata(L, 1, EVENT);
    struct plan_step s = {.for_ns = FL_NEVER};

    if (ev != NULL) {
        s = *ev;
        s.for_ns = FL_NEVER;
    } else if (lua_istable(L, 1)) {
        s.when = PLAN_AT_TIME;
        scn_each(L, 1, "at", time_range, &s);
        if (s.to <= s.at_ns)
            return scn_fail(L, "at: between takes two times, the second after the first");
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
    const struct plan_step_info *k;
    bool one_way;
};

static const char *const class_names[] = {"urgent", "normal", "bulk", NULL};

/** "; there are for_ and one_way" */
static const char *option_list(unsigned options, char *ret, size_t size)
{
    static const char *const names[] = {"for_",  "by",      "bps",   "class", "every",
                                        "count", "one_way", "after", "image"};
    size_t len = 0;
    int left = __builtin_popcount(options);

    ret[0] = '\0';
    len += (size_t)snprintf(ret, size, "; there %s",
                            left == 0   ? "is none"
                            : left == 1 ? "is"
                                        : "are");
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]) && len < size; i++)
        if ((options >> i) & 1) {
            left--;
            len += (size_t)snprintf(ret + len, size - len, " %s%s", names[i],
                                    left > 1    ? ","
                                    : left == 1 ? " and"
                                                : "");
        }
    return ret;
}

static uint64_t option_time(lua_State *L, const struct step_options *o, const char *key)
{
    char buf[64];
    uint64_t ns = 0;
    const char *text = scn_value_text(L, -1, key, buf, sizeof(buf));

    if (!plan_parse_time(text, &ns) || ns == 0 || ns > INT64_MAX)
        scn_fail(L, "%s: %s is \"%.40s\"; it must be a time such as \"2ms\"", o->k->name, key,
                 text);
    return ns;
}

static uint64_t option_rate(lua_State *L, const struct step_options *o)
{
    char buf[64];
    uint64_t bps = 0;
    const char *text = scn_value_text(L, -1, "bps", buf, sizeof(buf));

    if (!plan_parse_rate(text, &bps) || bps == 0 || bps > INT64_MAX)
        scn_fail(L, "%s: bps is \"%.40s\"; it must be a rate such as \"1M\"", o->k->name, text);
    return bps;
}

static uint64_t option_number(lua_State *L, const struct step_options *o, const char *key)
{
    lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;

    if (n < 1 || n > UINT32_MAX)
        scn_fail(L, "%s: %s must be a whole number from 1", o->k->name, key);
    return (uint64_t)n;
}

static bool option_flag(lua_State *L, const struct step_options *o, const char *key)
{
    if (!lua_isboolean(L, -1))
        scn_fail(L, "%s: %s must be true or false", o->k->name, key);
    return lua_toboolean(L, -1);
}

static int option_word(lua_State *L, const struct step_options *o, const char *key,
                       const char *const *words)
{
    char buf[64], all[64] = "";
    const char *text = scn_value_text(L, -1, key, buf, sizeof(buf));
    int i = plan_name_index(words, text);

    for (int k = 0; words[k] != NULL; k++)
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s\"%s\"", k > 0 ? ", " : "",
                 words[k]);
    if (i < 0)
        scn_fail(L, "%s: %s is \"%.20s\"; it is one of %s", o->k->name, key, text, all);
    return i;
}

static void step_option(lua_State *L, const char *key, void *arg)
{
    static const char *const images[] = {"kept", "blank", NULL};
    struct step_options *o = arg;
    struct plan_step *s = o->s;
    unsigned can = o->k->options;
    char list[96];

    if ((can & PLAN_OPT_FOR) != 0 &&
        (strcmp(key, "for_") == 0 || (s->action == PLAN_CUT && strcmp(key, "heal_after") == 0)))
        s->for_ns = option_time(L, o, key);
    else if (((can & PLAN_OPT_BY) != 0 && strcmp(key, "by") == 0) ||
             ((can & PLAN_OPT_AFTER) != 0 && strcmp(key, "after") == 0))
        s->by_ns = option_time(L, o, key);
    else if ((can & PLAN_OPT_BPS) != 0 && strcmp(key, "bps") == 0)
        s->rate_bps = option_rate(L, o);
    else if ((can & PLAN_OPT_CLASS) != 0 && strcmp(key, "class") == 0)
        s->classes = (uint8_t)(1U << option_word(L, o, key, class_names));
    else if ((can & PLAN_OPT_EVERY) != 0 && strcmp(key, "every") == 0)
        s->every = (uint32_t)option_number(L, o, key);
    else if ((can & PLAN_OPT_COUNT) != 0 && strcmp(key, "count") == 0)
        s->count = option_number(L, o, key);
    else if ((can & PLAN_OPT_ONE_WAY) != 0 && strcmp(key, "one_way") == 0)
        o->one_way = option_flag(L, o, key);
    else if ((can & PLAN_OPT_IMAGE) != 0 && strcmp(key, "image") == 0)
        s->blank = option_word(L, o, key, images) == 1;
    else
        scn_fail(L, "%s: unknown option \"%.40s\"%s", o->k->name, key,
                 option_list(can, list, sizeof(list)));
}

static void add_step(lua_State *L, const struct plan_step *s)
{
    struct plan *p = scn_of(L)->p;

    if (p->step_count == PLAN_STEPS_MAX)
        scn_fail(L, "more than %d steps", PLAN_STEPS_MAX);
    p->steps[p->step_count++] = *s;
}

static void read_options(lua_State *L, int at, struct step_options *o)
{
    if (lua_isnoneornil(L, at))
        return;
    if (!lua_istable(L, at))
        scn_fail(L, "%s: options belong in braces, as in { for_ = \"2ms\" }", o->k->name);
    scn_each(L, at, o->k->name, step_option, o);
}

/** Method of what at() returns: upvalue 1 is the kind of step. */
static int step_action(lua_State *L)
{
    struct pending_step *ps = luaL_testudata(L, 1, STEP);
    unsigned kind = (unsigned)lua_tointeger(L, lua_upvalueindex(1));
    const struct plan_step_info *k = plan_step_info(kind);

    if (ps == NULL)
        return scn_fail(L, "%s: write at (...) : %s (...), with a colon", k->name, k->name);
    if (ps->id == 0)
        return scn_fail(L, "%s: this at (...) already has an action; write at (...) again",
                        k->name);
    struct plan_step s = ps->s;
    plan_step_set_kind(&s, kind);
    s.target = scn_node(L, scn_text(L, 2, "the node", 200));
    if (k->pair) {
        s.target2 = scn_node(L, scn_text(L, 3, "the second node", 200));
        if (s.target2 == s.target)
            return scn_fail(L, "%s needs two different nodes", k->name);
    }
    if (s.to != 0)
        s.draw = (uint16_t)(scn_of(L)->p->step_count + 1);
    struct step_options o = {.s = &s, .k = k, .one_way = !k->both};
    read_options(L, k->pair ? 4 : 3, &o);
    add_step(L, &s);
    if (k->pair && !o.one_way) { /* a link drops in both directions */
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
    const char *names[64];
    size_t n = 0;

    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    for (lua_pushnil(L); lua_next(L, lua_upvalueindex(1)) != 0; lua_pop(L, 1))
        if (n < 64)
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
    for (unsigned k = 0; k < PLAN_STEP_KINDS; k++) {
        if (plan_step_info(k) == NULL)
            continue;
        lua_pushinteger(L, (lua_Integer)k);
        lua_pushcclosure(L, step_action, 1);
        lua_setfield(L, -2, plan_step_info(k)->name);
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
