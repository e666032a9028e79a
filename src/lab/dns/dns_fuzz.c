// SPDX-License-Identifier: Apache-2.0
//
// A DNS query's bytes, over UDP and over TCP, against a cluster with one service of each kind.
#include <stddef.h>
#include <stdint.h>

#include "lab/dns/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char world[] =
    "[{\"metadata\":{\"namespace\":\"s\",\"name\":\"w\"},\"spec\":{\"clusterIP\":\"10.96.0.7\",\"ports\":[{\"name\":\"h\",\"port\":80}]}},"
    "{\"metadata\":{\"namespace\":\"s\",\"name\":\"d\",\"labels\":{\"kubernetes.io/service-name\":\"d\"}},\"spec\":{\"clusterIP\":\"None\","
    "\"ports\":[{\"name\":\"h\",\"port\":80}]},\"ports\":[{\"name\":\"h\",\"port\":80}],\"endpoints\":[{\"addresses\":[\"10.244.0.5\"]}]}]";

// The second object is a service and a slice at once: each reader sees what it knows.
static const struct json_value *find_service(void *owner, struct str ns, struct str name)
{
    for (size_t i = 0; i < json_count(owner); i++) {
        if (str_equal_c(ns, "s") && str_equal(json_str(json_path(json_at(owner, i), "metadata", "name", NULL)), name)) {
            return json_at(owner, i);
        }
    }
    return NULL;
}

static const struct json_value *each(void *owner, size_t *at)
{
    return json_at(owner, (*at)++);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct json_value *objects = NULL;
    struct buf out = {0};
    if (json_parse(&arena, str_of(world), &objects, NULL) == ERR_OK) {
        struct dns_source source = {.owner = objects, .find_service = find_service, .each_service = each, .each_slice = each};
        (void)dns_message_answer(&source, str_make((const char *)data, size), true, &out);
        buf_reset(&out);
        (void)dns_message_answer(&source, str_make((const char *)data, size), false, &out);
    }
    buf_done(&out);
    arena_done(&arena);
    return 0;
}
