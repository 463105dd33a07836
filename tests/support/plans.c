/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/plans.h"

const char plans_basic[] =
    "title \"basic\"\n"
    "node \"c0\" { role = \"compute\", device_memory = \"256K\" }\n"
    "node \"m0\" { role = \"memory\", memory = \"1M\" }\n"
    "node \"m1\" { role = \"memory\", memory = \"1M\" }\n"
    "link (\"c0\", \"m0\") { delay = \"5us\", rate = \"10G\" }\n"
    "region \"heap\" { on = \"c0\", size = \"1M\", backed_by = { \"m0\", \"m1\" } }\n"
    "workload \"w\" { region = \"heap\", kind = \"random\", threads = 2, len = 300 }\n"
    "check { \"W1\", \"W3\" }\n";

int plans_eval_text(const char *text, struct plan *ret, struct fl_errmsg *err)
{
    static const struct scn_limits limits = {32 << 20, 2000000, 4096};

    return scn_eval("t.lua", text, strlen(text), NULL, 0, &limits, ret, err);
}

int plans_eval(const char *extra, struct plan *ret, struct fl_errmsg *err)
{
    size_t len = strlen(plans_basic) + strlen(extra) + 1;
    char *text = malloc(len);

    assert_non_null(text);
    snprintf(text, len, "%s%s", plans_basic, extra);
    int rc = plans_eval_text(text, ret, err);
    free(text);
    return rc;
}

struct plan *plans_new(const char *extra)
{
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};

    assert_non_null(p);
    if (plans_eval(extra, p, &err) != FL_OK || plan_validate(p, &err) != FL_OK)
        fail_msg("%s", err.text);
    return p;
}

void plans_contains(const char *text, const char *want)
{
    if (strstr(text, want) == NULL)
        fail_msg("\"%s\" does not contain \"%s\"", text, want);
}

void plans_refused(const char *extra, const char *want)
{
    struct plan *p = calloc(1, sizeof(*p));
    struct fl_errmsg err = {""};
    char at[32];

    assert_non_null(p);
    assert_int_equal(plans_eval(extra, p, &err), FL_EINVAL);
    free(p);
    plans_contains(err.text, want);
    snprintf(at, sizeof(at), "t.lua:%d: ", PLANS_BASIC_LINES + 1);
    if (strncmp(err.text, at, strlen(at)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", err.text, at);
}
