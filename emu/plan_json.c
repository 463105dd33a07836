/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan as canonical JSON: keys sorted, units in the names, nodes and regions by name, the
 * value "never" for a time that does not come. Reading trusts nothing: the text may come from a
 * child that ran somebody's scenario, or from a file.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/plan_fields.h"
#include "emu/plan_steps.h"

enum { JSON_BYTES_MAX = 4 << 20 };

/* --- writing -------------------------------------------------------------------------------- */

static json_t *json_u64(uint64_t v)
{
    return v == FL_NEVER ? json_string("never") : json_integer((json_int_t)v);
}

static json_t *field_json(const void *o, const struct plan_field *f)
{
    if (f->type == PLAN_F_TEXT)
        return json_string((const char *)o + f->offset);
    if (f->type == PLAN_F_REAL)
        return json_real(plan_field_real(o, f));
    uint64_t v = plan_field_get(o, f);
    if (f->type == PLAN_F_ENUM)
        return json_string(v <= f->max ? f->names[v] : "?");
    return json_u64(v);
}

static int put_fields(json_t *j, enum plan_obj obj, const void *o, unsigned roles)
{
    size_t n;
    const struct plan_field *f = plan_fields(obj, &n);

    for (size_t i = 0; i < n; i++)
        if ((f[i].roles & roles) != 0 && json_object_set_new(j, f[i].json, field_json(o, &f[i])))
            return -1;
    return 0;
}

static const char *node_name(const struct plan *p, uint16_t i)
{
    return i < p->node_count ? p->nodes[i].name : "?";
}

static json_t *node_json(const struct plan *p, int i)
{
    const struct plan_node *n = &p->nodes[i];
    json_t *j = json_pack("{s:s, s:s, s:i}", "name", n->name, "role", plan_role_names[n->role],
                          "line", n->line);

    if (j != NULL)
        put_fields(j, PLAN_OBJ_NODE, n,
                   n->role == PLAN_MEMORY ? PLAN_ROLE_MEMORY : PLAN_ROLE_COMPUTE);
    return j;
}

static json_t *link_json(const struct plan *p, int i)
{
    const struct plan_link *l = &p->links[i];
    json_t *j = json_pack("{s:s, s:s, s:i}", "a", node_name(p, l->a), "b", node_name(p, l->b),
                          "line", l->line);

    if (j != NULL)
        put_fields(j, PLAN_OBJ_LINK, l, PLAN_ROLE_ANY);
    return j;
}

static json_t *region_json(const struct plan *p, int i)
{
    const struct plan_region *r = &p->regions[i];
    json_t *chunks = json_array();

    for (int k = 0; k < r->chunk_count && k < PLAN_CHUNKS_MAX; k++)
        json_array_append_new(chunks,
                              json_pack("{s:s, s:i, s:I}", "node", node_name(p, r->chunks[k].node),
                                        "chunk", (int)r->chunks[k].chunk, "page_count",
                                        (json_int_t)r->chunks[k].page_count));
    json_t *j = json_pack("{s:s, s:s, s:i, s:o}", "name", r->name, "on", node_name(p, r->on),
                          "line", r->line, "chunks", chunks);
    if (j != NULL)
        put_fields(j, PLAN_OBJ_REGION, r, PLAN_ROLE_ANY);
    return j;
}

static json_t *workload_json(const struct plan *p, int i)
{
    const struct plan_workload *w = &p->workloads[i];
    json_t *j =
        json_pack("{s:s, s:s, s:i}", "name", w->name, "region",
                  w->region < p->region_count ? p->regions[w->region].name : "?", "line", w->line);

    if (j != NULL)
        put_fields(j, PLAN_OBJ_WORKLOAD, w, PLAN_ROLE_ANY);
    return j;
}

