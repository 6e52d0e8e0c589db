#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <tapbox/config.h>

#define BUCKET "s3: {bucket: evidence}\n"

static enum tb_err
parse(const char *text, struct tb_config *out, struct tb_fail *fail)
{
    return tb_config_parse(tb_bytes_str(text), "t.yaml", out, fail);
}

static void
every_default_holds_when_only_the_bucket_is_named(void **state)
{
    struct tb_config c;

    (void)state;
    assert_int_equal(parse(BUCKET, &c, NULL), TB_OK);
    assert_string_equal(c.listen_address, "127.0.0.1");
    assert_int_equal(c.listen_port, 8480);
    assert_string_equal(c.region, "");
    assert_string_equal(c.state_dir, "/var/lib/tapbox");
    assert_string_equal(c.owner, "tapbox");
    assert_string_equal(c.s3_prefix, "captures");
    assert_int_equal(c.recorder_ring_bytes, 64 << 20);
    assert_int_equal(c.recorder_level, 1);
    assert_int_equal(c.rotate_bytes, 128 << 20);
    assert_int_equal(c.rotate_s, 60);
    assert_true(c.policy.bounds.default_duration_ns == 15 * 60 * INT64_C(1000000000));
    assert_string_equal(c.policy_file, "");
    assert_false(c.s3_path_style);
    assert_int_equal(c.log_level, TB_LOG_INFO);
}

static void
every_kind_of_value_is_read(void **state)
{
    struct tb_config c;

    (void)state;
    assert_int_equal(parse("region: eu-central-1\n"
                           "listen: '[::1]:0'\n"
                           "log: debug\n"
                           "target:\n"
                           "  eni: eni-0123456789abcdef0\n"
                           "recorder:\n"
                           "  level: 7\n"
                           "  ring: 1 GiB\n"
                           "spool:\n"
                           "s3:\n"
                           "  bucket: \"my.bucket-1\"\n"
                           "  path_style: true\n"
                           "  expected_owner: 012345678901\n"
                           "capture:\n"
                           "  duration: 90s\n"
                           "  max_bytes: 3MB\n"
                           "  max_packets: 5000000000\n"
                           "  snaplen: 65535\n"
                           "policy: {file: /etc/tapbox/policy.yaml}\n",
                           &c, NULL),
                     TB_OK);
    assert_string_equal(c.region, "eu-central-1");
    assert_string_equal(c.listen_address, "::1");
    assert_int_equal(c.listen_port, 0);
    assert_int_equal(c.log_level, TB_LOG_DEBUG);
    assert_string_equal(c.target_eni, "eni-0123456789abcdef0");
    assert_int_equal(c.recorder_level, 7);
    assert_int_equal(c.recorder_ring_bytes, 1 << 30);
    assert_string_equal(c.s3_bucket, "my.bucket-1");
    assert_true(c.s3_path_style);
    assert_string_equal(c.s3_expected_owner, "012345678901");
    assert_true(c.policy.bounds.default_duration_ns == 90 * INT64_C(1000000000));
    assert_int_equal(c.policy.bounds.default_max_bytes, 3000000);
    assert_int_equal(c.policy.bounds.default_max_packets, 5000000000);
    assert_int_equal(c.policy.bounds.default_snaplen, 65535);
    assert_string_equal(c.policy_file, "/etc/tapbox/policy.yaml");
}

static void
what_may_be_none_is_written_as_0(void **state)
{
    struct tb_config c;

    (void)state;
    assert_int_equal(parse("s3: {bucket: b-1}\npolicy: {cooldown: 0}\n", &c, NULL), TB_OK);
    assert_true(c.policy.cooldown_ns == 0);
    assert_int_equal(parse("s3: {bucket: b-1}\npolicy: {cooldown: 0s}\n", &c, NULL), TB_OK);
    assert_true(c.policy.cooldown_ns == 0);
}

