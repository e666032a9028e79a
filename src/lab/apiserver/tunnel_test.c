// SPDX-License-Identifier: Apache-2.0
//
// WebSocket and SPDY framing: bytes in pieces of every size, what peers must not send, and what we write.
#include "lab/apiserver/spdy.h"
#include "lab/apiserver/websocket.h"

#include "base/memory.h"
#include "test.h"

#define BYTES(literal) ((struct str){.data = literal, .size = sizeof(literal) - 1})

// --- WebSocket -------------------------------------------------------------------------------------

struct websocket_row {
    const char *name;
    struct str input; // masked with key 00 00 00 00 unless said
    const char *want; // "opcode:payload " for each message, then "more" or "bad CODE"
};

#define KEY "\0\0\0\0"

static const struct websocket_row websocket_rows[] = {
    {"nothing", BYTES(""), "more"},
    {"binary", BYTES("\x82\x83" KEY "abc"), "2:abc more"},
    {"masked", BYTES("\x81\x83\x01\x02\x03\x04" "ba`"), "1:ccc more"},
    {"two at once", BYTES("\x82\x81" KEY "a\x82\x81" KEY "b"), "2:a 2:b more"},
    {"fragments with a ping between", BYTES("\x02\x81" KEY "a\x89\x81" KEY "p\x00\x81" KEY "b\x80\x81" KEY "c"), "9:p 2:abc more"},
    {"empty", BYTES("\x82\x80" KEY), "2: more"},
    {"16 bits of length", BYTES("\x82\xfe\x00\x02" KEY "ab"), "2:ab more"},
    {"64 bits of length", BYTES("\x82\xff\0\0\0\0\0\0\0\x02" KEY "ab"), "2:ab more"},
    {"close", BYTES("\x88\x82" KEY "\x03\xe8"), "8:\x03\xe8 more"},
    {"not masked", BYTES("\x82\x01" "a"), "bad 1002"},
    {"reserved bit", BYTES("\xc2\x81" KEY "a"), "bad 1002"},
    {"unknown opcode", BYTES("\x83\x81" KEY "a"), "bad 1002"},
    {"continuation of nothing", BYTES("\x80\x81" KEY "a"), "bad 1002"},
    {"message inside a message", BYTES("\x02\x81" KEY "a\x82\x81" KEY "b"), "bad 1002"},
    {"fragmented ping", BYTES("\x09\x81" KEY "a"), "bad 1002"},
    {"long ping", BYTES("\x89\xfe\x00\x7e" KEY), "bad 1002"},
    {"too big", BYTES("\x82\xff\0\0\0\0\0\x10\0\x01" KEY), "bad 1009"},
    {"absurd length", BYTES("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff" KEY), "bad 1009"},
};

static enum websocket_read drain_websocket(struct websocket_reader *reader, struct buf *out)
{
    enum websocket_opcode opcode;
    enum websocket_close close = WEBSOCKET_CLOSE_NORMAL;
    struct str payload;
    enum websocket_read result;
    while ((result = websocket_next(reader, &opcode, &payload, &close)) == WEBSOCKET_READ_MESSAGE) {
        buf_printf(out, "%d:%.*s ", (int)opcode, STR_ARG(payload));
    }
    if (result == WEBSOCKET_READ_BAD) {
        buf_printf(out, "bad %d", (int)close);
    }
    return result;
}

static void test_websocket_reading(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(websocket_rows); i++) {
        const struct websocket_row *row = &websocket_rows[i];
        for (size_t step = 1; step <= row->input.size + 1; step += step < 4 ? 1 : row->input.size) {
            struct websocket_reader reader = {0};
            struct buf got = {0};
            enum websocket_read result = WEBSOCKET_READ_MORE;
            for (size_t at = 0; at < row->input.size && result != WEBSOCKET_READ_BAD; at += step) {
                websocket_feed(&reader, str_sub(row->input, at, step));
                result = drain_websocket(&reader, &got);
            }
            buf_append_str(&got, result == WEBSOCKET_READ_MORE ? STR("more") : STR_EMPTY);
            if (!str_equal_c(buf_view(&got), row->want)) {
                fail_msg("%s in steps of %zu: got \"%.*s\", want \"%s\"", row->name, step, STR_ARG(buf_view(&got)), row->want);
            }
            buf_done(&got);
            websocket_done(&reader);
        }
    }
}

