// SPDX-License-Identifier: Apache-2.0
//
// plan_test_support: objects from JSON with single quotes, and plans as text. Include "test.h" first.
#ifndef LAB_CONTROLLERS_PLAN_TEST_SUPPORT_H
#define LAB_CONTROLLERS_PLAN_TEST_SUPPORT_H

#include "lab/controllers/meta.h"
#include "lab/controllers/plan.h"

#define TEST_WALL_MS 1767225600000u // 2026-01-01T00:00:00Z

// 'a':1 is "a":1. Text NULL or empty: NULL.
static inline struct json_value *quoted(struct arena *arena, const char *text)
{
    if (text == NULL || *text == '\0') {
        return NULL;
    }
    char *copy = arena_strdup(arena, str_of(text));
    for (char *c = copy; *c != '\0'; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    struct json_value *value = NULL;
    struct error err = {0};
    if (json_parse(arena, str_of(copy), &value, &err) != ERR_OK) {
        fail_msg("%s: %s", copy, err.message);
    }
    return value;
}

// A JSON array of objects as a list.
static inline struct object_list quoted_list(struct arena *arena, const char *text)
{
    struct object_list list = {0};
    const struct json_value *array = quoted(arena, text);
    for (size_t i = 0; i < json_count(array); i++) {
        vec_push(&list, json_at(array, i));
    }
    return list;
}

// Compares the plan's lines with want (single quotes as well) and ends the plan.
static inline void expect_plan(const char *row, struct plan *plan, const char *want)
{
    struct buf got = {0};
    plan_describe(plan, &got);
    for (size_t i = 0; i < got.size; i++) {
        char *c = got.data + got.start + i;
        *c = *c == '"' ? '\'' : *c;
    }
    check_row(row, str_equal_c(buf_view(&got), want), "got\n%.*swant\n%s", STR_ARG(buf_view(&got)), want);
    buf_done(&got);
    plan_done(plan);
}

#endif