static void
every_wrong_file_is_refused_with_line_and_key(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {BUCKET "capture:\n  duration: 15 min\n",
         "t.yaml:3: capture.duration: '15 min' is not a duration (write 90s, 15m, 2h)"},
        {BUCKET "capture:\n  duration: 0s\n", "t.yaml:3: capture.duration: '0s' is not a dura"},
        {BUCKET "capture:\n  duration: 500ms\n",
         "t.yaml:3: capture.duration: 500ms is out of range (1s to 168h)"},
        {BUCKET "capture:\n  duration: 5h\n",
         "t.yaml:3: capture.duration: is longer than capture.max_duration"},
        {BUCKET "capture:\n  max_duration: 5m\n",
         "t.yaml:3: capture.duration: is longer than capture.max_duration"},
        {"s3: {bucket: evidence, sse: AES}\n",
         "t.yaml:1: s3.sse: 'AES' is not AES256, aws:kms or aws:kms:dsse"},
        {"s3: {bucket: evidence, sse: AES256, kms_key: k}\n",
         "t.yaml:1: s3.kms_key: needs s3.sse: aws:kms"},
        {"s3: {bucket: evidence, object_lock_mode: governance}\n",
         "t.yaml:1: s3.object_lock_mode: 'governance' is not GOVERNANCE or COMPLIANCE"},
        {"s3: {bucket: evidence, retention: 30d}\n",
         "t.yaml:1: s3.retention: needs s3.object_lock_mode"},
        {BUCKET "recorder:\n  levle: 3\n",
         "t.yaml:3: recorder.levle: unknown key; did you mean 'level' under 'recorder:'?"},
        {BUCKET "bucket: b\n",
         "t.yaml:2: bucket: unknown key; did you mean 'bucket' under 's3:'?"},
        {BUCKET "s3.bucket: b\n",
         "t.yaml:2: s3.bucket: unknown key; did you mean 'bucket' under 's3:'?"},
        {BUCKET "regoin: x\n", "t.yaml:2: regoin: unknown key; did you mean 'region'?"},
        {BUCKET "xyzzy-and-more: [1, {a: b}]\n", "t.yaml:2: xyzzy-and-more: unknown key ("},
        {BUCKET "recorder:\n  level: 3\n  level: 4\n",
         "t.yaml:4: recorder.level: is there twice; the first is on line 3"},
        {BUCKET "recorder: {level: 20}\n",
         "t.yaml:2: recorder.level: 20 is out of range (1 to 19)"},
        {BUCKET "recorder: {level: three}\n",
         "t.yaml:2: recorder.level: 'three' is not a whole number"},
        {BUCKET "recorder: {level: -3}\n",
         "t.yaml:2: recorder.level: '-3' is not a whole number"},
        {BUCKET "recorder: {level: 99999999999999999999999}\n", "is out of range (1 to 19)"},
        {BUCKET "recorder: {ring: 64 megs}\n", "t.yaml:2: recorder.ring: '64 megs' is not a s"},
        {BUCKET "recorder: {ring: 99999999999TiB}\n", "is not a size"},
        {BUCKET "recorder: {memory: 4MiB}\n", "4MiB is out of range (8MiB to 64GiB)"},
        {BUCKET "recorder: {ring: 1}\n", "1 is out of range (1MiB to 16GiB)"},
        {BUCKET "recorder: 3\n", "t.yaml:2: recorder: is a section"},
        {BUCKET "recorder: [a]\n", "t.yaml:2: recorder: is a section"},
        {BUCKET "region: [a]\n", "t.yaml:2: region: is one value, not a list"},
        {BUCKET "region: {a: b}\n", "t.yaml:2: region: is one value, not a section"},
        {BUCKET "region:\n", "t.yaml:2: region: has no value"},
        {BUCKET "region: EU\n", "t.yaml:2: region: 'EU' is not an AWS Region"},
        {BUCKET "region: \"a\\0b\"\n", "t.yaml:2: region: holds a NUL"},
        {BUCKET "region: \"a\\eb\"\n", "t.yaml:2: region: 'a?b' is not printable text"},
        {BUCKET "listen: localhost:80\n", "t.yaml:2: listen: 'localhost:80' is not an address"},
        {BUCKET "listen: 127.0.0.1\n", "t.yaml:2: listen: '127.0.0.1' is not an address"},
        {BUCKET "listen: 127.0.0.1:70000\n", "t.yaml:2: listen: '127.0.0.1:70000' is not an a"},
        {BUCKET "listen: '[::1:80'\n", "is not an address"},
        {BUCKET "listen: ':80'\n", "is not an address"},
        {BUCKET "state_dir: var/lib\n", "t.yaml:2: state_dir: 'var/lib' is not an absolute"},
        {BUCKET "owner: ''\n", "t.yaml:2: owner: is empty"},
        {BUCKET "target: {eni: i-0123456789abcdef0}\n", "t.yaml:2: target.eni: 'i-01234567"},
        {"s3: {bucket: b-1, path_style: yes}\n", "'yes' is not true or false"},
        {BUCKET "policy: {file: policy.yaml}\n", "'policy.yaml' is not an absolute path"},
        {BUCKET "log: verbose\n", "'verbose' is not error, warn, info or debug"},
        {BUCKET "region: &a eu-west-1\n", "t.yaml:2: region: anchors"},
        {BUCKET "owner: *a\n", "t.yaml:2: owner: aliases"},
        {BUCKET "owner: !!str x\n", "t.yaml:2: owner: tags"},
        {BUCKET "target: &a {eni: x}\n", "t.yaml:2: target: anchors"},
        {BUCKET "? [a]\n: b\n", "t.yaml:2: a key has to be a plain word"},
        {BUCKET "---\na: b\n", "t.yaml:2: a second document begins here"},
        {"s3: {bucket: A}\n", "t.yaml:1: s3.bucket: 'A' is not the name of a bucket"},
        {"s3: {bucket: ''}\n", "t.yaml:1: s3.bucket: is required"},
        {"", "t.yaml: s3.bucket: is required"},
        {"---\n", "t.yaml: s3.bucket: is required"},
        {"- a\n", "t.yaml:1: the file has to hold 'key: value' lines"},
        {"hello\n", "t.yaml:1: the file has to hold 'key: value' lines"},
        {"s3: {bucket: abc\n", "not YAML"},
        {"s3: {bucket: abc}}\n", "t.yaml:1: not YAML"},
        {"a: b: c\n", "t.yaml:1: a: unknown key ('"},
        {BUCKET "\n\tregion: x\n", "t.yaml:3: not YAML"},
        {BUCKET "region: \xff\n", "not YAML"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_config c = {.listen_port = 7};
        struct tb_fail fail = {0};

        if (parse(cases[i].text, &c, &fail) != TB_EINVAL ||
            strstr(fail.text, cases[i].said) == NULL) {
            fail_msg("%s\nsaid: %s\nnot:  %s", cases[i].text, fail.text, cases[i].said);
        }
        assert_int_equal(c.listen_port, 7);
    }
}

