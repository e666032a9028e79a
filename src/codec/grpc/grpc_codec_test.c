// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/memory.h"
#include "codec/grpc/grpc_codec.h"

static const struct {
    const char *name;
    const char *bytes;
    size_t size;
    const char *want; // messages, each followed by '|'; then '!' too large, 'z' compressed, '+' incomplete
} frame_rows[] = {
    {"one", "\0\0\0\0\3abc", 8, "abc|"},
    {"empty", "\0\0\0\0\0", 5, "|"},
    {"three", "\0\0\0\0\1a\0\0\0\0\0\0\0\0\0\2bc", 18, "a||bc|"},
    {"cut prefix", "\0\0\0", 3, "+"},
    {"cut message", "\0\0\0\0\3ab", 7, "+"},
    {"too large", "\0\0\0\1\1", 5, "!"},
    {"far too large", "\0\377\377\377\377", 5, "!"},
    {"compressed", "\1\0\0\0\1a", 6, "z"},
    {"second compressed", "\0\0\0\0\1a\1\0\0\0\1a", 12, "a|z"},
};

static void read_all(struct str text, size_t piece, struct buf *out)
{
    struct grpc_reader reader = {.message_max = 256};
    enum grpc_read result = GRPC_READ_MORE;
    for (size_t at = 0; at < text.size && result == GRPC_READ_MORE;) {
        struct str input = str_sub(text, at, piece);
        at += input.size;
        struct str message;
        while ((result = grpc_reader_next(&reader, &input, &message)) == GRPC_READ_MESSAGE) {
            buf_append_str(out, message);
            buf_append_char(out, '|');
        }
    }
    if (result == GRPC_READ_TOO_LARGE || result == GRPC_READ_COMPRESSED) {
        buf_append_char(out, result == GRPC_READ_TOO_LARGE ? '!' : 'z');
    } else if (!grpc_reader_is_between(&reader)) {
        buf_append_char(out, '+');
    }
    grpc_reader_done(&reader);
}

static void frames(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(frame_rows); i++) {
        for (size_t piece = 1; piece < 20; piece++) {
            struct buf out = {0};
            read_all(str_make(frame_rows[i].bytes, frame_rows[i].size), piece, &out);
            check_row(frame_rows[i].name, str_equal_c(buf_view(&out), frame_rows[i].want), "piece %zu: got %.*s", piece,
                      STR_ARG(buf_view(&out)));
            buf_done(&out);
        }
    }
    char prefix[GRPC_PREFIX_SIZE];
    grpc_write_prefix(prefix, 0x01020304);
    assert_memory_equal(prefix, "\0\1\2\3\4", 5);
}

static const struct {
    const char *text;
    bool want_ok;
    uint64_t want_ms;
} timeout_rows[] = {
    {"1H", true, 3600000}, {"2M", true, 120000}, {"3S", true, 3000},         {"4m", true, 4},
    {"5u", true, 1},       {"1n", true, 1},      {"99999999H", true, 359999996400000}, {"0m", true, 0},
    {"", false, 0},        {"5", false, 0},      {"m", false, 0},            {"-1m", false, 0},
    {"+1m", false, 0},     {"1x", false, 0},     {"123456789m", false, 0},   {"1 m", false, 0},
};

static void timeouts(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(timeout_rows); i++) {
        uint64_t ms = 0;
        bool ok = grpc_timeout_parse(str_of(timeout_rows[i].text), &ms);
        check_row(timeout_rows[i].text, ok == timeout_rows[i].want_ok && ms == timeout_rows[i].want_ms, "got %d %llu", ok,
                  (unsigned long long)ms);
    }
    char text[GRPC_TIMEOUT_TEXT_SIZE];
    assert_str(grpc_timeout_format(1500, text), "1500m");
    assert_str(grpc_timeout_format(100000000, text), "100000S");
    assert_str(grpc_timeout_format(UINT64_MAX, text), "99999999H");
}

static void messages(void **state)
{
    (void)state;
    struct buf out = {0};
    grpc_message_encode(&out, STR("a b%\n\xc3\xa9"));
    assert_str(buf_view(&out), "a b%25%0A%C3%A9");
    struct buf back = {0};
    grpc_message_decode(&back, buf_view(&out));
    assert_str(buf_view(&back), "a b%\n\xc3\xa9");
    buf_reset(&back);
    grpc_message_decode(&back, STR("%zz%4"));
    assert_str(buf_view(&back), "%zz%4");
    buf_done(&out);
    buf_done(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
