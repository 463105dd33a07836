/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Lua interpreter whose whole state lies in a region. The program is a chunk that is called with
 * (rounds, seed) and returns text or a number that stands for everything it computed. It gets
 * string, table, math and utf8; nothing that reaches outside.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "emu/native.h"

struct job {
    const char *code, *name;
    size_t code_len;
    uint64_t rounds, seed;
    uint64_t checksum;
    int rv;
    struct fl_errmsg *err;
};

static void *lua_mem(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud;
    (void)osize;
    if (nsize == 0) {
        native_free(ptr);
        return NULL;
    }
    return native_realloc(ptr, nsize);
}

static void open_libs(lua_State *L)
{
    static const luaL_Reg libs[] = {{LUA_GNAME, luaopen_base},
                                    {LUA_TABLIBNAME, luaopen_table},
                                    {LUA_STRLIBNAME, luaopen_string},
                                    {LUA_MATHLIBNAME, luaopen_math},
                                    {LUA_UTF8LIBNAME, luaopen_utf8}};
    static const char *const outside[] = {"dofile", "loadfile", "load", "print", "collectgarbage"};
    for (size_t i = 0; i < sizeof(libs) / sizeof(libs[0]); i++) {
        luaL_requiref(L, libs[i].name, libs[i].func, 1);
        lua_pop(L, 1);
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        lua_pushnil(L);
        lua_setglobal(L, outside[i]);
    }
}

/** Everything that can raise an error, below one protected call. */
static int protected_main(lua_State *L)
{
    struct job *j = lua_touserdata(L, 1);
    size_t len;
    open_libs(L);
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
    lua_State *L = lua_newstate(lua_mem, NULL);
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
    if (rv)
        return rv;
    ret->rows = w->ops;
    ret->checksum = j.checksum;
    ret->match = ret->checksum == ret->plain;
    return FL_OK;
}
