// SPDX-License-Identifier: Apache-2.0
//
// log_filter: entries of a container's log file, in the CRI's format, as pods/log shows them:
//   2026-01-02T03:04:05.678000000Z stdout F text      F: ends its line, P: the line goes on in the next entry
// Bytes come in pieces of any size. Pure.
#ifndef LAB_APISERVER_LOG_FILTER_H
#define LAB_APISERVER_LOG_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define LOG_ENTRY_MAX (64u * 1024) // a longer one is no entry of ours: dropped

struct log_filter {
    // What is wanted; zero: everything.
    bool timestamps;
    uint64_t since_ms;   // Unix time of the oldest entry
    uint64_t skip_lines; // from the start: for "the last N lines"
    bool has_limit;
    uint64_t limit_bytes; // left
    const char *stream;   // "stdout" or "stderr" only; NULL: both
    // State.
    struct buf entry; // begun
    bool is_in_line;  // the last entry was a part
    bool is_dropping; // an entry that is too long
};

// Appends what is to be shown.
void log_filter_feed(struct log_filter *filter, struct str bytes, struct buf *out);
bool log_filter_is_full(const struct log_filter *filter); // the limit is reached
// Ends of lines in a piece of a log file; *in_entry carries the state between pieces (zero at first).
struct log_line_counter {
    unsigned blanks;
    bool is_part;
};
uint64_t log_lines(struct log_line_counter *counter, struct str bytes);
void log_filter_done(struct log_filter *filter);

#endif
