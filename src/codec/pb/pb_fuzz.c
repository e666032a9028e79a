// SPDX-License-Identifier: Apache-2.0
//
// First byte: which type; the rest: its bytes. What decodes must survive encoding and both JSON directions.
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/memory.h"
#include "codec/pb/pb.h"
#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/listener/v3/listener.pb-c.h"
#include "envoy/config/route/v3/route.pb-c.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &envoy__service__discovery__v3__discovery_request__descriptor,
    &envoy__service__discovery__v3__discovery_response__descriptor,
    &envoy__config__listener__v3__listener__descriptor,
    &envoy__config__cluster__v3__cluster__descriptor,
    &envoy__config__route__v3__route_configuration__descriptor,
    &google__protobuf__any__descriptor,
    &google__protobuf__struct__descriptor,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const ProtobufCMessageDescriptor *type = types[data[0] % array_count(types)];
    struct arena arena = {0};
    void *message = pb_unpack(&arena, type, str_make((const char *)data + 1, size - 1), NULL);
    if (message != NULL) {
        ASSERT(pb_unpack(&arena, type, pb_pack_str(&arena, message), NULL) != NULL);
        struct json_value *json = pb_to_json(&arena, message, PB_JSON_STRICT);
        // An Any of unknown type and values out of range have no way back.
        (void)pb_from_json(&arena, type, json, PB_JSON_STRICT, NULL);
    }
    arena_done(&arena);
    return 0;
}
