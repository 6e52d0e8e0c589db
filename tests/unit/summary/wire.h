/* Packets built by hand, for the tests of the summary. */
#ifndef TESTS_SUMMARY_WIRE_H
#define TESTS_SUMMARY_WIRE_H

#include <string.h>

#include <tapbox/bytes.h>

enum {
    WIRE_MAX = 4096
};

struct wire {
    uint8_t at[WIRE_MAX];
    size_t len;
};

static inline void
wire_put(struct wire *w, const void *at, size_t len)
{
    if (len > 0) { /* memcpy does not take NULL */
        memcpy(w->at + w->len, at, len);
        w->len += len;
    }
}

static inline void
wire_u8(struct wire *w, unsigned v)
{
    w->at[w->len++] = (uint8_t)v;
}

static inline void
wire_u16(struct wire *w, unsigned v)
{
    wire_u8(w, v >> 8);
    wire_u8(w, v);
}

static inline void
wire_u32(struct wire *w, uint32_t v)
{
    wire_u16(w, v >> 16);
    wire_u16(w, v & 0xffff);
}

static inline struct tb_bytes
wire_bytes(const struct wire *w)
{
    return tb_bytes_of(w->at, w->len);
}

/* 10.0.0.<host> behind an Ethernet header; `fragment` is the field of flags and offset. */
static inline struct wire
wire_ipv4(unsigned src, unsigned dst, unsigned protocol, unsigned id, unsigned fragment,
          struct tb_bytes payload)
{
    struct wire w = {{0}, 0};

    wire_put(&w, "\2\0\0\0\0\1\2\0\0\0\0\2\x08\0", 14);
    wire_u16(&w, 0x4500);
    wire_u16(&w, (unsigned)(20 + payload.len));
    wire_u16(&w, id);
    wire_u16(&w, fragment);
    wire_u8(&w, 64);
    wire_u8(&w, protocol);
    wire_u16(&w, 0);
    wire_u32(&w, 0x0a000000u + src);
    wire_u32(&w, 0x0a000000u + dst);
    wire_put(&w, payload.at, payload.len);
    return w;
}

static inline struct wire
wire_udp(unsigned src_port, unsigned dst_port, struct tb_bytes payload)
{
    struct wire w = {{0}, 0};

    wire_u16(&w, src_port);
    wire_u16(&w, dst_port);
    wire_u16(&w, (unsigned)(8 + payload.len));
    wire_u16(&w, 0);
    wire_put(&w, payload.at, payload.len);
    return w;
}

static inline struct wire
wire_tcp(unsigned src_port, unsigned dst_port, uint32_t sequence, unsigned flags,
         struct tb_bytes payload)
{
    struct wire w = {{0}, 0};

    wire_u16(&w, src_port);
    wire_u16(&w, dst_port);
    wire_u32(&w, sequence);
    wire_u32(&w, 0);
    wire_u8(&w, 0x50);
    wire_u8(&w, flags);
    wire_u32(&w, 0x20000000);
    wire_u16(&w, 0);
    wire_put(&w, payload.at, payload.len);
    return w;
}

/* Labels behind their lengths: "\3www\7example" */
static inline struct wire
wire_dns(const char *labels, bool is_response)
{
    struct wire w = {{0}, 0};

    wire_u16(&w, 0x1234);
    wire_u16(&w, is_response ? 0x8180 : 0x0100);
    wire_u16(&w, 1);
    wire_u16(&w, is_response ? 1 : 0);
    wire_u32(&w, 0);
    wire_put(&w, labels, strlen(labels) + 1);
    wire_u32(&w, 0x00010001);
    if (is_response) { /* A 10.0.0.77 */
        wire_u16(&w, 0xc00c);
        wire_u32(&w, 0x00010001);
        wire_u32(&w, 60);
        wire_u16(&w, 4);
        wire_u32(&w, 0x0a00004d);
    }
    return w;
}

/* A ClientHello that names `name`, padded by `padding` octets of an unknown extension before
 * it, in records of at most `record` octets. */
static inline struct wire
wire_hello(const char *name, size_t padding, size_t record)
{
    struct wire hello = {{0}, 0}, w = {{0}, 0};
    size_t len = strlen(name);
    size_t extensions = 4 + padding + 9 + len;

    wire_u8(&hello, 1);
    wire_u8(&hello, 0);
    wire_u16(&hello, (unsigned)(2 + 32 + 1 + 4 + 2 + 2 + extensions));
    wire_u16(&hello, 0x0303);
    memset(hello.at + hello.len, 7, 32);
    hello.len += 32;
    wire_u8(&hello, 0);
    wire_u16(&hello, 2);
    wire_u16(&hello, 0x1301);
    wire_u16(&hello, 0x0100);
    wire_u16(&hello, (unsigned)extensions);
    wire_u16(&hello, 0xfafa);
    wire_u16(&hello, (unsigned)padding);
    memset(hello.at + hello.len, 0, padding);
    hello.len += padding;
    wire_u16(&hello, 0);
    wire_u16(&hello, (unsigned)(5 + len));
    wire_u16(&hello, (unsigned)(3 + len));
    wire_u8(&hello, 0);
    wire_u16(&hello, (unsigned)len);
    wire_put(&hello, name, len);
    for (size_t at = 0; at < hello.len; at += record) {
        size_t part = hello.len - at < record ? hello.len - at : record;

        wire_put(&w, "\x16\x03\x01", 3);
        wire_u16(&w, (unsigned)part);
        wire_put(&w, hello.at + at, part);
    }
    return w;
}

#endif
