/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/runfile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "emu/cmd.h"
#include "emu/plan_fields.h"

enum { FILE_BYTES_MAX = 8 << 20 };

static const char *const sim_trackers[] = {"actor", "actor-sampled", "coroutine", NULL};

/* --- digests -------------------------------------------------------------------------------- */

static json_t *digest(const json_t *v)
{
    char hex[24];
    char *text =
        json_dumps(v, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));

    if (text == NULL)
        return NULL;
    snprintf(hex, sizeof(hex), "%016" PRIx64, (uint64_t)XXH64(text, strlen(text), 0));
    free(text);
    return json_string(hex);
}

/** Digests of all fields but "digests"; NULL: out of memory. */
static json_t *digests(json_t *j)
{
    json_t *all = json_object(), *v, *pv;
    const char *key, *pkey;
    char name[128];
    int bad = all == NULL;

    json_object_foreach(j, key, v)
    {
        if (strcmp(key, "digests") == 0)
            continue;
        if (strcmp(key, "plan") != 0) {
            bad |= json_object_set_new(all, key, digest(v));
            continue;
        }
        json_object_foreach(v, pkey, pv)
        {
            snprintf(name, sizeof(name), "plan.%.100s", pkey);
            bad |= json_object_set_new(all, name, digest(pv));
        }
    }
    if (!bad)
        return all;
    json_decref(all);
    return NULL;
}

int runfile_seal(json_t *j)
{
    json_t *all = j != NULL ? digests(j) : NULL;

    return all != NULL ? json_object_set_new(j, "digests", all) : -1;
}

/* --- reading -------------------------------------------------------------------------------- */

struct rf {
    const char *path;
    json_t *j;
    struct fl_errmsg *err;
};

__attribute__((format(printf, 3, 4))) static int bad(const struct rf *f, const char *field,
                                                     const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return fl_fail(f->err, FL_EINVAL, "%.80s: %s: %s", f->path, field, text);
}

static int load(struct rf *f)
{
    json_error_t why;
    FILE *in = fopen(f->path, "re");
    char *text = malloc(FILE_BYTES_MAX + 1);
    size_t len = 0;

    if (in == NULL || text == NULL) {
        int e = in == NULL ? errno : ENOMEM;
        if (in != NULL)
            fclose(in);
        free(text);
        return fl_fail(f->err, FL_EINVAL, "cannot read %.300s: %s", f->path, strerror(e));
    }
    len = fread(text, 1, FILE_BYTES_MAX + 1, in);
    int e = ferror(in) ? errno : 0;
    fclose(in);
    if (e == 0 && len <= FILE_BYTES_MAX)
        f->j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (e != 0)
        return fl_fail(f->err, FL_EINVAL, "cannot read %.300s: %s", f->path, strerror(e));
    if (len > FILE_BYTES_MAX)
        return fl_fail(f->err, FL_EINVAL,
                       "%.300s is larger than %d bytes: not the run.json of a "
                       "run",
                       f->path, FILE_BYTES_MAX);
    if (f->j == NULL)
        return fl_fail(f->err, FL_EINVAL,
                       "%.80s: line %d: %.160s; the file is cut short or not JSON: use the "
                       "run.json that the run left",
                       f->path, why.line, why.text);
    return FL_OK;
}

static int check_version(const struct rf *f)
{
    const json_t *v = json_object_get(f->j, "version");

    if (!json_is_object(f->j))
        return bad(f, "top", "not an object");
    if (v == NULL)
        return bad(f, "version", "is missing; is this the run.json of a run?");
    if (!json_is_integer(v))
        return bad(f, "version", "is not a whole number");
    if (json_integer_value(v) != RUNFILE_VERSION)
        return bad(f, "version", "is %" JSON_INTEGER_FORMAT "; this program reads %d",
                   json_integer_value(v), RUNFILE_VERSION);
    return FL_OK;
}

static const struct {
    const char *name;
    json_type type;
    bool null;
} fields[] = {{"plan", JSON_OBJECT, false},      {"seed", JSON_INTEGER, false},
              {"variant", JSON_STRING, true},    {"fabric", JSON_STRING, false},
              {"tracker", JSON_STRING, false},   {"faults", JSON_ARRAY, false},
              {"trace_hash", JSON_STRING, true}, {"digests", JSON_OBJECT, false}};

static int check_fields(const struct rf *f)
{
    static const char *const types[] = {"an object", "a list", "a text", "a whole number"};
    const char *key;
    json_t *v;
    size_t i;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        v = json_object_get(f->j, fields[i].name);
        if (v == NULL)
            return bad(f, fields[i].name, "is missing");
        if (json_typeof(v) != fields[i].type && !(fields[i].null && json_is_null(v)))
            return bad(f, fields[i].name, "is not %s", types[fields[i].type]);
    }
    json_object_foreach(f->j, key, v)
    {
        for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
            if (strcmp(key, fields[i].name) == 0)
                break;
        if (i == sizeof(fields) / sizeof(fields[0]) && strcmp(key, "version") != 0) {
            char name[64];
            snprintf(name, sizeof(name), "%.60s", key);
            return bad(f, name, "is not a field of this version");
        }
    }
    return FL_OK;
}