/** Only what the kind can say: steps of older plans keep their form. */
static void put_step_options(json_t *j, const struct plan *p, const struct plan_step *s,
                             const struct plan_step_info *k)
{
    if (k->pair)
        json_object_set_new(j, "target2", json_string(node_name(p, s->target2)));
    if ((k->options & (PLAN_OPT_BY | PLAN_OPT_AFTER)) != 0)
        json_object_set_new(j, "by_ns", json_u64(s->by_ns));
    if ((k->options & PLAN_OPT_BPS) != 0)
        json_object_set_new(j, "rate_bps", json_u64(s->rate_bps));
    if ((k->options & PLAN_OPT_CLASS) != 0)
        json_object_set_new(j, "classes", json_u64(s->classes));
    if ((k->options & PLAN_OPT_EVERY) != 0)
        json_object_set_new(j, "every", json_u64(s->every));
    if ((k->options & PLAN_OPT_COUNT) != 0)
        json_object_set_new(j, "count", json_u64(s->count));
    if ((k->options & PLAN_OPT_IMAGE) != 0)
        json_object_set_new(j, "blank", json_boolean(s->blank));
}

static json_t *step_json(const struct plan *p, int i)
{
    const struct plan_step *s = &p->steps[i];
    const struct fl_site_info *site = fl_site_info((enum fl_site)s->site);
    const struct plan_step_info *k = plan_step_info(plan_step_kind(s));
    json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:o}", "when", plan_when_names[s->when], "action",
                          k != NULL ? k->name : "?", "target", node_name(p, s->target), "line",
                          s->line, "for_ns", json_u64(s->for_ns));

    if (j == NULL)
        return NULL;
    if (s->when == PLAN_AT_SITE) {
        json_object_set_new(j, "node", json_string(node_name(p, s->node)));
        json_object_set_new(j, "site", json_string(site != NULL ? site->name : "?"));
        json_object_set_new(j, "nth", json_u64(s->nth));
    } else if (s->when == PLAN_AT_TIME) {
        json_object_set_new(j, "at_ns", json_u64(s->at_ns));
    }
    if (s->draw != 0) {
        json_object_set_new(j, "draw", json_u64(s->draw));
        json_object_set_new(j, "to", json_u64(s->to));
    }
    if (k != NULL)
        put_step_options(j, p, s, k);
    return j;
}

static json_t *expect_json(const struct plan *p, int i)
{
    const struct plan_expect *e = &p->expects[i];
    json_t *j = json_pack("{s:s, s:s, s:i}", "metric", e->metric, "cmp", plan_cmp_names[e->cmp],
                          "line", e->line);

    if (j != NULL && e->text[0] != '\0')
        json_object_set_new(j, "text", json_string(e->text));
    else if (j != NULL)
        json_object_set_new(j, "value", json_real(e->value));
    return j;
}

static json_t *check_json(const struct plan *p, int i)
{
    return json_string(p->checks[i]);
}

static json_t *variant_json(const struct plan *p, int i)
{
    const struct plan_variant *v = &p->variants[i];
    json_t *set = json_array();

    for (size_t k = 0; k < sizeof(v->set) / sizeof(v->set[0]) && v->set[k][0] != '\0'; k++)
        json_array_append_new(set, json_string(v->set[k]));
    return json_pack("{s:s, s:o}", "name", v->name, "set", set);
}

static json_t *plant_json(const struct plan *p, int i)
{
    (void)p;
    return json_string(fl_plant_info((enum fl_plant)i)->id);
}

typedef json_t *item_fn(const struct plan *p, int i);

static int put_list(json_t *j, const char *key, const struct plan *p, int count, item_fn *fn)
{
    json_t *list = json_array();

    for (int i = 0; i < count; i++)
        if (fn != plant_json || fl_planted(&p->plants, (enum fl_plant)i))
            if (json_array_append_new(list, fn(p, i)) != 0) {
                json_decref(list);
                return -1;
            }
    return json_object_set_new(j, key, list);
}

