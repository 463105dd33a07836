/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/assert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(const char *s)
{
    ssize_t n = write(STDERR_FILENO, s, strlen(s));

    (void)n; /* nothing better to do: we are about to abort */
}

void fl_assert_fail(const char *expr, const char *file, int line)
{
    char digits[12];
    size_t i = sizeof digits;

    digits[--i] = '\0';
    do {
        digits[--i] = (char)('0' + line % 10);
        line /= 10;
    } while (line > 0 && i > 0);
    put("assertion failed: ");
    put(expr);
    put(" at ");
    put(file);
    put(":");
    put(digits + i);
    put("\n");
    abort();
}
