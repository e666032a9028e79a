// SPDX-License-Identifier: Apache-2.0
#include "kube/timestamp.h"

#include <time.h>

#define FRACTION_DIGITS_MAX 9u

struct str timestamp_format(struct arena *arena, uint64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm parts = {0};
    (void)gmtime_r(&seconds, &parts);
    return arena_format(arena, "%04d-%02d-%02dT%02d:%02d:%02dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                        parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

// Exactly `size` digits at *rest, at most max.
static bool take_number(struct str *rest, size_t size, uint64_t max, int *ret_value)
{
    uint64_t value = 0;
    if (rest->size < size || rest->data[0] == '+' || rest->data[0] == '-' ||
        !str_to_u64(str_sub(*rest, 0, size), &value) || value > max) {
        return false;
    }
    *rest = str_from(*rest, size);
    *ret_value = (int)value;
    return true;
}

static bool take_char(struct str *rest, const char *choices)
{
    if (rest->size == 0 || rest->data[0] == '\0' || strchr(choices, rest->data[0]) == NULL) {
        return false;
    }
    *rest = str_from(*rest, 1);
    return true;
}

static bool take_fraction(struct str *rest, uint64_t *ret_ms)
{
    if (!take_char(rest, ".")) {
        return true;
    }
    size_t digits = 0;
    uint64_t scale = 100;
    while (digits < rest->size && rest->data[digits] >= '0' && rest->data[digits] <= '9') {
        *ret_ms += (uint64_t)(rest->data[digits] - '0') * scale;
        scale /= 10;
        digits++;
    }
    *rest = str_from(*rest, digits);
    return digits > 0 && digits <= FRACTION_DIGITS_MAX;
}

static bool take_offset(struct str *rest, int *ret_seconds)
{
    bool is_west = rest->size > 0 && rest->data[0] == '-';
    if (take_char(rest, "Zz")) {
        return true;
    }
    int hours = 0;
    int minutes = 0;
    if (!take_char(rest, "+-") || !take_number(rest, 2, 23, &hours) || !take_char(rest, ":") ||
        !take_number(rest, 2, 59, &minutes)) {
        return false;
    }
    *ret_seconds = (hours * 3600 + minutes * 60) * (is_west ? -1 : 1);
    return true;
}

bool timestamp_parse(struct str text, uint64_t *ret_unix_ms)
{
    struct tm parts = {0};
    struct str rest = text;
    uint64_t fraction_ms = 0;
    int offset = 0;
    bool is_time = take_number(&rest, 4, 9999, &parts.tm_year) && take_char(&rest, "-") &&
                   take_number(&rest, 2, 12, &parts.tm_mon) && take_char(&rest, "-") &&
                   take_number(&rest, 2, 31, &parts.tm_mday) && take_char(&rest, "Tt") &&
                   take_number(&rest, 2, 23, &parts.tm_hour) && take_char(&rest, ":") &&
                   take_number(&rest, 2, 59, &parts.tm_min) && take_char(&rest, ":") &&
                   take_number(&rest, 2, 60, &parts.tm_sec) && take_fraction(&rest, &fraction_ms) &&
                   take_offset(&rest, &offset) && rest.size == 0;
    if (!is_time || parts.tm_year < 1970 || parts.tm_mon < 1 || parts.tm_mday < 1) {
        return false;
    }
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    int64_t seconds = (int64_t)timegm(&parts) - offset;
    if (seconds < 0) {
        return false;
    }
    *ret_unix_ms = (uint64_t)seconds * 1000 + fraction_ms;
    return true;
}
