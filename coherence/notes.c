/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/notes.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emu/base/assert.h"

static size_t places_bytes(uint32_t count)
{
    return ((size_t)count + 1) * sizeof(struct coh_place);
}

int coh_notes_init(struct coh_notes *n, uint32_t count, struct fl_errmsg *err)
{
    *n = (struct coh_notes){.wake_fd = -1, .count = count};
    n->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (n->wake_fd < 0)
        return fl_fail(err, FL_EIO, "eventfd: %s; raise the limit of open files", strerror(errno));
    void *p = mmap(NULL, places_bytes(count), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        close(n->wake_fd);
        n->wake_fd = -1;
        return fl_fail(err, FL_ENOMEM, "cannot reserve %u notes; lower the node's device memory",
                       count);
    }
    n->places = p;
    return FL_OK;
}

void coh_notes_done(struct coh_notes *n)
{
    if (!n->places)
        return;
    munmap(n->places, places_bytes(n->count));
    n->places = NULL;
    close(n->wake_fd);
    n->wake_fd = -1;
}

void coh_notes_push(struct coh_notes *n, uint32_t place, bool urgent)
{
    FL_ASSERT(place > 0 && place <= n->count);
    uint32_t head = atomic_load_explicit(&n->head, memory_order_relaxed);
    do {
        n->places[place].next = head;
    } while (!atomic_compare_exchange_weak(&n->head, &head, place));
    /* armed and asleep are read after head is written, and written by the device before it reads
     * head (all sequentially consistent): one of the two sees the other. */
    if (urgent || !atomic_load(&n->armed))
        coh_notes_wake(n);
}

void coh_notes_wake(struct coh_notes *n)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (!atomic_load(&n->asleep) || !atomic_exchange(&n->asleep, false))
        return;
    if (n->wake) {
        n->wake(n->wake_arg);
        return;
    }
    uint64_t one = 1;
    while (write(n->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

uint32_t coh_notes_grab(struct coh_notes *n)
{
    if (atomic_load_explicit(&n->head, memory_order_acquire) == 0)
        return 0;
    uint32_t p = atomic_exchange(&n->head, 0);
    uint32_t oldest = 0;
    while (p) {
        uint32_t next = n->places[p].next;
        n->places[p].next = oldest;
        oldest = p;
        p = next;
    }
    return oldest;
}

bool coh_notes_sleep(struct coh_notes *n)
{
    if (!atomic_load(&n->asleep)) {
        /* Somebody may have written; one who is about to write costs one needless wake-up. */
        uint64_t sum;
        while (read(n->wake_fd, &sum, sizeof sum) < 0 && errno == EINTR)
            ;
        atomic_store(&n->asleep, true);
    }
    atomic_thread_fence(memory_order_seq_cst); /* the caller looks at gates after this */
    if (atomic_load(&n->head) == 0)
        return true;
    atomic_store(&n->asleep, false);
    return false;
}

void coh_notes_arm(struct coh_notes *n, bool armed)
{
    atomic_store(&n->armed, armed);
    if (!armed && atomic_load(&n->head) != 0)
        coh_notes_wake(n);
}
