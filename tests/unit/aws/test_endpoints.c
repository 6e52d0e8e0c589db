/* Where services are, by Region, environment and profile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "../../../src/aws/aws_int.h"

static const char *const variables[] = {"AWS_ENDPOINT_URL",
                                        "AWS_ENDPOINT_URL_EC2",
                                        "AWS_ENDPOINT_URL_S3",
                                        "AWS_ENDPOINT_URL_STS",
                                        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                                        "AWS_USE_FIPS_ENDPOINT",
                                        "AWS_USE_DUALSTACK_ENDPOINT",
                                        "AWS_PROFILE"};

static int
begin(void **state TB_UNUSED)
{
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        unsetenv(variables[i]);
    }
    return 0;
}

static void
regions_and_partitions_have_their_hosts(void **state TB_UNUSED)
{
    /* as botocore's endpoint rules have them */
    static const struct {
        enum tb_aws_service service;
        const char *region, *fips, *dual, *host;
    } cases[] = {
        {TB_AWS_EC2, "eu-central-1", "", "", "ec2.eu-central-1.amazonaws.com"},
        {TB_AWS_EC2, "eu-central-1", "", "true", "ec2.eu-central-1.api.aws"},
        {TB_AWS_EC2, "us-east-1", "true", "", "ec2-fips.us-east-1.amazonaws.com"},
        {TB_AWS_EC2, "us-east-1", "TRUE", "true", "ec2-fips.us-east-1.api.aws"},
        {TB_AWS_EC2, "us-gov-west-1", "", "", "ec2.us-gov-west-1.amazonaws.com"},
        {TB_AWS_EC2, "us-gov-west-1", "true", "", "ec2.us-gov-west-1.amazonaws.com"},
        {TB_AWS_EC2, "us-gov-west-1", "true", "true", "ec2-fips.us-gov-west-1.api.aws"},
        {TB_AWS_EC2, "cn-north-1", "", "", "ec2.cn-north-1.amazonaws.com.cn"},
        {TB_AWS_EC2, "cn-north-1", "", "true", "ec2.cn-north-1.api.amazonwebservices.com.cn"},
        {TB_AWS_EC2, "eusc-de-east-1", "", "", "ec2.eusc-de-east-1.amazonaws.eu"},
        {TB_AWS_EC2, "us-iso-east-1", "", "", "ec2.us-iso-east-1.c2s.ic.gov"},
        {TB_AWS_STS, "us-isob-east-1", "", "", "sts.us-isob-east-1.sc2s.sgov.gov"},
        {TB_AWS_STS, "ap-southeast-2", "true", "", "sts-fips.ap-southeast-2.amazonaws.com"},
        {TB_AWS_S3, "eu-central-1", "", "", "s3.eu-central-1.amazonaws.com"},
        {TB_AWS_S3, "eu-central-1", "", "true", "s3.dualstack.eu-central-1.amazonaws.com"},
        {TB_AWS_S3, "us-gov-west-1", "true", "", "s3-fips.us-gov-west-1.amazonaws.com"},
        {TB_AWS_S3, "us-east-1", "true", "true", "s3-fips.dualstack.us-east-1.amazonaws.com"},
    };
    struct tb_aws_endpoint endpoint;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setenv("AWS_USE_FIPS_ENDPOINT", cases[i].fips, 1);
        setenv("AWS_USE_DUALSTACK_ENDPOINT", cases[i].dual, 1);
        assert_int_equal(
            tb_aws_endpoint_resolve(cases[i].service, cases[i].region, NULL, &endpoint, NULL),
            TB_OK);
        assert_string_equal(endpoint.host, cases[i].host);
        assert_string_equal(endpoint.scheme, "https");
        assert_string_equal(endpoint.path, "");
        assert_false(endpoint.custom);
    }
}

static void
partitions_are_told_from_the_region(void **state TB_UNUSED)
{
    static const char *const cases[][2] = {{"eu-central-1", "aws"},
                                           {"cn-northwest-1", "aws-cn"},
                                           {"us-gov-east-1", "aws-us-gov"},
                                           {"us-iso-west-1", "aws-iso"},
                                           {"us-isob-east-1", "aws-iso-b"},
                                           {"eu-isoe-west-1", "aws-iso-e"},
                                           {"us-isof-south-1", "aws-iso-f"},
                                           {"eusc-de-east-1", "aws-eusc"},
                                           {"xx-new-1", "aws"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(tb_aws_partition_of(cases[i][0]), cases[i][1]);
    }
}

static void
urls_are_taken_apart(void **state TB_UNUSED)
{
    static const struct {
        const char *url, *scheme, *host, *path;
        bool literal;
    } cases[] = {
        {"http://127.0.0.1:4566", "http", "127.0.0.1:4566", "", true},
        {"http://LocalHost/", "http", "localhost", "", false},
        {"https://vpce-1.ec2.eu-central-1.vpce.amazonaws.com:443/", "https",
         "vpce-1.ec2.eu-central-1.vpce.amazonaws.com", "", false},
        {"http://h:80", "http", "h", "", false},
        {"http://h:443", "http", "h:443", "", false},
        {"https://h/base/path//", "https", "h", "/base/path", false},
        {"http://[::1]:8080/x", "http", "[::1]:8080", "/x", true},
        {"http://[fd00:ec2::1]", "http", "[fd00:ec2::1]", "", true},
    };
    struct tb_aws_endpoint endpoint;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setenv("AWS_ENDPOINT_URL_EC2", cases[i].url, 1);
        assert_int_equal(
            tb_aws_endpoint_resolve(TB_AWS_EC2, "eu-central-1", NULL, &endpoint, NULL), TB_OK);
        assert_string_equal(endpoint.scheme, cases[i].scheme);
        assert_string_equal(endpoint.host, cases[i].host);
        assert_string_equal(endpoint.path, cases[i].path);
        assert_int_equal(endpoint.literal, cases[i].literal);
        assert_true(endpoint.custom);
    }
}

