/* For the tests of the server: one on a port of its own, and a client that sends what it is
 * told.
 */
#ifndef TAPBOX_TEST_ROOM_H
#define TAPBOX_TEST_ROOM_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cmocka.h>

#include <tapbox/io.h>
#include <tapbox/secret.h>
#include <tapbox/store.h>

#include "../../../src/http/http_int.h"

#define ENI "eni-0123456789abcdef0"
#define BODY "{\"source\":\"" ENI "\",\"reason\":\"odd DNS\",\"duration\":\"90s\"}"

enum {
    ANSWER_MAX = 4 << 20
};

/* A server on a port of its own with a real store; one token for each role. */
struct room {
    char folder[64], tokens[80], db[80];
    struct tb_config config;
    struct tb_store *store;
    struct tb_http_server *server;
    int spool_fd; /* the folder itself */
    struct tb_secret alert, analyst, responder, scraper, admin;
};

static inline int
open_room(void **state)
{
    struct room *r = calloc(1, sizeof(*r));
    struct tb_fail fail = {0};
    struct tb_http_server_deps deps;

    if (r == NULL) {
        return -1;
    }
    tb_log_start("test", TB_LOG_ERROR);
    strcpy(r->folder, "/tmp/tapbox-http-XXXXXX");
    if (mkdtemp(r->folder) == NULL) {
        return -1;
    }
    snprintf(r->tokens, sizeof(r->tokens), "%s/tokens", r->folder);
    snprintf(r->db, sizeof(r->db), "%s/db", r->folder);
    if (tb_config_parse(tb_bytes_str("s3: {bucket: evidence}\nlisten: 127.0.0.1:0\n"), "test",
                        &r->config, &fail) != TB_OK ||
        tb_token_add(r->tokens, "bus", TB_ROLE_ALERT, &r->alert, &fail) != TB_OK ||
        tb_token_add(r->tokens, "ann", TB_ROLE_ANALYST, &r->analyst, &fail) != TB_OK ||
        tb_token_add(r->tokens, "rob", TB_ROLE_RESPONDER, &r->responder, &fail) != TB_OK ||
        tb_token_add(r->tokens, "prom", TB_ROLE_SCRAPER, &r->scraper, &fail) != TB_OK ||
        tb_token_add(r->tokens, "root", TB_ROLE_ADMIN, &r->admin, &fail) != TB_OK ||
        tb_store_open(r->db, &r->store, &fail) != TB_OK) {
        fprintf(stderr, "%s\n", fail.text);
        return -1;
    }
    strcpy(r->config.tokens_file, r->tokens);
    if (tb_open_dir(AT_FDCWD, r->folder, 0700, &r->spool_fd, &fail) != TB_OK) {
        return -1;
    }
    deps = (struct tb_http_server_deps){
        .config = &r->config, .store = r->store, .spool_fd = r->spool_fd};
    if (tb_http_server_start(&deps, -1, &r->server, &fail) != TB_OK) {
        fprintf(stderr, "%s\n", fail.text);
        return -1;
    }
    *state = r;
    return 0;
}

static inline int
close_room(void **state)
{
    struct room *r = *state;
    char command[128];

    tb_http_server_stop(r->server);
    tb_store_close(r->store);
    tb_close(&r->spool_fd);
    tb_secret_release(&r->alert);
    tb_secret_release(&r->analyst);
    tb_secret_release(&r->responder);
    tb_secret_release(&r->scraper);
    tb_secret_release(&r->admin);
    snprintf(command, sizeof(command), "rm -rf %s", r->folder);
    free(r);
    return system(command);
}

/* --- a client that sends exactly what it is told --- */

static inline int
dial(const struct room *r)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    const struct timeval limit = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    in.sin_port = htons(tb_http_server_port(r->server));
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    return fd;
}

static inline void
send_all(int fd, const void *at, size_t len)
{
    const char *p = at;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return; /* the server may have closed already: its answer is what counts */
        }
        p += n;
        len -= (size_t)n;
    }
}

/* Reads to the end; gives the status (0: none). */
static inline int
read_answer(int fd, struct tb_buf *out)
{
    char block[65536];
    int status = 0;
    ssize_t n;

    tb_buf_reset(out);
    while ((n = recv(fd, block, sizeof(block), 0)) > 0) {
        tb_buf_put(out, block, (size_t)n);
    }
    (void)close(fd);
    (void)sscanf(tb_buf_str(out), "HTTP/1.1 %d", &status);
    return status;
}

/* One whole call; `headers` are "Name: value\r\n" lines. */
static inline int
call(const struct room *r, const char *method, const char *path, const struct tb_secret *token,
     const char *headers, const char *body, struct tb_buf *out)
{
    struct tb_buf text = TB_BUF_INIT(ANSWER_MAX);
    int fd = dial(r);
    int status;

    tb_buf_printf(&text, "%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%s", method, path,
                  headers != NULL ? headers : "");
    if (token != NULL) {
        tb_buf_printf(&text, "Authorization: Bearer %s\r\n", token->text);
    }
    if (body != NULL) {
        tb_buf_printf(&text, "Content-Length: %zu\r\n", strlen(body));
    }
    tb_buf_put_str(&text, "\r\n");
    if (body != NULL) {
        tb_buf_put_str(&text, body);
    }
    send_all(fd, text.at, text.len);
    status = read_answer(fd, out);
    tb_buf_release(&text);
    return status;
}

/* The answer's body, for the caller to free. */
static inline struct tb_json *
json_of(struct tb_buf *answer)
{
    const char *body = strstr(tb_buf_str(answer), "\r\n\r\n");
    struct tb_json *json = NULL;

    assert_non_null(body);
    assert_int_equal(tb_json_parse_max(tb_bytes_str(body + 4), ANSWER_MAX, &json, NULL), TB_OK);
    return json;
}

static inline void
assert_problem(struct tb_buf *answer, int status, const char *detail)
{
    struct tb_json *json = json_of(answer);
    int64_t said = 0;

    assert_non_null(strstr(tb_buf_str(answer), "Content-Type: application/problem+json"));
    assert_true(tb_json_int(json, "/status", &said) && said == status);
    assert_non_null(tb_json_str(json, "/title"));
    assert_memory_equal(tb_json_str(json, "/type"), "urn:tapbox:problem:", 19);
    if (strstr(tb_json_str(json, "/detail"), detail) == NULL) {
        fail_msg("'%s' is not in '%s'", detail, tb_json_str(json, "/detail"));
    }
    tb_json_free(json);
}

#define ROOM_TEST(name) cmocka_unit_test_setup_teardown(name, open_room, close_room)

/* The clocks stand until they are moved. */
static inline int
open_room_with_settable_clock(void **state)
{
    tb_clock_fake(tb_clock_utc_ns(), tb_clock_boot_ns());
    return open_room(state);
}

static inline int
close_room_with_settable_clock(void **state)
{
    int status = close_room(state);

    tb_clock_real();
    return status;
}

#define CLOCK_TEST(name)                                                                       \
    cmocka_unit_test_setup_teardown(name, open_room_with_settable_clock,                       \
                                    close_room_with_settable_clock)

#endif
