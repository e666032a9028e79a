// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/channels.h"

#include "base/base64.h"
#include "lab/apiserver/request.h"
#include "lab/apiserver/spdy.h"
#include "lab/apiserver/websocket.h"

#define HALF_CLOSE 255 // v5: the byte behind it names the channel that ends

enum protocol_trait {
    PROTOCOL_BASE64 = 1 << 0,     // text messages: an ASCII digit, then base64
    PROTOCOL_STATUS = 1 << 1,     // the error channel carries a Status object, else a sentence
    PROTOCOL_RESIZE = 1 << 2,
    PROTOCOL_HALF_CLOSE = 1 << 3,
};

struct protocol {
    const char *name;
    unsigned traits; // enum protocol_trait
};

// Best first.
static const struct protocol websocket_protocols[] = {
    {"v5.channel.k8s.io", PROTOCOL_STATUS | PROTOCOL_RESIZE | PROTOCOL_HALF_CLOSE},
    {"v4.channel.k8s.io", PROTOCOL_STATUS | PROTOCOL_RESIZE},
    {"v4.base64.channel.k8s.io", PROTOCOL_BASE64 | PROTOCOL_STATUS | PROTOCOL_RESIZE},
    {"channel.k8s.io", PROTOCOL_RESIZE},
    {"base64.channel.k8s.io", PROTOCOL_BASE64 | PROTOCOL_RESIZE},
    {NULL, 0},
};

static const struct protocol spdy_protocols[] = {
    {"v4.channel.k8s.io", PROTOCOL_STATUS | PROTOCOL_RESIZE},
    {"v3.channel.k8s.io", PROTOCOL_RESIZE},
    {"v2.channel.k8s.io", 0},
    {"channel.k8s.io", 0},
    {NULL, 0},
};

static const char *const channel_names[CHANNEL_COUNT] = {
    [CHANNEL_STDIN] = "stdin", [CHANNEL_STDOUT] = "stdout", [CHANNEL_STDERR] = "stderr",
    [CHANNEL_ERROR] = "error", [CHANNEL_RESIZE] = "resize"};

enum channels_state {
    CHANNELS_OPENING, // SPDY: streams are missing
    CHANNELS_OPEN,
    CHANNELS_FINISHED, // we have said all; the client has yet to go
};

struct channels {
    struct request *request;
    const struct channels_events *events;
    void *owner;
    const struct protocol *protocol;
    enum channels_state state;
    unsigned wanted;
    struct loop_timer timer; // opening, then lingering
    bool is_spdy;
    struct websocket_reader websocket;
    struct spdy spdy;
    uint32_t streams[CHANNEL_COUNT]; // SPDY; 0: not open
};

static void send_bytes(struct channels *channels, struct buf *bytes, bool end)
{
    if (channels->request->exchange != NULL) {
        http_send_data(channels->request->exchange, buf_view(bytes), end);
    }
    buf_done(bytes);
}

static void give_up(struct channels *channels)
{
    if (channels->request->exchange != NULL) {
        http_cancel(channels->request->exchange);
    }
}

static void deliver(struct channels *channels, enum channel channel, struct str bytes, bool is_end)
{
    bool is_input = channel == CHANNEL_STDIN || channel == CHANNEL_RESIZE;
    if (channels->state == CHANNELS_FINISHED || !is_input || (channels->wanted & 1u << channel) == 0) {
        return;
    }
    if (bytes.size > 0) {
        channels->events->on_data(channels->owner, channel, bytes);
    }
    if (is_end) {
        channels->events->on_end(channels->owner, channel);
    }
}

// --- WebSocket -------------------------------------------------------------------------------------

