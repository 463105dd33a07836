/* SPDX-License-Identifier: Apache-2.0 */
/* What one process alone can see of the port: refusals with cause and remedy, set-up and its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "transport/ofi.h"

static struct tp_cfg cfg(void)
{
    return (struct tp_cfg){.nodes = 2,
                           .incarnation = 1,
                           .provider = "tcp",
                           .credits = 4,
                           .window_ops = 4,
                           .window_bytes = 65536,
                           .connect_deadline_ns = FL_NS_PER_S,
                           .fence_deadline_ns = FL_NS_PER_S};
}

static void expect_error(const struct tp_cfg *c, int want, const char *says)
{
    struct event_base *base = event_base_new();
    struct tp_handler h = {0};
    struct tp_port *p = NULL;
    struct fl_errmsg err = {0};

    assert_int_equal(tp_ofi_new(base, c, &h, &p, &err), want);
    assert_null(p);
    if (strstr(err.text, says) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
    event_base_free(base);
}

static void unknown_fabrics_name_the_remedy(void **state)
{
    (void)state;
    struct tp_cfg c = cfg();

    c.provider = "carrier-pigeon";
    expect_error(&c, FL_EUNSUPPORTED, "farline doctor");
    c.provider = "tcp;ofi_rxm";
    expect_error(&c, FL_EUNSUPPORTED, "use tcp, sockets or verbs");
    c.provider = "shm";
    expect_error(&c, FL_EUNSUPPORTED, "use tcp, sockets or verbs");
    c.provider = NULL;
    expect_error(&c, FL_EUNSUPPORTED, "use tcp, sockets or verbs");
    c.provider = "tcp";
    c.bind = "203.0.113.77"; /* not an address of this machine */
    struct event_base *base = event_base_new();
    struct tp_handler h = {0};
    struct tp_port *p = NULL;
    struct fl_errmsg err = {0};
    struct tp_addr addr;
    int e = tp_ofi_new(base, &c, &h, &p, &err);
    if (e == FL_OK) /* then it shows when it listens */
        e = p->ops->listen(p, &addr, &err);
    assert_int_not_equal(e, FL_OK);
    assert_non_null(strstr(err.text, "farline doctor"));
    if (p != NULL)
        p->ops->close(&p);
    event_base_free(base);
}

static void absurd_settings_are_named(void **state)
{
    (void)state;
    struct tp_cfg c = cfg();

    c.credits = 0;
    expect_error(&c, FL_EINVAL, "credits 0");
    c.credits = 257;
    expect_error(&c, FL_EINVAL, "credits 257");
    c = cfg();
    c.nodes = 1;
    expect_error(&c, FL_EINVAL, "at least two nodes");
    c = cfg();
    c.self = 2;
    expect_error(&c, FL_EINVAL, "node 2 of 2");
    c = cfg();
    c.window_ops = 0;
    expect_error(&c, FL_EINVAL, "window");
    c = cfg();
    c.fence_deadline_ns = 0;
    expect_error(&c, FL_EINVAL, "deadline");
    c = cfg();
    c.heartbeat_ns = c.heartbeat_miss_ns = 5;
    expect_error(&c, FL_EINVAL, "heartbeat_miss");
}

static struct tp_port *open_port(struct event_base *base, const char *bind)
{
    static char text[64];
    struct tp_cfg c = cfg();
    struct tp_handler h = {0};
    struct tp_port *p = NULL;
    struct fl_errmsg err = {0};

    if (bind != NULL) {
        snprintf(text, sizeof(text), "%s", bind);
        c.bind = text;
    }
    if (tp_ofi_new(base, &c, &h, &p, &err) != FL_OK)
        fail_msg("%s", err.text);
    return p;
}

/* The provider reads it once a process, before the first port is there. */
static void sockets_does_not_spin_unless_told_to(void **state)
{
    static const char name[] = "FI_SOCKETS_PE_WAITTIME";
    (void)state;
    struct event_base *base = event_base_new();

    assert_int_equal(unsetenv(name), 0);
    struct tp_port *p = open_port(base, NULL);
    assert_string_equal(getenv(name), "0");
    p->ops->close(&p);
    assert_int_equal(setenv(name, "7", 1), 0);
    p = open_port(base, NULL);
    assert_string_equal(getenv(name), "7");
    p->ops->close(&p);
    event_base_free(base);
}

