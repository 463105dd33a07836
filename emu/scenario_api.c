/* SPDX-License-Identifier: Apache-2.0 */
/* What a scenario says: title, node, link, region, workload, variant. Names must be defined before
 * they are used, so that every mistake is found on the line where it is made. */
#include "emu/scenario.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "emu/plan_fields.h"

const char *scn_value_text(lua_State *L, int idx, const char *key, char *buf, size_t buf_size)
{
    int whole;
    lua_Integer n;

    switch (lua_type(L, idx)) {
    case LUA_TNUMBER:
        n = lua_tointegerx(L, idx, &whole); /* 3.0, too; not what no integer can hold */
        if (whole)
            snprintf(buf, buf_size, "%lld", (long long)n);
        else
            snprintf(buf, buf_size, "%.17g", lua_tonumber(L, idx));
        return buf;
    case LUA_TSTRING:
        return scn_text(L, idx, key, 255);
    default:
        scn_fail(L, "%s must be a number or a text, not a %s", key, luaL_typename(L, idx));
        return NULL;
    }
}

const char *scn_text(lua_State *L, int idx, const char *what, size_t max)
{
    size_t len;

    if (lua_type(L, idx) != LUA_TSTRING)
        scn_fail(L, "%s must be a text in quotes, not %s%s", what,
                 lua_isnoneornil(L, idx) ? "" : "a ",
                 lua_isnoneornil(L, idx) ? "nothing" : luaL_typename(L, idx));
    const char *s = lua_tolstring(L, idx, &len);
    if (len > max)
        scn_fail(L, "%s is longer than %zu bytes", what, max);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            scn_fail(L, "%s contains a control character", what);
    json_t *utf8 = json_stringn(s, len);
    if (utf8 == NULL)
        scn_fail(L, "%s is not valid UTF-8", what);
    json_decref(utf8);
    return s;
}

int scn_begin(lua_State *L, const char *what, const char *remedy)
{
    struct scn *s = scn_of(L);

    lua_getfield(L, LUA_REGISTRYINDEX, "farline.pending");
    lua_pushfstring(L, "scenario:%d: %s", scn_line(L), what);
    lua_pushfstring(L, "%s; %s", lua_tostring(L, -1), remedy);
    lua_remove(L, -2);
    lua_rawseti(L, -2, ++s->pending_next);
    lua_pop(L, 1);
    return s->pending_next;
}

void scn_finished(lua_State *L, int id)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "farline.pending");
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, id);
    lua_pop(L, 1);
}

uint16_t scn_node(lua_State *L, const char *name)
{
    const struct plan *p = scn_of(L)->p;
    const char *names[PLAN_NODES_MAX];
    int i = plan_node_find(p, name);

    if (i >= 0)
        return (uint16_t)i;
    for (i = 0; i < p->node_count; i++)
        names[i] = p->nodes[i].name;
    const char *near = plan_nearest(name, names, p->node_count);
    if (near != NULL)
        scn_fail(L, "there is no node \"%.40s\"; did you mean \"%s\"?", name, near);
    scn_fail(L, "there is no node \"%.40s\"; define it before using it", name);
    return 0;
}

/* --- settings from a table ------------------------------------------------------------------ */

struct filling {
    enum plan_obj obj;
    void *o;
    unsigned roles;
    const char *what;           /* 'node "c0"' */
    const char *const *special; /* keys that the caller reads */
    uint64_t seen;              /* fields that were set */
};

