// SPDX-License-Identifier: Apache-2.0
//
// JSON text into a type that reaches most of the reader; what is read must pack, unpack and write.
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "codec/pb/pb.h"
#include "envoy/config/listener/v3/listener.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const ProtobufCMessageDescriptor *type = &envoy__config__listener__v3__listener__descriptor;
    struct arena arena = {0};
    struct json_value *json;
    if (json_parse(&arena, str_make((const char *)data, size), &json, NULL) == ERR_OK) {
        struct error err = {0};
        void *message = pb_from_json(&arena, type, json, PB_JSON_STRICT, &err);
        ASSERT((message == NULL) == (err.code != ERR_OK));
        if (message != NULL) {
            void *again = pb_unpack(&arena, type, pb_pack_str(&arena, message), &err);
            ASSERT(again != NULL || err.code == ERR_LIMIT);
            (void)pb_to_json(&arena, message, PB_JSON_ORIGINAL_NAMES);
        }
        (void)pb_from_json(&arena, &google__protobuf__any__descriptor, json, PB_JSON_IGNORE_UNKNOWN, NULL);
    }
    arena_done(&arena);
    return 0;
}
