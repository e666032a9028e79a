// SPDX-License-Identifier: Apache-2.0
//
// json_bench_peer: json-c in a file of its own; it and codec/json both have an enum json_type.
#ifndef BENCH_JSON_BENCH_PEER_H
#define BENCH_JSON_BENCH_PEER_H

#include <stddef.h>

void *peer_parse(const char *text, size_t size, int depth_max); // NULL: refused
void peer_free(void *object);

#endif