static void unknown_key(lua_State *L, const struct filling *fi, const char *key)
{
    const char *names[40];
    size_t n = 0, count;
    const struct plan_field *f = plan_fields(fi->obj, &count);

    for (size_t i = 0; i < count; i++)
        if ((f[i].roles & fi->roles) != 0)
            names[n++] = f[i].key;
    for (size_t i = 0; fi->special[i] != NULL; i++)
        names[n++] = fi->special[i];
    const char *near = plan_nearest(key, names, n);
    if (near != NULL)
        scn_fail(L, "%s: unknown setting \"%.40s\"; did you mean \"%s\"?", fi->what, key, near);
    char all[300] = "";
    for (size_t i = 0, used = 0; i < n && used < sizeof(all); i++)
        used +=
            (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", i > 0 ? ", " : "", names[i]);
    scn_fail(L, "%s: unknown setting \"%.40s\"; there are %s", fi->what, key, all);
}

static void fill_one(lua_State *L, const char *key, void *arg)
{
    struct filling *fi = arg;
    struct fl_errmsg err;
    char buf[64];
    size_t count;

    if (plan_name_index(fi->special, key) >= 0)
        return;
    const struct plan_field *all = plan_fields(fi->obj, &count);
    const struct plan_field *f = plan_field_find(fi->obj, key);
    if (f == NULL) {
        unknown_key(L, fi, key);
        return; /* never reached: a Lua error has left */
    }
    if ((f->roles & fi->roles) == 0)
        scn_fail(L, "%s: %s is not a setting of a %s node", fi->what, key,
                 fi->roles == PLAN_ROLE_MEMORY ? "memory" : "compute");
    if (plan_field_set(fi->o, f, scn_value_text(L, -1, key, buf, sizeof(buf)), &err) != FL_OK)
        scn_fail(L, "%s: %s", fi->what, err.text);
    fi->seen |= UINT64_C(1) << (f - all);
}

/** Defaults, then what the table at @idx says; what has no default must be there. */
static void fill(lua_State *L, int idx, struct filling *fi)
{
    size_t count;
    const struct plan_field *f = plan_fields(fi->obj, &count);

    plan_field_defaults(fi->obj, fi->o, fi->roles);
    scn_each(L, idx, fi->what, fill_one, fi);
    for (size_t i = 0; i < count; i++)
        if ((f[i].roles & fi->roles) != 0 && f[i].dflt == NULL && !(fi->seen >> i & 1))
            scn_fail(L, "%s: %s is missing; it says %s", fi->what, f[i].key, f[i].doc);
}

/** The table argument of an object. */
static void want_table(lua_State *L, int idx, const char *what)
{
    if (lua_type(L, idx) != LUA_TTABLE)
        scn_fail(L, "%s needs its settings in braces, as in %s { ... }", what, what);
}

static const char *new_name(lua_State *L, int idx, const char *kind)
{
    const char *name = scn_text(L, idx, "the name", 200);

    if (!plan_name_ok(name))
        scn_fail(L,
                 "\"%.40s\" cannot be the name of a %s; use a letter, then letters, digits and _, "
                 "at most %d in all",
                 name, kind, PLAN_NAME_MAX - 1);
    return name;
}

static void copy_name(char dst[PLAN_NAME_MAX], const char *name)
{
    memset(dst, 0, PLAN_NAME_MAX);
    memcpy(dst, name, strlen(name)); /* new_name() bounded it */
}

/* --- node ----------------------------------------------------------------------------------- */

/** Upvalues of the second half of a statement: name, id of the begun object. */
static const char *second_half(lua_State *L, const char *kind, char what[64])
{
    const char *name = lua_tostring(L, lua_upvalueindex(1));

    snprintf(what, 64, "%s \"%s\"", kind, name);
    want_table(L, 1, what);
    scn_finished(L, (int)lua_tointeger(L, lua_upvalueindex(2)));
    return name;
}

static int first_half(lua_State *L, const char *kind, lua_CFunction second, int defined_line)
{
    char what[64], remedy[96];
    const char *name = new_name(L, 1, kind);

    if (defined_line >= 0)
        return scn_fail(L, "%s \"%s\" is already defined on line %d; names must differ", kind, name,
                        defined_line);
    snprintf(what, sizeof(what), "%s \"%s\" has no settings", kind, name);
    snprintf(remedy, sizeof(remedy), "write %s \"%s\" { ... }", kind, name);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, scn_begin(L, what, remedy));
    lua_pushcclosure(L, second, 2);
    return 1;
}

