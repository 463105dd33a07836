/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "emu/base/clock.h"

static char log_name[32] = "farline";
static enum fl_log_level log_level = FL_LOG_INFO;

void fl_log_init(const char *name, enum fl_log_level level)
{
    snprintf(log_name, sizeof log_name, "%s", name);
    log_level = level;
}

void fl_log(enum fl_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char line[1024];
    unsigned long long t_us = fl_clock_ns() / 1000;
    va_list ap;
    size_t len;
    ssize_t n;

    if (level > log_level) {
        return;
    }
    snprintf(line, sizeof line, "%llu.%06llu %s %s: ", t_us / 1000000, t_us % 1000000, log_name,
             names[level]);
    len = strlen(line);
    va_start(ap, fmt);
    vsnprintf(line + len, sizeof line - len - 1, fmt, ap);
    va_end(ap);
    len = strlen(line);
    line[len] = '\n';
    /* One write per line, so that lines of several threads do not mix. */
    n = write(STDERR_FILENO, line, len + 1);
    (void)n;
}