static void a_taken_port_is_told(void **state)
{
    (void)state;
    struct event_base *base = event_base_new();
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    char bind_to[64];
    struct tp_addr addr;
    struct fl_errmsg err = {0};

    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&sin, len), 0);
    assert_int_equal(listen(s, 1), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&sin, &len), 0);
    snprintf(bind_to, sizeof(bind_to), "127.0.0.1:%u", ntohs(sin.sin_port));
    struct tp_port *p = open_port(base, bind_to);
    assert_int_equal(p->ops->listen(p, &addr, &err), FL_EADDRINUSE);
    assert_non_null(strstr(err.text, bind_to));
    assert_non_null(strstr(err.text, "choose another"));
    p->ops->close(&p);
    close(s);
    event_base_free(base);
}

static void listening_gives_an_address_and_close_on_exec(void **state)
{
    (void)state;
    struct event_base *base = event_base_new();
    struct tp_port *p = open_port(base, NULL);
    struct tp_addr addr;
    struct fl_errmsg err = {0};
    unsigned sockets = 0;

    if (p->ops->listen(p, &addr, &err) != FL_OK)
        fail_msg("%s", err.text);
    struct sockaddr_in sin;
    memcpy(&sin, addr.bytes, sizeof(sin));
    assert_int_equal(addr.len, sizeof(sin));
    assert_int_equal(ntohl(sin.sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_not_equal(sin.sin_port, 0);
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[300], what[64] = {0};
        snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
        if (readlink(path, what, sizeof(what) - 1) <= 0 || atoi(e->d_name) < 3 ||
            strncmp(what, "socket:", 7) != 0)
            continue;
        sockets++;
        assert_true(fcntl(atoi(e->d_name), F_GETFD) & FD_CLOEXEC);
    }
    closedir(d);
    assert_true(sockets > 0);
    p->ops->close(&p);
    event_base_free(base);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    struct event_base *base = event_base_new();
    struct tp_port *p = open_port(base, NULL);
    static uint8_t mem[2 * FL_PAGE_BYTES];
    struct tp_addr addr = {.len = 3};
    struct fl_errmsg err = {0};

    assert_int_equal(p->ops->expose(p, mem, 100, &err), FL_EINVAL);
    assert_non_null(strstr(err.text, "whole pages"));
    assert_int_equal(p->ops->connect(p, 1, &addr, &err), FL_EINVAL);
    assert_int_equal(p->ops->connect(p, 0, &addr, &err), FL_EINVAL);
    assert_int_equal(p->ops->connect(p, 9, &addr, &err), FL_EINVAL);
    for (int i = 0; i < TPO_REGS_MAX; i++)
        assert_int_equal(p->ops->reg(p, mem, sizeof(mem), &err), FL_OK);
    assert_int_equal(p->ops->reg(p, mem, sizeof(mem), &err), FL_ENOSPC);
    p->ops->close(&p);
    event_base_free(base);
}

static void fabric_errors_map_to_ours(void **state)
{
    (void)state;
    assert_int_equal(tpo_err(FI_EACCES), FL_EPERM);
    assert_int_equal(tpo_err(FI_ENOKEY), FL_EPERM);
    assert_int_equal(tpo_err(FI_ENOMEM), FL_ENOMEM);
    assert_int_equal(tpo_err(FI_EADDRINUSE), FL_EADDRINUSE);
    assert_int_equal(tpo_err(FI_ENODATA), FL_EUNSUPPORTED);
    assert_int_equal(tpo_err(FI_ETIMEDOUT), FL_ETIMEDOUT);
    assert_int_equal(tpo_err(FI_EFAULT), FL_EIO);
    assert_int_equal(tpo_err(FI_ECANCELED), FL_ECONN);
}

/* 4096 ns x 2^n, never shorter than asked for. */
static void acknowledgement_timeouts_are_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(tpo_rdma_exponent(1), 1);
    assert_int_equal(tpo_rdma_exponent(8192), 1);
    assert_int_equal(tpo_rdma_exponent(8193), 2);
    assert_int_equal(tpo_rdma_exponent(67 * FL_NS_PER_MS), 14);
    assert_int_equal(tpo_rdma_exponent(68 * FL_NS_PER_MS), 15);
    assert_int_equal(tpo_rdma_exponent(UINT64_MAX), 31);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_fabrics_name_the_remedy),
        cmocka_unit_test(absurd_settings_are_named),
        cmocka_unit_test(sockets_does_not_spin_unless_told_to),
        cmocka_unit_test(a_taken_port_is_told),
        cmocka_unit_test(listening_gives_an_address_and_close_on_exec),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(fabric_errors_map_to_ours),
        cmocka_unit_test(acknowledgement_timeouts_are_rounded_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
