// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/log_filter.h"

#include "kube/timestamp.h"

void log_filter_done(struct log_filter *filter)
{
    buf_done(&filter->entry);
}

bool log_filter_is_full(const struct log_filter *filter)
{
    return filter->has_limit && filter->limit_bytes == 0;
}

static void show(struct log_filter *filter, struct str bytes, struct buf *out)
{
    if (filter->has_limit) {
        bytes = str_sub(bytes, 0, filter->limit_bytes < bytes.size ? (size_t)filter->limit_bytes : bytes.size);
        filter->limit_bytes -= bytes.size;
    }
    buf_append_str(out, bytes);
}

static bool is_wanted(const struct log_filter *filter, struct str time, struct str stream)
{
    uint64_t when;
    if (filter->stream != NULL && !str_equal_c(stream, filter->stream)) {
        return false;
    }
    return filter->since_ms == 0 || !timestamp_parse(time, &when) || when >= filter->since_ms;
}

// One entry without its newline.
static void take_entry(struct log_filter *filter, struct str entry, struct buf *out)
{
    struct str rest = entry;
    struct str time = str_split(&rest, ' ');
    struct str stream = str_split(&rest, ' ');
    struct str tag = str_split(&rest, ' ');
    bool begins = !filter->is_in_line;
    filter->is_in_line = str_equal(tag, STR("P"));
    if (filter->skip_lines > 0) {
        filter->skip_lines -= filter->is_in_line ? 0 : 1;
        return;
    }
    if (rest.data == NULL || !is_wanted(filter, time, stream)) {
        return;
    }
    if (filter->timestamps && begins) {
        show(filter, time, out);
        show(filter, STR(" "), out);
    }
    show(filter, rest, out);
    if (!filter->is_in_line) {
        show(filter, STR("\n"), out);
    }
}

void log_filter_feed(struct log_filter *filter, struct str bytes, struct buf *out)
{
    while (bytes.size > 0) {
        ptrdiff_t end = str_find_char(bytes, '\n');
        struct str piece = end < 0 ? bytes : str_sub(bytes, 0, (size_t)end);
        bytes = end < 0 ? STR_EMPTY : str_from(bytes, (size_t)end + 1);
        if (filter->entry.size + piece.size > LOG_ENTRY_MAX) {
            filter->is_dropping = true;
        }
        if (end >= 0 && filter->entry.size == 0 && !filter->is_dropping) {
            take_entry(filter, piece, out); // the usual case: nothing to put together
            continue;
        }
        if (!filter->is_dropping) {
            buf_append_str(&filter->entry, piece);
        }
        if (end >= 0) {
            if (!filter->is_dropping) {
                take_entry(filter, buf_view(&filter->entry), out);
            }
            filter->is_dropping = false;
            buf_reset(&filter->entry);
        }
    }
}

uint64_t log_lines(struct log_line_counter *counter, struct str bytes)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        char c = bytes.data[i];
        if (c == '\n') {
            lines += counter->is_part ? 0 : 1;
            *counter = (struct log_line_counter){0};
        } else if (counter->blanks == 2) {
            counter->is_part = counter->is_part || c == 'P';
            counter->blanks += c == ' ' ? 1 : 0;
        } else if (counter->blanks < 2) {
            counter->blanks += c == ' ' ? 1 : 0;
        }
    }
    return lines;
}
