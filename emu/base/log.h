/* SPDX-License-Identifier: Apache-2.0 */
/** A node's log: lines on stderr (the coordinator keeps them in NODE.log). Library code below the
 * runner returns errors and does not log. */
#ifndef FL_LOG_H
#define FL_LOG_H

enum fl_log_level { FL_LOG_ERROR, FL_LOG_WARN, FL_LOG_INFO, FL_LOG_DEBUG };

/** Name printed on every line ("c0"), and the most detailed level that is printed. */
void fl_log_init(const char *name, enum fl_log_level level);

void fl_log(enum fl_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
