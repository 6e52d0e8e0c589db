/*
 * One HTTP request, one answer, over libcurl.
 *
 * A client is a small stack of idle easy handles.  Each handle owns its connections, so the
 * last one put back, which has the warmest connection, is the next one taken.  Name lookups and
 * TLS sessions are shared between all; connections are not: libcurl does not allow it over
 * threads.
 */
#include <tapbox/http_client.h>

#include <curl/curl.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/secret.h>
#include <tapbox/thread.h>

enum {
    IDLE_HANDLES = 16,          /* more than the threads that call AWS at once */
    CONNECT_TIMEOUT_MS = 10000, /* when the request names none */
    STALL_BYTES_PER_S = 1024,   /* slower than this for STALL_S ends an unbounded transfer */
    STALL_S = 30,
    EXPECT_FROM_BYTES = 1 << 20, /* a smaller body is sent sooner than asked about */
    EXPECT_TIMEOUT_MS = 1000,    /* a server that ignores Expect gets the body after this */
    HEADER_LINE_MAX = 16 * 1024, /* one header of ours: session tokens reach 2 KiB */
    KEEP_IDLE_S = 50             /* AWS closes idle connections after about a minute */
};

struct tb_http_client {
    CURLSH *share;
    struct tb_mutex share_mu[CURL_LOCK_DATA_LAST];
    char *agent;
    char *ca_bundle; /* NULL: the system's */
    struct tb_mutex mu;
    struct { /* touched only while holding mu */
        CURL *idle[IDLE_HANDLES];
        size_t count;
    } locked;
};

/* What the callbacks of one transfer see. */
struct transfer {
    const struct tb_http_request *request;
    uint64_t body_bytes;
    uint64_t sent_to;
    struct tb_http_answer *answer;
    CURL *easy;
    enum tb_err err; /* first failure inside a callback */
    int sys_errno;
    bool sink_refused;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void
start_curl(void)
{
    global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void
lock_share(CURL *easy TB_UNUSED, curl_lock_data data, curl_lock_access access TB_UNUSED,
           void *arg) TB_NO_LOCK_ANALYSIS
{
    struct tb_http_client *client = arg;

    tb_mutex_lock(&client->share_mu[data]);
}

static void
unlock_share(CURL *easy TB_UNUSED, curl_lock_data data, void *arg) TB_NO_LOCK_ANALYSIS
{
    struct tb_http_client *client = arg;

    tb_mutex_unlock(&client->share_mu[data]);
}

static char *
make_agent(void)
{
    struct utsname host;
    char *agent = NULL;

    if (uname(&host) != 0) {
        return strdup("tapbox/" TB_VERSION);
    }
    if (asprintf(&agent, "tapbox/%s (%s; %s) lib/curl#%s", TB_VERSION, host.sysname,
                 host.machine, curl_version_info(CURLVERSION_NOW)->version) < 0) {
        return NULL;
    }
    return agent;
}

enum tb_err
tb_http_client_new(struct tb_http_client **out, struct tb_fail *fail)
{
    struct tb_http_client *client = NULL;
    const char *bundle = getenv("AWS_CA_BUNDLE");

    (void)pthread_once(&once, start_curl);
    if (global_result != CURLE_OK) {
        return tb_fail_set(fail, TB_EINTERNAL, "libcurl does not start: %s",
                           curl_easy_strerror(global_result));
    }
    client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "HTTP client");
    }
    tb_mutex_init(&client->mu);
    for (size_t i = 0; i < CURL_LOCK_DATA_LAST; i++) {
        tb_mutex_init(&client->share_mu[i]);
    }
    client->share = curl_share_init();
    client->agent = make_agent();
    client->ca_bundle = bundle != NULL && bundle[0] != '\0' ? strdup(bundle) : NULL;
    if (client->share == NULL || client->agent == NULL ||
        (client->ca_bundle == NULL && bundle != NULL && bundle[0] != '\0')) {
        tb_http_client_free(client);
        return tb_fail_set(fail, TB_ENOMEM, "HTTP client");
    }
    curl_share_setopt(client->share, CURLSHOPT_LOCKFUNC, lock_share);
    curl_share_setopt(client->share, CURLSHOPT_UNLOCKFUNC, unlock_share);
    curl_share_setopt(client->share, CURLSHOPT_USERDATA, client);
    curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    *out = client;
    return TB_OK;
}

