/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter scenarios run in: only what builds a plan, and the same result every time. No
 * files, no clock, no loading of code, no addresses, no order that depends on a hash.
 */
#include "emu/scenario.h"

#include <errno.h>
#include <lualib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/plan_fields.h"

enum { HOOK_EVERY = 10000, SORT_MAX = 1000000 };

struct scn *scn_of(lua_State *L)
{
    struct scn *s;

    memcpy(&s, lua_getextraspace(L), sizeof(s));
    return s;
}

int scn_line(lua_State *L)
{
    lua_Debug ar;

    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "l", &ar);
        if (ar.currentline > 0)
            return ar.currentline;
    }
    return 0;
}

int scn_fail(lua_State *L, const char *fmt, ...)
{
    char text[440];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    lua_pushfstring(L, "scenario:%d: %s", scn_line(L), text);
    return lua_error(L);
}

static void *limited_alloc(void *arg, void *ptr, size_t old_size, size_t new_size)
{
    struct scn *s = arg;
    size_t old = ptr != NULL ? old_size : 0; /* for new objects Lua passes their type instead */

    if (new_size == 0) {
        free(ptr);
        s->memory_used -= old;
        return NULL;
    }
    if (new_size > old && new_size - old > s->limits.memory_bytes - s->memory_used)
        return NULL;
    void *p = realloc(ptr, new_size);
    if (p != NULL)
        s->memory_used = s->memory_used - old + new_size;
    return p;
}

static void count_hook(lua_State *L, lua_Debug *ar)
{
    struct scn *s = scn_of(L);

    (void)ar;
    s->instructions += HOOK_EVERY;
    if (s->instructions > s->limits.instructions)
        scn_fail(L, "the script runs too long: a scenario only builds a plan; look for an endless "
                    "loop here");
}

/* --- ordered tables ------------------------------------------------------------------------- */

struct key {
    int type; /* LUA_TNUMBER before LUA_TSTRING, booleans first */
    bool is_int;
    lua_Integer i;
    lua_Number n;
    const char *s; /* anchored by the table */
    size_t len;
};

static int key_cmp(const void *va, const void *vb)
{
    const struct key *a = va, *b = vb;

    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    if (a->type == LUA_TSTRING) {
        int c = memcmp(a->s, b->s, a->len < b->len ? a->len : b->len);

        return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
    }
    if (a->is_int && b->is_int)
        return (a->i > b->i) - (a->i < b->i);
    if (a->n < b->n || a->n > b->n)
        return a->n < b->n ? -1 : 1;
    return a->is_int - b->is_int;
}

static void key_read(lua_State *L, int idx, struct key *k)
{
    int is_int;

    memset(k, 0, sizeof(*k));
    k->type = lua_type(L, idx);
    if (k->type == LUA_TSTRING) {
        k->s = lua_tolstring(L, idx, &k->len);
    } else if (k->type == LUA_TNUMBER) {
        k->i = lua_tointegerx(L, idx, &is_int);
        k->is_int = is_int && lua_isinteger(L, idx);
        k->n = lua_tonumber(L, idx);
    } else if (k->type == LUA_TBOOLEAN) {
        k->is_int = true;
        k->i = lua_toboolean(L, idx);
    } else {
        scn_fail(L, "a table with a %s as key has no order; use numbers or strings as keys",
                 luaL_typename(L, idx));
    }
}

size_t scn_keys(lua_State *L, int idx)
{
    size_t n = 0, i = 0;

    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 8, "too many nested tables");
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1))
        n++;
    struct key *keys = lua_newuserdatauv(L, (n + 1) * sizeof(*keys), 0);
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1))
        key_read(L, -2, &keys[i++]);
    qsort(keys, n, sizeof(*keys), key_cmp);
    lua_createtable(L, n < 1000 ? (int)n : 1000, 0);
    for (i = 0; i < n; i++) {
        if (keys[i].type == LUA_TSTRING)
            lua_pushlstring(L, keys[i].s, keys[i].len);
        else if (keys[i].type == LUA_TBOOLEAN)
            lua_pushboolean(L, keys[i].i != 0);
        else if (keys[i].is_int)
            lua_pushinteger(L, keys[i].i);
        else
            lua_pushnumber(L, keys[i].n);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_remove(L, -2);
    return n;
}

