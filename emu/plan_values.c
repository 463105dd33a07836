/* SPDX-License-Identifier: Apache-2.0 */
/* Values of settings: text with units to numbers and back, bounds. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "emu/plan_fields.h"

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit size_units[] = {{"", 1},
                                         {"B", 1},
                                         {"K", UINT64_C(1) << 10},
                                         {"M", UINT64_C(1) << 20},
                                         {"G", UINT64_C(1) << 30},
                                         {"T", UINT64_C(1) << 40}};
static const struct unit time_units[] = {{"ns", 1},
                                         {"us", FL_NS_PER_US},
                                         {"ms", FL_NS_PER_MS},
                                         {"s", FL_NS_PER_S},
                                         {"m", 60 * FL_NS_PER_S}};
static const struct unit rate_units[] = {{"", 1},
                                         {"K", 1000},
                                         {"M", 1000 * 1000},
                                         {"G", 1000 * 1000 * 1000},
                                         {"T", UINT64_C(1000) * 1000 * 1000 * 1000}};

/** Digits, then one of the units. Whole numbers only: "1.5M" would hide a rounding. */
static bool parse_units(const char *text, const struct unit *units, size_t count, uint64_t *ret)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(end, units[i].suffix) != 0)
            continue;
        return !__builtin_mul_overflow((uint64_t)n, units[i].factor, ret);
    }
    return false;
}

bool plan_parse_size(const char *text, uint64_t *ret_bytes)
{
    return parse_units(text, size_units, sizeof(size_units) / sizeof(size_units[0]), ret_bytes);
}

bool plan_parse_time(const char *text, uint64_t *ret_ns)
{
    if (strcmp(text, "0") == 0) {
        *ret_ns = 0;
        return true;
    }
    return parse_units(text, time_units, sizeof(time_units) / sizeof(time_units[0]), ret_ns);
}

bool plan_parse_rate(const char *text, uint64_t *ret_bps)
{
    return parse_units(text, rate_units, sizeof(rate_units) / sizeof(rate_units[0]), ret_bps);
}

/** Largest unit that divides @v. */
static void print_units(uint64_t v, const struct unit *units, size_t count, char *ret, size_t size)
{
    size_t best = 0;

    for (size_t i = 1; i < count; i++)
        if (v != 0 && units[i].factor > 1 && v % units[i].factor == 0)
            best = i;
    snprintf(ret, size, "%" PRIu64 "%s", v / units[best].factor, units[best].suffix);
}

static void print_value(const struct plan_field *f, uint64_t v, char *ret, size_t size)
{
    if (f->type == PLAN_F_SIZE)
        print_units(v, size_units, sizeof(size_units) / sizeof(size_units[0]), ret, size);
    else if (f->type == PLAN_F_TIME && v == FL_NEVER)
        snprintf(ret, size, "never");
    else if (f->type == PLAN_F_TIME)
        print_units(v, time_units, 4, ret, size); /* up to seconds */
    else if (f->type == PLAN_F_RATE)
        print_units(v, rate_units, sizeof(rate_units) / sizeof(rate_units[0]), ret, size);
    else if (f->type == PLAN_F_ENUM)
        snprintf(ret, size, "%s", v <= f->max ? f->names[v] : "?");
    else
        snprintf(ret, size, "%" PRIu64, v);
}

uint64_t plan_field_get(const void *obj, const struct plan_field *f)
{
    const char *at = (const char *)obj + f->offset;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    switch (f->width) {
    case 1:
        memcpy(&u8, at, 1);
        return u8;
    case 2:
        memcpy(&u16, at, 2);
        return u16;
    case 4:
        memcpy(&u32, at, 4);
        return u32;
    default:
        FL_ASSERT(f->width == 8);
        memcpy(&u64, at, 8);
        return u64;
    }
}