enum tb_err
tb_http_client_trust(struct tb_http_client *client, const char *path, struct tb_fail *fail)
{
    char *copy = strdup(path);

    if (copy == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "HTTP client");
    }
    free(client->ca_bundle);
    client->ca_bundle = copy;
    return TB_OK;
}

void
tb_http_client_free(struct tb_http_client *client)
{
    if (client == NULL) {
        return;
    }
    for (size_t i = 0; i < client->locked.count; i++) {
        curl_easy_cleanup(client->locked.idle[i]);
    }
    if (client->share != NULL) {
        curl_share_cleanup(client->share);
    }
    for (size_t i = 0; i < CURL_LOCK_DATA_LAST; i++) {
        tb_mutex_release(&client->share_mu[i]);
    }
    tb_mutex_release(&client->mu);
    free(client->agent);
    free(client->ca_bundle);
    free(client);
}

static CURL *
take_handle(struct tb_http_client *client)
{
    CURL *easy = NULL;

    tb_mutex_lock(&client->mu);
    if (client->locked.count > 0) {
        easy = client->locked.idle[--client->locked.count];
    }
    tb_mutex_unlock(&client->mu);
    if (easy != NULL) {
        curl_easy_reset(easy); /* options only: its connections stay */
        return easy;
    }
    return curl_easy_init();
}

static void
put_handle_back(struct tb_http_client *client, CURL *easy)
{
    /* Nothing of the finished call stays behind in a handle that waits. */
    curl_easy_reset(easy);
    tb_mutex_lock(&client->mu);
    if (client->locked.count < IDLE_HANDLES) {
        client->locked.idle[client->locked.count++] = easy;
        easy = NULL;
    }
    tb_mutex_unlock(&client->mu);
    curl_easy_cleanup(easy);
}

void
tb_http_answer_release(struct tb_http_answer *answer)
{
    if (answer != NULL) {
        tb_buf_release(&answer->body);
        tb_buf_release(&answer->headers);
    }
}

bool
tb_http_answer_header(const struct tb_http_answer *answer, const char *name, char *out,
                      size_t cap)
{
    struct tb_bytes left = tb_buf_view(&answer->headers);
    size_t name_len = strlen(name);

    while (left.len > 0) {
        const uint8_t *end = memchr(left.at, '\n', left.len);
        size_t line = end != NULL ? (size_t)(end - left.at) : left.len;

        if (line >= name_len + 2 && memcmp(left.at, name, name_len) == 0 &&
            left.at[name_len] == ':') {
            size_t value_len = line - name_len - 2;

            if (value_len >= cap || memchr(left.at, '\0', line) != NULL) {
                return false;
            }
            memcpy(out, left.at + name_len + 2, value_len);
            out[value_len] = '\0';
            return true;
        }
        if (end == NULL) {
            break;
        }
        left = tb_bytes_of(end + 1, left.len - line - 1);
    }
    return false;
}

/* --- callbacks --- */

