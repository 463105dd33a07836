/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: scenario texts and plans. A first byte '{' makes the input a plan in JSON, anything
 * else a scenario. Whatever loads must validate or be refused with a message, write as JSON and
 * read back equal. Library calls that can work for long inside one instruction (patterns, rep) are
 * left out: in the program the child's limit of processor time ends them, which tests of
 * emu/scenario_load.c show.
 */
#include <stdlib.h>
#include <string.h>

#include "emu/base/assert.h"
#include "emu/scenario.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_BYTES_MAX = 16 * 1024 };

static bool works_long(const char *text)
{
    static const char *const words[] = {"rep",    "find", "match", "gsub",  "format", "concat",
                                        "unpack", "move", "sort",  "print", "char"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(text, words[i]) != NULL)
            return true;
    return false;
}

static void round_trip(const struct plan *p, struct plan *q)
{
    char *text = plan_to_json(p);

    FL_ASSERT(text != NULL);
    FL_ASSERT(plan_from_json(text, q, NULL) == FL_OK);
    char *again = plan_to_json(q);
    FL_ASSERT(again != NULL && strcmp(text, again) == 0);
    free(again);
    free(text);
}

static void try_one(const char *text, size_t size, struct plan *p, struct plan *q)
{
    static const struct scn_limits limits = {4 << 20, 100000, 0};
    struct fl_errmsg err = {""};
    int rc;

    if (text[0] == '{')
        rc = plan_from_json(text, p, &err);
    else if (works_long(text))
        return;
    else
        rc = scn_eval("fuzz.lua", text, size, NULL, 0, &limits, p, &err);
    if (rc == FL_OK && plan_validate(p, &err) == FL_OK) {
        round_trip(p, q);
        return;
    }
    FL_ASSERT(err.text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct plan p, q;

    if (size == 0 || size > INPUT_BYTES_MAX)
        return 0;
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    try_one(text, size, &p, &q);
    free(text);
    return 0;
}
