/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/doctor.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = {
    [DOCTOR_OK] = "ok", [DOCTOR_LIMITED] = "limited", [DOCTOR_MISSING] = "missing"};

enum { WIDTH = 96, INDENT = 4 };

/* Prints @text below a label, broken at spaces. */
static void print_wrapped(FILE *out, const char *label, const char *text)
{
    size_t column = INDENT + strlen(label);
    size_t start = column;

    fprintf(out, "%*s%s", INDENT, "", label);
    while (*text != '\0') {
        size_t len = strcspn(text, " ");

        if (column > start && column + 1 + len > WIDTH) {
            fprintf(out, "\n%*s", (int)start, "");
            column = start;
        }
        if (column > start) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", (int)len, text);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void print_table(const struct doctor_report *r, FILE *out)
{
    unsigned n[3] = {0};

    for (unsigned i = 0; i < r->count; i++) {
        const struct doctor_check *c = &r->checks[i];

        n[c->state]++;
        fprintf(out, "%-16s %-8s %s\n", c->id, state_names[c->state], c->value);
        print_wrapped(out, "", c->consequence);
        if (c->remedy[0] != '\0') {
            print_wrapped(out, "-> ", c->remedy);
        }
    }
    fprintf(out, "%u ok, %u limited, %u missing\n", n[DOCTOR_OK], n[DOCTOR_LIMITED],
            n[DOCTOR_MISSING]);
}

static int print_json(const struct doctor_report *r, FILE *out)
{
    json_t *checks = json_array();
    json_t *top = json_pack("{s:i, s:O}", "version", (int)DOCTOR_VERSION, "checks", checks);
    int bad = checks == NULL || top == NULL;

    for (unsigned i = 0; i < r->count && !bad; i++) {
        const struct doctor_check *c = &r->checks[i];

        bad = json_array_append_new(checks,
                                    json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", c->id, "state",
                                              state_names[c->state], "value", c->value,
                                              "consequence", c->consequence, "remedy", c->remedy));
    }
    if (!bad) {
        bad = json_dumpf(top, out, JSON_INDENT(2)) != 0 ? FL_EIO : 0;
        fputc('\n', out);
    } else {
        bad = FL_ENOMEM;
    }
    json_decref(top);
    json_decref(checks);
    return bad;
}

int doctor_print(const struct doctor_report *r, FILE *out, bool json)
{
    int err = FL_OK;

    if (json) {
        err = print_json(r, out);
    } else {
        print_table(r, out);
    }
    if (err == FL_OK && (fflush(out) != 0 || ferror(out))) {
        err = FL_EIO;
    }
    return err;
}

int emu_doctor(FILE *out, bool json)
{
    struct doctor_facts f = {0};
    struct doctor_report *r = calloc(1, sizeof *r);
    int err;

    if (r == NULL) {
        return FL_ENOMEM;
    }
    doctor_gather_files(&f, "");
    doctor_gather_calls(&f);
    doctor_judge(&f, r);
    err = doctor_print(r, out, json);
    free(r);
    return err;
}