static size_t
take_body(char *at, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    long status = 0;

    if (t->request->sink != NULL) {
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    }
    if (status == 200 || status == 206) {
        t->err = t->request->sink(t->request->sink_arg, tb_bytes_of(at, size * count));
        t->sink_refused = t->err != TB_OK;
        return t->err == TB_OK ? size * count : 0;
    }
    tb_buf_put(&t->answer->body, at, size * count);
    if (t->answer->body.err != TB_OK) {
        t->err = t->answer->body.err;
        return 0;
    }
    return size * count;
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t
take_header(char *at, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t len = size * count;
    const char *colon;
    const char *value;
    const char *end = at + len;

    if (len >= 5 && memcmp(at, "HTTP/", 5) == 0) {
        tb_buf_reset(&t->answer->headers); /* an interim answer came before */
        return len;
    }
    colon = memchr(at, ':', len);
    if (colon == NULL) {
        return len;
    }
    for (value = colon + 1; value < end && is_blank(*value); value++) {
    }
    while (end > value && is_blank(end[-1])) {
        end--;
    }
    for (const char *p = at; p < colon; p++) {
        tb_buf_put_u8(&t->answer->headers, (uint8_t)tolower((unsigned char)*p));
    }
    tb_buf_put_str(&t->answer->headers, ": ");
    tb_buf_put(&t->answer->headers, value, (size_t)(end - value));
    tb_buf_put_u8(&t->answer->headers, '\n');
    if (t->answer->headers.err != TB_OK) {
        t->err = t->answer->headers.err;
        return 0;
    }
    return len;
}

static int
is_stopped(void *arg, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
    const struct transfer *t = arg;

    (void)down_all, (void)down, (void)up_all, (void)up;
    return atomic_load(t->request->stop) ? 1 : 0;
}

static size_t
give_body(char *at, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    uint64_t left = t->body_bytes - t->sent_to;
    size_t want = size * count;
    ssize_t got;

    if (want > left) {
        want = (size_t)left;
    }
    if (want == 0) {
        return 0;
    }
    if (t->request->body_fd == -1) {
        memcpy(at, t->request->body.at + t->sent_to, want);
        t->sent_to += want;
        return want;
    }
    do {
        got = pread(t->request->body_fd, at, want,
                    (off_t)(t->request->body_fd_offset + t->sent_to));
    } while (got == -1 && errno == EINTR);
    if (got <= 0) {
        t->err = got == 0 ? TB_ESHORT : TB_EIO;
        t->sys_errno = got == 0 ? 0 : errno;
        return CURL_READFUNC_ABORT;
    }
    t->sent_to += (uint64_t)got;
    return (size_t)got;
}

/* libcurl sends again by itself when a kept connection turned out to be closed. */
static int
seek_body(void *arg, curl_off_t offset, int origin)
{
    struct transfer *t = arg;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->body_bytes) {
        return CURL_SEEKFUNC_FAIL;
    }
    t->sent_to = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* --- a request --- */

static bool
is_sendable(const char *text, bool is_name)
{
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;

        if (is_name ? (c <= ' ' || c >= 0x7f || c == ':')
                    : (c < ' ' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return !is_name || text[0] != '\0';
}

static enum tb_err
check_url(const char *url, struct tb_fail *fail)
{
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
        return tb_fail_set(fail, TB_EINVAL, "'%s' does not begin with http:// or https://",
                           url);
    }
    for (const char *p = url; *p != '\0'; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f || *p == '#') {
            return tb_fail_set(fail, TB_EINVAL,
                               "the URL has an octet that has to be percent-encoded (0x%02x)",
                               (unsigned)(unsigned char)*p);
        }
    }
    return TB_OK;
}

/* Addresses that no proxy can stand in for. */
static bool
is_local(const char *url)
{
    static const char *const begins[] = {
        "127.", "169.254.", "localhost/", "localhost:", "[::1]", "[fe80:", "[fd00:ec2:"};
    const char *host = strstr(url, "://") + 3;

    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        if (strncasecmp(host, begins[i], strlen(begins[i])) == 0) {
            return true;
        }
    }
    return false;
}

static enum tb_err
add_line(struct curl_slist **list, const char *line, struct tb_fail *fail)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (longer == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "HTTP headers");
    }
    *list = longer;
    return TB_OK;
}

static enum tb_err
add_header(struct curl_slist **list, const char *name, const char *value, struct tb_fail *fail)
{
    char line[HEADER_LINE_MAX];
    enum tb_err err;
    int len;

    if (!is_sendable(name, true) || !is_sendable(value, false)) {
        return tb_fail_set(fail, TB_EINVAL, "header '%.64s' cannot be sent as it is", name);
    }
    /* libcurl's way to say "this header, and empty" */
    len = value[0] == '\0' ? snprintf(line, sizeof(line), "%s;", name)
                           : snprintf(line, sizeof(line), "%s: %s", name, value);
    if (len < 0 || (size_t)len >= sizeof(line)) {
        return tb_fail_set(fail, TB_EINVAL, "header '%.64s' is too long", name);
    }
    err = add_line(list, line, fail);
    tb_wipe(line, (size_t)len);
    return err;
}

static enum tb_err
make_headers(const struct tb_http_request *request, uint64_t body_bytes,
             struct curl_slist **list, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    if (request->header_count > TB_HTTP_MAX_HEADERS) {
        return tb_fail_set(fail, TB_EINVAL, "%zu headers are too many", request->header_count);
    }
    for (size_t i = 0; i < request->header_count && err == TB_OK; i++) {
        err = add_header(list, request->headers[i].name, request->headers[i].value, fail);
    }
    if (err == TB_OK && body_bytes < EXPECT_FROM_BYTES) {
        err = add_line(list, "Expect:", fail); /* libcurl's way to leave one out */
    }
    return err;
}

static void
wipe_headers(struct curl_slist *list)
{
    for (struct curl_slist *item = list; item != NULL; item = item->next) {
        tb_wipe(item->data, strlen(item->data));
    }
    curl_slist_free_all(list);
}

