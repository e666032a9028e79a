// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/pod_container.h"

#include "base/memory.h"

static const char *const lists[][2] = {{"containers", "containerStatuses"},
                                       {"initContainers", "initContainerStatuses"},
                                       {"ephemeralContainers", "ephemeralContainerStatuses"}};

static const struct json_value *find_named(const struct json_value *list, struct str name)
{
    for (size_t i = 0; i < json_count(list); i++) {
        if (str_equal(json_get_str(json_at(list, i), "name"), name)) {
            return json_at(list, i);
        }
    }
    return NULL;
}

static void append_names(struct buf *text, const struct json_value *list)
{
    buf_append_char(text, '[');
    for (size_t i = 0; i < json_count(list); i++) {
        buf_printf(text, "%s%.*s", i == 0 ? "" : " ", STR_ARG(json_get_str(json_at(list, i), "name")));
    }
    buf_append_char(text, ']');
}

static bool must_choose(struct arena *arena, const struct json_value *pod, struct failure *failure)
{
    const struct json_value *spec = json_get(pod, "spec");
    struct buf text = {0};
    append_names(&text, json_get(spec, "containers"));
    if (json_count(json_get(spec, "initContainers")) > 0) {
        buf_append_str(&text, STR(" or one of the init containers: "));
        append_names(&text, json_get(spec, "initContainers"));
    }
    (void)failure_bad_request(failure, arena, "a container name must be specified for pod %.*s, choose one of: %.*s",
                              STR_ARG(json_get_str(json_get(pod, "metadata"), "name")), STR_ARG(buf_view(&text)));
    buf_done(&text);
    return false;
}

bool pod_container_choose(struct arena *arena, const struct json_value *pod, struct str wanted, struct str *ret_name,
                          struct failure *failure)
{
    const struct json_value *spec = json_get(pod, "spec");
    const struct json_value *containers = json_get(spec, "containers");
    if (str_is_empty(wanted)) {
        if (json_count(containers) != 1) {
            return must_choose(arena, pod, failure);
        }
        *ret_name = json_get_str(json_at(containers, 0), "name");
        return true;
    }
    for (size_t i = 0; i < array_count(lists); i++) {
        if (find_named(json_get(spec, lists[i][0]), wanted) != NULL) {
            *ret_name = wanted;
            return true;
        }
    }
    return failure_bad_request(failure, arena, "container %.*s is not valid for pod %.*s", STR_ARG(wanted),
                               STR_ARG(json_get_str(json_get(pod, "metadata"), "name")));
}

const struct json_value *pod_container_status(const struct json_value *pod, struct str name)
{
    const struct json_value *status = NULL;
    for (size_t i = 0; i < array_count(lists) && status == NULL; i++) {
        status = find_named(json_get(json_get(pod, "status"), lists[i][1]), name);
    }
    return status;
}

struct str pod_container_id(const struct json_value *status)
{
    struct str id = json_get_str(status, "containerID");
    ptrdiff_t at = str_find(id, STR("://"));
    if (json_path(status, "state", "running", NULL) == NULL || at < 0) {
        return (struct str){0};
    }
    return str_from(id, (size_t)at + 3);
}