void scn_each(lua_State *L, int idx, const char *what, scn_key_fn *fn, void *arg)
{
    idx = lua_absindex(L, idx);
    size_t n = scn_keys(L, idx);
    int keys = lua_gettop(L);

    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, keys, (lua_Integer)i);
        if (lua_type(L, -1) != LUA_TSTRING)
            scn_fail(L, "%s: holds a value without a name; write key = value", what);
        lua_pushvalue(L, -1);
        lua_rawget(L, idx);
        fn(L, lua_tostring(L, -2), arg);
        lua_settop(L, keys);
    }
    lua_pop(L, 1);
}

/** Iterator of pairs(): upvalues are the keys in order and the position. */
static int pairs_next(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));

    for (;;) {
        i++;
        lua_pushinteger(L, i);
        lua_replace(L, lua_upvalueindex(2));
        if (lua_rawgeti(L, lua_upvalueindex(1), i) == LUA_TNIL)
            return 1;
        lua_pushvalue(L, -1);
        if (lua_rawget(L, 1) != LUA_TNIL) /* a key removed meanwhile is passed over */
            return 2;
        lua_pop(L, 2);
    }
}

static int ordered_pairs(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    scn_keys(L, 1);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, pairs_next, 2);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

/** The first key after argument 2 in the order of pairs(). */
static int ordered_next(lua_State *L)
{
    struct key after, k, best;
    bool have = false, any = lua_isnoneornil(L, 2);

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (!any)
        key_read(L, 2, &after);
    lua_pushnil(L); /* 3: best key */
    for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
        key_read(L, -2, &k);
        if ((!any && key_cmp(&k, &after) <= 0) || (have && key_cmp(&k, &best) >= 0))
            continue;
        best = k;
        have = true;
        lua_pushvalue(L, -2);
        lua_replace(L, 3);
    }
    lua_settop(L, 3);
    if (!have)
        return 1;
    lua_pushvalue(L, 3);
    lua_rawget(L, 1);
    return 2;
}

/** True when the value at @a sorts before the one at @b: function at index 2, or `<`. */
static bool sorts_before(lua_State *L, int a, int b)
{
    if (lua_isnoneornil(L, 2))
        return lua_compare(L, a, b, LUA_OPLT);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, a > 0 ? a : a - 1);
    lua_pushvalue(L, b > 0 ? b : b - 2);
    lua_call(L, 2, 1);
    bool r = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return r;
}

/** Merges runs of @width of the table at index @from into the one at @to. */
static void merge_runs(lua_State *L, int from, int to, lua_Integer n, lua_Integer width)
{
    for (lua_Integer lo = 1; lo <= n; lo += 2 * width) {
        lua_Integer mid = lo + width <= n + 1 ? lo + width : n + 1;
        lua_Integer hi = mid + width <= n + 1 ? mid + width : n + 1;
        lua_Integer i = lo, j = mid;

        for (lua_Integer k = lo; k < hi; k++) {
            lua_rawgeti(L, from, i < mid ? i : lo);
            lua_rawgeti(L, from, j < hi ? j : lo);
            bool right = i >= mid || (j < hi && sorts_before(L, -1, -2));

            lua_pop(L, right ? 0 : 1);
            lua_rawseti(L, to, k);
            lua_pop(L, right ? 1 : 0);
            i += !right;
            j += right;
        }
    }
}

