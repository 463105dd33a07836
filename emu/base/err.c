/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *fl_strerror(int err)
{
    switch (err) {
    case FL_OK:
        return "no error";
#define X(name, value, text)                                                                       \
    case name:                                                                                     \
        return text;
        FL_ERRORS(X)
#undef X
    default:
        return "unknown error";
    }
}

const char *fl_errname(int err)
{
    switch (err) {
    case FL_OK:
        return "FL_OK";
#define X(name, value, text)                                                                       \
    case name:                                                                                     \
        return #name;
        FL_ERRORS(X)
#undef X
    default:
        return "FL_UNKNOWN";
    }
}

int fl_err_from_errno(int err_no)
{
    switch (err_no) {
    case 0:
        return FL_OK;
    case ENOMEM:
        return FL_ENOMEM;
    case EAGAIN:
        return FL_EAGAIN;
    case ENOSPC:
    case EDQUOT:
        return FL_ENOSPC;
    case EPERM:
    case EACCES:
        return FL_EPERM;
    case EADDRINUSE:
        return FL_EADDRINUSE;
    case ETIMEDOUT:
        return FL_ETIMEDOUT;
    case ECANCELED:
        return FL_ECANCELED;
    case ECONNREFUSED:
    case ECONNRESET:
    case ENOTCONN:
    case EPIPE:
    case EHOSTUNREACH:
        return FL_ECONN;
    case EINVAL:
        return FL_EINVAL;
    case ENOSYS:
        return FL_ENOSYS;
    default:
        return FL_EIO;
    }
}

int fl_fail(struct fl_errmsg *m, int err, const char *fmt, ...)
{
    va_list ap;

    if (m != NULL) {
        va_start(ap, fmt);
        vsnprintf(m->text, sizeof m->text, fmt, ap);
        va_end(ap);
    }
    return err;
}

int fl_wrap(struct fl_errmsg *m, int err, const char *fmt, ...)
{
    va_list ap;
    char inner[sizeof(struct fl_errmsg)];
    int n;

    if (m == NULL) {
        return err;
    }
    memcpy(inner, m->text, sizeof m->text);
    inner[sizeof m->text - 1] = '\0';
    va_start(ap, fmt);
    n = vsnprintf(m->text, sizeof m->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof m->text) {
        snprintf(m->text + n, sizeof m->text - (size_t)n, ": %.*s",
                 (int)(sizeof m->text - (size_t)n), inner);
    }
    return err;
}
