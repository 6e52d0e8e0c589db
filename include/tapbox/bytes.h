/*
 * Bytes: a lent view (`tb_bytes`), and a growing buffer with a ceiling (`tb_buf`).
 * Integers of wire and file formats are read and written octet by octet.
 */
#ifndef TAPBOX_BYTES_H
#define TAPBOX_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <tapbox/err.h>

/* A lent run of octets.  Passed by value; whoever lends it says until when it lives. */
struct tb_bytes {
    const uint8_t *at;
    size_t len;
};

static inline struct tb_bytes
tb_bytes_of(const void *at, size_t len)
{
    return (struct tb_bytes){(const uint8_t *)at, len};
}

static inline struct tb_bytes
tb_bytes_str(const char *text)
{
    return (struct tb_bytes){(const uint8_t *)text, strlen(text)};
}

static inline bool
tb_bytes_equal(struct tb_bytes a, struct tb_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* A growing buffer; `ceiling` octets at the most (from limits.h).  Release it, always. */
struct tb_buf {
    uint8_t *at; /* owned */
    size_t len;
    size_t cap;
    size_t ceiling;
    enum tb_err err; /* first failure of an append; later appends do nothing */
};

#define TB_BUF_INIT(ceiling_bytes)                                                             \
    {                                                                                          \
        NULL, 0, 0, (ceiling_bytes), TB_OK                                                     \
    }

void tb_buf_release(struct tb_buf *buf);
/* Empties it and keeps the memory; clears `err`. */
void tb_buf_reset(struct tb_buf *buf);
/* Lent until the next change of `buf`. */
struct tb_bytes tb_buf_view(const struct tb_buf *buf);

/* Appends never abort: they record TB_ETOOBIG or TB_ENOMEM in `buf->err`, to be looked at once
 * at the end with tb_buf_check. */
void tb_buf_put(struct tb_buf *buf, const void *at, size_t len);
void tb_buf_put_bytes(struct tb_buf *buf, struct tb_bytes bytes);
void tb_buf_put_str(struct tb_buf *buf, const char *text);
void tb_buf_put_u8(struct tb_buf *buf, uint8_t value);
void tb_buf_put_le16(struct tb_buf *buf, uint16_t value);
void tb_buf_put_le32(struct tb_buf *buf, uint32_t value);
void tb_buf_put_le64(struct tb_buf *buf, uint64_t value);
void tb_buf_printf(struct tb_buf *buf, const char *fmt, ...) TB_PRINTF(2, 3);
/* Makes sure a NUL stands behind the content (not counted in len) and lends it as a string; ""
 * when the buffer failed or is empty. */
const char *tb_buf_str(struct tb_buf *buf);
/* TB_OK, or the first failure with a sentence that names `what`. */
TB_NODISCARD enum tb_err tb_buf_check(const struct tb_buf *buf, const char *what,
                                      struct tb_fail *fail);

static inline uint16_t
tb_get_be16(const uint8_t *p)
{
    return (uint16_t)((uint16_t)p[0] << 8 | p[1]);
}

static inline uint32_t
tb_get_be24(const uint8_t *p)
{
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static inline uint32_t
tb_get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint16_t
tb_get_le16(const uint8_t *p)
{
    return (uint16_t)((uint16_t)p[1] << 8 | p[0]);
}

static inline uint32_t
tb_get_le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static inline uint64_t
tb_get_le64(const uint8_t *p)
{
    return (uint64_t)tb_get_le32(p + 4) << 32 | tb_get_le32(p);
}

static inline void
tb_set_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void
tb_set_le32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

static inline void
tb_set_le64(uint8_t *p, uint64_t v)
{
    tb_set_le32(p, (uint32_t)v);
    tb_set_le32(p + 4, (uint32_t)(v >> 32));
}

/* Copies at most cap-1 octets of `text` and ends it; true when all of it fitted. */
bool tb_str_copy(char *out, size_t cap, const char *text);

/* Lower-case hex of `bytes` into `out`, which holds 2 * len + 1 octets. */
void tb_hex(char *out, struct tb_bytes bytes);
/* The reverse; TB_EFORMAT unless `hex` is exactly 2 * len hex digits. */
TB_NODISCARD enum tb_err tb_unhex(uint8_t *out, size_t len, const char *hex);
/* RFC 4648 base64 with padding, appended. */
void tb_buf_put_base64(struct tb_buf *buf, struct tb_bytes bytes);
/* Appends what base64 stands for, padding optional; false when it is none, or did not fit. */
bool tb_buf_put_unbase64(struct tb_buf *buf, const char *text);
/* Percent-encoding of RFC 3986 (unreserved kept, upper-case hex), appended; '/' kept if asked.
 */
void tb_buf_put_percent(struct tb_buf *buf, struct tb_bytes bytes, bool keep_slash);

#endif
