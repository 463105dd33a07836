/* SPDX-License-Identifier: Apache-2.0 */
/* After the crash of a compute node, or of a memory node that came back with its image: what the
 * memory nodes hold against the record that outlived the process (W-f7). */
#include "emu/coord.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "emu/oracle.h"

static bool is_alive(const struct coord_node *n)
{
    return n->conn && !n->exited && !n->stopped;
}

static uint64_t crash_chunk(struct coord *c, struct oracle *o, uint16_t region, uint32_t first,
                            const struct plan_chunk *k)
{
    uint8_t page[FL_PAGE_BYTES];
    uint64_t lost = 0;
    for (uint32_t i = 0; i < k->page_count; i++)
        if (oracle_crash_known(o, region, first + i) &&
            coord_image_page(c, k->node, k->chunk, i, page))
            lost += oracle_crash_page(o, region, first + i, page);
    return lost;
}

/** Chunks whose bytes tell something: of a dead application, or on a node that came back. */
static uint64_t crash_region(struct coord *c, struct oracle *o, uint16_t region, bool dead)
{
    const struct plan_region *g = &c->p->regions[region];
    uint64_t lost = 0;
    uint32_t first = 0;
    for (uint16_t k = 0; k < g->chunk_count; k++) {
        const struct coord_node *m = &c->nodes[g->chunks[k].node];
        bool back = m->incarnation > 1;
        if (is_alive(m) && !m->blank && (dead || back))
            lost += crash_chunk(c, o, region, first, &g->chunks[k]);
        first += g->chunks[k].page_count;
    }
    return lost;
}

static bool closed_well(const struct coord *c, uint16_t region)
{
    char name[64];
    snprintf(name, sizeof(name), "close.%.50s", c->p->regions[region].name);
    for (size_t i = 0; i < c->r->metric_count; i++)
        if (!strcmp(c->r->metrics[i].name, name))
            return !strcmp(c->r->metrics[i].text, "FL_OK");
    return false;
}

static void crash_node(struct coord *c, uint16_t node)
{
    struct coord_node *n = &c->nodes[node];
    bool dead = !is_alive(n);
    uint64_t lost = 0;
    char name[64];
    void *m = mmap(NULL, n->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, n->memory_fd, 0);
    struct oracle *o = m != MAP_FAILED ? oracle_new(c->p, node, NULL) : NULL;
    if (!o) {
        coord_fail(c, "no memory to read what node %s has left", c->p->nodes[node].name);
        return;
    }
    oracle_record(o, m);
    for (uint16_t r = 0; r < c->p->region_count; r++)
        if (c->p->regions[r].on == node && (dead || !closed_well(c, r)))
            lost += crash_region(c, o, r, dead);
    if (dead) { /* one that lives has counted its own */
        snprintf(name, sizeof(name), "%s.lost_lines", c->p->nodes[node].name);
        result_metric(c->r, name, (double)lost);
        snprintf(name, sizeof(name), "%s.lost_bytes", c->p->nodes[node].name);
        result_metric(c->r, name, (double)lost * FL_LINE_BYTES);
    }
    oracle_report(o, c->r);
    oracle_free(&o);
    munmap(m, n->memory_bytes);
}

void coord_crash(struct coord *c)
{
    for (uint16_t i = 0; i < c->p->node_count && !c->failed; i++)
        if (c->p->nodes[i].role == PLAN_COMPUTE && c->nodes[i].memory_fd >= 0)
            crash_node(c, i);
}