static void
append(void *arg, const char *line)
{
    tb_buf_printf(arg, "%s\n", line);
}

static void
check_gives_every_complaint_in_the_order_of_the_file(void **state)
{
    struct tb_buf lines = TB_BUF_INIT(4096);
    struct tb_fail fail = {0};
    struct tb_config c;

    (void)state;
    assert_int_equal(tb_config_check(tb_bytes_str("regoin: x\nrecorder:\n  level: 99\n"
                                                  "  sub: {a: [b]}\nlog: loud\n"),
                                     "t.yaml", &c, append, &lines, &fail),
                     TB_EINVAL);
    assert_string_equal(
        tb_buf_str(&lines),
        "t.yaml:1: regoin: unknown key; did you mean 'region'?\n"
        "t.yaml:3: recorder.level: 99 is out of range (1 to 19)\n"
        "t.yaml:4: recorder.sub: unknown key ('tapbox check-config --defaults' lists them)\n"
        "t.yaml:5: log: 'loud' is not error, warn, info or debug\n");
    assert_string_equal(fail.text, "t.yaml:1: regoin: unknown key; did you mean 'region'?");
    tb_buf_release(&lines);
}

static void
the_explained_defaults_are_a_configuration_once_a_bucket_stands_in_it(void **state)
{
    struct tb_buf text = TB_BUF_INIT(65536);
    struct tb_buf live = TB_BUF_INIT(65536);
    struct tb_config explained = {0}, plain = {0};
    struct tb_fail fail = {0};
    bool line_start = true;

    (void)state;
    assert_int_equal(tb_config_explain(&text, &fail), TB_OK);
    assert_int_equal(tb_config_parse(tb_buf_view(&text), "d", &explained, &fail), TB_EINVAL);
    assert_non_null(strstr(fail.text, "s3.bucket: is required"));

    /* take the '#' away from every setting: "#key: value", never "# help" */
    for (const char *p = tb_buf_str(&text); *p != '\0'; p++) {
        if (line_start && p[0] == '#' && p[1] != ' ') {
            line_start = false;
            continue;
        }
        line_start = *p == '\n' || (line_start && *p == ' ');
        if (strncmp(p, "bucket: \"\"", 10) == 0) {
            tb_buf_put_str(&live, "bucket: evidence");
            p += 9;
            continue;
        }
        tb_buf_put_u8(&live, (uint8_t)*p);
    }
    if (tb_config_parse(tb_buf_view(&live), "d", &explained, &fail) != TB_OK) {
        fail_msg("%s\n%s", fail.text, tb_buf_str(&live));
    }
    assert_int_equal(parse(BUCKET, &plain, NULL), TB_OK);
    assert_memory_equal(&explained, &plain, sizeof(plain));
    tb_buf_release(&text);
    tb_buf_release(&live);
}

