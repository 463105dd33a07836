/* SPDX-License-Identifier: Apache-2.0 */
/* Whole runs with real processes: what a run leaves behind however it ends. This program is its own
 * node: the coordinator starts /proc/self/exe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu/base/clock.h"
#include "emu/base/units.h"
#include "emu/result.h"
#include "emu/world.h"
#include "tests/support/procs.h"

enum { WAIT_S = PROCS_WAIT_S };

static char dir[256]; /* of this test: scenario and outputs */

/* --- the plan and the run ------------------------------------------------------------------- */

struct run {
    struct plan *p;
    struct result *r;
    struct fl_errmsg err;
    char out[300];
    struct run_opts o;
};

static const char NODES[] = "node \"c0\" { role = \"compute\", device_memory = \"128K\" }\n"
                            "node \"m0\" { role = \"memory\", memory = \"1M\" }\n"
                            "node \"m1\" { role = \"memory\", memory = \"1M\" }\n"
                            "region \"heap\" { on = \"c0\", size = \"512K\",\n"
                            "  backed_by = { \"m0\", \"m1\" }, period = \"5ms\" }\n";

#define WORK(ops)                                                                                  \
    "workload \"mix\" { region = \"heap\", kind = \"random\", threads = 2, ops = " #ops            \
    ", len = 200 }\n"
#define CHECKS "check { \"W1\", \"W2\", \"W3\", \"W4\", \"W7\", \"W8\" }\n"

static void load(struct run *x, const char *rest)
{
    char file[300];
    snprintf(file, sizeof(file), "%s/scenario.lua", dir);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fprintf(f, "title \"test\"\n%s%s", NODES, rest);
    assert_int_equal(fclose(f), 0);
    *x = (struct run){.p = calloc(1, sizeof(*x->p)), .r = result_new()};
    assert_non_null(x->p);
    assert_non_null(x->r);
    if (plan_load(file, NULL, 0, x->p, &x->err))
        fail_msg("%s", x->err.text);
    snprintf(x->out, sizeof(x->out), "%s/out", dir);
    mkdir(x->out, 0755);
    x->o = (struct run_opts){
        .fabric = "tcp", .tracker = "mprotect", .wait = "block", .out_dir = x->out};
}

static int run(struct run *x)
{
    return emu_run_real(x->p, &x->o, x->r, &x->err);
}

static void unload(struct run *x)
{
    result_free(&x->r);
    free(x->p);
}

