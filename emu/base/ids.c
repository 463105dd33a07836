/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/ids.h"

#include <string.h>

static const struct {
    const char *mech, *name;
    const struct fl_id_info *ids;
    bool built;
} mechs[] = {
    {"W", "remote memory write-back", fl_ids_writeback, true},
    {"C", "copy and restore of a page in byte-addressable chunks", fl_ids_copyrestore, false},
    {"M", "post-copy migration by a coherent device", fl_ids_postcopy, false},
    {"P", "high availability for persistent memory", fl_ids_pmemha, false},
};

enum { MECHS = sizeof mechs / sizeof mechs[0] };

size_t fl_id_count(void)
{
    size_t n = 0;

    while (fl_id_at(n) != NULL) {
        n++;
    }
    return n;
}

const struct fl_id_info *fl_id_at(size_t i)
{
    for (int m = 0; m < MECHS; m++) {
        for (const struct fl_id_info *k = mechs[m].ids; k->id != NULL; k++) {
            if (i-- == 0) {
                return k;
            }
        }
    }
    return NULL;
}

/* strcasecmp would follow the locale; ids are ASCII. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same(const char *a, const char *b)
{
    while (*a != '\0' && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return lower(*a) == lower(*b);
}

const struct fl_id_info *fl_id_find(const char *id)
{
    for (int m = 0; m < MECHS; m++) {
        for (const struct fl_id_info *k = mechs[m].ids; k->id != NULL; k++) {
            if (same(k->id, id)) {
                return k;
            }
        }
    }
    return NULL;
}

const char *fl_id_mech_name(const char *mech)
{
    for (int m = 0; m < MECHS; m++) {
        if (strcmp(mechs[m].mech, mech) == 0) {
            return mechs[m].name;
        }
    }
    return NULL;
}

bool fl_id_mech_built(const char *mech)
{
    for (int m = 0; m < MECHS; m++) {
        if (strcmp(mechs[m].mech, mech) == 0) {
            return mechs[m].built;
        }
    }
    return false;
}
