/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/env.h"

static const char *const ev_names[FL_EV_COUNT] = {
#define X(e, name) [e] = name,
    FL_EVENTS(X)
#undef X
};

static const char *const call_names[FL_CALL_COUNT] = {
#define X(e, name) [e] = name,
    FL_CALLS(X)
#undef X
};

const char *fl_ev_name(enum fl_ev_kind k)
{
    return (unsigned)k < FL_EV_COUNT ? ev_names[k] : "?";
}

const char *fl_call_name(enum fl_call c)
{
    return (unsigned)c < FL_CALL_COUNT ? call_names[c] : "?";
}

const char *fl_msg_name(uint8_t type)
{
    switch (type) {
#define X(e, value, cls, name)                                                                     \
    case value:                                                                                    \
        return name;
        FL_MSGS(X)
#undef X
    default:
        return "?";
    }
}

int fl_msg_class(uint8_t type)
{
    switch (type) {
#define X(e, value, cls, name)                                                                     \
    case value:                                                                                    \
        return cls;
        FL_MSGS(X)
#undef X
    default:
        return -1;
    }
}