static void assert_nobody_left(void)
{
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static const struct result_metric *metric(const struct run *x, const char *name)
{
    for (size_t i = 0; i < x->r->metric_count; i++)
        if (!strcmp(x->r->metrics[i].name, name))
            return &x->r->metrics[i];
    fail_msg("no metric %s (%s)", name, x->r->why);
    return NULL;
}

static const struct result_check *check_of(const struct run *x, const char *id)
{
    for (size_t i = 0; i < x->r->check_count; i++)
        if (!strcmp(x->r->checks[i].id, id))
            return &x->r->checks[i];
    fail_msg("no check %s", id);
    return NULL;
}

/** The verdict; its reason is in x->err. */
static enum emu_exit judge(struct run *x)
{
    result_sum_metrics(x->r);
    enum emu_exit e = result_judge(x->p, x->r, &x->err);
    print_message("           verdict %d: %s\n", e, x->err.text);
    return e;
}

/* --- beside the run ------------------------------------------------------------------------- */

/** True once the log of node @name holds @text. */
static bool wait_log(const char *name, const char *text)
{
    char path[400], buf[8192];
    uint64_t end = fl_clock_ns() + WAIT_S * FL_NS_PER_S;
    snprintf(path, sizeof(path), "%s/out/%s.log", dir, name);
    while (fl_clock_ns() < end) {
        FILE *f = fopen(path, "r");
        size_t n = f ? fread(buf, 1, sizeof(buf) - 1, f) : 0;
        if (f)
            fclose(f);
        buf[n] = 0;
        if (strstr(buf, text))
            return true;
        usleep(1000);
    }
    return false;
}

/** Runs @fn beside the coordinator, in a process that is none of its children. */
static void beside(void (*fn)(pid_t coordinator, int report), int *ret_report)
{
    int fds[2];
    pid_t me = getpid();
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (fork() == 0) { /* the child of a child: nobody here has to wait for it */
            alarm(2 * WAIT_S);
            fn(me, fds[1]);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(fds[1]);
    *ret_report = fds[0];
}

/** What the process beside wrote before it ended. */
static void assert_report(int fd, const char *want)
{
    char buf[256] = {0};
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && n<sizeof(buf) - 1; n += got> 0 ? (size_t)got : 0)
        got = read(fd, buf + n, sizeof(buf) - 1 - n);
    close(fd);
    assert_string_equal(buf, want);
}

static void say(int report, const char *text)
{
    if (write(report, text, strlen(text)) < 0)
        _exit(1);
}

/* --- runs that end well --------------------------------------------------------------------- */

static void good_run(const char *fabric, const char *wait)
{
    struct run x;
    load(&x, WORK(3000) "expect \"evictions\" : above(0)\n"
                        "expect \"close.heap\" : is(\"FL_OK\")\n" CHECKS);
    x.p->heartbeat_miss_ns = 10 * FL_NS_PER_S; /* nobody dies here, but the host may be busy */
    x.p->regions[0].op_deadline_ns = 10 * FL_NS_PER_S;
    x.p->run_deadline_ns = 100 * FL_NS_PER_S;
    x.o.fabric = fabric;
    x.o.wait = wait;
    assert_int_equal(run(&x), FL_OK);
    assert_nobody_left();
    assert_int_equal(judge(&x), EMU_HELD);
    /* Every page of both memory nodes was compared, on top of what was acknowledged. */
    assert_true(check_of(&x, "W3")->checked > 512 * 1024);
    assert_true(metric(&x, "c0.pages_fetched")->value > 100);
    assert_true(metric(&x, "accesses")->value >= 3000);
    assert_true(x.r->image_digest != 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(x.r->nodes[i].exit_code, 0);
        assert_int_equal(x.r->nodes[i].signal, 0);
        assert_true(x.r->nodes[i].pid > 0);
    }
    unload(&x);
}

static void a_good_run_leaves_nothing_behind(void **state)
{
    (void)state;
    good_run("tcp", "block");
}

static void a_good_run_in_the_other_wait_modes(void **state)
{
    (void)state;
    good_run("tcp", "adaptive");
    good_run("tcp", "spin");
}

static void a_good_run_over_sockets(void **state)
{
    (void)state;
    good_run("sockets", "block");
}

static void equal_runs_leave_equal_images(void **state)
{
    (void)state;
    uint64_t digest[2];
    for (int i = 0; i < 2; i++) {
        struct run x;
        load(&x, i ? "workload \"w\" { region = \"heap\", kind = \"stamp\", ops = 1500 }\n"
                     "check { \"W3\" }\n"
                   : "workload \"w\" { region = \"heap\", kind = \"stamp\", ops = 1500 }\n"
                     "check { \"W1\" }\n");
        assert_int_equal(run(&x), FL_OK);
        assert_int_equal(judge(&x), EMU_HELD);
        digest[i] = x.r->image_digest;
        unload(&x);
    }
    assert_true(digest[0] == digest[1]);
}

/* --- the final compare can fail ------------------------------------------------------------- */

static void planted(const char *blind, struct run *x)
{
    load(x,
         "workload \"w\" { region = \"heap\", kind = \"random\", ops = 3000, len = 700 }\n" CHECKS);
    x->p->regions[0].threshold_lines = 4;
    assert_int_equal(fl_plant_add(&x->p->plants, "W-threshold-lines"), FL_OK);
    if (blind)
        assert_int_equal(fl_plant_add(&x->p->plants, blind), FL_OK);
    assert_int_equal(run(x), FL_OK);
    assert_nobody_left();
    assert_int_equal(judge(x), EMU_VIOLATED);
}

static void lost_lines_are_found_in_the_memory_nodes(void **state)
{
    (void)state;
    struct run x;
    planted(NULL, &x);
    /* The node itself counts each of the 128 pages once; the rest is the compare of both memories. */
    assert_true(check_of(&x, "W1")->violated > 128);
    assert_true(check_of(&x, "W3")->violated > 0);
    unload(&x);
    planted("blind-W3", &x);
    assert_true(check_of(&x, "W1")->violated > 0);
    assert_int_equal(check_of(&x, "W3")->violated, 0);
    unload(&x);
}

/* --- faults of the plan --------------------------------------------------------------------- */

static void a_memory_node_killed_by_the_plan_is_no_crash(void **state)
{
    (void)state;
    struct run x;
    load(&x, WORK(200000) "at (event (\"c0.page_fetched\", 60)) : kill (\"m0\")\n"
                          "expect \"access_errors\" : above(0)\n"
                          "check { \"W3\", \"W8\" }\n");
    assert_int_equal(run(&x), FL_OK);
    assert_nobody_left();
    assert_int_equal(x.r->fault_count, 1);
    assert_int_equal(x.r->faults[0].fired, 1);
    assert_string_equal(x.r->faults[0].at, "c0.page_fetched#60");
    assert_int_equal(x.r->nodes[1].signal, SIGKILL);
    assert_false(x.r->node_failed);
    assert_string_equal(metric(&x, "error.mix")->text, "FL_EPEERDEAD");
    assert_int_equal(judge(&x), EMU_HELD);
    unload(&x);
}

static void a_node_killed_in_its_own_site_dies_there(void **state)
{
    (void)state;
    struct run x;
    load(&x, WORK(200000) "at (event (\"c0.flush_post\", 30)) : kill (\"c0\")\n" CHECKS);
    assert_int_equal(run(&x), FL_OK);
    assert_nobody_left();
    assert_int_equal(x.r->faults[0].fired, 1);
    assert_int_equal(x.r->nodes[0].signal, SIGKILL);
    assert_false(x.r->node_failed);
    assert_false(x.r->timed_out);
    unload(&x);
}

static void a_site_that_is_never_passed_is_undecided(void **state)
{
    (void)state;
    struct run x;
    load(&x, WORK(300) "at (event (\"c0.page_fetched\", 900000)) : kill (\"m0\")\n" CHECKS);
    assert_int_equal(run(&x), FL_OK);
    assert_int_equal(x.r->faults[0].fired, 0);
    assert_int_equal(judge(&x), EMU_UNDECIDED);
    unload(&x);
}

static void a_paused_node_goes_on(void **state)
{
    (void)state;
    struct run x;
    load(&x,
         WORK(3000) "at (event (\"c0.page_fetched\", 40)) : pause (\"m1\", { for_ = \"100ms\" })\n"
                    "expect \"close.heap\" : is(\"FL_OK\")\n" CHECKS);
    assert_int_equal(run(&x), FL_OK);
    assert_nobody_left();
    assert_int_equal(x.r->faults[0].fired, 1);
    assert_int_equal(judge(&x), EMU_HELD);
    unload(&x);
}

/* Filters at both ends: nothing passes, then everything goes on over the same connection, or the
 * connection broke with what was lost on it; either way the run ends and nothing is wrong. */
static void a_cut_link_heals(void **state)
{
    (void)state;
    struct run x;
    load(&x,
         WORK(3000) "at (event (\"c0.page_fetched\", 40)) : cut (\"c0\", \"m0\", { for_ = \"50ms\" "
                    "})\n" CHECKS);
    assert_int_equal(run(&x), FL_OK);
    assert_nobody_left();
    assert_int_equal(x.r->faults[0].fired, 1);
    assert_int_equal(x.r->faults[1].fired, 1);
    assert_int_equal(judge(&x), EMU_HELD);
    unload(&x);
}

/* A fault at a site of the memory node concerns the stack of the compute node. */
static void a_fault_at_the_far_end_hits(void **state)
{
    (void)state;
    struct run x;
    load(&x, WORK(3000) "at (event (\"m0.lease\", 1)) : delay_completion (\"c0\", \"m0\", { by = "
                        "\"2ms\", count = 3 })\n"
                        "expect \"close.heap\" : is(\"FL_OK\")\n" CHECKS);
    assert_int_equal(run(&x), FL_OK);
    assert_nobody_left();
    assert_int_equal(x.r->faults[0].fired, 3);
    assert_int_equal(judge(&x), EMU_HELD);
    unload(&x);
}

/* It is spawned again, with its image, and dies once more while it comes back. */
static void a_killed_memory_node_comes_back(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++) {
        struct run x;
        load(&x, again ? WORK(20000) "at (event (\"c0.flush_ack\", 60)) : kill (\"m0\")\n"
                                     "at (event (\"c0.peer_lost\", 1)) : restart (\"m0\")\n"
                                     "at (event (\"m0.restart\", 1)) : kill (\"m0\")\n"
                                     "check { \"W3\", \"W7\" }\n"
                       : WORK(20000) "at (event (\"c0.flush_ack\", 60)) : kill (\"m0\")\n"
                                     "at (event (\"c0.peer_lost\", 1)) : restart (\"m0\")\n"
                                     "expect \"close.heap\" : is(\"FL_EPEERDEAD\")\n"
                                     "check { \"W3\", \"W7\" }\n");
        assert_int_equal(run(&x), FL_OK);
        assert_nobody_left();
        assert_int_equal(x.r->faults[0].fired, 1);
        assert_int_equal(x.r->faults[again ? 2 : 1].fired, 1);
        if (!again)
            assert_int_equal(judge(&x), EMU_HELD);
        unload(&x);
    }
}

