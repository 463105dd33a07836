/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/plants.h"

#include <stddef.h>
#include <string.h>

#include "emu/base/err.h"

static const struct fl_plant_info plants[FL_PLANT_COUNT] = {
#define X(e, id, check, doc) [e] = {id, check, doc},
    FL_PLANTS(X)
#undef X
};

const struct fl_plant_info *fl_plant_info(enum fl_plant x)
{
    return (unsigned)x < FL_PLANT_COUNT ? &plants[x] : NULL;
}

int fl_plant_add(struct fl_plants *p, const char *id)
{
    for (unsigned i = 0; i < FL_PLANT_COUNT; i++) {
        if (strcmp(plants[i].id, id) == 0) {
            p->bits[i / 64] |= UINT64_C(1) << (i % 64);
            return FL_OK;
        }
    }
    return FL_EINVAL;
}
