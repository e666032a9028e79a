// SPDX-License-Identifier: Apache-2.0
//
// Frames (SPDY protocol, draft 3.1, section 2.2); numbers most significant byte first:
//   control  80 03, type 16, flags 8, length 24, payload
//   data     stream 32 (top bit 0), flags 8 (1: the stream's end), length 24, payload
// Header blocks: count 32, then per header length 32, name, length 32, value; one zlib stream with a preset
// dictionary for all blocks of a direction, flushed at the end of each.
#include "lab/apiserver/spdy.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#define HEAD_SIZE 8u
#define FLAG_END 1u
#define DICTIONARY_SIZE 1423u
#define SYN_STREAM_FIXED 10u // stream, associated stream, priority and slot

enum frame_type {
    FRAME_SYN_STREAM = 1,
    FRAME_SYN_REPLY = 2,
    FRAME_RST_STREAM = 3,
    FRAME_SETTINGS = 4,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_HEADERS = 8,
    FRAME_WINDOW_UPDATE = 9,
};

// --- the preset dictionary: words with their lengths in front, then a text (section 2.6.10.1) --------

// clang-format off
static const char *const dictionary_words[] = {
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
    "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
    "keep-alive", "origin",
};
static const char dictionary_text[] =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Author"
    "itative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 No"
    "t Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Au"
    "g Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,"
    "image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,def"
    "late,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
// clang-format on

static void make_dictionary(unsigned char out[static DICTIONARY_SIZE])
{
    size_t at = 0;
    for (size_t i = 0; i < array_count(dictionary_words); i++) {
        size_t size = strlen(dictionary_words[i]);
        const unsigned char length[4] = {0, 0, 0, (unsigned char)size};
        ASSERT(at + sizeof(length) + size <= DICTIONARY_SIZE);
        memcpy(out + at, length, sizeof(length));
        memcpy(out + at + sizeof(length), dictionary_words[i], size);
        at += sizeof(length) + size;
    }
    ASSERT(at + sizeof(dictionary_text) - 1 == DICTIONARY_SIZE);
    memcpy(out + at, dictionary_text, sizeof(dictionary_text) - 1);
}

// --- life ------------------------------------------------------------------------------------------

void spdy_init(struct spdy *spdy)
{
    unsigned char dictionary[DICTIONARY_SIZE];
    make_dictionary(dictionary);
    *spdy = (struct spdy){0};
    ASSERT(inflateInit(&spdy->inflate) == Z_OK);
    // Stored, not compressed: our blocks are empty, and a small window keeps a connection small.
    ASSERT(deflateInit2(&spdy->deflate, Z_NO_COMPRESSION, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY) == Z_OK);
    ASSERT(deflateSetDictionary(&spdy->deflate, dictionary, DICTIONARY_SIZE) == Z_OK);
}

void spdy_done(struct spdy *spdy)
{
    (void)inflateEnd(&spdy->inflate);
    (void)deflateEnd(&spdy->deflate);
    buf_done(&spdy->input);
    buf_done(&spdy->block);
}

// --- reading ---------------------------------------------------------------------------------------