static void
urls_that_are_none_are_refused_by_name(void **state TB_UNUSED)
{
    static const char *const urls[] = {
        "127.0.0.1:4566", "ftp://h",      "http://",       "http://h:0",    "http://h:65536",
        "http://h:",      "http://h:8x",  "http://h:80:1", "http://u@h",    "http://[::1",
        "http://h/?a=b",  "http://h/#x",  "http://h/a b",  "http://h\r\n/", "https:///path",
        "http://[::1]x",  "http://h:-80", "http://h/%2e"};
    struct tb_aws_endpoint endpoint;
    struct tb_fail fail;

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        setenv("AWS_ENDPOINT_URL", urls[i], 1);
        if (tb_aws_endpoint_resolve(TB_AWS_S3, "eu-central-1", NULL, &endpoint, &fail) !=
            TB_EINVAL) {
            print_error("%s was taken: host '%s'\n", urls[i], endpoint.host);
            fail();
        }
        assert_memory_equal(fail.text, "AWS_ENDPOINT_URL: ", 18);
    }
}

static const char *
host_of(enum tb_aws_service service, const struct tb_aws_profiles *profiles)
{
    static struct tb_aws_endpoint endpoint;

    assert_int_equal(
        tb_aws_endpoint_resolve(service, "eu-central-1", profiles, &endpoint, NULL), TB_OK);
    return endpoint.host;
}

static void
the_nearest_setting_wins(void **state TB_UNUSED)
{
    static const char text[] = "[default]\nendpoint_url = http://profile\nservices = lab\n"
                               "[services lab]\nec2 =\n  endpoint_url = http://service\n"
                               "[profile quiet]\nignore_configured_endpoint_urls = true\n"
                               "endpoint_url = http://unheard\n";
    struct tb_aws_profiles *profiles;

    assert_int_equal(tb_aws_profiles_new(&profiles, NULL), TB_OK);
    assert_int_equal(
        tb_aws_profiles_parse(profiles, TB_AWS_FILE_CONFIG, tb_bytes_str(text), NULL), TB_OK);
    assert_string_equal(host_of(TB_AWS_EC2, profiles), "service");
    assert_string_equal(host_of(TB_AWS_S3, profiles), "profile");
    setenv("AWS_ENDPOINT_URL", "http://all", 1);
    assert_string_equal(host_of(TB_AWS_EC2, profiles), "all");
    setenv("AWS_ENDPOINT_URL_EC2", "http://one", 1);
    assert_string_equal(host_of(TB_AWS_EC2, profiles), "one");
    assert_string_equal(host_of(TB_AWS_STS, profiles), "all");
    setenv("AWS_ENDPOINT_URL_EC2", "", 1);
    assert_string_equal(host_of(TB_AWS_EC2, profiles), "all");
    setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", 1);
    assert_string_equal(host_of(TB_AWS_EC2, profiles), "ec2.eu-central-1.amazonaws.com");
    unsetenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    setenv("AWS_PROFILE", "quiet", 1);
    assert_string_equal(host_of(TB_AWS_S3, profiles), "s3.eu-central-1.amazonaws.com");
    tb_aws_profiles_free(profiles);
}

static void
what_does_not_go_together_is_refused(void **state TB_UNUSED)
{
    struct tb_aws_endpoint endpoint;

    setenv("AWS_USE_DUALSTACK_ENDPOINT", "true", 1);
    assert_int_equal(
        tb_aws_endpoint_resolve(TB_AWS_EC2, "us-iso-east-1", NULL, &endpoint, NULL), TB_EINVAL);
    setenv("AWS_ENDPOINT_URL", "http://h", 1);
    assert_int_equal(tb_aws_endpoint_resolve(TB_AWS_EC2, "eu-central-1", NULL, &endpoint, NULL),
                     TB_EINVAL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(regions_and_partitions_have_their_hosts, begin),
        cmocka_unit_test_setup(partitions_are_told_from_the_region, begin),
        cmocka_unit_test_setup(urls_are_taken_apart, begin),
        cmocka_unit_test_setup(urls_that_are_none_are_refused_by_name, begin),
        cmocka_unit_test_setup(the_nearest_setting_wins, begin),
        cmocka_unit_test_setup(what_does_not_go_together_is_refused, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