void plan_field_put(void *obj, const struct plan_field *f, uint64_t value)
{
    char *at = (char *)obj + f->offset;
    uint8_t u8 = (uint8_t)value;
    uint16_t u16 = (uint16_t)value;
    uint32_t u32 = (uint32_t)value;

    switch (f->width) {
    case 1:
        memcpy(at, &u8, 1);
        break;
    case 2:
        memcpy(at, &u16, 2);
        break;
    case 4:
        memcpy(at, &u32, 4);
        break;
    default:
        FL_ASSERT(f->width == 8);
        memcpy(at, &value, 8);
    }
}

double plan_field_real(const void *obj, const struct plan_field *f)
{
    double d;

    FL_ASSERT(f->type == PLAN_F_REAL);
    memcpy(&d, (const char *)obj + f->offset, sizeof(d));
    return d;
}

void plan_field_text(const void *obj, const struct plan_field *f, char *ret, size_t ret_size)
{
    if (f->type == PLAN_F_TEXT)
        snprintf(ret, ret_size, "%s", (const char *)obj + f->offset);
    else if (f->type == PLAN_F_REAL)
        snprintf(ret, ret_size, "%g", plan_field_real(obj, f));
    else
        print_value(f, plan_field_get(obj, f), ret, ret_size);
}

static int check_value(const struct plan_field *f, uint64_t v, struct fl_errmsg *err)
{
    char is[32], lo[32], hi[32];

    if (f->type == PLAN_F_TIME && v == FL_NEVER) {
        if (f->never)
            return FL_OK;
        return fl_fail(err, FL_EINVAL,
                       "%s must end: \"never\" is not allowed; give a time such as \"%s\"", f->key,
                       f->dflt);
    }
    print_value(f, v, is, sizeof(is));
    if (v < f->min || v > f->max) {
        print_value(f, f->min, lo, sizeof(lo));
        print_value(f, f->max, hi, sizeof(hi));
        if (f->type == PLAN_F_ENUM)
            return fl_fail(err, FL_EINVAL, "%s has no value %" PRIu64, f->key, v);
        return fl_fail(err, FL_EINVAL, "%s is %s; allowed is %s to %s", f->key, is, lo, hi);
    }
    if (f->pages && v % FL_PAGE_BYTES != 0)
        return fl_fail(err, FL_EINVAL,
                       "%s is %" PRIu64 " bytes, which is not whole pages; use a multiple of 4K",
                       f->key, v);
    return FL_OK;
}

int plan_field_check(const void *obj, const struct plan_field *f, struct fl_errmsg *err)
{
    if (f->type == PLAN_F_REAL) {
        double d = plan_field_real(obj, f);

        if (!(d > 0.0 && d < 1.0)) /* also refuses NaN */
            return fl_fail(err, FL_EINVAL, "%s is %g; it must lie between 0 and 1", f->key, d);
        return FL_OK;
    }
    if (f->type == PLAN_F_TEXT) {
        if (memchr((const char *)obj + f->offset, 0, f->width) == NULL)
            return fl_fail(err, FL_EINVAL, "%s is longer than %" PRIu64 " bytes", f->key, f->max);
        return FL_OK;
    }
    return check_value(f, plan_field_get(obj, f), err);
}

/** "a, b or c" */
static void list_names(const char *const *names, char *ret, size_t size)
{
    size_t used = 0;

    ret[0] = '\0';
    for (size_t i = 0; names[i] != NULL && used < size; i++) {
        const char *sep = i == 0 ? "" : names[i + 1] == NULL ? " or " : ", ";
        int n = snprintf(ret + used, size - used, "%s\"%s\"", sep, names[i]);

        used += n > 0 ? (size_t)n : 0;
    }
}

static int set_enum(void *obj, const struct plan_field *f, const char *text, struct fl_errmsg *err)
{
    char all[200];
    int i = plan_name_index(f->names, text);

    if (i < 0) {
        list_names(f->names, all, sizeof(all));
        return fl_fail(err, FL_EINVAL, "%s is \"%.40s\"; it must be %s", f->key, text, all);
    }
    plan_field_put(obj, f, (uint64_t)i);
    return FL_OK;
}