static uint32_t read32(const char *at)
{
    const unsigned char *bytes = (const unsigned char *)at;
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

void spdy_feed(struct spdy *spdy, struct str bytes)
{
    buf_append_str(&spdy->input, bytes);
}

// The block into spdy->block. False: no zlib stream of ours, or too large.
static bool inflate_block(struct spdy *spdy, struct str bytes)
{
    unsigned char dictionary[DICTIONARY_SIZE];
    z_stream *stream = &spdy->inflate;
    union { // zlib's input pointer is not const for historical reasons only
        const char *in;
        Bytef *out;
    } input = {.in = bytes.data};
    stream->next_in = input.out;
    stream->avail_in = (uInt)bytes.size;
    buf_reset(&spdy->block);
    while (spdy->block.size <= SPDY_HEADER_BLOCK_MAX) {
        size_t room = 4096;
        stream->next_out = (Bytef *)buf_reserve(&spdy->block, room);
        stream->avail_out = (uInt)room;
        int result = inflate(stream, Z_SYNC_FLUSH);
        buf_commit(&spdy->block, room - stream->avail_out);
        if (result == Z_NEED_DICT) {
            make_dictionary(dictionary);
            if (inflateSetDictionary(stream, dictionary, DICTIONARY_SIZE) != Z_OK) {
                return false;
            }
        } else if (result == Z_BUF_ERROR || (result == Z_OK && stream->avail_in == 0 && stream->avail_out > 0)) {
            return stream->avail_in == 0 && spdy->block.size <= SPDY_HEADER_BLOCK_MAX;
        } else if (result != Z_OK) {
            return false;
        }
    }
    return false;
}

// Takes a length and that many bytes from the front of *rest.
static bool take_text(struct str *rest, struct str *ret_text)
{
    if (rest->size < 4) {
        return false;
    }
    uint32_t size = read32(rest->data);
    if (size > rest->size - 4) {
        return false;
    }
    *ret_text = str_sub(*rest, 4, size);
    *rest = str_from(*rest, 4 + (size_t)size);
    return true;
}

static bool read_headers(struct spdy *spdy, struct str bytes, struct spdy_event *event)
{
    if (!inflate_block(spdy, bytes)) {
        return false;
    }
    struct str rest = buf_view(&spdy->block);
    if (rest.size < 4) {
        return false;
    }
    uint32_t count = read32(rest.data);
    rest = str_from(rest, 4);
    if (count > SPDY_HEADERS_MAX) {
        return false;
    }
    for (event->header_count = 0; event->header_count < count; event->header_count++) {
        struct spdy_header *header = &event->headers[event->header_count];
        if (!take_text(&rest, &header->name) || !take_text(&rest, &header->value)) {
            return false;
        }
    }
    return rest.size == 0;
}

// MORE: a frame that says nothing to us.
static enum spdy_read read_control(struct spdy *spdy, const char *head, struct str payload, struct spdy_event *event)
{
    unsigned type = (unsigned)(read32(head) & 0xffff);
    size_t fixed = type == FRAME_SYN_STREAM ? SYN_STREAM_FIXED : 4;
    bool is_needed = type == FRAME_SYN_STREAM || type == FRAME_RST_STREAM || type == FRAME_PING || type == FRAME_SYN_REPLY ||
                     type == FRAME_HEADERS;
    if ((read32(head) >> 16) != 0x8003 || (is_needed && payload.size < fixed)) {
        return SPDY_READ_BAD;
    }
    event->stream = payload.size >= 4 ? read32(payload.data) & 0x7fffffff : 0;
    switch (type) {
    case FRAME_SYN_STREAM:
        event->type = SPDY_OPEN;
        event->is_end = ((unsigned char)head[4] & FLAG_END) != 0;
        return event->stream != 0 && read_headers(spdy, str_from(payload, fixed), event) ? SPDY_READ_EVENT : SPDY_READ_BAD;
    case FRAME_RST_STREAM:
        event->type = SPDY_RESET;
        return SPDY_READ_EVENT;
    case FRAME_PING:
        event->type = SPDY_PING;
        event->stream = read32(payload.data);
        return SPDY_READ_EVENT;
    case FRAME_GOAWAY:
        event->type = SPDY_GOAWAY;
        return SPDY_READ_EVENT;
    case FRAME_SYN_REPLY:
    case FRAME_HEADERS: // of no interest, but they move the compression context on
        return read_headers(spdy, str_from(payload, fixed), event) ? SPDY_READ_MORE : SPDY_READ_BAD;
    default: // SETTINGS, WINDOW_UPDATE and what we do not know
        return SPDY_READ_MORE;
    }
}

enum spdy_read spdy_next(struct spdy *spdy, struct spdy_event *ret_event)
{
    for (;;) {
        buf_consume(&spdy->input, spdy->used);
        spdy->used = 0;
        struct str input = buf_view(&spdy->input);
        if (input.size < HEAD_SIZE) {
            return SPDY_READ_MORE;
        }
        uint32_t size = read32(input.data + 4) & 0xffffff;
        if (size > SPDY_FRAME_MAX) {
            return SPDY_READ_BAD;
        }
        if (input.size < HEAD_SIZE + size) {
            return SPDY_READ_MORE;
        }
        struct str payload = str_sub(input, HEAD_SIZE, size);
        spdy->used = HEAD_SIZE + size;
        ret_event->header_count = 0;
        ret_event->bytes = STR_EMPTY;
        ret_event->is_end = false;
        if ((read32(input.data) & 0x80000000u) != 0) {
            enum spdy_read result = read_control(spdy, input.data, payload, ret_event);
            if (result == SPDY_READ_MORE) {
                continue;
            }
            return result;
        }
        ret_event->type = SPDY_DATA;
        ret_event->stream = read32(input.data);
        ret_event->is_end = ((unsigned char)input.data[4] & FLAG_END) != 0;
        ret_event->bytes = payload;
        return SPDY_READ_EVENT;
    }
}

struct str spdy_header(const struct spdy_event *event, struct str name)
{
    for (size_t i = 0; i < event->header_count; i++) {
        if (str_equal(event->headers[i].name, name)) {
            return event->headers[i].value;
        }
    }
    return (struct str){0};
}

// --- writing ---------------------------------------------------------------------------------------

static void write32(struct buf *out, uint32_t value)
{
    const char bytes[4] = {(char)(value >> 24), (char)(value >> 16), (char)(value >> 8), (char)value};
    buf_append(out, bytes, sizeof(bytes));
}

static void write_control(struct buf *out, enum frame_type type, size_t size)
{
    write32(out, 0x80030000u | (unsigned)type);
    write32(out, (uint32_t)size);
}

void spdy_write_reply(struct spdy *spdy, struct buf *out, uint32_t stream)
{
    unsigned char none[4] = {0}; // a count of no headers
    unsigned char block[64];
    z_stream *deflating = &spdy->deflate;
    deflating->next_in = none;
    deflating->avail_in = sizeof(none);
    deflating->next_out = block;
    deflating->avail_out = sizeof(block);
    ASSERT(deflate(deflating, Z_SYNC_FLUSH) == Z_OK);
    ASSERT(deflating->avail_in == 0 && deflating->avail_out > 0);
    size_t size = sizeof(block) - deflating->avail_out;
    write_control(out, FRAME_SYN_REPLY, 4 + size);
    write32(out, stream);
    buf_append(out, block, size);
}

void spdy_write_data(struct buf *out, uint32_t stream, struct str bytes, bool is_end)
{
    do {
        struct str part = str_sub(bytes, 0, SPDY_FRAME_MAX);
        bytes = str_from(bytes, part.size);
        write32(out, stream);
        write32(out, (is_end && bytes.size == 0 ? FLAG_END << 24 : 0) | (uint32_t)part.size);
        buf_append_str(out, part);
    } while (bytes.size > 0);
}

void spdy_write_ping(struct buf *out, uint32_t id)
{
    write_control(out, FRAME_PING, 4);
    write32(out, id);
}

void spdy_write_reset(struct buf *out, uint32_t stream, uint32_t code)
{
    write_control(out, FRAME_RST_STREAM, 8);
    write32(out, stream);
    write32(out, code);
}
