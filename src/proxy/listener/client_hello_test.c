// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "proxy/listener/client_hello.h"
#include "proxy/listener/http_inspect.h"

static struct str read_corpus(struct arena *arena, const char *name)
{
    struct str bytes;
    struct error err = {0};
    const char *root = getenv("ISTHMESH_SOURCE_ROOT");
    struct str path = arena_format(arena, "%s/tests/corpus/client_hello/%s", root == NULL ? "." : root, name);
    if (file_read(arena, path.data, 1 << 20, &bytes, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    return bytes;
}

static void test_hello_of_a_sidecar(void **state)
{
    (void)state;
    static const char *const files[] = {"istio", "records"};
    for (size_t i = 0; i < array_count(files); i++) {
        struct arena arena = {0};
        struct str bytes = read_corpus(&arena, files[i]);
        struct client_hello hello;
        check_row(files[i], client_hello_parse(bytes, &hello) == CLIENT_HELLO_DONE, "not parsed");
        assert_str(str_make(hello.server_name, hello.server_name_size), "outbound_.5000_._.helloworld.sample.svc.cluster.local");
        assert_int_equal(hello.protocol_count, 3);
        assert_str(str_make(hello.protocols[0].text, hello.protocols[0].size), "istio-http/1.1");
        assert_str(str_make(hello.protocols[2].text, hello.protocols[2].size), "http/1.1");
        // Every shorter piece asks for more, whatever the cut.
        for (size_t size = 0; size < bytes.size; size++) {
            check_row(files[i], client_hello_parse(str_sub(bytes, 0, size), &hello) == CLIENT_HELLO_MORE, "cut at %zu", size);
        }
        arena_done(&arena);
    }
}

static void test_other_hellos(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct client_hello hello;
    assert_int_equal(client_hello_parse(read_corpus(&arena, "plain"), &hello), CLIENT_HELLO_DONE);
    assert_str(str_make(hello.server_name, hello.server_name_size), "example.com");
    assert_int_equal(hello.protocol_count, 0);
    assert_int_equal(client_hello_parse(STR("GET / HTTP/1.1\r\n"), &hello), CLIENT_HELLO_NOT_TLS);
    assert_int_equal(client_hello_parse(STR("\x16\x02\x00\x00\x05"), &hello), CLIENT_HELLO_NOT_TLS);
    assert_int_equal(client_hello_parse(STR("\x16\x03\x01\x40\x00\x01\xff\xff\xff"), &hello), CLIENT_HELLO_TOO_LARGE);
    arena_done(&arena);
}

static void test_http_inspect(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum http_inspect_result want;
    } rows[] = {
        {"", HTTP_INSPECT_MORE},
        {"G", HTTP_INSPECT_MORE},
        {"GET /", HTTP_INSPECT_MORE},
        {"GET / HTTP/1.1\r\n", HTTP_INSPECT_HTTP11},
        {"GET / HTTP/1.0\n", HTTP_INSPECT_HTTP10},
        {"GET /\r\n", HTTP_INSPECT_OTHER},
        {"GET / SMTP/1.1\r\n", HTTP_INSPECT_OTHER},
        {"\r\nGET / HTTP/1.1\r\n", HTTP_INSPECT_OTHER},
        {"PRI * HTTP/2.0\r\n\r\nSM", HTTP_INSPECT_MORE},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP_INSPECT_HTTP2},
        {"PRINT / HTTP/1.1\r\n", HTTP_INSPECT_HTTP11},
        {"SSH-2.0-OpenSSH", HTTP_INSPECT_MORE},
        {"SSH-2.0-OpenSSH\r\n", HTTP_INSPECT_OTHER},
        {"averyveryverylongfirstword /", HTTP_INSPECT_OTHER},
        {"\x01\x02", HTTP_INSPECT_OTHER},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        enum http_inspect_result got = http_inspect(str_of(rows[i].bytes));
        check_row(rows[i].bytes, got == rows[i].want, "got %d, want %d", (int)got, (int)rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_of_a_sidecar),
        cmocka_unit_test(test_other_hellos),
        cmocka_unit_test(test_http_inspect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
