/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Scenario files: Lua that builds a plan. plan_load() in emu/plan.h is the way in; this header is
 * what its parts share, and what the fuzzer calls.
 */
#ifndef EMU_SCENARIO_H
#define EMU_SCENARIO_H

#include <lauxlib.h>
#include <lua.h>

#include "emu/plan.h"

/** Limits of one evaluation inside the process; the child adds rlimits and a wall deadline. */
struct scn_limits {
    size_t memory_bytes;   /* of the interpreter */
    uint64_t instructions; /* of the interpreter */
    size_t print_bytes;    /* what print() may write to stderr */
};

/** State of one evaluation. */
struct scn {
    struct plan *p;
    struct scn_limits limits;
    size_t memory_used;
    uint64_t instructions;
    size_t printed;
    bool seed_fixed;  /* --seed: the file's own seed does not count */
    bool judged;      /* there was a check or an expectation */
    int pending_next; /* objects begun, numbered from 1 */
    int variant_line[PLAN_VARIANTS_MAX];
};

/** Evaluates @text in this process and applies @sets. Not validated. FL_EINVAL: "file:line: ..." */
int scn_eval(const char *file, const char *text, size_t text_len, const char *const *sets,
             int set_count, const struct scn_limits *limits, struct plan *ret,
             struct fl_errmsg *err);

/** The interpreter without anything a scenario must not have. NULL: out of memory. */
lua_State *scn_lua_new(struct scn *s);

/** Adds node, link, region, workload, ... to the table on top of the stack. */
void scn_api_objects(lua_State *L);
void scn_api_steps(lua_State *L);

/** The evaluation that @L belongs to. */
struct scn *scn_of(lua_State *L);

/** Line of the scenario that is being run, 0 when unknown. */
int scn_line(lua_State *L);

/** Raises "line: text"; never returns. */
int scn_fail(lua_State *L, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Marks an object as begun; an id for scn_finished(). What is never finished is an error. */
int scn_begin(lua_State *L, const char *what, const char *remedy);
void scn_finished(lua_State *L, int id);

/** Text of the value at @idx for plan_field_set; fails with the key's name. Result is anchored in
 * @buf. */
const char *scn_value_text(lua_State *L, int idx, const char *key, char *buf, size_t buf_size);

/** Name or other text argument: valid UTF-8 without control characters, 1..@max bytes. */
const char *scn_text(lua_State *L, int idx, const char *what, size_t max);

/** Index of a node that must exist. */
uint16_t scn_node(lua_State *L, const char *name);

/** Pushes an array of the keys of the table at @idx in a fixed order; returns their number. */
size_t scn_keys(lua_State *L, int idx);

/** Calls @fn for each string key in order with the value on top; others are an error. */
typedef void scn_key_fn(lua_State *L, const char *key, void *arg);
void scn_each(lua_State *L, int idx, const char *what, scn_key_fn *fn, void *arg);

#endif
