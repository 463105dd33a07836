/* SPDX-License-Identifier: Apache-2.0 */
/* emu/html.c: pieces of pages. */
#include "emu/html.h"
#include "tests/support/markup.h"

static FILE *f;
static char *text;
static size_t len;

static int begin(void **state)
{
    (void)state;
    f = open_memstream(&text, &len);
    return f != NULL ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    free(text);
    return 0;
}

static void markup_in_texts_is_escaped(void **state)
{
    (void)state;
    html_begin(f, "<b>&\"'");
    html_element(f, "td class=\"n\"", "<script>alert(1)</script>");
    html_row(f, "a<b", "c&d");
    html_end(f);
    assert_int_equal(fclose(f), 0);
    markup_is_sound(text);
    assert_null(strstr(text, "<script"));
    plans_contains(text, "<title>&lt;b&gt;&amp;&quot;&#39;</title>");
    plans_contains(text, "<td class=\"n\">&lt;script&gt;alert(1)&lt;/script&gt;</td>");
    plans_contains(text, "<th>a&lt;b</th><td>c&amp;d</td>");
}

static void bytes_that_are_no_text_are_replaced(void **state)
{
    (void)state;
    html_text(f, "a\x01\x1b[31m\xff\xfe");
    html_text(f, "|caf\xc3\xa9\n");
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text, "a??[31m??|caf\xc3\xa9\n");
}

static void tables_have_heads(void **state)
{
    (void)state;
    html_table(f, "one|two");
    fputs("<tr>", f);
    html_id_cells(f, "W3");
    fputs("</tr>\n<tr>", f);
    html_id_cells(f, "Q9");
    fputs("</tr>\n", f);
    html_table_end(f);
    assert_int_equal(fclose(f), 0);
    markup_is_sound(text);
    plans_contains(text, "<tr><th>one</th><th>two</th></tr>");
    plans_contains(text, "<td><b>W3</b></td><td>When everything has come to rest");
    plans_contains(text, "<td><b>Q9</b></td><td></td>");
}

static void a_verdict_says_what_it_means(void **state)
{
    (void)state;
    html_verdict(f, EMU_HELD, "all");
    html_verdict(f, EMU_VIOLATED, "W1");
    html_verdict(f, EMU_UNDECIDED, "x");
    html_verdict(f, EMU_NO_PROGRESS, "x");
    html_verdict(f, EMU_SKIPPED, "x");
    html_verdict(f, EMU_USAGE, "x");
    assert_int_equal(fclose(f), 0);
    markup_is_sound(text);
    plans_contains(text, "<p class=\"verdict held\"><b>HELD</b> all<br/>");
    plans_contains(text, "<p class=\"verdict violated\"><b>VIOLATED</b> W1<br/>");
    plans_contains(text, "<b>NO-PROGRESS</b>");
    assert_int_equal(markup_count(text, "class=\"note\""), 6);
}

#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(markup_in_texts_is_escaped),
        T(bytes_that_are_no_text_are_replaced),
        T(tables_have_heads),
        T(a_verdict_says_what_it_means),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
