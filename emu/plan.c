/* SPDX-License-Identifier: Apache-2.0 */
/* The plan as data: defaults, look-ups, settings and variants. */
#include "emu/plan.h"

#include <stdio.h>
#include <string.h>

#include "emu/plan_fields.h"

void plan_field_defaults(enum plan_obj obj, void *o, unsigned roles)
{
    size_t n;
    const struct plan_field *f = plan_fields(obj, &n);

    for (size_t i = 0; i < n; i++)
        if (f[i].dflt != NULL && (f[i].roles & roles) != 0)
            (void)plan_field_set(o, &f[i], f[i].dflt, NULL); /* a test sets every default */
}

void plan_init(struct plan *p)
{
    memset(p, 0, sizeof(*p));
    p->version = PLAN_VERSION;
    plan_field_defaults(PLAN_OBJ_RUN, p, PLAN_ROLE_ANY);
}

int plan_node_find(const struct plan *p, const char *name)
{
    for (int i = 0; i < p->node_count; i++)
        if (strcmp(p->nodes[i].name, name) == 0)
            return i;
    return -1;
}

int plan_region_find(const struct plan *p, const char *name)
{
    for (int i = 0; i < p->region_count; i++)
        if (strcmp(p->regions[i].name, name) == 0)
            return i;
    return -1;
}

static int workload_find(const struct plan *p, const char *name)
{
    for (int i = 0; i < p->workload_count; i++)
        if (strcmp(p->workloads[i].name, name) == 0)
            return i;
    return -1;
}

/** Link "a-b" in either direction. */
static int link_find(const struct plan *p, const char *name)
{
    char ab[2 * PLAN_NAME_MAX + 1], ba[2 * PLAN_NAME_MAX + 1];

    for (int i = 0; i < p->link_count; i++) {
        const char *a = p->nodes[p->links[i].a].name, *b = p->nodes[p->links[i].b].name;

        snprintf(ab, sizeof(ab), "%s-%s", a, b);
        snprintf(ba, sizeof(ba), "%s-%s", b, a);
        if (strcmp(ab, name) == 0 || strcmp(ba, name) == 0)
            return i;
    }
    return -1;
}

bool plan_check_known(const char *id)
{
    for (int i = 0; i < FL_PLANT_COUNT; i++) {
        const struct fl_plant_info *info = fl_plant_info((enum fl_plant)i);

        if (strncmp(info->id, "blind-", 6) == 0 && strcmp(info->id + 6, id) == 0)
            return true;
    }
    return false;
}

static uint32_t even_share(uint64_t pages, uint16_t count, uint16_t i)
{
    return (uint32_t)(pages / count + (i < pages % count));
}

void plan_region_split(struct plan_region *r)
{
    uint64_t pages = r->size_bytes / FL_PAGE_BYTES;

    for (uint16_t i = 0; i < r->chunk_count; i++)
        r->chunks[i].page_count = even_share(pages, r->chunk_count, i);
}

static bool split_is_even(const struct plan_region *r)
{
    for (uint16_t i = 0; i < r->chunk_count; i++)
        if (r->chunks[i].page_count != even_share(r->size_bytes / FL_PAGE_BYTES, r->chunk_count, i))
            return false;
    return true;
}

void plan_number_chunks(struct plan *p)
{
    static _Thread_local uint16_t next[PLAN_NODES_MAX];

    memset(next, 0, sizeof(next));
    for (int i = 0; i < p->region_count; i++)
        for (int j = 0; j < p->regions[i].chunk_count; j++)
            p->regions[i].chunks[j].chunk = next[p->regions[i].chunks[j].node]++;
}

/** A setting taken apart: "region.heap.threshold" and "8". */
struct setting {
    char path[96];
    char *obj, *name, *key; /* into path; obj is NULL for settings of the run */
    const char *value;
};

static int setting_split(const char *text, struct setting *s, struct fl_errmsg *err)
{
    const char *eq = strchr(text, '=');

    if (eq == NULL || eq == text || eq[1] == '\0' || (size_t)(eq - text) >= sizeof(s->path))
        return fl_fail(err, FL_EINVAL,
                       "setting \"%.60s\" is not of the form path=value, such as "
                       "region.heap.threshold=8",
                       text);
    memcpy(s->path, text, (size_t)(eq - text));
    s->path[eq - text] = '\0';
    s->value = eq + 1;
    s->obj = s->name = NULL;
    s->key = s->path;
    char *dot = strchr(s->path, '.');
    char *dot2 = dot != NULL ? strchr(dot + 1, '.') : NULL;
    if (dot == NULL)
        return FL_OK;
    if (dot2 == NULL)
        return fl_fail(err, FL_EINVAL,
                       "setting \"%.60s\" needs three parts: kind.name.key, such as "
                       "node.c0.device_memory",
                       text);
    *dot = *dot2 = '\0';
    s->obj = s->path;
    s->name = dot + 1;
    s->key = dot2 + 1;
    return FL_OK;
}

static int unknown_object(const struct setting *s, struct fl_errmsg *err)
{
    static const char *const kinds[] = {"node", "link", "region", "workload"};
    const char *near = plan_nearest(s->obj, kinds, 4);

    return fl_fail(err, FL_EINVAL, "a setting cannot begin with \"%s\"; %s%s%s", s->obj,
                   near != NULL ? "did you mean \"" : "use node, link, region or workload",
                   near != NULL ? near : "", near != NULL ? "\"?" : "");
}

