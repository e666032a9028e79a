// SPDX-License-Identifier: Apache-2.0
#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

struct str base64_encode(struct arena *arena, struct str bytes)
{
    size_t size = (bytes.size + 2) / 3 * 4;
    char *out = arena_alloc(arena, size + 1);
    const unsigned char *in = (const unsigned char *)bytes.data;
    size_t at = 0;
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t word = (uint32_t)in[i] << 16;
        word |= left > 1 ? (uint32_t)in[i + 1] << 8 : 0;
        word |= left > 2 ? (uint32_t)in[i + 2] : 0;
        out[at++] = alphabet[word >> 18];
        out[at++] = alphabet[word >> 12 & 63];
        out[at++] = left > 1 ? alphabet[word >> 6 & 63] : '=';
        out[at++] = left > 2 ? alphabet[word & 63] : '=';
    }
    out[size] = '\0';
    return str_make(out, size);
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool base64_decode(struct arena *arena, struct str text, struct str *ret_bytes)
{
    char *out = arena_alloc(arena, text.size / 4 * 3 + 4);
    uint32_t word = 0;
    unsigned digits = 0;  // in the current group of four
    unsigned padding = 0;
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (is_blank(c)) {
            continue;
        }
        if (c == '=') {
            padding++;
            continue;
        }
        int value = digit_value(c);
        if (value < 0 || padding > 0) {
            return false;
        }
        word = word << 6 | (uint32_t)value;
        if (++digits == 4) {
            out[size++] = (char)(word >> 16 & 255);
            out[size++] = (char)(word >> 8 & 255);
            out[size++] = (char)(word & 255);
            digits = 0;
            word = 0;
        }
    }
    // Padding completes the last group or is left out; a lone digit holds less than a byte.
    if (digits == 1 || (padding != 0 && (digits == 0 || padding + digits != 4))) {
        return false;
    }
    if (digits >= 2) {
        word <<= 6 * (4 - digits);
        out[size++] = (char)(word >> 16 & 255);
        if (digits == 3) {
            out[size++] = (char)(word >> 8 & 255);
        }
    }
    out[size] = '\0';
    *ret_bytes = str_make(out, size);
    return true;
}
