/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/markup.h"

enum { DEPTH_MAX = 32, NAME_MAX_BYTES = 32 };

static void check_entity(const char *s)
{
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strncmp(s, known[i], strlen(known[i])) == 0)
            return;
    fail_msg("a raw &: %.40s", s);
}

/** Skips a tag from behind its '<'; returns what follows. */
static const char *skip_tag(const char *s, bool *ret_alone)
{
    bool quoted = false;

    for (; quoted || *s != '>'; s++) {
        if (*s == '\0')
            fail_msg("a tag has no end");
        if (*s == '"')
            quoted = !quoted;
        if (*s == '<')
            fail_msg("< inside a tag: %.40s", s);
        if (*s == '&')
            check_entity(s);
    }
    *ret_alone = s[-1] == '/' || s[-1] == '?';
    return s + 1;
}

void markup_is_sound(const char *text)
{
    char open[DEPTH_MAX][NAME_MAX_BYTES];
    unsigned depth = 0;

    for (const char *s = text; *s != '\0';) {
        char name[NAME_MAX_BYTES] = "";
        bool alone;

        if (*s == '&')
            check_entity(s);
        if (*s++ != '<')
            continue;
        if (*s == '!') { /* <!DOCTYPE html> */
            s = skip_tag(s, &alone);
            continue;
        }
        bool end = *s == '/';
        s += end;
        size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz-0123456789?");
        if (len == 0 || len >= sizeof(name))
            fail_msg("a raw <: %.40s", s);
        memcpy(name, s, len);
        s = skip_tag(s, &alone);
        if (end) {
            if (depth == 0 || strcmp(open[depth - 1], name) != 0)
                fail_msg("</%s> closes %s", name, depth > 0 ? open[depth - 1] : "nothing");
            depth--;
        } else if (!alone) {
            assert_true(depth < DEPTH_MAX);
            memcpy(open[depth++], name, sizeof(name));
        }
        if (!end && strcmp(name, "style") == 0)
            s = strstr(s, "</style>");
        assert_non_null(s);
    }
    if (depth != 0)
        fail_msg("<%s> is never closed", open[depth - 1]);
}

unsigned markup_count(const char *text, const char *part)
{
    unsigned n = 0;

    for (const char *s = text; (s = strstr(s, part)) != NULL; s += strlen(part))
        n++;
    return n;
}