/* W-f7: what it has left is read from memory that outlives the process. */
static void a_crashed_compute_node_says_what_it_cost(void **state)
{
    (void)state;
    struct run x;
    load(&x, WORK(20000) "at (event (\"c0.flush_post\", 90)) : kill (\"c0\")\n"
                         "expect \"lost_lines\" : above (0)\n"
                         "check { \"W3\" }\n");
    assert_int_equal(run(&x), FL_OK);
    assert_nobody_left();
    assert_int_equal(x.r->faults[0].fired, 1);
    assert_int_equal(judge(&x), EMU_HELD);
    assert_true(x.r->check_count == 1 && x.r->checks[0].checked > 0);
    unload(&x);
}

/* --- runs that end badly -------------------------------------------------------------------- */

static void crash_m1(pid_t coordinator, int report)
{
    pid_t pid[PROCS_MAX];
    if (wait_log("c0", "running") && procs_wait_nodes(coordinator, "m1", 1, pid, NULL) &&
        !kill(pid[0], SIGSEGV))
        say(report, "crashed");
}

static void a_crash_becomes_a_verdict(void **state)
{
    (void)state;
    struct run x;
    int report;
    load(&x, WORK(100000000) CHECKS);
    beside(crash_m1, &report);
    assert_int_equal(run(&x), FL_OK);
    assert_report(report, "crashed");
    assert_nobody_left();
    assert_true(x.r->node_failed);
    assert_int_equal(x.r->nodes[2].signal, SIGSEGV);
    assert_non_null(strstr(x.r->why, "node m1"));
    assert_non_null(strstr(x.r->why, "signal 11"));
    assert_non_null(strstr(x.r->nodes[2].why, "log lines:"));
    assert_non_null(strstr(x.r->nodes[2].why, "m1")); /* and there were some */
    assert_int_equal(judge(&x), EMU_VIOLATED);
    unload(&x);
}

