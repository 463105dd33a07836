/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/sites.h"

#include <stddef.h>
#include <string.h>

static const struct fl_site_info sites[FL_SITE_COUNT] = {
#define X(e, name, mech, a, b, doc) [e] = {name, mech, a, b, doc},
    FL_SITES(X)
#undef X
};

const struct fl_site_info *fl_site_info(enum fl_site s)
{
    if ((unsigned)s >= FL_SITE_COUNT || s == FL_SITE_NONE) {
        return NULL;
    }
    return &sites[s];
}

enum fl_site fl_site_find(const char *name)
{
    for (unsigned i = 1; i < FL_SITE_COUNT; i++) {
        if (strcmp(sites[i].name, name) == 0) {
            return (enum fl_site)i;
        }
    }
    return FL_SITE_NONE;
}
