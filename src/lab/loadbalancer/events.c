// SPDX-License-Identifier: Apache-2.0
#include "lab/loadbalancer/events.h"

#include "base/random.h"
#include "kube/timestamp.h"

void events_record(struct kube_client *client, const struct json_value *service, const char *source, const char *type,
                   const char *reason, struct str message)
{
    struct arena arena = {0};
    struct json_value *event = json_new_object(&arena);
    const struct json_value *metadata = json_get(service, "metadata");
    struct str name = json_get_str(metadata, "name");
    struct str ns = json_get_str(metadata, "namespace");
    struct str now = timestamp_format(&arena, loop_wall_ms(kube_client_loop(client)));
    uint64_t unique = 0;
    random_bytes(&unique, sizeof(unique));
    json_set_cstr(&arena, event, "apiVersion", "v1");
    json_set_cstr(&arena, event, "kind", "Event");
    struct json_value *own = json_ensure_object(&arena, event, "metadata");
    json_set_str(&arena, own, "name",
                 arena_format(&arena, "%.*s.%016llx", STR_ARG(name), (unsigned long long)unique));
    json_set_str(&arena, own, "namespace", ns);
    struct json_value *about = json_ensure_object(&arena, event, "involvedObject");
    json_set_cstr(&arena, about, "kind", "Service");
    json_set_cstr(&arena, about, "apiVersion", "v1");
    json_set_str(&arena, about, "namespace", ns);
    json_set_str(&arena, about, "name", name);
    json_set_str(&arena, about, "uid", json_get_str(metadata, "uid"));
    json_set_cstr(&arena, event, "type", type);
    json_set_cstr(&arena, event, "reason", reason);
    json_set_str(&arena, event, "message", message);
    json_set_cstr(&arena, json_ensure_object(&arena, event, "source"), "component", source);
    json_set_str(&arena, event, "firstTimestamp", now);
    json_set_str(&arena, event, "lastTimestamp", now);
    json_set_int(&arena, event, "count", 1);
    (void)kube_create(client, &kube_events, ns, event, NULL, NULL);
    arena_done(&arena);
}
