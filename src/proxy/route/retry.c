// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "proxy/route/route.h"

// clang-format off
static const struct {
    const char *word;
    unsigned condition;
} words[] = {
    {"5xx",                    RETRY_5XX},
    {"gateway-error",          RETRY_GATEWAY_ERROR},
    {"reset",                  RETRY_RESET},
    {"reset-before-request",   RETRY_RESET_BEFORE_REQUEST},
    {"connect-failure",        RETRY_CONNECT_FAILURE},
    {"refused-stream",         RETRY_REFUSED_STREAM},
    {"retriable-4xx",          RETRY_RETRIABLE_4XX},
    {"retriable-status-codes", RETRY_RETRIABLE_STATUS_CODES},
    {"cancelled",              RETRY_GRPC_CANCELLED},
    {"deadline-exceeded",      RETRY_GRPC_DEADLINE_EXCEEDED},
    {"internal",               RETRY_GRPC_INTERNAL},
    {"resource-exhausted",     RETRY_GRPC_RESOURCE_EXHAUSTED},
    {"unavailable",            RETRY_GRPC_UNAVAILABLE},
};
// clang-format on

unsigned retry_conditions_parse(struct str text)
{
    unsigned conditions = 0;
    while (text.data != NULL && text.size > 0) {
        struct str word = str_trim(str_split(&text, ','));
        for (size_t i = 0; i < array_count(words); i++) {
            if (str_equal_c(word, words[i].word)) {
                conditions |= words[i].condition;
            }
        }
    }
    return conditions;
}