static int node_settings(lua_State *L)
{
    static const char *const special[] = {"role", NULL};
    struct plan *p = scn_of(L)->p;
    struct plan_node n = {.line = scn_line(L)};
    char what[64];
    const char *name = second_half(L, "node", what);

    if (p->node_count == PLAN_NODES_MAX)
        return scn_fail(L, "more than %d nodes", PLAN_NODES_MAX);
    if (plan_node_find(p, name) >= 0)
        return scn_fail(L, "%s is already defined", what);
    lua_getfield(L, 1, "role");
    if (lua_isnil(L, -1))
        return scn_fail(L, "%s: role is missing; write role = \"compute\" or \"memory\"", what);
    const char *role = scn_text(L, -1, "role", 200);
    int r = plan_name_index(plan_role_names, role);
    if (r < 0)
        return scn_fail(L, "%s: role is \"%.40s\"; it must be \"compute\" or \"memory\"", what,
                        role);
    copy_name(n.name, name);
    n.role = (enum plan_role)r;
    struct filling fi = {.obj = PLAN_OBJ_NODE,
                         .o = &n,
                         .roles = n.role == PLAN_MEMORY ? PLAN_ROLE_MEMORY : PLAN_ROLE_COMPUTE,
                         .what = what,
                         .special = special};
    fill(L, 1, &fi);
    p->nodes[p->node_count++] = n;
    return 0;
}

static int api_node(lua_State *L)
{
    const struct plan *p = scn_of(L)->p;
    int i = lua_type(L, 1) == LUA_TSTRING ? plan_node_find(p, lua_tostring(L, 1)) : -1;

    return first_half(L, "node", node_settings, i >= 0 ? p->nodes[i].line : -1);
}

/* --- link ----------------------------------------------------------------------------------- */

static const char *const no_special[] = {NULL};

static int link_settings(lua_State *L)
{
    struct plan *p = scn_of(L)->p;
    struct plan_link l = {.line = scn_line(L)};
    char what[96];

    l.a = (uint16_t)lua_tointeger(L, lua_upvalueindex(1));
    l.b = (uint16_t)lua_tointeger(L, lua_upvalueindex(2));
    snprintf(what, sizeof(what), "link (\"%s\", \"%s\")", p->nodes[l.a].name, p->nodes[l.b].name);
    want_table(L, 1, what);
    scn_finished(L, (int)lua_tointeger(L, lua_upvalueindex(3)));
    if (p->link_count == PLAN_LINKS_MAX)
        return scn_fail(L, "more than %d links", PLAN_LINKS_MAX);
    struct filling fi = {
        .obj = PLAN_OBJ_LINK, .o = &l, .roles = PLAN_ROLE_ANY, .what = what, .special = no_special};
    fill(L, 1, &fi);
    p->links[p->link_count++] = l;
    return 0;
}

static int api_link(lua_State *L)
{
    const struct plan *p = scn_of(L)->p;
    uint16_t a = scn_node(L, scn_text(L, 1, "the first node of link", 200));
    uint16_t b = scn_node(L, scn_text(L, 2, "the second node of link", 200));

    if (a == b)
        return scn_fail(L, "link: a link joins two different nodes");
    for (int i = 0; i < p->link_count; i++)
        if ((p->links[i].a == a && p->links[i].b == b) ||
            (p->links[i].a == b && p->links[i].b == a))
            return scn_fail(L, "this link is already defined on line %d", p->links[i].line);
    lua_pushinteger(L, a);
    lua_pushinteger(L, b);
    lua_pushinteger(
        L, scn_begin(L, "link has no settings", "write link (\"a\", \"b\") { delay = \"5us\" }"));
    lua_pushcclosure(L, link_settings, 3);
    return 1;
}

/* --- region --------------------------------------------------------------------------------- */