static void websocket_deliver(struct channels *channels, struct str payload)
{
    struct arena arena = {0};
    unsigned char first = (unsigned char)payload.data[0];
    unsigned traits = channels->protocol->traits;
    struct str bytes = str_from(payload, 1);
    if ((traits & PROTOCOL_HALF_CLOSE) != 0 && first == HALF_CLOSE && bytes.size > 0) {
        first = (unsigned char)bytes.data[0];
        if (first < CHANNEL_COUNT) {
            deliver(channels, (enum channel)first, STR_EMPTY, true);
        }
        return;
    }
    if ((traits & PROTOCOL_BASE64) != 0) {
        first = (unsigned char)(first - '0');
        if (!base64_decode(&arena, bytes, &bytes)) {
            bytes = STR_EMPTY;
        }
    }
    if (first < CHANNEL_COUNT) {
        deliver(channels, (enum channel)first, bytes, false);
    }
    arena_done(&arena);
}

static void websocket_close(struct channels *channels, enum websocket_close code)
{
    struct buf out = {0};
    websocket_write_close(&out, code);
    send_bytes(channels, &out, true);
    channels->state = CHANNELS_FINISHED;
    loop_timer_start(&channels->timer, CHANNELS_LINGER_MS);
}

static void websocket_read(struct channels *channels, struct str bytes)
{
    enum websocket_opcode opcode;
    enum websocket_close close;
    struct str payload;
    websocket_feed(&channels->websocket, bytes);
    for (;;) {
        enum websocket_read result = websocket_next(&channels->websocket, &opcode, &payload, &close);
        if (result == WEBSOCKET_READ_MORE || channels->state == CHANNELS_FINISHED) {
            return;
        }
        if (result == WEBSOCKET_READ_BAD || opcode == WEBSOCKET_CLOSE) {
            websocket_close(channels, result == WEBSOCKET_READ_BAD ? close : WEBSOCKET_CLOSE_NORMAL);
            return;
        }
        if (opcode == WEBSOCKET_PING) {
            struct buf out = {0};
            websocket_write(&out, WEBSOCKET_PONG, payload);
            send_bytes(channels, &out, false);
        } else if (opcode != WEBSOCKET_PONG && payload.size > 0) {
            websocket_deliver(channels, payload);
        }
    }
}

static void websocket_send(struct channels *channels, struct buf *out, enum channel channel, struct str bytes)
{
    if ((channels->protocol->traits & PROTOCOL_BASE64) != 0) {
        struct arena arena = {0};
        struct str text = base64_encode(&arena, bytes);
        websocket_write_head(out, WEBSOCKET_TEXT, text.size + 1);
        buf_append_char(out, (char)('0' + channel));
        buf_append_str(out, text);
        arena_done(&arena);
        return;
    }
    websocket_write_head(out, WEBSOCKET_BINARY, bytes.size + 1);
    buf_append_char(out, (char)channel);
    buf_append_str(out, bytes);
}

// --- SPDY ------------------------------------------------------------------------------------------

static bool has_all_streams(const struct channels *channels)
{
    for (int i = 0; i < CHANNEL_COUNT; i++) {
        if ((channels->wanted & 1u << i) != 0 && channels->streams[i] == 0) {
            return false;
        }
    }
    return true;
}

static void spdy_open(struct channels *channels, const struct spdy_event *event)
{
    struct buf out = {0};
    struct str name = spdy_header(event, STR("streamtype"));
    int channel = 0;
    while (channel < CHANNEL_COUNT && !str_equal_c(name, channel_names[channel])) {
        channel++;
    }
    if (channel == CHANNEL_COUNT || channels->streams[channel] != 0 || channels->state != CHANNELS_OPENING) {
        spdy_write_reset(&out, event->stream, SPDY_RESET_REFUSED);
        send_bytes(channels, &out, false);
        return;
    }
    channels->streams[channel] = event->stream;
    spdy_write_reply(&channels->spdy, &out, event->stream);
    send_bytes(channels, &out, false);
    if (has_all_streams(channels)) {
        channels->state = CHANNELS_OPEN;
        loop_timer_stop(&channels->timer);
        channels->events->on_ready(channels->owner);
    }
    if (event->is_end) {
        deliver(channels, (enum channel)channel, STR_EMPTY, true);
    }
}