static void test_fragments_are_bounded(void **state)
{
    (void)state;
    struct websocket_reader reader = {0};
    struct buf got = {0};
    struct buf frame = {0};
    enum websocket_read result = WEBSOCKET_READ_MORE;
    int count = 0;
    for (; count < 40 && result != WEBSOCKET_READ_BAD; count++) {
        buf_append_str(&frame, count == 0 ? BYTES("\x02\xff\0\0\0\0\0\0\xff\xff" KEY) : BYTES("\x00\xff\0\0\0\0\0\0\xff\xff" KEY));
        memset(buf_reserve(&frame, 65535), 'x', 65535);
        buf_commit(&frame, 65535);
        websocket_feed(&reader, buf_view(&frame));
        buf_reset(&frame);
        result = drain_websocket(&reader, &got);
    }
    assert_int_equal(result, WEBSOCKET_READ_BAD);
    assert_string_equal(buf_view(&got).data, "bad 1009");
    assert_in_range(count, 16, 18);
    buf_done(&got);
    buf_done(&frame);
    websocket_done(&reader);
}

static void test_websocket_writing(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        struct str want; // head
    } rows[] = {
        {0, BYTES("\x82\x00")},
        {125, BYTES("\x82\x7d")},
        {126, BYTES("\x82\x7e\x00\x7e")},
        {65535, BYTES("\x82\x7e\xff\xff")},
        {65536, BYTES("\x82\x7f\0\0\0\0\0\x01\0\0")},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct buf out = {0};
        websocket_write_head(&out, WEBSOCKET_BINARY, rows[i].size);
        assert_true(str_equal(buf_view(&out), rows[i].want));
        buf_done(&out);
    }
    struct arena arena = {0};
    // RFC 6455 section 1.3
    assert_true(str_equal(websocket_accept(&arena, STR("dGhlIHNhbXBsZSBub25jZQ==")), STR("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    arena_done(&arena);
}

// --- SPDY ------------------------------------------------------------------------------------------

// A client's header compression: the dictionary comes from the reader under test, so it is taken here from
// one of its replies' Adler-32 (RFC 1950 section 2.2: FDICT and DICTID in the zlib header).
static void test_the_dictionary_is_the_one_of_spdy_3(void **state)
{
    (void)state;
    struct spdy spdy;
    struct buf out = {0};
    spdy_init(&spdy);
    spdy_write_reply(&spdy, &out, 1);
    struct str reply = buf_view(&out);
    assert_true(reply.size > 18);
    assert_memory_equal(reply.data, "\x80\x03\x00\x02\x00\x00\x00", 7);
    assert_memory_equal(reply.data + 8, "\x00\x00\x00\x01", 4);
    assert_true((reply.data[13] & 0x20) != 0);
    assert_memory_equal(reply.data + 14, "\xe3\xc6\xa7\xc2", 4);
    buf_done(&out);
    spdy_done(&spdy);
}

// SYN_STREAM of stream with "streamtype: NAME", blocks stored uncompressed in one zlib stream.
static void write_open(struct buf *out, uint32_t stream, const char *name, bool is_first)
{
    struct buf block = {0};
    size_t size = strlen(name);
    buf_append_str(&block, BYTES("\0\0\0\x01\0\0\0\x0astreamtype\0\0\0"));
    buf_append_char(&block, (char)size);
    buf_append(&block, name, size);
    struct buf zlib = {0};
    if (is_first) {
        buf_append_str(&zlib, BYTES("\x78\xbb\xe3\xc6\xa7\xc2")); // CMF, FLG with FDICT, DICTID
    }
    buf_append_char(&zlib, 0); // a stored block, not the last
    buf_append_char(&zlib, (char)block.size);
    buf_append_char(&zlib, 0);
    buf_append_char(&zlib, (char)~block.size);
    buf_append_char(&zlib, (char)0xff);
    buf_append_str(&zlib, buf_view(&block));
    buf_append_str(out, BYTES("\x80\x03\x00\x01\x00\x00\x00"));
    buf_append_char(out, (char)(10 + zlib.size));
    buf_append_str(out, BYTES("\0\0\0"));
    buf_append_char(out, (char)stream);
    buf_append_str(out, BYTES("\0\0\0\0\0\0"));
    buf_append_str(out, buf_view(&zlib));
    buf_done(&block);
    buf_done(&zlib);
}

static void describe(const struct spdy_event *event, struct buf *out)
{
    static const char *const names[] = {[SPDY_OPEN] = "open", [SPDY_DATA] = "data", [SPDY_RESET] = "reset", [SPDY_PING] = "ping",
                                        [SPDY_GOAWAY] = "goaway"};
    buf_printf(out, "%s %u", names[event->type], event->stream);
    if (event->type == SPDY_OPEN) {
        buf_printf(out, " %.*s", STR_ARG(spdy_header(event, STR("streamtype"))));
    }
    buf_printf(out, " %.*s%s\n", STR_ARG(event->bytes), event->is_end ? "." : "");
}

static enum spdy_read drain_spdy(struct spdy *spdy, struct buf *out)
{
    struct spdy_event event;
    enum spdy_read result;
    while ((result = spdy_next(spdy, &event)) == SPDY_READ_EVENT) {
        describe(&event, out);
    }
    return result;
}

static void test_spdy_session(void **state)
{
    (void)state;
    struct buf input = {0};
    write_open(&input, 1, "error", true);
    write_open(&input, 3, "stdin", false);
    buf_append_str(&input, BYTES("\x80\x03\x00\x04\x00\x00\x00\x04\0\0\0\0"));         // SETTINGS
    buf_append_str(&input, BYTES("\0\0\0\x03\0\0\0\x02hi\0\0\0\x03\x01\0\0\0"));        // data, then its end
    buf_append_str(&input, BYTES("\x80\x03\x00\x06\x00\x00\x00\x04\0\0\0\x07"));         // PING
    buf_append_str(&input, BYTES("\x80\x03\x00\x09\x00\x00\x00\x08\0\0\0\x03\0\0\x10\0")); // WINDOW_UPDATE
    buf_append_str(&input, BYTES("\x80\x03\x00\x03\x00\x00\x00\x08\0\0\0\x01\0\0\0\x05")); // RST_STREAM
    buf_append_str(&input, BYTES("\x80\x03\x00\x07\x00\x00\x00\x08\0\0\0\x03\0\0\0\0"));   // GOAWAY
    static const char want[] = "open 1 error \nopen 3 stdin \ndata 3 hi\ndata 3 .\nping 7 \nreset 1 \ngoaway 3 \n";
    for (size_t step = 1; step <= input.size; step += step < 10 ? 1 : input.size) {
        struct spdy spdy;
        struct buf got = {0};
        spdy_init(&spdy);
        for (size_t at = 0; at < input.size; at += step) {
            spdy_feed(&spdy, str_sub(buf_view(&input), at, step));
            assert_int_equal(drain_spdy(&spdy, &got), SPDY_READ_MORE);
        }
        if (!str_equal_c(buf_view(&got), want)) {
            fail_msg("in steps of %zu: got \"%.*s\"", step, STR_ARG(buf_view(&got)));
        }
        buf_done(&got);
        spdy_done(&spdy);
    }
    buf_done(&input);
}

static void test_bad_spdy(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct str input;
    } rows[] = {
        {"version 2", BYTES("\x80\x02\x00\x06\x00\x00\x00\x04\0\0\0\x01")},
        {"a frame too long", BYTES("\0\0\0\x01\0\x10\0\x01")},
        {"a short ping", BYTES("\x80\x03\x00\x06\x00\x00\x00\x02\0\0")},
        {"a short reset", BYTES("\x80\x03\x00\x03\x00\x00\x00\x00")},
        {"a short open", BYTES("\x80\x03\x00\x01\x00\x00\x00\x04\0\0\0\x01")},
        {"no zlib", BYTES("\x80\x03\x00\x01\x00\x00\x00\x0e\0\0\0\x01\0\0\0\0\0\0abcd")},
        {"another dictionary", BYTES("\x80\x03\x00\x01\x00\x00\x00\x10\0\0\0\x01\0\0\0\0\0\0\x78\xbb\0\0\0\x01")},
        {"stream 0", BYTES("\x80\x03\x00\x01\x00\x00\x00\x0a\0\0\0\0\0\0\0\0\0\0")},
        {"no headers at all", BYTES("\x80\x03\x00\x01\x00\x00\x00\x0a\0\0\0\x01\0\0\0\0\0\0")},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct spdy spdy;
        struct buf got = {0};
        spdy_init(&spdy);
        spdy_feed(&spdy, rows[i].input);
        if (drain_spdy(&spdy, &got) != SPDY_READ_BAD || got.size > 0) {
            fail_msg("%s: got \"%.*s\", want bad", rows[i].name, STR_ARG(buf_view(&got)));
        }
        buf_done(&got);
        spdy_done(&spdy);
    }
}

static void test_spdy_writing(void **state)
{
    (void)state;
    struct buf out = {0};
    spdy_write_data(&out, 5, STR("ab"), false);
    spdy_write_data(&out, 5, STR_EMPTY, true);
    spdy_write_ping(&out, 9);
    spdy_write_reset(&out, 3, SPDY_RESET_REFUSED);
    assert_true(str_equal(buf_view(&out), BYTES("\0\0\0\x05\0\0\0\x02" "ab\0\0\0\x05\x01\0\0\0\x80\x03\0\x06\0\0\0\x04\0\0\0\x09"
                                                "\x80\x03\0\x03\0\0\0\x08\0\0\0\x03\0\0\0\x03")));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_websocket_reading),
        cmocka_unit_test(test_fragments_are_bounded),
        cmocka_unit_test(test_websocket_writing),
        cmocka_unit_test(test_the_dictionary_is_the_one_of_spdy_3),
        cmocka_unit_test(test_spdy_session),
        cmocka_unit_test(test_bad_spdy),
        cmocka_unit_test(test_spdy_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