static void interrupt(pid_t coordinator, int report)
{
    if (wait_log("c0", "running") && !kill(coordinator, SIGINT))
        say(report, "sent");
}

static void an_interrupt_ends_every_node(void **state)
{
    (void)state;
    struct run x;
    int report;
    load(&x, WORK(100000000) CHECKS);
    beside(interrupt, &report);
    assert_int_equal(run(&x), FL_ECANCELED);
    assert_int_equal(emu_interrupted, SIGINT);
    emu_interrupted = 0;
    assert_report(report, "sent");
    assert_nobody_left();
    unload(&x);
}

static void a_killed_coordinator_takes_its_nodes_along(void **state)
{
    (void)state;
    struct run x;
    pid_t nodes[PROCS_MAX];
    load(&x, WORK(100000000) CHECKS);
    pid_t coordinator = fork();
    assert_true(coordinator >= 0);
    if (coordinator == 0) {
        run(&x);
        _exit(0);
    }
    assert_true(wait_log("c0", "running"));
    int n = procs_nodes(coordinator, NULL, nodes, NULL);
    assert_int_equal(n, 3);
    assert_int_equal(kill(nodes[0], SIGSTOP), 0); /* even one that cannot act by itself */
    kill(coordinator, SIGKILL);
    assert_int_equal(waitpid(coordinator, NULL, 0), coordinator);
    uint64_t end = fl_clock_ns() + WAIT_S * FL_NS_PER_S;
    int left = 3;
    while (left && fl_clock_ns() < end) {
        left = 0;
        for (int i = 0; i < 3; i++)
            left += procs_parent(nodes[i]) > 0;
        usleep(1000);
    }
    assert_int_equal(left, 0);
    unload(&x);
}