static void spdy_deliver(struct channels *channels, const struct spdy_event *event)
{
    for (int i = 0; i < CHANNEL_COUNT; i++) {
        if (channels->streams[i] == event->stream) {
            deliver(channels, (enum channel)i, event->bytes, event->is_end);
        }
    }
}

static void spdy_read(struct channels *channels, struct str bytes)
{
    struct spdy_event event;
    enum spdy_read result;
    spdy_feed(&channels->spdy, bytes);
    while ((result = spdy_next(&channels->spdy, &event)) == SPDY_READ_EVENT) {
        struct buf out = {0};
        switch (event.type) {
        case SPDY_OPEN:
            spdy_open(channels, &event);
            break;
        case SPDY_DATA:
            spdy_deliver(channels, &event);
            break;
        case SPDY_PING:
            spdy_write_ping(&out, event.stream);
            send_bytes(channels, &out, false);
            break;
        case SPDY_RESET:
        case SPDY_GOAWAY: // the connection's end follows
            break;
        }
    }
    if (result == SPDY_READ_BAD) {
        give_up(channels);
    }
}

// --- the exchange ----------------------------------------------------------------------------------

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    struct channels *channels = owner;
    if (channels->is_spdy) {
        spdy_read(channels, bytes);
    } else {
        websocket_read(channels, bytes);
    }
    if (end) {
        http_cancel(exchange); // nobody is there to read what we would say
    }
}

static void on_drained(void *owner, struct http_exchange *exchange)
{
    struct channels *channels = owner;
    (void)exchange;
    if (channels->state == CHANNELS_OPEN) {
        channels->events->on_drained(channels->owner);
    }
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    struct channels *channels = owner;
    (void)exchange;
    (void)err;
    loop_timer_stop(&channels->timer);
    websocket_done(&channels->websocket);
    if (channels->is_spdy) {
        spdy_done(&channels->spdy);
    }
    channels->events->on_close(channels->owner);
}

static const struct http_events exchange_events = {.on_data = on_data, .on_drained = on_drained, .on_close = on_close};

static void on_timer(struct loop_timer *timer)
{
    give_up(container_of(timer, struct channels, timer));
}

// --- accepting -------------------------------------------------------------------------------------

// The best protocol that the client names in headers of that name, each a list.
static const struct protocol *choose(const struct http_head *head, struct str header, const struct protocol *protocols)
{
    for (; protocols->name != NULL; protocols++) {
        for (size_t i = 0; i < head->header_count; i++) {
            if (!str_equal(head->headers[i].name, header)) {
                continue;
            }
            for (struct str rest = head->headers[i].value; rest.data != NULL;) {
                if (str_equal_c(str_trim(str_split(&rest, ',')), protocols->name)) {
                    return protocols;
                }
            }
        }
    }
    return NULL;
}

static void switch_protocols(struct channels *channels)
{
    struct request *request = channels->request;
    struct http_head head;
    http_head_init_response(&head, 101);
    head.upgrade = channels->is_spdy ? STR("SPDY/3.1") : STR("websocket");
    if (channels->is_spdy) {
        (void)http_head_add(&head, STR("x-stream-protocol-version"), str_of(channels->protocol->name));
    } else {
        struct str key = http_head_get(request->upgrade, STR("sec-websocket-key"));
        (void)http_head_add(&head, STR("sec-websocket-accept"), websocket_accept(&request->arena, key));
        (void)http_head_add(&head, STR("sec-websocket-protocol"), str_of(channels->protocol->name));
    }
    request_take_over(request, &exchange_events, channels);
    http_send_head(request->exchange, &head, false);
}