/** table.sort that is stable: Lua's own picks pivots by the clock. */
static int stable_sort(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_Integer n = luaL_len(L, 1);
    if (n > SORT_MAX)
        return scn_fail(L, "table.sort: more than %d values", SORT_MAX);
    lua_newtable(L); /* 3: second buffer */
    int from = 1, to = 3;
    for (lua_Integer width = 1; width < n; width *= 2) {
        merge_runs(L, from, to, n, width);
        from = to;
        to = to == 3 ? 1 : 3;
    }
    for (lua_Integer i = 1; from == 3 && i <= n; i++) {
        lua_rawgeti(L, 3, i);
        lua_rawseti(L, 1, i);
    }
    return 0;
}

/* --- functions that would show addresses ---------------------------------------------------- */

static bool has_address(lua_State *L, int idx)
{
    int t = lua_type(L, idx);

    if (t != LUA_TTABLE && t != LUA_TFUNCTION && t != LUA_TUSERDATA && t != LUA_TLIGHTUSERDATA &&
        t != LUA_TTHREAD)
        return false;
    if (luaL_getmetafield(L, idx, "__tostring") == LUA_TNIL)
        return true;
    lua_pop(L, 1);
    return false;
}

static int safe_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    if (has_address(L, 1))
        lua_pushstring(L, luaL_typename(L, 1));
    else
        luaL_tolstring(L, 1, NULL);
    return 1;
}

/** string.format without %p, and without addresses behind %s. Upvalue: the original. */
static int safe_format(lua_State *L)
{
    const char *fmt = luaL_checkstring(L, 1);
    int n = lua_gettop(L);

    for (const char *c = strchr(fmt, '%'); c != NULL; c = strchr(c + 1, '%')) {
        c++;
        c += strspn(c, "-+ #0123456789.");
        if (*c == 'p')
            return scn_fail(L, "string.format: %%p is not available, addresses differ between "
                               "runs");
        if (*c == '\0')
            break;
    }
    luaL_checkstack(L, 2, "too many arguments");
    for (int i = 2; i <= n; i++)
        if (has_address(L, i)) {
            lua_pushstring(L, luaL_typename(L, i));
            lua_replace(L, i);
        }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, 1);
    return 1;
}

/** print to stderr, bounded, control characters made harmless. */
static int safe_print(lua_State *L)
{
    struct scn *s = scn_of(L);
    int n = lua_gettop(L);

    luaL_checkstack(L, 8, "too many arguments");
    for (int i = 1; i <= n; i++) {
        const char *text = has_address(L, i) ? luaL_typename(L, i) : luaL_tolstring(L, i, NULL);
        size_t len = strlen(text);

        if (len + 1 > s->limits.print_bytes - s->printed)
            return scn_fail(L, "print: a scenario may print %zu bytes at most",
                            s->limits.print_bytes);
        s->printed += len + 1;
        for (size_t k = 0; k < len; k++)
            fputc((unsigned char)text[k] < 0x20 || text[k] == 0x7f ? '?' : text[k], stderr);
        fputc(i < n ? '\t' : '\n', stderr);
        lua_settop(L, n);
    }
    return 0;
}

/** No finalizers and no weak tables: both show when the collector ran. */
static int safe_setmetatable(lua_State *L)
{
    static const char *const refused[] = {"__gc", "__mode", "__close"};

    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnil(L, 2))
        luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    for (size_t i = 0; lua_istable(L, 2) && i < sizeof(refused) / sizeof(refused[0]); i++) {
        lua_pushstring(L, refused[i]);
        if (lua_rawget(L, 2) != LUA_TNIL)
            return scn_fail(L, "setmetatable: %s is not available here", refused[i]);
        lua_pop(L, 1);
    }
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return scn_fail(L, "setmetatable: this metatable is locked");
    lua_setmetatable(L, 1);
    return 1;
}

/* --- globals -------------------------------------------------------------------------------- */

