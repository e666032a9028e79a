// SPDX-License-Identifier: Apache-2.0
//
// log_file: what a container writes, kept line by line in a file of the CRI's format:
//   2026-01-02T03:04:05.678000000Z stdout F text
// F ends a line; P marks a part of one longer than LOG_LINE_MAX. Above LOG_FILE_MAX the file is renamed
// to NAME.1 (replacing the one before) and begun again, so that a container fills no disk.
#ifndef LAB_NODE_LOG_FILE_H
#define LAB_NODE_LOG_FILE_H

#include "base/error.h"
#include "loop/loop.h"

#define LOG_LINE_MAX (16u * 1024)
#define LOG_FILE_MAX (16u * 1024 * 1024)

struct log_file;

// path's folder must exist. NULL and a sentence on failure.
struct log_file *log_file_new(struct loop *loop, const char *path, struct error *err);
// Reads what is still in the pipes first. NULL is fine.
void log_file_free(struct log_file *log);

// The writing ends, for the container's standard output and error; close them with log_file_release()
// once the container has them, so that its end shows.
int log_file_output_fd(const struct log_file *log);
int log_file_error_fd(const struct log_file *log);
void log_file_release(struct log_file *log);

#endif
