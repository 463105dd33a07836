/* SPDX-License-Identifier: Apache-2.0 */
/** Keys and proofs of the control protocol: HMAC-SHA256 by libcrypto. */
#ifndef EMU_CTL_AUTH_H
#define EMU_CTL_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "emu/ctl.h"

struct ctl_auth {
    uint8_t key[CTL_KEY_BYTES];
    uint8_t mine[CTL_NONCE_BYTES], theirs[CTL_NONCE_BYTES];
};

/** Takes the key and draws a nonce. FL_EIO: no random bytes. */
int ctl_auth_init(struct ctl_auth *a, const uint8_t key[CTL_KEY_BYTES]);
void ctl_auth_wipe(struct ctl_auth *a);

/** Proof of @role: HMAC over role, the challenger's nonce, the prover's nonce and the name, as
 * hex. */
void ctl_auth_mac(const struct ctl_auth *a, const char *role, const uint8_t *challenge,
                  const uint8_t *own, const char *name, char ret_hex[2 * CTL_MAC_BYTES + 1]);

/** True if @hex is that proof; time does not depend on where it differs. */
bool ctl_auth_check(const struct ctl_auth *a, const char *role, const uint8_t *challenge,
                    const uint8_t *own, const char *name, const char *hex);

#endif
