/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The one table of every setting a scenario has: name, unit, bounds, default, meaning. The
 * scenario loader, --set and variants, the JSON form, validation, `farline list settings` and the
 * manual page all follow it.
 */
#ifndef EMU_PLAN_FIELDS_H
#define EMU_PLAN_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "emu/plan.h"

enum plan_obj { PLAN_OBJ_RUN, PLAN_OBJ_NODE, PLAN_OBJ_LINK, PLAN_OBJ_REGION, PLAN_OBJ_WORKLOAD };

enum plan_ftype {
    PLAN_F_SIZE, /* bytes: 4096, "64K", "1M", "8G"; powers of 1024 */
    PLAN_F_TIME, /* nanoseconds: "300ns", "5us", "2ms", "1s"; "never" where allowed */
    PLAN_F_RATE, /* bits per second: "10G"; powers of 1000 */
    PLAN_F_COUNT,
    PLAN_F_ENUM,
    PLAN_F_REAL,
    PLAN_F_TEXT,
};

/** Which roles of nodes have this field; other objects: both. */
enum { PLAN_ROLE_COMPUTE = 1, PLAN_ROLE_MEMORY = 2, PLAN_ROLE_ANY = 3 };

struct plan_field {
    const char *key;  /* in scenario files and settings: "device_memory" */
    const char *json; /* in the plan, unit last: "device_memory_bytes" */
    enum plan_ftype type;
    uint16_t offset, width;
    uint8_t roles;
    bool never;               /* TIME: "never" is allowed */
    bool pages;               /* SIZE: must be a multiple of FL_PAGE_BYTES */
    const char *dflt;         /* as a scenario writes it; NULL: must be given */
    uint64_t min, max;        /* of the stored value; TEXT: of its length */
    const char *const *names; /* ENUM: NULL-terminated; the index is the value */
    const char *doc;
};

/** Fields of one kind of object. */
const struct plan_field *plan_fields(enum plan_obj obj, size_t *ret_count);

/** "node", "region", ...; a static string. */
const char *plan_obj_name(enum plan_obj obj);

/** Field of that key, NULL when there is none. */
const struct plan_field *plan_field_find(enum plan_obj obj, const char *key);

/** Sets the field of @obj from text as a scenario writes it. FL_EINVAL: the message names the
 * field and what is allowed; @obj unchanged. */
int plan_field_set(void *obj, const struct plan_field *f, const char *text, struct fl_errmsg *err);

/** Checks the bounds of one field. */
int plan_field_check(const void *obj, const struct plan_field *f, struct fl_errmsg *err);

uint64_t plan_field_get(const void *obj, const struct plan_field *f);
void plan_field_put(void *obj, const struct plan_field *f, uint64_t value);
double plan_field_real(const void *obj, const struct plan_field *f);

/** Value as a scenario writes it ("64K", "2ms"). */
void plan_field_text(const void *obj, const struct plan_field *f, char *ret, size_t ret_size);

/** Sets every field that has a default and belongs to one of @roles. */
void plan_field_defaults(enum plan_obj obj, void *o, unsigned roles);

/** An empty plan with the defaults of a run. */
void plan_init(struct plan *p);

/** Applies one setting: "seed=7", "region.heap.threshold=8", "link.c0-m0.delay=5us". */
int plan_set(struct plan *p, const char *setting, struct fl_errmsg *err);

/** Splits @size_bytes evenly over the region's chunks, in whole pages; the first take the rest. */
void plan_region_split(struct plan_region *r);

/** Numbers the chunks of every memory node in the order of the plan. */
void plan_number_chunks(struct plan *p);

/** Parse texts with units; false when malformed or too large. */
bool plan_parse_size(const char *text, uint64_t *ret_bytes);
bool plan_parse_time(const char *text, uint64_t *ret_ns);
bool plan_parse_rate(const char *text, uint64_t *ret_bps);

/** Names of workload kinds, roles, comparisons: NULL-terminated, indexed by the enum. */
extern const char *const plan_kind_names[];
extern const char *const plan_role_names[];
extern const char *const plan_when_names[];
extern const char *const plan_cmp_names[];

/** Index of @name in a NULL-terminated list, -1 when there is none. */
int plan_name_index(const char *const *names, const char *name);

/** True for the name of a node, region, workload, variant: a letter, then letters, digits, '_'. */
bool plan_name_ok(const char *name);

/** True when an oracle of that id exists ("W3"). */
bool plan_check_known(const char *id);

/** The nearest of @names to @word, NULL when none is near: for "did you mean". */
const char *plan_nearest(const char *word, const char *const *names, size_t count);

#endif