/** Next element of the list at @idx, of type @type; fails on anything else. */
static void list_item(lua_State *L, int idx, lua_Integer i, int type, const char *what)
{
    if (lua_geti(L, idx, i) != type)
        scn_fail(L, "%s: element %d is not a %s", what, (int)i,
                 type == LUA_TTABLE ? "table { node = ..., size = ... }" : "node's name");
}

static lua_Integer list_len(lua_State *L, int idx, const char *what, lua_Integer max)
{
    if (lua_type(L, idx) != LUA_TTABLE)
        scn_fail(L, "%s must be a list in braces", what);
    lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
    lua_Integer all = (lua_Integer)scn_keys(L, idx);
    lua_pop(L, 1);
    if (n != all)
        scn_fail(L, "%s must be a list without names or gaps", what);
    if (n < 1 || n > max)
        scn_fail(L, "%s has %d elements; 1 to %d are possible", what, (int)n, (int)max);
    return n;
}

static void region_backed_by(lua_State *L, int idx, struct plan_region *r, const char *what)
{
    char list[96];

    snprintf(list, sizeof(list), "%s: backed_by", what);
    lua_Integer n = list_len(L, idx, list, PLAN_CHUNKS_MAX);
    for (lua_Integer i = 1; i <= n; i++) {
        list_item(L, idx, i, LUA_TSTRING, list);
        r->chunks[i - 1].node = scn_node(L, scn_text(L, -1, list, 200));
        lua_pop(L, 1);
    }
    r->chunk_count = (uint16_t)n;
    plan_region_split(r);
}

struct chunk_reading {
    const char *what;
    bool node, size;
    struct plan_chunk c;
};

static void chunk_key(lua_State *L, const char *key, void *arg)
{
    struct chunk_reading *cr = arg;
    uint64_t bytes;
    char buf[64];

    if (strcmp(key, "node") == 0) {
        cr->c.node = scn_node(L, scn_text(L, -1, cr->what, 200));
        cr->node = true;
        return;
    }
    if (strcmp(key, "size") != 0)
        scn_fail(L, "%s: unknown setting \"%.40s\"; a chunk has node and size", cr->what, key);
    const char *text = scn_value_text(L, -1, "size", buf, sizeof(buf));
    if (!plan_parse_size(text, &bytes) || bytes == 0 || bytes % FL_PAGE_BYTES != 0 ||
        bytes / FL_PAGE_BYTES > UINT32_MAX)
        scn_fail(L, "%s: size is \"%.40s\"; it must be whole pages, such as \"512K\"", cr->what,
                 text);
    cr->c.page_count = (uint32_t)(bytes / FL_PAGE_BYTES);
    cr->size = true;
}

static void region_chunks(lua_State *L, int idx, struct plan_region *r, const char *what)
{
    char list[96], one[112];

    snprintf(list, sizeof(list), "%s: chunks", what);
    lua_Integer n = list_len(L, idx, list, PLAN_CHUNKS_MAX);
    for (lua_Integer i = 1; i <= n; i++) {
        snprintf(one, sizeof(one), "%s[%d]", list, (int)i);
        struct chunk_reading cr = {.what = one};

        list_item(L, idx, i, LUA_TTABLE, list);
        scn_each(L, -1, one, chunk_key, &cr);
        lua_pop(L, 1);
        if (!cr.node || !cr.size)
            scn_fail(L, "%s: %s is missing", one, cr.node ? "size" : "node");
        r->chunks[i - 1] = cr.c;
    }
    r->chunk_count = (uint16_t)n;
}