static void
set_method(CURL *easy, struct transfer *t)
{
    const struct tb_http_request *request = t->request;

    if (strcmp(request->method, "GET") == 0) {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
        return;
    }
    if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (strcmp(request->method, "DELETE") == 0 && t->body_bytes == 0) {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "DELETE");
        return;
    }
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
    curl_easy_setopt(easy, CURLOPT_READDATA, t);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek_body);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, t);
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->body_bytes);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static long
whole_ms(int64_t ns)
{
    return (long)((ns + TB_NS_PER_MS - 1) / TB_NS_PER_MS);
}

static void
set_options(struct tb_http_client *client, CURL *easy, struct transfer *t,
            struct curl_slist *headers, char *message)
{
    const struct tb_http_request *request = t->request;

    set_method(easy, t);
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, client->agent);
    curl_easy_setopt(easy, CURLOPT_SHARE, client->share);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, message);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    if (request->stop != NULL) { /* curl asks at least once a second, also while it waits */
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, is_stopped);
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, t);
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    }
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)KEEP_IDLE_S);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(easy, CURLOPT_EXPECT_100_TIMEOUT_MS, (long)EXPECT_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     request->connect_timeout_ns > 0 ? whole_ms(request->connect_timeout_ns)
                                                     : (long)CONNECT_TIMEOUT_MS);
    if (request->total_timeout_ns > 0) {
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, whole_ms(request->total_timeout_ns));
    } else if (!request->is_endless) {
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES_PER_S);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    }
    if (request->no_proxy || is_local(request->url)) {
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    }
    if (client->ca_bundle != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_bundle);
    }
}

static enum tb_err
tell_failure(CURL *easy, CURLcode code, const struct transfer *t, const char *message,
             struct tb_fail *fail)
{
    const char *text = message[0] != '\0' ? message : curl_easy_strerror(code);
    long sent = 0;

    if (t->sink_refused) {
        return tb_fail_set(fail, t->err, "what was received could not be taken");
    }
    if (t->err == TB_EIO) {
        return tb_fail_errno(fail, t->sys_errno, "reading the body to send");
    }
    if (t->err == TB_ESHORT) {
        return tb_fail_set(fail, TB_ESHORT,
                           "the file is shorter than the %llu octets announced",
                           (unsigned long long)t->body_bytes);
    }
    if (t->err != TB_OK) {
        return tb_fail_set(fail, t->err, "the answer is over its limit of %zu octets",
                           t->answer->body.ceiling);
    }
    switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_LOGIN_DENIED:
        return tb_fail_set(fail, TB_EINVAL, "%s", text);
    case CURLE_OUT_OF_MEMORY:
        return tb_fail_set(fail, TB_ENOMEM, "HTTP request");
    case CURLE_ABORTED_BY_CALLBACK:
        return tb_fail_set(fail, TB_ECLOSED, "the request was given up");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
        return tb_fail_set(fail, TB_EDENIED, "TLS: %s", text);
    default:
        break;
    }
    curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &sent);
    return tb_fail_set(fail, sent > 0 ? TB_ETIMEOUT : TB_ERETRY, "%s", text);
}

enum tb_err
tb_http_do(struct tb_http_client *client, const struct tb_http_request *request,
           struct tb_http_answer *answer, struct tb_fail *fail)
{
    struct transfer t = {.request = request, .answer = answer};
    struct curl_slist *headers = NULL;
    char message[CURL_ERROR_SIZE] = "";
    CURL *easy = NULL;
    CURLcode code;
    long status = 0;
    enum tb_err err;

    answer->status = 0;
    tb_buf_reset(&answer->body);
    tb_buf_reset(&answer->headers);
    t.body_bytes = request->body_fd != -1 ? request->body_fd_bytes : request->body.len;
    err = check_url(request->url, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = make_headers(request, t.body_bytes, &headers, fail);
    if (err != TB_OK) {
        goto out;
    }
    easy = take_handle(client);
    if (easy == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "HTTP request");
        goto out;
    }
    t.easy = easy;
    set_options(client, easy, &t, headers, message);
    code = curl_easy_perform(easy);
    if (code != CURLE_OK) {
        err = tell_failure(easy, code, &t, message, fail);
        goto out;
    }
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;

out:
    wipe_headers(headers);
    if (easy != NULL) {
        put_handle_back(client, easy);
    }
    return err;
}