struct channels *channels_accept(struct request *request, unsigned wanted, const struct channels_events *events, void *owner)
{
    const struct http_head *head = request->upgrade;
    struct channels *channels = arena_new(&request->arena, struct channels);
    bool is_websocket = head != NULL && str_equal_nocase(head->upgrade, STR("websocket")) &&
                        http_head_has(head, STR("sec-websocket-key"));
    channels->is_spdy = head != NULL && str_equal_nocase(head->upgrade, STR("SPDY/3.1"));
    if (!is_websocket && !channels->is_spdy) {
        (void)failure_bad_request(&request->failure, &request->arena, "Upgrade request required");
        return NULL;
    }
    channels->protocol = is_websocket ? choose(head, STR("sec-websocket-protocol"), websocket_protocols)
                                      : choose(head, STR("x-stream-protocol-version"), spdy_protocols);
    if (channels->protocol == NULL) {
        (void)failure_set(&request->failure, &request->arena, 403, "Forbidden",
                          "unable to upgrade: unable to negotiate protocol: the server accepts %s",
                          is_websocket ? "v5.channel.k8s.io and v4.channel.k8s.io" : "v4.channel.k8s.io to channel.k8s.io");
        return NULL;
    }
    channels->request = request;
    channels->events = events;
    channels->owner = owner;
    channels->wanted = wanted | 1u << CHANNEL_ERROR;
    if ((channels->protocol->traits & PROTOCOL_RESIZE) == 0) {
        channels->wanted &= ~(1u << CHANNEL_RESIZE);
    }
    channels->state = channels->is_spdy ? CHANNELS_OPENING : CHANNELS_OPEN;
    loop_timer_init(&channels->timer, request->server->loop, on_timer);
    if (channels->is_spdy) {
        spdy_init(&channels->spdy);
        loop_timer_start(&channels->timer, CHANNELS_OPEN_MS);
    }
    switch_protocols(channels);
    return channels;
}

bool channels_are_ready(const struct channels *channels)
{
    return channels->state == CHANNELS_OPEN;
}

// --- sending ---------------------------------------------------------------------------------------

void channels_send(struct channels *channels, enum channel channel, struct str bytes)
{
    struct buf out = {0};
    if (channels->state != CHANNELS_OPEN || bytes.size == 0 || (channels->wanted & 1u << channel) == 0) {
        return;
    }
    if (channels->is_spdy) {
        spdy_write_data(&out, channels->streams[channel], bytes, false);
    } else {
        websocket_send(channels, &out, channel, bytes);
    }
    send_bytes(channels, &out, false);
}

bool channels_is_congested(const struct channels *channels)
{
    return channels->request->exchange != NULL && http_is_congested(channels->request->exchange);
}

void channels_read(struct channels *channels, bool is_wanted)
{
    if (channels->request->exchange == NULL) {
        return;
    }
    if (is_wanted) {
        http_resume(channels->request->exchange);
    } else {
        http_pause(channels->request->exchange);
    }
}

// Older protocols know a sentence only, and none is success.
static struct str status_text(struct channels *channels, const struct json_value *status)
{
    if ((channels->protocol->traits & PROTOCOL_STATUS) != 0) {
        return json_to_str(&channels->request->arena, status);
    }
    bool is_success = str_equal(json_get_str(status, "status"), STR("Success"));
    return is_success ? STR_EMPTY : json_get_str(status, "message");
}

void channels_finish(struct channels *channels, const struct json_value *status)
{
    struct buf out = {0};
    struct str text = status_text(channels, status);
    if (channels->state != CHANNELS_OPEN) {
        return;
    }
    channels->state = CHANNELS_FINISHED;
    loop_timer_start(&channels->timer, CHANNELS_LINGER_MS);
    channels_read(channels, true);
    if (!channels->is_spdy) {
        if (text.size > 0) {
            websocket_send(channels, &out, CHANNEL_ERROR, text);
        }
        websocket_write_close(&out, WEBSOCKET_CLOSE_NORMAL);
        send_bytes(channels, &out, true);
        return;
    }
    // The client closes: what is still in its queues would be lost if we did.
    static const enum channel outputs[] = {CHANNEL_STDOUT, CHANNEL_STDERR};
    for (size_t i = 0; i < array_count(outputs); i++) {
        if (channels->streams[outputs[i]] != 0) {
            spdy_write_data(&out, channels->streams[outputs[i]], STR_EMPTY, true);
        }
    }
    spdy_write_data(&out, channels->streams[CHANNEL_ERROR], text, true);
    send_bytes(channels, &out, false);
}