static int check_digests(const struct rf *f)
{
    const json_t *said = json_object_get(f->j, "digests");
    json_t *now = digests(f->j), *v;
    const char *key;
    int rc = now != NULL ? FL_OK : fl_fail(f->err, FL_ENOMEM, "out of memory");

    json_object_foreach(now, key, v)
    {
        char name[128];

        snprintf(name, sizeof(name), "%.120s", key);
        if (rc == FL_OK && !json_equal(v, json_object_get(said, key)))
            rc = bad(f, name,
                     "was changed after the run, so this would repeat something else; use the "
                     "file that the run left, or change the scenario and run it");
    }
    if (rc == FL_OK && json_object_size(said) != json_object_size(now))
        rc = bad(f, "digests", "names a field that is missing");
    json_decref(now);
    return rc;
}

static int read_texts(const struct rf *f, struct runfile *ret)
{
    const char *fabric = json_string_value(json_object_get(f->j, "fabric"));
    const char *tracker = json_string_value(json_object_get(f->j, "tracker"));
    const json_t *variant = json_object_get(f->j, "variant");
    const json_t *hash = json_object_get(f->j, "trace_hash");
    bool sim = strcmp(fabric, "sim") == 0;
    char *end = NULL;

    if (plan_name_index(cmd_fabrics, fabric) < 0)
        return bad(f, "fabric", "there is no fabric \"%.40s\"", fabric);
    if (sim ? plan_name_index(sim_trackers, tracker) < 0 : strcmp(tracker, "mprotect") != 0)
        return bad(f, "tracker", "\"%.40s\" does not go with fabric %s", tracker, fabric);
    snprintf(ret->fabric, sizeof(ret->fabric), "%s", fabric);
    snprintf(ret->tracker, sizeof(ret->tracker), "%s", tracker);
    if (json_string_length(variant) >= sizeof(ret->variant))
        return bad(f, "variant", "is too long for a name");
    if (json_is_string(variant))
        snprintf(ret->variant, sizeof(ret->variant), "%s", json_string_value(variant));
    if (json_is_null(hash))
        return FL_OK;
    ret->trace_hash = strtoull(json_string_value(hash), &end, 16);
    if (json_string_length(hash) != 16 || *end != '\0' || ret->trace_hash == 0)
        return bad(f, "trace_hash", "is not 16 hexadecimal digits");
    return FL_OK;
}

static int read_faults(const struct rf *f, struct runfile *ret)
{
    const json_t *list = json_object_get(f->j, "faults"), *v;
    size_t i;

    json_array_foreach(list, i, v)
    {
        const json_t *fired = json_object_get(v, "fired");
        char name[32];

        snprintf(name, sizeof(name), "faults[%zu]", i);
        if (!json_is_integer(fired) || json_integer_value(fired) < 0)
            return bad(f, name, "\"fired\" is missing or not a count");
        ret->fired += json_integer_value(fired) > 0;
    }
    return FL_OK;
}

static int read_plan(const struct rf *f, struct runfile *ret)
{
    char *text = json_dumps(json_object_get(f->j, "plan"),
                            JSON_SORT_KEYS | JSON_COMPACT | JSON_REAL_PRECISION(17));
    struct fl_errmsg why;
    int rc = text == NULL ? fl_fail(&why, FL_ENOMEM, "out of memory")
                          : plan_from_json(text, &ret->plan, &why);

    free(text);
    if (rc == FL_OK)
        rc = plan_validate(&ret->plan, &why);
    if (rc != FL_OK)
        return fl_fail(f->err, rc == FL_ENOMEM ? rc : FL_EINVAL, "%.80s: plan: %.380s", f->path,
                       why.text);
    const json_t *seed = json_object_get(f->j, "seed");
    if (json_integer_value(seed) < 0 || (uint64_t)json_integer_value(seed) != ret->plan.seed)
        return bad(f, "seed", "differs from the plan's, which is %" PRIu64, ret->plan.seed);
    if (ret->plan.variant_count > 0)
        return bad(f, "plan.variants",
                   "this file stands for %u runs together; take the run.json of one, such as %s/",
                   ret->plan.variant_count, ret->plan.variants[0].name);
    return FL_OK;
}

int runfile_read(const char *path, struct runfile *ret, struct fl_errmsg *err)
{
    struct rf f = {.path = path, .err = err};
    int rc;

    memset(ret, 0, sizeof(*ret));
    if ((rc = load(&f)) == FL_OK && (rc = check_version(&f)) == FL_OK &&
        (rc = check_fields(&f)) == FL_OK && (rc = read_texts(&f, ret)) == FL_OK &&
        (rc = read_faults(&f, ret)) == FL_OK && (rc = read_plan(&f, ret)) == FL_OK)
        rc = check_digests(&f);
    json_decref(f.j);
    return rc;
}