char *plan_to_json(const struct plan *p)
{
    json_t *j = json_pack("{s:i, s:s, s:s, s:b}", "version", p->version, "title", p->title, "file",
                          p->file, "same_image", p->same_image);

    if (j == NULL)
        return NULL;
    int bad = put_fields(j, PLAN_OBJ_RUN, p, PLAN_ROLE_ANY);
    bad |= put_list(j, "nodes", p, p->node_count, node_json);
    bad |= put_list(j, "links", p, p->link_count, link_json);
    bad |= put_list(j, "regions", p, p->region_count, region_json);
    bad |= put_list(j, "workloads", p, p->workload_count, workload_json);
    bad |= put_list(j, "steps", p, p->step_count, step_json);
    bad |= put_list(j, "expects", p, p->expect_count, expect_json);
    bad |= put_list(j, "checks", p, p->check_count, check_json);
    bad |= put_list(j, "variants", p, p->variant_count, variant_json);
    bad |= put_list(j, "plants", p, FL_PLANT_COUNT, plant_json);
    char *text =
        bad ? NULL : json_dumps(j, JSON_SORT_KEYS | JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(j);
    return text;
}

/* --- reading -------------------------------------------------------------------------------- */

/** Where a reader is: the object, its name for messages, how many of its keys were used. */
struct rd {
    json_t *j;
    char what[64];
    size_t used;
    struct fl_errmsg *err;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void rd_fail(struct rd *r, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    if (r->failed)
        return;
    r->failed = true;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fl_fail(r->err, FL_EINVAL, "plan: %s: %s", r->what, text);
}

static void rd_init(struct rd *r, json_t *j, struct fl_errmsg *err, const char *list, size_t i)
{
    *r = (struct rd){.j = j, .err = err};
    if (list != NULL)
        snprintf(r->what, sizeof(r->what), "%s[%zu]", list, i);
    else
        snprintf(r->what, sizeof(r->what), "top");
    if (!json_is_object(j))
        rd_fail(r, "not an object");
}

static json_t *rd_get(struct rd *r, const char *key)
{
    json_t *v = r->failed ? NULL : json_object_get(r->j, key);

    if (v == NULL)
        rd_fail(r, "\"%s\" is missing", key);
    else
        r->used++;
    return v;
}

static const char *rd_text(struct rd *r, const char *key, size_t max)
{
    json_t *v = rd_get(r, key);

    if (v == NULL)
        return "";
    if (!json_is_string(v) || json_string_length(v) > max) {
        rd_fail(r, "\"%s\" is not a text of at most %zu bytes", key, max);
        return "";
    }
    return json_string_value(v);
}

static void rd_copy(struct rd *r, const char *key, char *dst, size_t size)
{
    const char *s = rd_text(r, key, size - 1);

    memcpy(dst, s, strlen(s) + 1);
}

static uint64_t rd_u64(struct rd *r, const char *key, uint64_t max, bool never)
{
    json_t *v = rd_get(r, key);

    if (v == NULL)
        return 0;
    if (never && json_is_string(v) && strcmp(json_string_value(v), "never") == 0)
        return FL_NEVER;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max) {
        rd_fail(r, "\"%s\" is not a whole number from 0 to %" PRIu64, key, max);
        return 0;
    }
    return (uint64_t)json_integer_value(v);
}

static int rd_enum(struct rd *r, const char *key, const char *const *names)
{
    const char *s = rd_text(r, key, 64);
    int i = plan_name_index(names, s);

    if (i < 0)
        rd_fail(r, "\"%s\" has no value \"%s\"", key, s);
    return i < 0 ? 0 : i;
}

static uint16_t rd_node(struct rd *r, const char *key, const struct plan *p)
{
    const char *s = rd_text(r, key, PLAN_NAME_MAX - 1);
    int i = plan_node_find(p, s);

    if (i < 0)
        rd_fail(r, "\"%s\": there is no node \"%s\"", key, s);
    return i < 0 ? 0 : (uint16_t)i;
}

static void rd_field(struct rd *r, void *o, const struct plan_field *f)
{
    if (f->type == PLAN_F_TEXT) {
        rd_copy(r, f->json, (char *)o + f->offset, f->width);
        return;
    }
    if (f->type == PLAN_F_ENUM) {
        plan_field_put(o, f, (uint64_t)rd_enum(r, f->json, f->names));
        return;
    }
    if (f->type == PLAN_F_REAL) {
        json_t *v = rd_get(r, f->json);
        double d = json_number_value(v);

        if (v != NULL && !json_is_number(v))
            rd_fail(r, "\"%s\" is not a number", f->json);
        memcpy((char *)o + f->offset, &d, sizeof(d));
        return;
    }
    uint64_t max = f->width >= 8 ? INT64_MAX : (UINT64_C(1) << (8 * f->width)) - 1;
    plan_field_put(o, f, rd_u64(r, f->json, max, f->never));
}

static void rd_fields(struct rd *r, enum plan_obj obj, void *o, unsigned roles)
{
    size_t n;
    const struct plan_field *f = plan_fields(obj, &n);

    for (size_t i = 0; i < n; i++)
        if ((f[i].roles & roles) != 0)
            rd_field(r, o, &f[i]);
}

static int rd_line(struct rd *r)
{
    return (int)rd_u64(r, "line", INT32_MAX, false);
}

/** Every key was used: a key that nobody knows is an error, not a silence. */
static int rd_done(struct rd *r)
{
    if (!r->failed && r->used != json_object_size(r->j))
        rd_fail(r, "holds a key that is not known");
    return r->failed ? FL_EINVAL : FL_OK;
}

static int read_node(struct plan *p, struct rd *r, uint16_t i)
{
    struct plan_node *n = &p->nodes[i];

    rd_copy(r, "name", n->name, sizeof(n->name));
    n->role = (enum plan_role)rd_enum(r, "role", plan_role_names);
    n->line = rd_line(r);
    rd_fields(r, PLAN_OBJ_NODE, n, n->role == PLAN_MEMORY ? PLAN_ROLE_MEMORY : PLAN_ROLE_COMPUTE);
    return rd_done(r);
}

static int read_link(struct plan *p, struct rd *r, uint16_t i)
{
    struct plan_link *l = &p->links[i];

    l->a = rd_node(r, "a", p);
    l->b = rd_node(r, "b", p);
    l->line = rd_line(r);
    rd_fields(r, PLAN_OBJ_LINK, l, PLAN_ROLE_ANY);
    return rd_done(r);
}

static void read_chunks(struct plan *p, struct rd *r, struct plan_region *rg)
{
    json_t *list = rd_get(r, "chunks"), *j;
    size_t i;

    if (r->failed)
        return;
    if (!json_is_array(list) || json_array_size(list) > PLAN_CHUNKS_MAX) {
        rd_fail(r, "\"chunks\" is not a list of at most %d", PLAN_CHUNKS_MAX);
        return;
    }
    rg->chunk_count = (uint16_t)json_array_size(list);
    json_array_foreach(list, i, j)
    {
        struct rd c;

        rd_init(&c, j, r->err, "chunks", i);
        rg->chunks[i].node = rd_node(&c, "node", p);
        rg->chunks[i].chunk = (uint16_t)rd_u64(&c, "chunk", UINT16_MAX, false);
        rg->chunks[i].page_count = (uint32_t)rd_u64(&c, "page_count", UINT32_MAX, false);
        if (rd_done(&c) != FL_OK) {
            r->failed = true;
            return;
        }
    }
}

static int read_region(struct plan *p, struct rd *r, uint16_t i)
{
    struct plan_region *rg = &p->regions[i];

    rd_copy(r, "name", rg->name, sizeof(rg->name));
    rg->on = rd_node(r, "on", p);
    rg->line = rd_line(r);
    rd_fields(r, PLAN_OBJ_REGION, rg, PLAN_ROLE_ANY);
    read_chunks(p, r, rg);
    return rd_done(r);
}

static int read_workload(struct plan *p, struct rd *r, uint16_t i)
{
    struct plan_workload *w = &p->workloads[i];

    rd_copy(r, "name", w->name, sizeof(w->name));
    const char *region = rd_text(r, "region", PLAN_NAME_MAX - 1);
    int k = plan_region_find(p, region);
    if (k < 0)
        rd_fail(r, "there is no region \"%s\"", region);
    w->region = k < 0 ? 0 : (uint16_t)k;
    w->line = rd_line(r);
    rd_fields(r, PLAN_OBJ_WORKLOAD, w, PLAN_ROLE_ANY);
    return rd_done(r);
}

static void read_step_options(const struct plan *p, struct rd *r, struct plan_step *s,
                              const struct plan_step_info *k)
{
    if (k->pair)
        s->target2 = rd_node(r, "target2", p);
    if ((k->options & (PLAN_OPT_BY | PLAN_OPT_AFTER)) != 0)
        s->by_ns = rd_u64(r, "by_ns", INT64_MAX, false);
    if ((k->options & PLAN_OPT_BPS) != 0)
        s->rate_bps = rd_u64(r, "rate_bps", INT64_MAX, false);
    if ((k->options & PLAN_OPT_CLASS) != 0)
        s->classes = (uint8_t)rd_u64(r, "classes", UINT8_MAX, false);
    if ((k->options & PLAN_OPT_EVERY) != 0)
        s->every = (uint32_t)rd_u64(r, "every", UINT32_MAX, false);
    if ((k->options & PLAN_OPT_COUNT) != 0)
        s->count = rd_u64(r, "count", INT64_MAX, false);
    if ((k->options & PLAN_OPT_IMAGE) != 0) {
        json_t *v = rd_get(r, "blank");

        if (v != NULL && !json_is_boolean(v))
            rd_fail(r, "\"blank\" is neither true nor false");
        s->blank = json_is_true(v);
    }
}

static int read_step(struct plan *p, struct rd *r, uint16_t i)
{
    struct plan_step *s = &p->steps[i];

    s->when = (enum plan_when)rd_enum(r, "when", plan_when_names);
    const char *action = rd_text(r, "action", 64);
    unsigned kind = plan_step_find(action);
    if (plan_step_info(kind) == NULL)
        rd_fail(r, "\"action\" has no value \"%s\"", action);
    plan_step_set_kind(s, kind);
    s->target = rd_node(r, "target", p);
    s->line = rd_line(r);
    s->for_ns = rd_u64(r, "for_ns", INT64_MAX, true);
    if (s->when == PLAN_AT_SITE) {
        const char *site;

        s->node = rd_node(r, "node", p);
        site = rd_text(r, "site", 64);
        s->site = (uint16_t)fl_site_find(site);
        if (s->site == FL_SITE_NONE)
            rd_fail(r, "there is no site \"%s\"", site);
        s->nth = rd_u64(r, "nth", INT64_MAX, false);
    } else if (s->when == PLAN_AT_TIME) {
        s->at_ns = rd_u64(r, "at_ns", INT64_MAX, false);
    }
    if (!r->failed && json_object_get(r->j, "draw") != NULL) {
        s->draw = (uint16_t)rd_u64(r, "draw", PLAN_STEPS_MAX, false);
        s->to = rd_u64(r, "to", INT64_MAX, false);
    }
    if (!r->failed)
        read_step_options(p, r, s, plan_step_info(kind));
    return rd_done(r);
}

static int read_expect(struct plan *p, struct rd *r, uint16_t i)
{
    struct plan_expect *e = &p->expects[i];

    rd_copy(r, "metric", e->metric, sizeof(e->metric));
    e->cmp = (enum plan_cmp)rd_enum(r, "cmp", plan_cmp_names);
    e->line = rd_line(r);
    if (!r->failed && json_object_get(r->j, "text") != NULL) {
        rd_copy(r, "text", e->text, sizeof(e->text));
        if (e->text[0] == '\0')
            rd_fail(r, "\"text\" is empty");
    } else {
        json_t *v = rd_get(r, "value");

        if (v != NULL && !json_is_number(v))
            rd_fail(r, "\"value\" is not a number");
        e->value = json_number_value(v);
    }
    return rd_done(r);
}

static int read_variant(struct plan *p, struct rd *r, uint16_t i)
{
    struct plan_variant *v = &p->variants[i];
    size_t max = sizeof(v->set) / sizeof(v->set[0]), k;
    json_t *s;

    rd_copy(r, "name", v->name, sizeof(v->name));
    json_t *set = rd_get(r, "set");
    if (!r->failed && (!json_is_array(set) || json_array_size(set) > max))
        rd_fail(r, "\"set\" is not a list of at most %zu settings", max);
    if (r->failed)
        return FL_EINVAL;
    json_array_foreach(set, k, s)
    {
        if (!json_is_string(s) || json_string_length(s) == 0 ||
            json_string_length(s) >= sizeof(v->set[0]))
            rd_fail(r, "\"set\" holds something that is not a short text");
        else
            memcpy(v->set[k], json_string_value(s), json_string_length(s));
    }
    return rd_done(r);
}

typedef int read_fn(struct plan *p, struct rd *r, uint16_t i);

static void read_list(struct plan *p, struct rd *top, const char *key, uint16_t max,
                      uint16_t *ret_count, read_fn *fn)
{
    json_t *list = rd_get(top, key), *j;
    size_t i;

    if (top->failed)
        return;
    if (!json_is_array(list) || json_array_size(list) > max) {
        rd_fail(top, "\"%s\" is not a list of at most %u", key, max);
        return;
    }
    json_array_foreach(list, i, j)
    {
        struct rd r;

        rd_init(&r, j, top->err, key, i);
        if (r.failed || fn(p, &r, (uint16_t)i) != FL_OK) {
            top->failed = true;
            return;
        }
        *ret_count = (uint16_t)(i + 1); /* later objects refer to earlier ones by name */
    }
}

static void read_checks(struct plan *p, struct rd *top)
{
    json_t *list = rd_get(top, "checks"), *j;
    size_t i;

    if (top->failed)
        return;
    if (!json_is_array(list) || json_array_size(list) > PLAN_CHECKS_MAX) {
        rd_fail(top, "\"checks\" is not a list of at most %d", PLAN_CHECKS_MAX);
        return;
    }
    json_array_foreach(list, i, j)
    {
        if (!json_is_string(j) || json_string_length(j) >= sizeof(p->checks[0])) {
            rd_fail(top, "\"checks\" holds something that is not an id");
            return;
        }
        memcpy(p->checks[i], json_string_value(j), json_string_length(j));
        p->check_count++;
    }
}

static void read_plants(struct plan *p, struct rd *top)
{
    json_t *list = rd_get(top, "plants"), *j;
    size_t i;

    if (top->failed)
        return;
    if (!json_is_array(list)) {
        rd_fail(top, "\"plants\" is not a list");
        return;
    }
    json_array_foreach(list, i, j)
    {
        if (!json_is_string(j) || fl_plant_add(&p->plants, json_string_value(j)) != FL_OK) {
            rd_fail(top, "\"plants\" holds an id that is not known");
            return;
        }
    }
}

static int read_plan(json_t *j, struct plan *p, struct fl_errmsg *err)
{
    struct rd r;

    rd_init(&r, j, err, NULL, 0);
    p->version = (int)rd_u64(&r, "version", INT32_MAX, false);
    if (!r.failed && p->version != PLAN_VERSION)
        rd_fail(&r, "\"version\" is %d; this program reads %d", p->version, PLAN_VERSION);
    rd_copy(&r, "title", p->title, sizeof(p->title));
    rd_copy(&r, "file", p->file, sizeof(p->file));
    json_t *same = rd_get(&r, "same_image");
    if (same != NULL && !json_is_boolean(same))
        rd_fail(&r, "\"same_image\" is neither true nor false");
    p->same_image = json_is_true(same);
    rd_fields(&r, PLAN_OBJ_RUN, p, PLAN_ROLE_ANY);
    read_list(p, &r, "nodes", PLAN_NODES_MAX, &p->node_count, read_node);
    read_list(p, &r, "links", PLAN_LINKS_MAX, &p->link_count, read_link);
    read_list(p, &r, "regions", PLAN_REGIONS_MAX, &p->region_count, read_region);
    read_list(p, &r, "workloads", PLAN_WORKLOADS_MAX, &p->workload_count, read_workload);
    read_list(p, &r, "steps", PLAN_STEPS_MAX, &p->step_count, read_step);
    read_list(p, &r, "expects", PLAN_EXPECTS_MAX, &p->expect_count, read_expect);
    read_list(p, &r, "variants", PLAN_VARIANTS_MAX, &p->variant_count, read_variant);
    read_checks(p, &r);
    read_plants(p, &r);
    return rd_done(&r);
}

int plan_from_json(const char *text, struct plan *ret, struct fl_errmsg *err)
{
    json_error_t why;

    if (strnlen(text, JSON_BYTES_MAX + 1) > JSON_BYTES_MAX)
        return fl_fail(err, FL_EINVAL, "plan: larger than %d bytes", JSON_BYTES_MAX);
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (j == NULL)
        return fl_fail(err, FL_EINVAL, "plan: line %d: %s", why.line, why.text);
    struct plan *p = calloc(1, sizeof(*p));
    int rc = p == NULL ? fl_fail(err, FL_ENOMEM, "plan: out of memory") : read_plan(j, p, err);
    if (rc == FL_OK)
        *ret = *p;
    free(p);
    json_decref(j);
    return rc;
}
