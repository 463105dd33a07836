/* SPDX-License-Identifier: Apache-2.0 */
/** One list of errors for the whole program. Functions return 0 or one of these, never errno. */
#ifndef FL_ERR_H
#define FL_ERR_H

#include <stddef.h>

#define FL_ERRORS(X)                                                                               \
    X(FL_EINVAL, -1, "value is not allowed here")                                                  \
    X(FL_EPROTO, -2, "message is not legal in this state")                                         \
    X(FL_ENOMEM, -3, "out of memory")                                                              \
    X(FL_EPEERDEAD, -4, "peer has exited or cannot be reached")                                    \
    X(FL_ETIMEDOUT, -5, "deadline passed")                                                         \
    X(FL_ECONN, -6, "connection failed or was closed")                                             \
    X(FL_EFENCED, -7, "sender's epoch was fenced off")                                             \
    X(FL_EAGAIN, -8, "not now, try again after an event")                                          \
    X(FL_ENOSPC, -9, "no room left")                                                               \
    X(FL_ECLOSED, -10, "region is closed")                                                         \
    X(FL_ELEASE, -11, "another node holds the writer's lease of this region")                      \
    X(FL_EVERSION, -12, "peer speaks another version")                                             \
    X(FL_ECORRUPT, -13, "checksum does not match")                                                 \
    X(FL_EIO, -14, "input or output failed")                                                       \
    X(FL_ENOSYS, -15, "not offered by this world")                                                 \
    X(FL_EPERM, -16, "permission denied")                                                          \
    X(FL_ECANCELED, -17, "canceled")                                                               \
    X(FL_EAUTH, -18, "peer does not hold this run's key")                                          \
    X(FL_EADDRINUSE, -19, "address or port is already in use")                                     \
    X(FL_EUNSUPPORTED, -20, "this machine lacks what is needed")                                   \
    X(FL_ETOOBIG, -21, "larger than the limit")                                                    \
    X(FL_EPOISONED, -22, "data was lost and is marked as poisoned")

enum fl_error {
    FL_OK = 0,
#define X(name, value, text) name = value,
    FL_ERRORS(X)
#undef X
};

/** Text of an error; a static string, also for numbers that are none. */
const char *fl_strerror(int err);

/** Name of an error ("FL_EINVAL"); a static string. */
const char *fl_errname(int err);

/** Nearest error for an errno value; @err_no > 0. */
int fl_err_from_errno(int err_no);

/** Where a function explains a failure to its caller: text with cause and remedy. */
struct fl_errmsg {
    char text[512];
};

/** Formats into @m when it is not NULL; returns @err, so that `return fl_fail(...)` reads well. */
int fl_fail(struct fl_errmsg *m, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/** Puts "context: " before the text already in @m; returns @err. */
int fl_wrap(struct fl_errmsg *m, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
