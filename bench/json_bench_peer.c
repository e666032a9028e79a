// SPDX-License-Identifier: Apache-2.0
#include "json_bench_peer.h"

#include <json-c/json.h>

void *peer_parse(const char *text, size_t size, int depth_max)
{
    json_tokener *tokener = json_tokener_new_ex(depth_max);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    json_object *object = json_tokener_parse_ex(tokener, text, (int)size);
    json_tokener_free(tokener);
    return object;
}

void peer_free(void *object)
{
    (void)json_object_put(object);
}