static void a_run_ends_at_its_deadline(void **state)
{
    (void)state;
    struct run x;
    load(&x, WORK(100000000) CHECKS);
    x.p->run_deadline_ns = FL_NS_PER_S;
    assert_int_equal(run(&x), FL_OK);
    assert_nobody_left();
    assert_true(x.r->timed_out);
    assert_non_null(strstr(x.r->why, "c0"));
    assert_int_equal(judge(&x), EMU_UNDECIDED);
    unload(&x);
}

static void errors_of_setting_up_name_cause_and_remedy(void **state)
{
    (void)state;
    struct run x;
    load(&x, WORK(300) CHECKS);
    x.o.fabric = "nosuch";
    assert_int_not_equal(run(&x), FL_OK);
    assert_non_null(strstr(x.err.text, "nosuch"));
    assert_nobody_left();
    x.o.fabric = "tcp";
    x.o.tracker = "actor";
    assert_int_equal(run(&x), FL_EINVAL);
    assert_non_null(strstr(x.err.text, "--fabric sim"));
    x.o.tracker = NULL;
    x.o.out_dir = "/nonexistent/dir";
    assert_int_not_equal(run(&x), FL_OK);
    assert_non_null(strstr(x.err.text, "/nonexistent/dir"));
    assert_non_null(strstr(x.err.text, "--out"));
    assert_nobody_left();
    unload(&x);
}

/* --- strangers ------------------------------------------------------------------------------ */

static int throw_garbage(int port)
{
    static const char *const texts[] = {"GET / HTTP/1.0\r\n\r\n", "{\"t\":\"hello\"}\n", "\n\n\n"};
    int hit = 0;
    for (int i = 0; i < 12; i++) {
        char noise[5000];
        int fd = procs_connect(port);
        if (fd < 0)
            continue;
        hit++;
        for (size_t k = 0; k < sizeof(noise); k++)
            noise[k] = (char)(k * 2654435761U >> (i + 3));
        ssize_t n = i < 3 ? write(fd, texts[i], strlen(texts[i]))
                          : send(fd, noise, (size_t)i * 400, MSG_NOSIGNAL);
        if (n < 0 && errno != EPIPE && errno != ECONNRESET)
            hit = -1000;
        if (i % 2)
            close(fd); /* the others stay open for as long as this process lives */
    }
    return hit;
}

