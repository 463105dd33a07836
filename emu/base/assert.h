/* SPDX-License-Identifier: Apache-2.0 */
/** FL_ASSERT stays on in release and means a bug of ours; bytes from outside are never asserted on. */
#ifndef FL_ASSERT_H
#define FL_ASSERT_H

/** Writes the message to stderr without allocating, then aborts. Safe in a signal handler. */
_Noreturn void fl_assert_fail(const char *expr, const char *file, int line);

#define FL_ASSERT(expr) ((expr) ? (void)0 : fl_assert_fail(#expr, __FILE__, __LINE__))

#endif
