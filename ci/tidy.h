/* SPDX-License-Identifier: Apache-2.0 */
/** Put before every file by `make tidy` only: tells the analyzer what fl_fail returns. */
#include "emu/base/err.h"

#define fl_fail(m, err, ...) (fl_fail(m, err, __VA_ARGS__), (err))
#define fl_wrap(m, err, ...) (fl_wrap(m, err, __VA_ARGS__), (err))
