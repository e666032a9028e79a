// SPDX-License-Identifier: Apache-2.0
//
// shadow: a copy of a request, sent to a mirror; its answer is thrown away. It never slows or fails the
// request it copies: a mirror that does not keep up is given up, and counted. Single-threaded.
#ifndef PROXY_FILTER_SHADOW_H
#define PROXY_FILTER_SHADOW_H

#include "proxy/filter/runtime.h"

#define SHADOW_TIMEOUT_DEFAULT_MS 15000u
#define SHADOW_BUFFER_MAX (1024u * 1024) // bytes a mirror may lag behind

struct shadow;

// NULL: no cluster, no host, or its limits are reached. The shadow frees itself when its answer ended;
// before that, on_gone tells the one who feeds it. timeout_ms 0: the default.
struct shadow *shadow_start(struct filter_runtime *runtime, struct str cluster, const struct http_head *head, enum http_protocol protocol,
                            uint64_t timeout_ms, bool end, void (*on_gone)(void *owner, struct shadow *shadow), void *owner);
void shadow_send_data(struct shadow *shadow, struct str bytes, bool end);
void shadow_send_end(struct shadow *shadow); // after data without end
void shadow_leave(struct shadow *shadow);    // the feeder goes: on_gone comes no more; an unfinished request is cancelled

#endif
