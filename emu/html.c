/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/html.h"

#include <ctype.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>

#include "emu/base/ids.h"
#include "emu/outputs.h"

static const char style[] =
    "body{font:16px/1.5 sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#1a1a1a}\n"
    "h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}\n"
    "table{border-collapse:collapse;width:100%}\n"
    "th,td{text-align:left;vertical-align:top;padding:.3em .7em;border-bottom:1px solid #ddd}\n"
    "td.n{text-align:right;white-space:nowrap}\n"
    "pre{background:#f4f4f4;padding:.7em;overflow:auto}\n"
    ".verdict{padding:.7em 1em;border-left:.5em solid #888;background:#f4f4f4}\n"
    ".held{border-color:#2a7d2a}.violated{border-color:#b00020}.violated b{color:#b00020}\n"
    ".bad{color:#b00020;font-weight:bold}.note{color:#555}\n";

void html_text(FILE *f, const char *s)
{
    json_t *valid = json_string(s); /* it tells whether this is UTF-8 */
    bool utf8 = valid != NULL;

    json_decref(valid);
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '&')
            fputs("&amp;", f);
        else if (c == '<')
            fputs("&lt;", f);
        else if (c == '>')
            fputs("&gt;", f);
        else if (c == '"')
            fputs("&quot;", f);
        else if (c == '\'')
            fputs("&#39;", f);
        else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || (c >= 0x80 && !utf8))
            fputc('?', f);
        else
            fputc(c, f);
    }
}

void html_printf(FILE *f, const char *fmt, ...)
{
    char text[2000];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    html_text(f, text);
}

void html_element(FILE *f, const char *tag, const char *text)
{
    size_t name = strcspn(tag, " ");

    fprintf(f, "<%s>", tag);
    html_text(f, text);
    fprintf(f, "</%.*s>\n", (int)name, tag);
}

void html_begin(FILE *f, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n", f);
    html_element(f, "title", title);
    fprintf(f, "<style>\n%s</style>\n</head>\n<body>\n", style);
    html_element(f, "h1", title);
}

void html_end(FILE *f)
{
    fputs("<p class=\"note\">Words and ids are explained by <code>farline explain ID</code>; what "
          "the files beside this one hold, by <code>man farline</code>.</p>\n</body>\n</html>\n",
          f);
}

static const char *meaning(enum emu_exit v)
{
    switch (v) {
    case EMU_HELD:
        return "Every check really compared something and found nothing wrong, every expectation "
               "was met, and every fault that was asked for happened.";
    case EMU_VIOLATED:
        return "Something that must always hold did not, or an expectation was not met. What it "
               "was stands below.";
    case EMU_NO_PROGRESS:
        return "Nothing wrong was seen, but after the faults were over the work did not come to an "
               "end.";
    case EMU_SKIPPED:
        return "Nothing was run: this machine, or this world, lacks something.";
    case EMU_USAGE:
        return "The run could not be set up.";
    default:
        return "Neither good nor bad: time ran out, a fault that was asked for never happened, or "
               "a check had nothing to compare.";
    }
}

void html_verdict(FILE *f, enum emu_exit verdict, const char *why)
{
    fprintf(f, "<p class=\"verdict %s\"><b>",
            verdict == EMU_HELD                                     ? "held"
            : verdict == EMU_VIOLATED || verdict == EMU_NO_PROGRESS ? "violated"
                                                                    : "open");
    for (const char *c = out_verdict_name(verdict); *c != '\0'; c++)
        fputc(toupper((unsigned char)*c), f);
    fputs("</b> ", f);
    html_text(f, why);
    fputs("<br/><span class=\"note\">", f);
    html_text(f, meaning(verdict));
    fputs("</span></p>\n", f);
}

void html_row(FILE *f, const char *label, const char *text)
{
    fputs("<tr><th>", f);
    html_text(f, label);
    fputs("</th><td>", f);
    html_text(f, text);
    fputs("</td></tr>\n", f);
}

void html_table(FILE *f, const char *heads)
{
    fputs("<table>\n<tr>", f);
    while (*heads != '\0') {
        size_t len = strcspn(heads, "|");

        fputs("<th>", f);
        html_printf(f, "%.*s", (int)len, heads);
        fputs("</th>", f);
        heads += len + (heads[len] == '|');
    }
    fputs("</tr>\n", f);
}

void html_table_end(FILE *f)
{
    fputs("</table>\n", f);
}

void html_id_cells(FILE *f, const char *id)
{
    const struct fl_id_info *k = fl_id_find(id);

    fputs("<td><b>", f);
    html_text(f, id);
    fputs("</b></td><td>", f);
    if (k != NULL)
        html_text(f, k->text);
    fputs("</td>", f);
}
