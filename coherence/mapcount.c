/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/mapcount.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void coh_maps_init(struct coh_maps *m)
{
    long limit = 65530; /* Source: the kernel's default, DEFAULT_MAX_MAP_COUNT */
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    if (f) {
        if (fscanf(f, "%ld", &limit) != 1 || limit < 1024)
            limit = 65530;
        fclose(f);
    }
    atomic_init(&m->ours, 0);
    atomic_init(&m->others, 0);
    m->limit = limit;
}

static int64_t ceiling(const struct coh_maps *m, bool raising)
{
    int64_t reserve = m->limit / 4 < COH_MAPS_RESERVE ? m->limit / 4 : COH_MAPS_RESERVE;
    return m->limit - (raising ? reserve : COH_MAPS_LAST) -
           atomic_load_explicit(&m->others, memory_order_relaxed);
}

bool coh_maps_reserve(struct coh_maps *m, int64_t delta, bool raising)
{
    int64_t now = atomic_fetch_add_explicit(&m->ours, delta, memory_order_relaxed) + delta;
    if (delta <= 0 || now <= ceiling(m, raising))
        return true;
    coh_maps_undo(m, delta);
    return false;
}

void coh_maps_undo(struct coh_maps *m, int64_t delta)
{
    atomic_fetch_sub_explicit(&m->ours, delta, memory_order_relaxed);
}

int64_t coh_maps_count(const struct coh_maps *m)
{
    int64_t n = atomic_load_explicit(&m->ours, memory_order_relaxed);
    return n > 0 ? n : 0;
}

/* Reads the lines "lo-hi perms ..." in pieces: of each, only the digits before '-' matter. */
struct scan {
    uintptr_t addr;
    bool in_addr;
    int64_t ours, others;
};

static void scan_line_start(struct scan *s, const struct coh_span *spans, size_t span_count)
{
    for (size_t i = 0; i < span_count; i++) {
        if (s->addr >= spans[i].lo && s->addr < spans[i].hi) {
            s->ours++;
            return;
        }
    }
    s->others++;
}

static void scan_char(struct scan *s, char c, const struct coh_span *spans, size_t span_count)
{
    if (c == '\n') {
        s->in_addr = true;
        s->addr = 0;
    } else if (s->in_addr && c == '-') {
        s->in_addr = false;
        scan_line_start(s, spans, span_count);
    } else if (s->in_addr) {
        s->addr = s->addr << 4 | (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
}

void coh_maps_resync(struct coh_maps *m, const struct coh_span *spans, size_t span_count)
{
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* the count goes on as it is */
    struct scan s = {.in_addr = true};
    char buf[16384];
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0) {
        for (const char *p = buf; p < buf + n;) {
            if (!s.in_addr) {
                const char *nl = memchr(p, '\n', (size_t)(buf + n - p));
                if (!nl)
                    break;
                p = nl;
            }
            scan_char(&s, *p++, spans, span_count);
        }
    }
    close(fd);
    if (n < 0 || s.ours + s.others == 0)
        return;
    atomic_store_explicit(&m->ours, s.ours, memory_order_relaxed);
    atomic_store_explicit(&m->others, s.others, memory_order_relaxed);
}
