/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/base/coro.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "emu/base/assert.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CORO_ASAN 1
#elif __has_feature(thread_sanitizer)
#define CORO_TSAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define CORO_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define CORO_TSAN 1
#endif

/* Both sanitizers keep books of each stack and have to be told when it changes. */
#ifdef CORO_ASAN
void __sanitizer_start_switch_fiber(void **fake, const void *stack, size_t stack_bytes);
void __sanitizer_finish_switch_fiber(void *fake, const void **stack, size_t *stack_bytes);
#endif
#ifdef CORO_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#endif

struct side {
    const void *stack; /* as AddressSanitizer knows it */
    size_t stack_bytes;
    void *fake; /* its frames kept apart from the stack */
    void *fiber;
};

struct fl_coro {
    ucontext_t inside, outside;
    struct side in, out;
    void (*fn)(void *arg);
    void *arg;
    uint8_t *map;
    size_t map_bytes;
    bool over;
};

static __thread struct fl_coro *running;

/** Before the switch; @last: the side that is left ends with it. */
static void leave(struct side *from, const struct side *to, bool last)
{
#ifdef CORO_ASAN
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake, to->stack, to->stack_bytes);
#endif
#ifdef CORO_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    (void)from;
    (void)to;
    (void)last;
}

/** After the switch. @from: learns what stack was left. */
static void arrive(const struct side *to, struct side *from)
{
#ifdef CORO_ASAN
    __sanitizer_finish_switch_fiber(to->fake, &from->stack, &from->stack_bytes);
#endif
    (void)to;
    (void)from;
}

static void entry(void)
{
    struct fl_coro *c = running;

    arrive(&c->in, &c->out);
    c->fn(c->arg);
    c->over = true;
    leave(&c->in, &c->out, true);
    FL_ASSERT(setcontext(&c->outside) == 0); /* does not return */
}

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static int make_stack(struct fl_coro *c, size_t bytes, struct fl_errmsg *err)
{
    size_t page = page_bytes();

    c->map_bytes = (bytes + page - 1) / page * page + page;
    void *p =
        mmap(NULL, c->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    c->map = p == MAP_FAILED ? NULL : p;
    if (c->map == NULL || mprotect(c->map + page, c->map_bytes - page, PROT_READ | PROT_WRITE) != 0)
        return fl_fail(err, FL_ENOMEM, "no memory for a stack of %zu bytes: %s", bytes,
                       strerror(errno));
    return FL_OK;
}

int fl_coro_new(size_t stack_bytes, void (*fn)(void *arg), void *arg, struct fl_coro **ret,
                struct fl_errmsg *err)
{
    struct fl_coro *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return fl_fail(err, FL_ENOMEM, "out of memory");
    int rc = make_stack(c, stack_bytes, err);
    if (rc != FL_OK) {
        fl_coro_free(&c);
        return rc;
    }
    c->fn = fn;
    c->arg = arg;
    c->in.stack = c->map + page_bytes();
    c->in.stack_bytes = c->map_bytes - page_bytes();
    FL_ASSERT(getcontext(&c->inside) == 0);
    c->inside.uc_stack.ss_sp = c->map + page_bytes();
    c->inside.uc_stack.ss_size = c->in.stack_bytes;
    makecontext(&c->inside, entry, 0);
#ifdef CORO_TSAN
    c->in.fiber = __tsan_create_fiber(0);
#endif
    *ret = c;
    return FL_OK;
}

void fl_coro_free(struct fl_coro **pc)
{
    struct fl_coro *c = pc != NULL ? *pc : NULL;

    if (c == NULL)
        return;
    FL_ASSERT(c != running);
#ifdef CORO_TSAN
    if (c->in.fiber != NULL)
        __tsan_destroy_fiber(c->in.fiber);
#endif
    if (c->map != NULL)
        munmap(c->map, c->map_bytes);
    free(c);
    *pc = NULL;
}

void fl_coro_run(struct fl_coro *c)
{
    FL_ASSERT(running == NULL && !c->over);
    running = c;
#ifdef CORO_TSAN
    c->out.fiber = __tsan_get_current_fiber();
#endif
    leave(&c->out, &c->in, false);
    FL_ASSERT(swapcontext(&c->outside, &c->inside) == 0);
    arrive(&c->out, &c->in);
    running = NULL;
}

void fl_coro_yield(void)
{
    struct fl_coro *c = running;

    FL_ASSERT(c != NULL);
    leave(&c->in, &c->out, false);
    FL_ASSERT(swapcontext(&c->inside, &c->outside) == 0);
    arrive(&c->in, &c->out);
}

struct fl_coro *fl_coro_self(void)
{
    return running;
}

bool fl_coro_over(const struct fl_coro *c)
{
    return c->over;
}
