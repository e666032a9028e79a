// SPDX-License-Identifier: Apache-2.0
//
// Character classes of RFC 9110 and RFC 9112, one table look-up each.
#ifndef CODEC_HTTP1_HTTP1_INTERNAL_H
#define CODEC_HTTP1_HTTP1_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HTTP1_TOKEN = 1,  // tchar
    HTTP1_VALUE = 2,  // field-vchar, SP, HTAB, obs-text
    HTTP1_TARGET = 4, // visible ASCII without '#': a fragment is never sent
    HTTP1_NAME = 8,   // reg-name of an authority: unreserved, sub-delims, '%'
};

extern const uint8_t http1_class[256];

static inline bool http1_is(char c, uint8_t class)
{
    return (http1_class[(unsigned char)c] & class) != 0;
}

static inline char http1_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

#endif