static int set_real(void *obj, const struct plan_field *f, const char *text, struct fl_errmsg *err)
{
    char *end;
    double d = strtod(text, &end);

    if (end == text || *end != '\0' || !(d > 0.0 && d < 1.0))
        return fl_fail(err, FL_EINVAL, "%s is \"%.40s\"; it must be a number between 0 and 1",
                       f->key, text);
    memcpy((char *)obj + f->offset, &d, sizeof(d));
    return FL_OK;
}

static int set_text(void *obj, const struct plan_field *f, const char *text, struct fl_errmsg *err)
{
    if (strlen(text) > f->max)
        return fl_fail(err, FL_EINVAL, "%s is longer than %" PRIu64 " bytes; use a shorter one",
                       f->key, f->max);
    memset((char *)obj + f->offset, 0, f->width);
    memcpy((char *)obj + f->offset, text, strlen(text));
    return FL_OK;
}

int plan_field_set(void *obj, const struct plan_field *f, const char *text, struct fl_errmsg *err)
{
    static const char *const want[] = {
        [PLAN_F_SIZE] = "a size such as 4096, \"64K\", \"1M\" or \"8G\"",
        [PLAN_F_TIME] = "a time with its unit, such as \"5us\", \"2ms\" or \"1s\"",
        [PLAN_F_RATE] = "a rate in bits per second, such as \"10G\"",
        [PLAN_F_COUNT] = "a whole number",
    };
    uint64_t v = 0;
    bool ok = false;

    if (f->type == PLAN_F_ENUM)
        return set_enum(obj, f, text, err);
    if (f->type == PLAN_F_REAL)
        return set_real(obj, f, text, err);
    if (f->type == PLAN_F_TEXT)
        return set_text(obj, f, text, err);
    if (f->type == PLAN_F_SIZE)
        ok = plan_parse_size(text, &v);
    else if (f->type == PLAN_F_TIME && strcmp(text, "never") == 0)
        ok = (v = FL_NEVER, true);
    else if (f->type == PLAN_F_TIME)
        ok = plan_parse_time(text, &v);
    else if (f->type == PLAN_F_RATE)
        ok = plan_parse_rate(text, &v);
    else
        ok = parse_units(text, size_units, 1, &v);
    if (!ok)
        return fl_fail(err, FL_EINVAL, "%s is \"%.40s\"; it must be %s", f->key, text,
                       want[f->type]);
    int rc = check_value(f, v, err);
    if (rc == FL_OK)
        plan_field_put(obj, f, v);
    return rc;
}

int plan_name_index(const char *const *names, const char *name)
{
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

bool plan_name_ok(const char *name)
{
    size_t n = strnlen(name, PLAN_NAME_MAX);

    if (n == 0 || n >= PLAN_NAME_MAX || !isalpha((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return false;
    return true;
}

enum { WORD_MAX = 48 };

/** Number of single-character edits from @a to @b, for short words. */
static unsigned edits(const char *a, const char *b)
{
    unsigned row[WORD_MAX + 1];
    size_t na = strnlen(a, WORD_MAX), nb = strnlen(b, WORD_MAX);

    for (size_t j = 0; j <= nb; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        unsigned diag = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned sub = diag + (a[i - 1] != b[j - 1]);
            unsigned best = row[j] + 1 < row[j - 1] + 1 ? row[j] + 1 : row[j - 1] + 1;

            diag = row[j];
            row[j] = sub < best ? sub : best;
        }
    }
    return row[nb];
}

const char *plan_nearest(const char *word, const char *const *names, size_t count)
{
    const char *best = NULL;
    unsigned best_edits = 1 + (unsigned)strnlen(word, WORD_MAX) / 3;

    for (size_t i = 0; i < count; i++) {
        unsigned e = edits(word, names[i]);

        if (e <= best_edits && (best == NULL || e < best_edits)) {
            best = names[i];
            best_edits = e;
        }
    }
    return best;
}
