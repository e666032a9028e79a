// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/buf.h"
#include "base/memory.h"
#include "proxy/capture/capture.h"

// The flags the injected init container has.
static void test_rules_of_the_injected_flags(void **state)
{
    (void)state;
    const char *argv[] = {"-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "",
                          "-b", "*", "-d", "15090,15021,15020", "--log_output_level=default:info"};
    struct capture_options options;
    capture_options_init(&options);
    char *copies[array_count(argv)];
    for (size_t i = 0; i < array_count(argv); i++) {
        copies[i] = mem_strdup(argv[i]);
    }
    struct error err = {0};
    assert_int_equal(capture_options_parse(&options, (int)array_count(argv), copies, NULL, &err), ERR_OK);
    struct buf out = {0};
    assert_int_equal(capture_rules(&options, &out, &err), ERR_OK);
    assert_str(buf_view(&out),
               "table ip isthmesh\n"
               "delete table ip isthmesh\n"
               "table ip isthmesh {\n"
               "\tchain istio_redirect {\n"
               "\t\tmeta l4proto tcp redirect to :15001\n"
               "\t}\n"
               "\tchain istio_in_redirect {\n"
               "\t\tmeta l4proto tcp redirect to :15006\n"
               "\t}\n"
               "\tchain istio_inbound {\n"
               "\t\ttcp dport 15008 return\n"
               "\t\ttcp dport { 15090, 15021, 15020 } return\n"
               "\t\tmeta l4proto tcp jump istio_in_redirect\n"
               "\t}\n"
               "\tchain istio_output {\n"
               "\t\toifname \"lo\" ip saddr 127.0.0.6 return\n"
               "\t\toifname \"lo\" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 jump istio_in_redirect\n"
               "\t\toifname \"lo\" meta skuid != 1337 return\n"
               "\t\tmeta skuid 1337 return\n"
               "\t\toifname \"lo\" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 jump istio_in_redirect\n"
               "\t\toifname \"lo\" meta skgid != 1337 return\n"
               "\t\tmeta skgid 1337 return\n"
               "\t\tip daddr 127.0.0.1 return\n"
               "\t\tmeta l4proto tcp jump istio_redirect\n"
               "\t}\n"
               "\tchain prerouting {\n"
               "\t\ttype nat hook prerouting priority -100; policy accept;\n"
               "\t\tmeta l4proto tcp jump istio_inbound\n"
               "\t}\n"
               "\tchain output {\n"
               "\t\ttype nat hook output priority -100; policy accept;\n"
               "\t\tmeta l4proto tcp jump istio_output\n"
               "\t}\n"
               "}\n");
    buf_done(&out);
    for (size_t i = 0; i < array_count(argv); i++) {
        mem_free(copies[i]);
    }
}

static void test_lists(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *flags[6];
        enum err want;
        const char *want_line; // must be in the script; NULL: nothing to look for
    } rows[] = {
        {"ranges", {"-i", "10.96.0.0/16,10.0.0.1", "-q", "9000"}, ERR_OK, "\t\tip daddr 10.96.0.0/16 jump istio_redirect\n\t\tip daddr 10.0.0.1 jump istio_redirect\n"},
        {"ports in", {"-i", "*", "-q", "9000"}, ERR_OK, "\t\ttcp dport { 9000 } jump istio_redirect\n\t\tmeta l4proto tcp jump istio_redirect\n"},
        {"excluded range", {"-x", "192.168.0.0/24", "-i", "*"}, ERR_OK, "\t\tip daddr 192.168.0.0/24 return\n"},
        {"inbound list", {"-b", "80,443"}, ERR_OK, "\t\ttcp dport { 80, 443 } jump istio_in_redirect\n"},
        {"outbound exclude", {"-o", "15012"}, ERR_OK, "\t\ttcp dport { 15012 } return\n"},
        {"interface", {"-c", "eth1"}, ERR_OK, "\t\tiifname \"eth1\" return\n"},
        {"port too large", {"-b", "70000"}, ERR_INVALID, NULL},
        {"port is text", {"-d", "80;flush", "-b", "*"}, ERR_INVALID, NULL},
        {"bad range", {"-i", "10.0.0.0/40"}, ERR_INVALID, NULL},
        {"bad interface", {"-c", "a\" accept"}, ERR_INVALID, NULL},
        {"bad uid", {"-u", "root"}, ERR_INVALID, NULL},
        {"transparent mode", {"-m", "TPROXY"}, ERR_UNSUPPORTED, NULL},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct capture_options options;
        capture_options_init(&options);
        char *copies[6] = {0};
        int count = 0;
        while (count < 6 && rows[i].flags[count] != NULL) {
            copies[count] = mem_strdup(rows[i].flags[count]);
            count++;
        }
        struct error err = {0};
        struct buf out = {0};
        check_row(rows[i].name, capture_options_parse(&options, count, copies, NULL, &err) == ERR_OK, "%s", err.message);
        enum err got = capture_rules(&options, &out, &err);
        check_row(rows[i].name, got == rows[i].want, "got %s (%s)", err_name(got), err.message);
        if (rows[i].want_line != NULL) {
            check_row(rows[i].name, str_find(buf_view(&out), str_of(rows[i].want_line)) >= 0, "script:\n%.*s",
                      STR_ARG(buf_view(&out)));
        }
        buf_done(&out);
        for (int k = 0; k < count; k++) {
            mem_free(copies[k]);
        }
    }
}

static void test_flags_that_are_refused(void **state)
{
    (void)state;
    char *rows[] = {mem_strdup("--redirect-dns"), mem_strdup("--what"), mem_strdup("-p")};
    const enum err want[] = {ERR_UNSUPPORTED, ERR_INVALID, ERR_INVALID};
    for (size_t i = 0; i < array_count(rows); i++) {
        struct capture_options options;
        capture_options_init(&options);
        struct error err = {0};
        check_row(rows[i], capture_options_parse(&options, 1, &rows[i], NULL, &err) == want[i], "%s", err.message);
        mem_free(rows[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_of_the_injected_flags),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_flags_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
