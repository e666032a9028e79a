// SPDX-License-Identifier: Apache-2.0
#include "proxy/listener/client_hello.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    RECORD_HANDSHAKE = 22,
    RECORD_HEADER_SIZE = 5,
    RECORD_SIZE_MAX = 16384,
    HANDSHAKE_CLIENT_HELLO = 1,
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_ALPN = 16,
    NAME_TYPE_HOST = 0,
};

// A reader over bytes that answers "not enough" by turning bad, so that callers check once.
struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static uint32_t read_number(struct reader *reader, size_t size)
{
    if (reader->left < size) {
        reader->bad = true;
        return 0;
    }
    uint32_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | reader->at[i];
    }
    reader->at += size;
    reader->left -= size;
    return value;
}

static struct reader read_block(struct reader *reader, size_t size)
{
    struct reader block = {.at = reader->at, .left = size};
    if (reader->left < size) {
        reader->bad = true;
        block.left = 0;
        block.bad = true;
        return block;
    }
    reader->at += size;
    reader->left -= size;
    return block;
}

// Joins the handshake bytes of the records in bytes. Returns DONE when the whole hello is in `hello`.
static enum client_hello_result join_records(struct str bytes, uint8_t *hello, size_t *ret_size)
{
    size_t have = 0;
    size_t want = 4; // handshake header, then what it says
    struct reader reader = {.at = (const uint8_t *)bytes.data, .left = bytes.size};
    while (have < want) {
        if (reader.left > 0 && reader.at[0] != RECORD_HANDSHAKE) {
            return CLIENT_HELLO_NOT_TLS;
        }
        if (reader.left > 1 && reader.at[1] != 3) {
            return CLIENT_HELLO_NOT_TLS;
        }
        if (reader.left < RECORD_HEADER_SIZE) {
            return CLIENT_HELLO_MORE;
        }
        (void)read_number(&reader, 3);
        size_t size = read_number(&reader, 2);
        if (size == 0 || size > RECORD_SIZE_MAX) {
            return CLIENT_HELLO_NOT_TLS;
        }
        size_t take = size < reader.left ? size : reader.left;
        if (have + take > CLIENT_HELLO_MAX) {
            return CLIENT_HELLO_TOO_LARGE;
        }
        memcpy(hello + have, reader.at, take);
        have += take;
        reader.at += take;
        reader.left -= take;
        if (have >= 1 && hello[0] != HANDSHAKE_CLIENT_HELLO) {
            return CLIENT_HELLO_NOT_TLS;
        }
        if (have >= 4) {
            want = 4 + ((size_t)hello[1] << 16 | (size_t)hello[2] << 8 | hello[3]);
            if (want > CLIENT_HELLO_MAX) {
                return CLIENT_HELLO_TOO_LARGE;
            }
        }
        if (take < size && have < want) {
            return CLIENT_HELLO_MORE;
        }
    }
    *ret_size = want;
    return CLIENT_HELLO_DONE;
}

static bool parse_server_name(struct reader extension, struct client_hello *out)
{
    struct reader list = read_block(&extension, read_number(&extension, 2));
    while (!list.bad && list.left > 0) {
        uint32_t type = read_number(&list, 1);
        struct reader name = read_block(&list, read_number(&list, 2));
        if (list.bad) {
            return false;
        }
        if (type != NAME_TYPE_HOST || out->server_name_size > 0) {
            continue;
        }
        if (name.left == 0 || name.left > CLIENT_HELLO_NAME_MAX) {
            return false;
        }
        for (size_t i = 0; i < name.left; i++) {
            uint8_t c = name.at[i];
            if (c <= ' ' || c >= 0x7f) { // a name with a NUL or a blank is an attack on whoever compares it
                return false;
            }
            out->server_name[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        }
        out->server_name_size = name.left;
    }
    return !list.bad && !extension.bad;
}

// A malformed list counts as none: the handshake itself will complain if it matters.
static void parse_protocols(struct reader extension, struct client_hello *out)
{
    struct reader list = read_block(&extension, read_number(&extension, 2));
    size_t count = 0;
    while (!list.bad && list.left > 0) {
        struct reader name = read_block(&list, read_number(&list, 1));
        if (name.bad || name.left == 0) {
            return;
        }
        if (count < CLIENT_HELLO_PROTOCOLS_MAX && name.left <= CLIENT_HELLO_PROTOCOL_SIZE_MAX) {
            memcpy(out->protocols[count].text, name.at, name.left);
            out->protocols[count].size = name.left;
            count++;
        }
    }
    if (!list.bad && !extension.bad) {
        out->protocol_count = count;
    }
}

static bool parse_hello(struct reader reader, struct client_hello *out)
{
    (void)read_block(&reader, 2 + 32);                        // legacy version, random
    (void)read_block(&reader, read_number(&reader, 1));       // session id
    (void)read_block(&reader, read_number(&reader, 2));       // cipher suites
    (void)read_block(&reader, read_number(&reader, 1));       // compression
    if (reader.bad) {
        return false;
    }
    if (reader.left == 0) {
        return true; // no extensions at all
    }
    struct reader extensions = read_block(&reader, read_number(&reader, 2));
    while (!extensions.bad && extensions.left > 0) {
        uint32_t type = read_number(&extensions, 2);
        struct reader extension = read_block(&extensions, read_number(&extensions, 2));
        if (extensions.bad) {
            return false;
        }
        if (type == EXTENSION_SERVER_NAME && !parse_server_name(extension, out)) {
            return false;
        }
        if (type == EXTENSION_ALPN) {
            parse_protocols(extension, out);
        }
    }
    return !reader.bad;
}

enum client_hello_result client_hello_parse(struct str bytes, struct client_hello *out)
{
    uint8_t hello[CLIENT_HELLO_MAX];
    size_t size = 0;
    enum client_hello_result result = join_records(bytes, hello, &size);
    if (result != CLIENT_HELLO_DONE) {
        return result;
    }
    *out = (struct client_hello){0};
    struct reader reader = {.at = hello + 4, .left = size - 4};
    return parse_hello(reader, out) ? CLIENT_HELLO_DONE : CLIENT_HELLO_NOT_TLS;
}