static int region_settings(lua_State *L)
{
    static const char *const special[] = {"on", "backed_by", "chunks", NULL};
    struct plan *p = scn_of(L)->p;
    struct plan_region r = {.line = scn_line(L)};
    char what[64];
    const char *name = second_half(L, "region", what);

    if (p->region_count == PLAN_REGIONS_MAX)
        return scn_fail(L, "more than %d regions", PLAN_REGIONS_MAX);
    if (plan_region_find(p, name) >= 0)
        return scn_fail(L, "%s is already defined", what);
    copy_name(r.name, name);
    lua_settop(L, 1);
    struct filling fi = {
        .obj = PLAN_OBJ_REGION, .o = &r, .roles = PLAN_ROLE_ANY, .what = what, .special = special};
    fill(L, 1, &fi);
    if (lua_getfield(L, 1, "on") == LUA_TNIL)
        return scn_fail(L, "%s: on is missing; it names the compute node that opens the region",
                        what);
    r.on = scn_node(L, scn_text(L, -1, "on", 200));
    int backed = lua_getfield(L, 1, "backed_by"), chunks = lua_getfield(L, 1, "chunks");
    if ((backed == LUA_TNIL) == (chunks == LUA_TNIL))
        return scn_fail(L,
                        "%s needs either backed_by = {\"m0\", ...} or chunks = {{ node = ..., size "
                        "= ... }, ...}",
                        what);
    if (backed != LUA_TNIL)
        region_backed_by(L, 3, &r, what);
    else
        region_chunks(L, 4, &r, what);
    p->regions[p->region_count++] = r;
    plan_number_chunks(p);
    return 0;
}

static int api_region(lua_State *L)
{
    const struct plan *p = scn_of(L)->p;
    int i = lua_type(L, 1) == LUA_TSTRING ? plan_region_find(p, lua_tostring(L, 1)) : -1;

    return first_half(L, "region", region_settings, i >= 0 ? p->regions[i].line : -1);
}

/* --- workload ------------------------------------------------------------------------------- */

static uint16_t find_region(lua_State *L, const char *what, const char *name)
{
    const struct plan *p = scn_of(L)->p;
    const char *names[PLAN_REGIONS_MAX];
    int i = plan_region_find(p, name);

    if (i >= 0)
        return (uint16_t)i;
    for (i = 0; i < p->region_count; i++)
        names[i] = p->regions[i].name;
    const char *near = plan_nearest(name, names, p->region_count);
    if (near != NULL)
        scn_fail(L, "%s: there is no region \"%.40s\"; did you mean \"%s\"?", what, name, near);
    scn_fail(L, "%s: there is no region \"%.40s\"; define it before using it", what, name);
    return 0;
}

static int workload_settings(lua_State *L)
{
    static const char *const special[] = {"region", NULL};
    struct plan *p = scn_of(L)->p;
    struct plan_workload w = {.line = scn_line(L)};
    char what[64];
    const char *name = second_half(L, "workload", what);

    if (p->workload_count == PLAN_WORKLOADS_MAX)
        return scn_fail(L, "more than %d workloads", PLAN_WORKLOADS_MAX);
    for (int i = 0; i < p->workload_count; i++)
        if (strcmp(p->workloads[i].name, name) == 0)
            return scn_fail(L, "%s is already defined on line %d", what, p->workloads[i].line);
    copy_name(w.name, name);
    struct filling fi = {.obj = PLAN_OBJ_WORKLOAD,
                         .o = &w,
                         .roles = PLAN_ROLE_ANY,
                         .what = what,
                         .special = special};
    fill(L, 1, &fi);
    if (lua_getfield(L, 1, "region") == LUA_TNIL)
        return scn_fail(L, "%s: region is missing; it names the region that is touched", what);
    w.region = find_region(L, what, scn_text(L, -1, "region", 200));
    p->workloads[p->workload_count++] = w;
    return 0;
}

static int api_workload(lua_State *L)
{
    return first_half(L, "workload", workload_settings, -1);
}

/* --- variants ------------------------------------------------------------------------------- */

struct variant_reading {
    struct plan_variant *v;
    size_t count;
    const char *what;
};

