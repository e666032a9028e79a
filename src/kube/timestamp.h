// SPDX-License-Identifier: Apache-2.0
//
// timestamp: timestamps as Kubernetes writes them: RFC 3339 in UTC, whole seconds.
#ifndef KUBE_TIMESTAMP_H
#define KUBE_TIMESTAMP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

struct str timestamp_format(struct arena *arena, uint64_t unix_ms); // "2026-01-02T03:04:05Z"
// Reads any RFC 3339 time: fractions and offsets too. False (ret untouched) when it is none.
bool timestamp_parse(struct str text, uint64_t *ret_unix_ms);

#endif
