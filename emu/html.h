/* SPDX-License-Identifier: Apache-2.0 */
/** Pieces of the pages that runs leave: self-contained, no scripts, everything escaped. */
#ifndef EMU_HTML_H
#define EMU_HTML_H

#include <stdbool.h>
#include <stdio.h>

#include "emu/result.h"

/** Everything up to the first heading of the page. */
void html_begin(FILE *f, const char *title);
void html_end(FILE *f);

/** Text of any bytes: markup is escaped, what is no UTF-8 or no text becomes '?'. */
void html_text(FILE *f, const char *s);

/** The same with a format; what does not fit in 2000 bytes is cut. */
void html_printf(FILE *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** <TAG>text</TAG> and a newline; @tag may carry attributes: "td class=\"n\"". */
void html_element(FILE *f, const char *tag, const char *text);

/** The verdict as a coloured line, and what such a verdict means for who reads one first. */
void html_verdict(FILE *f, enum emu_exit verdict, const char *why);

/** A row of a table: @label and @text. */
void html_row(FILE *f, const char *label, const char *text);

/** Heads of a table's columns, the words separated by '|'; the table is open after this. */
void html_table(FILE *f, const char *heads);
void html_table_end(FILE *f);

/** Cells of an id: the id and its title, the one sentence of `farline explain`. */
void html_id_cells(FILE *f, const char *id);

#endif