static void variant_key(lua_State *L, const char *key, void *arg)
{
    struct variant_reading *vr = arg;
    char buf[64];
    const size_t max = sizeof(vr->v->set) / sizeof(vr->v->set[0]);

    if (vr->count == max)
        scn_fail(L, "%s changes more than %zu settings", vr->what, max);
    int n = snprintf(vr->v->set[vr->count], sizeof(vr->v->set[0]), "%s=%s", key,
                     scn_value_text(L, -1, key, buf, sizeof(buf)));
    if (n < 0 || (size_t)n >= sizeof(vr->v->set[0]))
        scn_fail(L, "%s: setting \"%.40s...\" is longer than %zu bytes", vr->what, key,
                 sizeof(vr->v->set[0]) - 1);
    vr->count++;
}

static int variant_settings(lua_State *L)
{
    struct scn *s = scn_of(L);
    struct plan_variant v = {.name = ""};
    char what[64];
    const char *name = second_half(L, "variant", what);
    struct variant_reading vr = {.v = &v, .what = what};

    if (s->p->variant_count == PLAN_VARIANTS_MAX)
        return scn_fail(L, "more than %d variants", PLAN_VARIANTS_MAX);
    for (int i = 0; i < s->p->variant_count; i++)
        if (strcmp(s->p->variants[i].name, name) == 0)
            return scn_fail(L, "%s is already defined on line %d", what, s->variant_line[i]);
    copy_name(v.name, name);
    scn_each(L, 1, what, variant_key, &vr);
    s->variant_line[s->p->variant_count] = scn_line(L);
    s->p->variants[s->p->variant_count++] = v;
    return 0;
}

static int api_variant(lua_State *L)
{
    return first_half(L, "variant", variant_settings, -1);
}

/* --- the run -------------------------------------------------------------------------------- */

static int api_title(lua_State *L)
{
    struct plan *p = scn_of(L)->p;
    const char *t = scn_text(L, 1, "title", sizeof(p->title) - 1);

    if (p->title[0] != '\0')
        return scn_fail(L, "title is given twice");
    memcpy(p->title, t, strlen(t));
    return 0;
}

/** deadline, heartbeat, heartbeat_miss, seed: upvalue 1 is the key. */
static int api_run_setting(lua_State *L)
{
    struct scn *s = scn_of(L);
    struct fl_errmsg err;
    char buf[64];
    const char *key = lua_tostring(L, lua_upvalueindex(1));
    const char *text = scn_value_text(L, 1, key, buf, sizeof(buf));
    bool seed = strcmp(key, "seed") == 0;

    if (seed && s->seed_fixed)
        return 0;
    if (plan_field_set(s->p, plan_field_find(PLAN_OBJ_RUN, key), text, &err) != FL_OK)
        return scn_fail(L, "%s", err.text);
    if (seed) {
        lua_getfield(L, LUA_REGISTRYINDEX, "farline.randomseed");
        lua_pushinteger(L, (lua_Integer)s->p->seed);
        lua_call(L, 1, 0);
    }
    return 0;
}

static int api_same_image(lua_State *L)
{
    scn_of(L)->p->same_image = true;
    return 0;
}

void scn_api_objects(lua_State *L)
{
    static const char *const run_keys[] = {
        "seed",       "deadline",       "heartbeat",       "heartbeat_miss",
        "rdma_retry", "rdma_rnr_retry", "rdma_ack_timeout"};
    static const luaL_Reg fns[] = {{"title", api_title},
                                   {"node", api_node},
                                   {"link", api_link},
                                   {"region", api_region},
                                   {"workload", api_workload},
                                   {"variant", api_variant},
                                   {"same_image", api_same_image},
                                   {NULL, NULL}};

    luaL_setfuncs(L, fns, 0);
    for (size_t i = 0; i < sizeof(run_keys) / sizeof(run_keys[0]); i++) {
        lua_pushstring(L, run_keys[i]);
        lua_pushcclosure(L, api_run_setting, 1);
        lua_setfield(L, -2, run_keys[i]);
    }
}
