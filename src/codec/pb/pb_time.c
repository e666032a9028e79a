// SPDX-License-Identifier: Apache-2.0
//
// Duration and Timestamp as the proto3 JSON mapping writes them: "1.500s", "2026-01-02T03:04:05Z".
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "codec/pb/pb_internal.h"

#define DURATION_SECONDS_MAX 315576000000 // google/protobuf/duration.proto: 10 000 years

// ".5" → 500 000 000; *text advances behind the digits. No fraction is 0.
static bool parse_fraction(struct str *text, int32_t *ret_nanos)
{
    int32_t nanos = 0;
    if (text->size == 0 || text->data[0] != '.') {
        *ret_nanos = 0;
        return true;
    }
    size_t digits = 0;
    int32_t unit = 100000000;
    for (size_t i = 1; i < text->size && text->data[i] >= '0' && text->data[i] <= '9'; i++, digits++) {
        nanos += (text->data[i] - '0') * unit;
        unit /= 10;
    }
    if (digits == 0 || digits > 9) {
        return false;
    }
    *text = str_from(*text, digits + 1);
    *ret_nanos = nanos;
    return true;
}

static size_t count_digits(struct str text)
{
    size_t count = 0;
    while (count < text.size && text.data[count] >= '0' && text.data[count] <= '9') {
        count++;
    }
    return count;
}

bool pb_duration_parse(struct str text, int64_t *ret_seconds, int32_t *ret_nanos)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    struct str rest = negative ? str_from(text, 1) : text;
    size_t digits = count_digits(rest);
    int64_t seconds;
    int32_t nanos;
    if (!str_to_i64(str_sub(rest, 0, digits), &seconds) || seconds > DURATION_SECONDS_MAX) {
        return false;
    }
    rest = str_from(rest, digits);
    if (!parse_fraction(&rest, &nanos) || !str_equal_c(rest, "s")) {
        return false;
    }
    *ret_seconds = negative ? -seconds : seconds;
    *ret_nanos = negative ? -nanos : nanos;
    return true;
}

