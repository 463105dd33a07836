/* SPDX-License-Identifier: Apache-2.0 */
/* emu/cmd_opts.c: arguments of `farline run`. */
#include "emu/cmd.h"
#include "tests/support/plans.h"

enum { ARGS_MAX = 80 };

/** Parses "run" and the words of @line. */
static int parse(struct cmd_opts *o, const char *line)
{
    static char words[4096];
    static char *argv[ARGS_MAX + 1];
    int argc = 0;

    snprintf(words, sizeof(words), "run %s", line);
    for (char *w = strtok(words, " "); w != NULL && argc < ARGS_MAX; w = strtok(NULL, " "))
        argv[argc++] = w;
    argv[argc] = NULL;
    return cmd_opts_parse(o, argc, argv);
}

static void the_defaults_are_real_processes_over_tcp(void **state)
{
    struct cmd_opts o;

    (void)state;
    assert_int_equal(parse(&o, "a.lua"), EMU_HELD);
    assert_string_equal(o.run.fabric, "tcp");
    assert_string_equal(o.run.tracker, "mprotect");
    assert_string_equal(o.run.wait, "adaptive");
    assert_int_equal(o.file_count, 1);
    assert_string_equal(o.files[0], "a.lua");
    assert_int_equal(o.set_count, 0);
    assert_null(o.out);
    assert_null(o.run.bind);
    assert_int_equal(parse(&o, "a.lua --fabric sim"), EMU_HELD);
    assert_string_equal(o.run.tracker, "actor");
    assert_int_equal(parse(&o, "a.lua --fabric sim --tracker actor-sampled"), EMU_HELD);
    assert_string_equal(o.run.tracker, "actor-sampled");
}

static void external_nodes_need_a_key_and_a_real_fabric(void **state)
{
    static const char *const refused[] = {
        "a.lua --external m0",
        "a.lua --token-file k",
        "a.lua --driver podman",
        "a.lua --external m0 --token-file k --driver nosuch",
        "a.lua --external m0 --token-file k --driver-network n",
        "a.lua --external m0 --token-file k --fabric sim",
        "a.lua --listen 127.0.0.1 --fabric sim",
        "a.lua --external m0 --token-file k --listen localhost:1",
        "a.lua --external m0 --token-file k --listen ::1",
        "a.lua --external m0 --token-file k --join-deadline 0",
        "a.lua --external m0 --token-file k --join-deadline 3601",
        "a.lua b.lua --external m0 --token-file k",
    };
    struct cmd_opts o;

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (parse(&o, refused[i]) != EMU_USAGE)
            fail_msg("taken: %s", refused[i]);
    assert_int_equal(parse(&o, "a.lua --external m0=x,m1 --token-file k --listen 10.0.0.1:7 "
                               "--join-deadline 3 --driver docker --driver-network n"),
                     EMU_HELD);
    assert_string_equal(o.run.external, "m0=x,m1");
    assert_string_equal(o.run.token_file, "k");
    assert_string_equal(o.run.listen, "10.0.0.1:7");
    assert_string_equal(o.run.driver, "docker");
    assert_string_equal(o.run.driver_network, "n");
    assert_int_equal(o.run.join_ms, 3000);
}

static void options_may_stand_anywhere(void **state)
{
    struct cmd_opts o;

    (void)state;
    assert_int_equal(
        parse(&o, "--seed 7 a.lua --set region.h.threshold=3 b.lua --out x --junit j "
                  "--json --plant W-miscount --set node.c0.dclb=9 --wait spin --bind 10.0.0.1"),
        EMU_HELD);
    assert_int_equal(o.file_count, 2);
    assert_string_equal(o.files[1], "b.lua");
    assert_int_equal(o.set_count, 3);
    assert_string_equal(o.sets[0], "region.h.threshold=3");
    assert_string_equal(o.sets[2], "seed=7"); /* --seed goes last, so it wins */
    assert_string_equal(o.out, "x");
    assert_string_equal(o.junit, "j");
    assert_string_equal(o.run.wait, "spin");
    assert_string_equal(o.run.bind, "10.0.0.1");
    assert_true(o.json);
    assert_false(o.tap);
    assert_true(fl_planted(&o.plants, FL_PLANT_MISCOUNT));
    assert_false(fl_planted(&o.plants, FL_BLIND_W1));
}

static void wrong_arguments_are_refused(void **state)
{
    static const char *const lines[] = {
        "",
        "a.lua --fabric ib",
        "a.lua --wait never",
        "a.lua --bind here",
        "a.lua --bind 10.0.0.1:7",
        "a.lua --bind ::1",
        "a.lua --bind 10.0.0.1 --fabric sim",
        "a.lua --tracker eyes",
        "a.lua --fabric sim --tracker mprotect",
        "a.lua --tracker actor",
        "a.lua --tracker actor-sampled",
        "a.lua --seed -1",
        "a.lua --seed 9223372036854775808",
        "a.lua --seed 1x",
        "a.lua --set seed",
        "a.lua --plant no-bug",
        "a.lua --tap --json",
        "a.lua b.lua --trace t",
        "a.lua --serve",
        "a.lua --nothing",
        "a.lua --seed",
    };
    struct cmd_opts o;

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (parse(&o, lines[i]) != EMU_USAGE)
            fail_msg("\"%s\" was taken", lines[i]);
}

static void the_largest_seed_is_taken(void **state)
{
    struct cmd_opts o;

    (void)state;
    assert_int_equal(parse(&o, "a.lua --seed 9223372036854775807"), EMU_HELD);
    assert_string_equal(o.sets[0], "seed=9223372036854775807");
}

static void settings_are_bounded(void **state)
{
    struct cmd_opts o;
    static char line[4096];
    size_t used = 0;

    (void)state;
    for (int i = 0; i < 35; i++)
        used += (size_t)snprintf(line + used, sizeof(line) - used, "--set a=%d ", i);
    snprintf(line + used, sizeof(line) - used, "a.lua");
    assert_int_equal(parse(&o, line), EMU_HELD);
    assert_int_equal(o.set_count, 35);
    used = 0;
    for (int i = 0; i < CMD_SETS_MAX; i++)
        used += (size_t)snprintf(line + used, sizeof(line) - used, "--set=a=%d ", i);
    snprintf(line + used, sizeof(line) - used, "a.lua");
    assert_int_equal(parse(&o, line), EMU_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_real_processes_over_tcp),
        cmocka_unit_test(external_nodes_need_a_key_and_a_real_fabric),
        cmocka_unit_test(options_may_stand_anywhere),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(the_largest_seed_is_taken),
        cmocka_unit_test(settings_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
