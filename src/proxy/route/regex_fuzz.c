// SPDX-License-Identifier: Apache-2.0
//
// Expression, newline, text: compiled, matched and replaced within its limits.
#include "base/memory.h"
#include "proxy/route/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rule_memory memory = {0};
    struct error err = {0};
    struct str text = str_make((const char *)data, size);
    struct str pattern = str_split(&text, '\n');
    text = text.data == NULL ? STR_EMPTY : text;
    const struct regex *full = regex_compile(&memory, pattern, REGEX_FULL, &err);
    const struct regex *search = regex_compile(&memory, pattern, REGEX_SEARCH, &err);
    if (full != NULL) {
        (void)regex_match_full(full, text);
    }
    if (search != NULL) {
        (void)regex_replace_all(search, text, STR("<\\0>"), &memory.arena);
    }
    rule_memory_done(&memory);
    return 0;
}