// Unit by its name, in nanoseconds; longer names first where one begins with the other.
static const struct {
    const char *name;
    uint64_t nanos;
} go_units[] = {
    {"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"m", 60000000000}, {"h", 3600000000000},
};

static bool take_go_unit(struct str *rest, uint64_t *ret_nanos)
{
    for (size_t i = 0; i < array_count(go_units); i++) {
        if (str_starts_with(*rest, str_of(go_units[i].name))) {
            *rest = str_from(*rest, strlen(go_units[i].name));
            *ret_nanos = go_units[i].nanos;
            return true;
        }
    }
    return false;
}

bool pb_go_duration_parse(struct str text, int64_t *ret_seconds, int32_t *ret_nanos)
{
    struct str rest = text;
    uint64_t total = 0; // nanoseconds; a hundred years fit
    if (str_is_empty(text)) {
        return false;
    }
    while (!str_is_empty(rest)) {
        size_t digits = count_digits(rest);
        uint64_t whole;
        uint64_t unit;
        int32_t fraction; // billionths
        if (digits == 0 || digits > 15 || !str_to_u64(str_sub(rest, 0, digits), &whole)) {
            return false;
        }
        rest = str_from(rest, digits);
        if (!parse_fraction(&rest, &fraction) || !take_go_unit(&rest, &unit)) {
            return false;
        }
        uint64_t part;
        if (__builtin_mul_overflow(whole, unit, &part) ||
            __builtin_add_overflow(part, unit / 1000 * (uint64_t)fraction / 1000000, &part) ||
            __builtin_add_overflow(total, part, &total) || total > INT64_MAX) {
            return false;
        }
    }
    *ret_seconds = (int64_t)(total / 1000000000);
    *ret_nanos = (int32_t)(total % 1000000000);
    return true;
}

// Zero, three, six or nine digits, as few as hold the value.
static struct str format_fraction(struct arena *arena, int32_t nanos)
{
    if (nanos == 0) {
        return STR_EMPTY;
    }
    if (nanos % 1000000 == 0) {
        return arena_format(arena, ".%03d", nanos / 1000000);
    }
    return nanos % 1000 == 0 ? arena_format(arena, ".%06d", nanos / 1000) : arena_format(arena, ".%09d", nanos);
}

struct str pb_duration_format(struct arena *arena, int64_t seconds, int32_t nanos)
{
    bool negative = seconds < 0 || nanos < 0;
    uint64_t whole = seconds < 0 ? 0 - (uint64_t)seconds : (uint64_t)seconds;
    // Nanos beyond a second are malformed; they are shown reduced rather than trusted.
    int32_t part = nanos % 1000000000;
    struct str fraction = format_fraction(arena, part < 0 ? -part : part);
    return arena_format(arena, "%s%llu%.*ss", negative ? "-" : "", (unsigned long long)whole, STR_ARG(fraction));
}

// Days since 1970-01-01 of a date in the proleptic Gregorian calendar: years start in March, so that the
// leap day is the last one.
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static void date_of(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
    int64_t shifted = days + 719468; // days since 0000-03-01; timestamps start in year 1
    int64_t era = shifted / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_index = (5 * day_of_year + 2) / 153;
    *ret_day = (int)(day_of_year - (153 * month_index + 2) / 5 + 1);
    *ret_month = (int)(month_index < 10 ? month_index + 3 : month_index - 9);
    *ret_year = (int)(year_of_era + era * 400 + (*ret_month <= 2 ? 1 : 0));
}

// Fixed-width number at *text, followed by `after` unless that is NUL; advances.
static bool take_number(struct str *text, size_t width, char after, int64_t low, int64_t high, int64_t *ret_value)
{
    size_t size = width + (after != '\0' ? 1 : 0);
    if (text->size < size || count_digits(str_sub(*text, 0, width)) != width || !str_to_i64(str_sub(*text, 0, width), ret_value)) {
        return false;
    }
    if ((after != '\0' && text->data[width] != after) || *ret_value < low || *ret_value > high) {
        return false;
    }
    *text = str_from(*text, size);
    return true;
}

static bool parse_offset(struct str rest, int64_t *ret_seconds)
{
    if (str_equal_c(rest, "Z")) {
        *ret_seconds = 0;
        return true;
    }
    int64_t hours;
    int64_t minutes;
    if (rest.size != 6 || (rest.data[0] != '+' && rest.data[0] != '-')) {
        return false;
    }
    bool negative = rest.data[0] == '-';
    rest = str_from(rest, 1);
    if (!take_number(&rest, 2, ':', 0, 23, &hours) || !take_number(&rest, 2, '\0', 0, 59, &minutes)) {
        return false;
    }
    *ret_seconds = (negative ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

bool pb_timestamp_parse(struct str text, int64_t *ret_seconds, int32_t *ret_nanos)
{
    int64_t year;
    int64_t month;
    int64_t day;
    int64_t hour;
    int64_t minute;
    int64_t second;
    int64_t offset;
    int32_t nanos;
    if (!take_number(&text, 4, '-', 1, 9999, &year) || !take_number(&text, 2, '-', 1, 12, &month) ||
        !take_number(&text, 2, 'T', 1, 31, &day) || !take_number(&text, 2, ':', 0, 23, &hour) ||
        !take_number(&text, 2, ':', 0, 59, &minute) || !take_number(&text, 2, '\0', 0, 59, &second) ||
        !parse_fraction(&text, &nanos) || !parse_offset(text, &offset)) {
        return false;
    }
    *ret_seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    *ret_nanos = nanos;
    return true;
}

struct str pb_timestamp_format(struct arena *arena, int64_t seconds, int32_t nanos)
{
    if (seconds < -62135596800 || seconds > 253402300799 || nanos < 0 || nanos > 999999999) {
        return STR("0001-01-01T00:00:00Z"); // outside what the type may hold
    }
    int64_t days = (seconds - (((seconds % 86400) + 86400) % 86400)) / 86400;
    int64_t of_day = seconds - days * 86400;
    int year;
    int month;
    int day;
    date_of(days, &year, &month, &day);
    struct str fraction = format_fraction(arena, nanos);
    return arena_format(arena, "%04d-%02d-%02dT%02d:%02d:%02d%.*sZ", year, month, day, (int)(of_day / 3600),
                        (int)(of_day / 60 % 60), (int)(of_day % 60), STR_ARG(fraction));
}
