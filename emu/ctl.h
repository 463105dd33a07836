/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Control protocol between the coordinator (`farline run`) and its nodes: one TCP connection per
 * node, JSON objects one to a line (at most CTL_LINE_MAX bytes), member "t" names the message.
 * A connection is authenticated in both directions before anything else is listened to; nothing
 * is encrypted, so addresses other than loopback belong into a trusted network.
 *
 *   node -> coordinator                    coordinator -> node
 *   hello {version, name, nonce}           challenge {version, nonce, mac}
 *   auth {mac}                             welcome {} | refused {version, cause}
 *   failed {status, cause}                 plan {plan, index, fabric, bind, wait, trace, external,
 *                                              incarnation, memory_fd, spent, armed}
 *   ready {addr, pid}                      peers {addrs}
 *   connected {}                           start {}
 *   running {}                             --
 *   site {step}                            fired {step}     the node waits inside the site
 *   armed {step}                           arm {step, on}   this node's end of a fault
 *   hit {step, hits}                       peer {node, addr} a killed node is back
 *   done {regions, metrics, checks}        expect {region, first, count}
 *   digests {key, first, hex}              image {chunk, first, count}
 *   page {key, page, hex}                  expect_page {region, page}, image_page {chunk, page}
 *   report {metrics, checks}               finish {}        memory nodes: report
 *   dying {step}                           die {}           external nodes: end at once
 *   bye {}                                 stop {}
 *
 * MACs are HMAC-SHA256 under the run's key over a role, both nonces and the node's name; the role
 * keeps an answer from being played back to its author. Numbers above 2^53 travel as hex text.
 */
#ifndef EMU_CTL_H
#define EMU_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "emu/base/err.h"

enum {
    CTL_VERSION = 2,
    CTL_KEY_BYTES = 32,
    CTL_NONCE_BYTES = 32,
    CTL_MAC_BYTES = 32,
    CTL_NAME_MAX = 32,
    CTL_LINE_MAX = 8 * 1024 * 1024,
    CTL_LINE_MAX_UNAUTH = 1024, /* before a peer has proved that it holds the key */
    CTL_AUTH_DEADLINE_MS = 5000,
    CTL_SILENCE_MS = 10000, /* a peer whose kernel does not answer for so long is gone */
    CTL_PENDING_MAX = 64,   /* strangers beside the nodes at a time; more are turned away */
};

struct event_base;
struct ctl_conn;

/** What a connection tells its owner. All on the loop's thread. */
struct ctl_handler {
    void *arg;
    /** Both sides proved the key. @name: the node's. False: refused (unknown or taken name). */
    bool (*up)(void *arg, struct ctl_conn *c, const char *name);
    /** @m is borrowed. */
    void (*msg)(void *arg, struct ctl_conn *c, const char *type, const json_t *m);
    /** The connection ended or was dropped; it is freed when this returns. */
    void (*down)(void *arg, struct ctl_conn *c, int cause, const char *why);
};

/** Takes over connected socket @fd. @name NULL: coordinator's side; else the node's, which speaks
 * first. @version: CTL_VERSION, another one only in tests. NULL: out of memory, @fd is closed. */
struct ctl_conn *ctl_new(struct event_base *base, int fd, const char *name, int version,
                         const uint8_t key[CTL_KEY_BYTES], const struct ctl_handler *h);

/** Closes without calling down(); safe inside callbacks. */
void ctl_close(struct ctl_conn **c);

/** Queues @m (reference stolen, NULL is FL_ENOMEM); what the socket takes at once is sent now. */
int ctl_send(struct ctl_conn *c, json_t *m);

/** Sends what is queued, blocking at most until @deadline_ns (fl_clock_ns). */
int ctl_flush(struct ctl_conn *c, uint64_t deadline_ns);

/** Blocks until a message of @type arrives, outside the event loop; others are kept and delivered
 * later in order. New reference in @ret. FL_ETIMEDOUT, FL_ECONN. */
int ctl_wait(struct ctl_conn *c, const char *type, uint64_t deadline_ns, json_t **ret);

/** For owners that keep something with a connection. */
void ctl_set_user(struct ctl_conn *c, void *user);
void *ctl_user(const struct ctl_conn *c);
bool ctl_is_up(const struct ctl_conn *c);
/** The name that the peer gave, "" before that; proved only once the connection is up. */
const char *ctl_name(const struct ctl_conn *c);

/** The run's key: random, and to and from 64 hex digits. */
int ctl_key_new(uint8_t ret[CTL_KEY_BYTES]);
/** Key for another purpose, derived from the run's: @label "fabric". */
void ctl_key_derive(const uint8_t key[CTL_KEY_BYTES], const char *label,
                    uint8_t ret[CTL_KEY_BYTES]);
/** Reads a key of 64 hex digits (and a newline) from @fd or, if that is -1, from @path, which must
 * be closed to group and others: FL_EPERM. */
int ctl_key_read(int fd, const char *path, uint8_t ret[CTL_KEY_BYTES], struct fl_errmsg *err);
/** As ctl_key_read from @path; when there is no such file it is made (mode 0600), with a new key. */
int ctl_key_file(const char *path, uint8_t ret[CTL_KEY_BYTES], struct fl_errmsg *err);

void ctl_hex(const void *bytes, size_t len, char *ret); /* 2 * len digits and NUL */
/** False unless @hex is exactly 2 * @len digits. */
bool ctl_unhex(const char *hex, void *ret, size_t len);

#endif