static int unknown_key(enum plan_obj obj, const char *key, struct fl_errmsg *err)
{
    const char *keys[32];
    size_t n;
    const struct plan_field *f = plan_fields(obj, &n);

    for (size_t i = 0; i < n; i++)
        keys[i] = f[i].key;
    const char *near = plan_nearest(key, keys, n);
    if (near != NULL)
        return fl_fail(err, FL_EINVAL, "a %s has no setting \"%s\"; did you mean \"%s\"?",
                       plan_obj_name(obj), key, near);
    return fl_fail(err, FL_EINVAL,
                   "a %s has no setting \"%s\"; `farline list settings` prints what there is",
                   plan_obj_name(obj), key);
}

/** The object a setting is about; NULL: @err says why. */
static void *setting_object(struct plan *p, const struct setting *s, enum plan_obj *ret_obj,
                            struct fl_errmsg *err)
{
    void *o = NULL;
    int i = -1;

    if (s->obj == NULL) {
        *ret_obj = PLAN_OBJ_RUN;
        return p;
    }
    if (strcmp(s->obj, "node") == 0) {
        *ret_obj = PLAN_OBJ_NODE;
        if ((i = plan_node_find(p, s->name)) >= 0)
            o = &p->nodes[i];
    } else if (strcmp(s->obj, "link") == 0) {
        *ret_obj = PLAN_OBJ_LINK;
        if ((i = link_find(p, s->name)) >= 0)
            o = &p->links[i];
    } else if (strcmp(s->obj, "region") == 0) {
        *ret_obj = PLAN_OBJ_REGION;
        if ((i = plan_region_find(p, s->name)) >= 0)
            o = &p->regions[i];
    } else if (strcmp(s->obj, "workload") == 0) {
        *ret_obj = PLAN_OBJ_WORKLOAD;
        if ((i = workload_find(p, s->name)) >= 0)
            o = &p->workloads[i];
    } else {
        (void)unknown_object(s, err);
        return NULL;
    }
    if (o == NULL)
        (void)fl_fail(err, FL_EINVAL, "there is no %s \"%s\" in this scenario", s->obj, s->name);
    return o;
}

static int set_region_size(struct plan_region *r, const struct plan_field *f, const char *value,
                           struct fl_errmsg *err)
{
    if (!split_is_even(r))
        return fl_fail(err, FL_EINVAL,
                       "the chunks of region \"%s\" are given one by one, so its size cannot be "
                       "set; use backed_by instead of chunks",
                       r->name);
    int rc = plan_field_set(r, f, value, err);
    if (rc == FL_OK)
        plan_region_split(r);
    return rc;
}

int plan_set(struct plan *p, const char *setting, struct fl_errmsg *err)
{
    struct setting s;
    enum plan_obj obj;
    int rc = setting_split(setting, &s, err);

    if (rc != FL_OK)
        return rc;
    void *o = setting_object(p, &s, &obj, err);
    if (o == NULL)
        return FL_EINVAL;
    const struct plan_field *f = plan_field_find(obj, s.key);
    if (f == NULL)
        return unknown_key(obj, s.key, err);
    if (obj == PLAN_OBJ_NODE) {
        bool memory = ((struct plan_node *)o)->role == PLAN_MEMORY;

        if ((f->roles & (memory ? PLAN_ROLE_MEMORY : PLAN_ROLE_COMPUTE)) == 0)
            return fl_fail(err, FL_EINVAL, "\"%s\" is not a setting of a %s node, which \"%s\" is",
                           s.key, memory ? "memory" : "compute", s.name);
    }
    if (obj == PLAN_OBJ_REGION && strcmp(f->key, "size") == 0)
        return set_region_size(o, f, s.value, err);
    return plan_field_set(o, f, s.value, err);
}

/** Equality of images is a matter between variants: no variant alone can check it. */
static void drop_check(struct plan *p, const char *id)
{
    for (uint16_t i = 0; i < p->check_count; i++) {
        if (strcmp(p->checks[i], id) != 0)
            continue;
        for (uint16_t j = i; j + 1 < p->check_count; j++)
            memcpy(p->checks[j], p->checks[j + 1], sizeof(p->checks[j]));
        p->check_count--;
        memset(p->checks[p->check_count], 0, sizeof(p->checks[0]));
        return;
    }
}

int plan_variant_apply(const struct plan *p, int v, struct plan *ret, struct fl_errmsg *err)
{
    if (v < 0 || v >= p->variant_count)
        return fl_fail(err, FL_EINVAL, "there is no variant %d", v);
    const struct plan_variant *pv = &p->variants[v];

    *ret = *p;
    memset(ret->variants, 0, sizeof(ret->variants));
    ret->variant_count = 0;
    ret->same_image = false;
    drop_check(ret, "W9");
    for (size_t i = 0; i < sizeof(pv->set) / sizeof(pv->set[0]) && pv->set[i][0] != '\0'; i++) {
        int rc = plan_set(ret, pv->set[i], err);

        if (rc != FL_OK)
            return fl_wrap(err, rc, "variant \"%s\"", pv->name);
    }
    return FL_OK;
}
