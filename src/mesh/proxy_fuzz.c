// SPDX-License-Identifier: Apache-2.0
//
// A proxy's node: the id up to the first line feed, then the metadata as JSON.
#include <stdint.h>

#include "mesh/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct str rest = str_make((const char *)data, size);
    struct str id = str_split(&rest, '\n');
    struct json_value *metadata = NULL;
    struct mesh_proxy proxy;
    if (rest.data != NULL && json_parse(&arena, rest, &metadata, NULL) != ERR_OK) {
        metadata = NULL;
    }
    if (mesh_proxy_from_node(&arena, id, metadata, STR("r/z"), &proxy, NULL) == ERR_OK) {
        (void)mesh_proxy_has_address(&proxy, STR("10.0.0.1"));
        (void)mesh_proxy_sees_network(&proxy, STR("network1"));
    }
    arena_done(&arena);
    return 0;
}