/** __index of the globals: upvalue 1 is the table of what there is. */
static int global_get(lua_State *L)
{
    const char *names[64];
    size_t n = 0;

    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    if (lua_type(L, 2) != LUA_TSTRING)
        return 1;
    for (lua_pushnil(L); lua_next(L, lua_upvalueindex(1)) != 0; lua_pop(L, 1))
        if (n < 64 && lua_type(L, -2) == LUA_TSTRING)
            names[n++] = lua_tostring(L, -2);
    lua_settop(L, 2);
    static const char *const gone[] = {"os",     "io",        "load",  "loadfile",
                                       "dofile", "require",   "debug", "package",
                                       "pcall",  "coroutine", "xpcall"};
    const char *word = lua_tostring(L, 2);
    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
        if (strcmp(word, gone[i]) == 0)
            return scn_fail(L, "\"%s\" is not available: a scenario only builds a plan", word);
    const char *near = plan_nearest(word, names, n);
    if (near != NULL)
        return scn_fail(L, "there is nothing called \"%.40s\"; did you mean \"%s\"?", word, near);
    return scn_fail(L, "there is nothing called \"%.40s\"; define it before using it", word);
}

/** __newindex: own names are welcome, what we offer cannot be replaced. */
static int global_set(lua_State *L)
{
    lua_settop(L, 3);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return scn_fail(L, "\"%s\" belongs to the scenario language; use another name",
                        lua_tostring(L, 2));
    lua_pop(L, 1);
    lua_rawset(L, 1);
    return 0;
}

static void remove_names(lua_State *L, const char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, names[i]);
    }
}

/** Base functions and libraries into the table on top. */
static void open_libraries(lua_State *L)
{
    static const char *const base[] = {"assert",   "error",    "ipairs", "select",
                                       "tonumber", "type",     "rawlen", "getmetatable",
                                       "rawget",   "rawequal", NULL};
    static const char *const no_string[] = {"dump", NULL};
    static const char *const no_math[] = {"randomseed", NULL};

    luaL_requiref(L, "_G", luaopen_base, 0);
    for (size_t i = 0; base[i] != NULL; i++) {
        lua_getfield(L, -1, base[i]);
        lua_setfield(L, -3, base[i]);
    }
    lua_pop(L, 1);
    luaL_requiref(L, "string", luaopen_string, 0);
    remove_names(L, no_string);
    lua_getfield(L, -1, "format");
    lua_pushcclosure(L, safe_format, 1);
    lua_setfield(L, -2, "format");
    lua_setfield(L, -2, "string");
    luaL_requiref(L, "math", luaopen_math, 0);
    lua_getfield(L, -1, "randomseed");
    lua_setfield(L, LUA_REGISTRYINDEX, "farline.randomseed");
    remove_names(L, no_math);
    lua_setfield(L, -2, "math");
    luaL_requiref(L, "table", luaopen_table, 0);
    lua_pushcfunction(L, stable_sort);
    lua_setfield(L, -2, "sort");
    lua_setfield(L, -2, "table");
    luaL_requiref(L, "utf8", luaopen_utf8, 0);
    lua_setfield(L, -2, "utf8");
    static const luaL_Reg own[] = {{"pairs", ordered_pairs},
                                   {"next", ordered_next},
                                   {"tostring", safe_tostring},
                                   {"print", safe_print},
                                   {"setmetatable", safe_setmetatable},
                                   {NULL, NULL}};
    luaL_setfuncs(L, own, 0);
}

/** Runs protected: the globals, locked. */
static int build_state(lua_State *L)
{
    lua_newtable(L); /* what there is */
    open_libraries(L);
    scn_api_objects(L);
    scn_api_steps(L);
    lua_newtable(L); /* the globals */
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, global_get, 1);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, global_set, 1);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "farline.pending");
    return 0;
}

lua_State *scn_lua_new(struct scn *s)
{
    lua_State *L = lua_newstate(limited_alloc, s);

    if (L == NULL)
        return NULL;
    memcpy(lua_getextraspace(L), &s, sizeof(s));
    lua_pushcfunction(L, build_state);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
        lua_close(L);
        return NULL;
    }
    lua_sethook(L, count_hook, LUA_MASKCOUNT, HOOK_EVERY);
    return L;
}