#define TWO "accounts:\n  222233334444:\n    role: arn:aws:iam::222233334444:role/lab/tap\n"

static void
other_accounts_are_read_with_their_roles(void **state)
{
    const struct tb_config_account *two, *three;
    struct tb_config c;

    (void)state;
    assert_int_equal(parse(BUCKET TWO "    external_id: ex:2\n  '012345678901':\n"
                                      "    role: arn:aws-cn:iam::012345678901:role/tap\n",
                           &c, NULL),
                     TB_OK);
    assert_int_equal(c.account_count, 2);
    two = tb_config_account_find(&c, "222233334444");
    three = tb_config_account_find(&c, "012345678901");
    assert_non_null(two);
    assert_non_null(three);
    assert_string_equal(two->role_arn, "arn:aws:iam::222233334444:role/lab/tap");
    assert_string_equal(two->external_id, "ex:2");
    assert_string_equal(three->external_id, "");
    assert_null(tb_config_account_find(&c, "333344445555"));
}

static void
a_wrong_account_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"accounts: all\n", ":2: accounts: is a section"},
        {"accounts:\n  - a\n", ": accounts: is a section"},
        {"accounts:\n  22223333444:\n    role: x\n",
         ":3: accounts.22223333444: is not an account"},
        {"accounts:\n  222233334444: arn\n", ":3: accounts.222233334444: is a section"},
        {"accounts:\n  222233334444:\n    external_id: ab\n",
         ":3: accounts.222233334444: has no role"},
        {"accounts:\n  222233334444:\n    role: tap\n",
         ":4: accounts.222233334444: role: 'tap' is not the ARN of a role"},
        {"accounts:\n  222233334444:\n    role: arn:aws:iam::333344445555:role/tap\n",
         ":3: accounts.222233334444: role: is a role of another account"},
        {TWO "    rule: x\n", ":5: accounts.222233334444: an account has a role and"},
        {TWO "    role: x\n",
         ":5: accounts.222233334444: role is there twice; the first is on line 4"},
        {TWO "    external_id: [a]\n",
         ":5: accounts.222233334444: external_id has to be one value"},
        {TWO "    external_id: a b\n", ":5: accounts.222233334444: external_id: 'a b' is not"},
        {TWO "  222233334444:\n    role: arn:aws:iam::222233334444:role/tap\n",
         ":5: accounts.222233334444: is there twice"},
        {TWO "    ? [a, b]\n    : c\n", "a key has to be a plain word"},
        {"accounts:\n  ? {a: b}\n  : [c, {d: e}]\n", "a key has to be a plain word"},
    };
    struct tb_config c;
    struct tb_fail fail = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];

        (void)snprintf(text, sizeof(text), "%s%s", BUCKET, cases[i].text);
        assert_int_equal(parse(text, &c, &fail), TB_EINVAL);
        if (strstr(fail.text, cases[i].said) == NULL) {
            fail_msg("%s\nwanted: %s", fail.text, cases[i].said);
        }
    }
}

static void
a_file_over_the_limit_or_not_there_is_told_apart(void **state)
{
    struct tb_config c;
    struct tb_fail fail = {0};
    char *big = test_malloc(TB_CONFIG_MAX_BYTES + 1);

    (void)state;
    memset(big, '#', TB_CONFIG_MAX_BYTES + 1);
    assert_int_equal(
        tb_config_parse(tb_bytes_of(big, TB_CONFIG_MAX_BYTES + 1), "t.yaml", &c, &fail),
        TB_ETOOBIG);
    test_free(big);
    assert_int_equal(tb_config_load("/nonexistent/tapbox.yaml", &c, &fail), TB_ENOTFOUND);
    assert_non_null(strstr(fail.text, "/nonexistent/tapbox.yaml"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_holds_when_only_the_bucket_is_named),
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(what_may_be_none_is_written_as_0),
        cmocka_unit_test(every_wrong_file_is_refused_with_line_and_key),
        cmocka_unit_test(check_gives_every_complaint_in_the_order_of_the_file),
        cmocka_unit_test(the_explained_defaults_are_a_configuration_once_a_bucket_stands_in_it),
        cmocka_unit_test(other_accounts_are_read_with_their_roles),
        cmocka_unit_test(a_wrong_account_is_refused_with_its_line),
        cmocka_unit_test(a_file_over_the_limit_or_not_there_is_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
