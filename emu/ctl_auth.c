/* SPDX-License-Identifier: Apache-2.0 */
#include "emu/ctl_auth.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "emu/base/assert.h"

int ctl_auth_init(struct ctl_auth *a, const uint8_t key[CTL_KEY_BYTES])
{
    memcpy(a->key, key, CTL_KEY_BYTES);
    return RAND_bytes(a->mine, CTL_NONCE_BYTES) == 1 ? FL_OK : FL_EIO;
}

void ctl_auth_wipe(struct ctl_auth *a)
{
    OPENSSL_cleanse(a, sizeof(*a));
}

void ctl_auth_mac(const struct ctl_auth *a, const char *role, const uint8_t *challenge,
                  const uint8_t *own, const char *name, char ret_hex[2 * CTL_MAC_BYTES + 1])
{
    /* Every field has a fixed width, so that no two inputs run into each other. */
    uint8_t msg[32 + 2 * CTL_NONCE_BYTES + CTL_NAME_MAX] = {0};
    uint8_t mac[CTL_MAC_BYTES];
    unsigned len = 0;
    strncpy((char *)msg, role, 31);
    memcpy(msg + 32, challenge, CTL_NONCE_BYTES);
    memcpy(msg + 32 + CTL_NONCE_BYTES, own, CTL_NONCE_BYTES);
    strncpy((char *)msg + 32 + 2 * CTL_NONCE_BYTES, name, CTL_NAME_MAX - 1);
    FL_ASSERT(HMAC(EVP_sha256(), a->key, CTL_KEY_BYTES, msg, sizeof(msg), mac, &len));
    FL_ASSERT(len == CTL_MAC_BYTES);
    ctl_hex(mac, sizeof(mac), ret_hex);
}

bool ctl_auth_check(const struct ctl_auth *a, const char *role, const uint8_t *challenge,
                    const uint8_t *own, const char *name, const char *hex)
{
    char want[2 * CTL_MAC_BYTES + 1];
    if (strlen(hex) != 2 * CTL_MAC_BYTES)
        return false;
    ctl_auth_mac(a, role, challenge, own, name, want);
    return CRYPTO_memcmp(want, hex, 2 * CTL_MAC_BYTES) == 0;
}

int ctl_key_new(uint8_t ret[CTL_KEY_BYTES])
{
    return RAND_bytes(ret, CTL_KEY_BYTES) == 1 ? FL_OK : FL_EIO;
}

void ctl_key_derive(const uint8_t key[CTL_KEY_BYTES], const char *label, uint8_t ret[CTL_KEY_BYTES])
{
    unsigned len = 0;
    FL_ASSERT(
        HMAC(EVP_sha256(), key, CTL_KEY_BYTES, (const uint8_t *)label, strlen(label), ret, &len));
    FL_ASSERT(len == CTL_KEY_BYTES);
}

/** Whoever can read the key can be a node. */
static int check_private(int fd, const char *path, struct fl_errmsg *err)
{
    struct stat st;
    if (fstat(fd, &st))
        return fl_fail(err, fl_err_from_errno(errno), "cannot look at token file %s: %s", path,
                       strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fl_fail(err, FL_EINVAL, "token file %s is not a file", path);
    if (st.st_mode & 077)
        return fl_fail(err, FL_EPERM,
                       "token file %s is open to others (mode %04o): chmod 600 %s, and make a new "
                       "key if somebody else may have read it",
                       path, st.st_mode & 07777, path);
    return FL_OK;
}

int ctl_key_file(const char *path, uint8_t ret[CTL_KEY_BYTES], struct fl_errmsg *err)
{
    char hex[2 * CTL_KEY_BYTES + 2];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return ctl_key_read(-1, path, ret, err);
    if (fd < 0)
        return fl_fail(err, fl_err_from_errno(errno), "cannot make token file %s: %s", path,
                       strerror(errno));
    bool good = ctl_key_new(ret) == FL_OK;
    ctl_hex(ret, CTL_KEY_BYTES, hex);
    hex[2 * CTL_KEY_BYTES] = '\n';
    good = good && write(fd, hex, 2 * CTL_KEY_BYTES + 1) == 2 * CTL_KEY_BYTES + 1;
    OPENSSL_cleanse(hex, sizeof(hex));
    if (close(fd) || !good) {
        unlink(path);
        return fl_fail(err, FL_EIO, "cannot write token file %s: %s", path, strerror(errno));
    }
    return FL_OK;
}

int ctl_key_read(int fd, const char *path, uint8_t ret[CTL_KEY_BYTES], struct fl_errmsg *err)
{
    FL_ASSERT(fd >= 0 || path != NULL);
    const char *what = path ? path : "the inherited descriptor";
    int f = fd >= 0 ? fd : open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        return fl_fail(err, fl_err_from_errno(errno), "cannot open token file %s: %s", path,
                       strerror(errno));
    int rv = fd >= 0 ? FL_OK : check_private(f, path, err);
    if (rv) {
        close(f);
        return rv;
    }
    char text[2 * CTL_KEY_BYTES + 2];
    size_t n = 0;
    ssize_t got = 1;
    while (n < sizeof(text) && got > 0) {
        got = read(f, text + n, sizeof(text) - n);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            n += (size_t)got;
    }
    close(f);
    if (n == 2 * CTL_KEY_BYTES + 1 && text[n - 1] == '\n')
        n--;
    text[n < sizeof(text) ? n : sizeof(text) - 1] = 0;
    bool good = n == 2 * CTL_KEY_BYTES && ctl_unhex(text, ret, CTL_KEY_BYTES);
    OPENSSL_cleanse(text, sizeof(text));
    if (!good)
        return fl_fail(err, FL_EINVAL,
                       "%s does not hold a run's key (%d hex digits); copy the file that the "
                       "coordinator wrote",
                       what, 2 * CTL_KEY_BYTES);
    return FL_OK;
}

void ctl_hex(const void *bytes, size_t len, char *ret)
{
    static const char digit[] = "0123456789abcdef";
    const uint8_t *b = bytes;
    for (size_t i = 0; i < len; i++) {
        ret[2 * i] = digit[b[i] >> 4];
        ret[2 * i + 1] = digit[b[i] & 15];
    }
    ret[2 * len] = 0;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool ctl_unhex(const char *hex, void *ret, size_t len)
{
    if (strlen(hex) != 2 * len)
        return false;
    uint8_t *b = ret;
    for (size_t i = 0; i < len; i++) {
        int hi = nibble(hex[2 * i]), lo = nibble(hex[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        b[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}