static void pester(pid_t coordinator, int report)
{
    pid_t pid[PROCS_MAX];
    int port, ports[8], hits = 0, nodes;
    signal(SIGPIPE, SIG_IGN);
    if (!wait_log("c0", "running"))
        return;
    nodes = procs_nodes(coordinator, NULL, pid, &port);
    hits += throw_garbage(port);
    for (int i = 0; i < nodes; i++)
        for (int k = procs_listening(pid[i], ports, 8); k > 0; k--)
            hits += throw_garbage(ports[k - 1]);
    /* The coordinator and at least the two memory nodes were reached. */
    say(report, hits >= 3 * 10 ? "thrown" : "missed");
    kill(pid[0], 0);
}

static void garbage_on_every_socket_changes_nothing(void **state)
{
    (void)state;
    struct run x;
    int report;
    load(&x, WORK(30000) "expect \"close.heap\" : is(\"FL_OK\")\n" CHECKS);
    beside(pester, &report);
    assert_int_equal(run(&x), FL_OK);
    assert_report(report, "thrown");
    assert_nobody_left();
    assert_int_equal(judge(&x), EMU_HELD);
    unload(&x);
}

#define CURRENT "2" /* CTL_VERSION as the command line wants it */

/** Starts this program as a node; returns its exit status, its words in @said. */
static int start_node(const char *join, const char *name, const char *key, const char *version,
                      char *said, size_t cap)
{
    int fds[2], st = -1;
    char token[300];
    snprintf(token, sizeof(token), "%s/token", dir);
    FILE *f = fopen(token, "w");
    if (!f || fchmod(fileno(f), 0600) || fprintf(f, "%s\n", key) < 0 || fclose(f) ||
        pipe2(fds, O_CLOEXEC))
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], 2);
        execl("/proc/self/exe", "farline", "node", "--join", join, "--name", name, "--token-file",
              token, "--protocol", version, "--join-deadline", "1", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && n<cap - 1; n += got> 0 ? (size_t)got : 0)
        got = read(fds[0], said + n, cap - 1 - n);
    said[n] = 0;
    close(fds[0]);
    return waitpid(pid, &st, 0) == pid && WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

