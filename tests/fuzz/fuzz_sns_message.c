/*
 * SNS's envelope and its URLs.  Whatever the body: a URL that is let through leads to the host
 * of the message's own topic and nowhere else, what is signed holds each value whole, and what
 * is refused says why.
 */
#include <assert.h>
#include <stdlib.h>

#include <tapbox/sns_message.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Between "https://" and the first of "/?#" is the host; nothing may hide another one. */
static void
assert_own_host(const char *url, const struct tb_sns_message *message)
{
    char host[TB_SNS_HOST_SIZE];
    size_t len;

    assert(tb_sns_host(message->topic, host));
    assert(strncmp(url, "https://", 8) == 0);
    len = strcspn(url + 8, "/?#@:\\");
    assert(len == strlen(host) && strncmp(url + 8, host, len) == 0 && url[8 + len] == '/');
    for (const char *at = url; *at != 0; at++) {
        assert((unsigned char)*at > 0x20 && (unsigned char)*at < 0x7f && *at != '@' &&
               *at != '#' && *at != '\\');
    }
    assert(strstr(url, "..") == NULL);
}

static void
assert_message(const struct tb_sns_message *message)
{
    struct tb_buf text = TB_BUF_INIT(2 * TB_EVENT_MAX_BYTES);

    assert(message->id != NULL && message->topic != NULL && message->message != NULL &&
           message->timestamp != NULL);
    tb_sns_string_to_sign(message, &text);
    assert(text.err == TB_OK && text.at[text.len - 1] == '\n');
    assert(strstr(tb_buf_str(&text), message->message) != NULL);
    if (tb_sns_cert_url_valid(message)) {
        assert_own_host(message->cert_url, message);
        assert(strchr(message->cert_url, '?') == NULL);
    }
    if (tb_sns_subscribe_url_valid(message)) {
        assert_own_host(message->subscribe_url, message);
        assert(strstr(message->subscribe_url, message->token) != NULL);
    }
    if (tb_sns_topic_valid(message->topic)) {
        assert(tb_sns_topic_name(message->topic)[0] != 0);
    }
    tb_buf_release(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_sns_message message;
    struct tb_json *json = NULL, *inner = NULL;
    struct tb_fail fail = {0};

    if (tb_json_parse(tb_bytes_of(data, size), &json, NULL) != TB_OK) {
        return 0;
    }
    if (tb_sns_message_read(json, &message, &fail) == TB_OK) {
        assert(tb_sns_is_message(json));
        assert_message(&message);
    } else {
        assert(fail.err == TB_EFORMAT && fail.text[0] != 0);
    }
    if (tb_sns_message_open(json, &inner, &fail) == TB_OK) {
        assert(inner != NULL);
    } else {
        assert(inner == NULL && fail.text[0] != 0);
    }
    tb_json_free(inner);
    tb_json_free(json);
    return 0;
}