static void impostors(pid_t coordinator, int report)
{
    static const char key[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    pid_t pid[PROCS_MAX];
    int port;
    char join[64], said[2048];
    if (!wait_log("c0", "running") || procs_nodes(coordinator, NULL, pid, &port) != 3)
        return;
    snprintf(join, sizeof(join), "127.0.0.1:%d", port);
    if (start_node(join, "m0", key, CURRENT, said, sizeof(said)) == 1 && strstr(said, "FL_EAUTH") &&
        strstr(said, "--token-file"))
        say(report, "key ");
    if (start_node(join, "m0", key, "99", said, sizeof(said)) == 1 && strstr(said, "FL_EVERSION") &&
        strstr(said, "version 99") && strstr(said, "version " CURRENT))
        say(report, "version");
}

static void wrong_keys_and_versions_are_refused_with_a_reason(void **state)
{
    (void)state;
    struct run x;
    int report;
    load(&x, WORK(30000) "expect \"close.heap\" : is(\"FL_OK\")\n" CHECKS);
    beside(impostors, &report);
    assert_int_equal(run(&x), FL_OK);
    assert_report(report, "key version");
    assert_nobody_left();
    assert_int_equal(judge(&x), EMU_HELD);
    unload(&x);
}

static void a_node_says_what_is_wrong_with_its_command_line(void **state)
{
    (void)state;
    static const char key[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    char said[2048];
    assert_int_equal(start_node("localhost", "m0", key, "1", said, sizeof(said)), EMU_USAGE);
    assert_non_null(strstr(said, "ADDR:PORT"));
    assert_int_equal(start_node("127.0.0.1:1", "", key, "1", said, sizeof(said)), EMU_USAGE);
    assert_int_equal(start_node("127.0.0.1:1", "m0", "short", "1", said, sizeof(said)), EMU_USAGE);
    assert_non_null(strstr(said, "does not hold a run's key"));
    assert_int_equal(start_node("127.0.0.1:1", "m0", key, "1", said, sizeof(said)), 1);
    assert_non_null(strstr(said, "cannot reach the coordinator"));
}

/* --- programs ------------------------------------------------------------------------------- */

static void sqlite_runs_on_the_pool(void **state)
{
    (void)state;
    struct run x;
    load(&x, "node \"c1\" { role = \"compute\", device_memory = \"256K\" }\n"
             "node \"m2\" { role = \"memory\", memory = \"32M\" }\n"
             "region \"db\" { on = \"c1\", size = \"32M\", backed_by = { \"m2\" } }\n"
             "workload \"sql\" { region = \"db\", kind = \"sqlite\", ops = 400,\n"
             "  source = \"/usr/share/common-licenses/GPL-3\" }\n"
             "expect \"sqlite.match\" : equals(1)\n"
             "expect \"c1.refetched\" : above(0)\n" CHECKS);
    assert_int_equal(run(&x), FL_OK);
    assert_nobody_left();
    assert_int_equal(judge(&x), EMU_HELD);
    assert_true(metric(&x, "sqlite.rows")->value > 300);
    assert_int_equal(strlen(metric(&x, "sqlite.checksum")->text), 16);
    unload(&x);
}

static void a_program_survives_the_loss_of_its_memory(void **state)
{
    (void)state;
    char lua[600], cwd[400];
    const char *const kinds[] = {
        "kind = \"sqlite\", ops = 4000, source = \"/usr/share/common-licenses/GPL-3\"", lua};
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    snprintf(lua, sizeof(lua),
             "kind = \"lua\", ops = 400, source = \"%s/scenarios/workloads/tables.lua\"", cwd);
    for (size_t i = 0; i < 2; i++) {
        struct run x;
        char text[1500];
        snprintf(text, sizeof(text),
                 "node \"c1\" { role = \"compute\", device_memory = \"512K\" }\n"
                 "node \"m2\" { role = \"memory\", memory = \"32M\" }\n"
                 "region \"db\" { on = \"c1\", size = \"32M\", backed_by = { \"m2\" } }\n"
                 "workload \"prog\" { region = \"db\", %s }\n"
                 "at (event (\"c1.page_fetched\", 600)) : kill (\"m2\")\n"
                 "expect \"error.prog\" : is(\"FL_EPEERDEAD\")\n"
                 "expect \"prog.match\" : equals(0)\n"
                 "check { \"W3\", \"W8\" }\n",
                 kinds[i]);
        load(&x, text);
        assert_int_equal(run(&x), FL_OK);
        assert_nobody_left();
        assert_int_equal(x.r->nodes[3].exit_code, 0);
        assert_int_equal(x.r->nodes[3].signal, 0);
        assert_int_equal(judge(&x), EMU_HELD);
        unload(&x);
    }
}

/* --- */

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(dir, sizeof(dir), "%s/test_nodes.XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return procs_remove_dir(dir);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "node"))
        return emu_node_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        T(a_good_run_leaves_nothing_behind),
        T(a_good_run_in_the_other_wait_modes),
        T(a_good_run_over_sockets),
        T(equal_runs_leave_equal_images),
        T(lost_lines_are_found_in_the_memory_nodes),
        T(a_memory_node_killed_by_the_plan_is_no_crash),
        T(a_node_killed_in_its_own_site_dies_there),
        T(a_site_that_is_never_passed_is_undecided),
        T(a_paused_node_goes_on),
        T(a_cut_link_heals),
        T(a_fault_at_the_far_end_hits),
        T(a_killed_memory_node_comes_back),
        T(a_crashed_compute_node_says_what_it_cost),
        T(a_crash_becomes_a_verdict),
        T(an_interrupt_ends_every_node),
        T(a_killed_coordinator_takes_its_nodes_along),
        T(a_run_ends_at_its_deadline),
        T(errors_of_setting_up_name_cause_and_remedy),
        T(garbage_on_every_socket_changes_nothing),
        T(wrong_keys_and_versions_are_refused_with_a_reason),
        T(a_node_says_what_is_wrong_with_its_command_line),
        T(sqlite_runs_on_the_pool),
        T(a_program_survives_the_loss_of_its_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
