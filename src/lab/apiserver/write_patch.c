// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/patch.h"
#include "lab/apiserver/request.h"

enum patch_type { PATCH_JSON, PATCH_MERGE, PATCH_STRATEGIC, PATCH_NONE };

static enum patch_type patch_type(struct str content_type)
{
    struct str type = str_trim(str_split(&content_type, ';'));
    return str_equal(type, STR("application/json-patch+json"))              ? PATCH_JSON
           : str_equal(type, STR("application/merge-patch+json"))           ? PATCH_MERGE
           : str_equal(type, STR("application/strategic-merge-patch+json")) ? PATCH_STRATEGIC
                                                                            : PATCH_NONE;
}

static enum err apply(struct request *request, struct json_value **document, struct error *err)
{
    struct arena *arena = &request->arena;
    const struct json_value *patch = request->write.body;
    switch (patch_type(request->content_type)) {
    case PATCH_JSON:
        return json_patch_apply(arena, document, patch, err);
    case PATCH_MERGE:
        *document = merge_patch_apply(arena, *document, patch);
        return ERR_OK;
    case PATCH_STRATEGIC:
        return strategic_patch_apply(arena, request->kind->kind, *document, patch, document, err);
    case PATCH_NONE:
        break;
    }
    return error_set(err, ERR_UNSUPPORTED, "unknown patch type");
}

static bool make_patch(struct request *request)
{
    struct write *write = &request->write;
    struct arena *arena = &request->arena;
    struct json_value *document = json_copy(arena, write->old);
    struct error err = {0};
    enum err code = apply(request, &document, &err);
    if (code == ERR_CONFLICT) {
        return failure_set(&request->failure, arena, 422, "Invalid",
                           "the server rejected our request due to an error in our request: %s", err.message);
    }
    if (code != ERR_OK) {
        return failure_bad_request(&request->failure, arena, "%s", err.message);
    }
    if (!json_is(document, JSON_OBJECT) || !json_is(json_get(document, "metadata"), JSON_OBJECT)) {
        return failure_bad_request(&request->failure, arena, "the patched document is not an object with metadata");
    }
    if (!str_equal(json_get_str(document, "kind"), request->kind->kind) ||
        !str_equal(json_get_str(document, "apiVersion"), request->kind->api_version)) {
        return failure_bad_request(&request->failure, arena, "a patch may not change kind or apiVersion");
    }
    if (!str_equal(object_name(document), write->name)) {
        return failure_bad_request(&request->failure, arena,
                                   "the name of the object (%.*s) does not match the name on the URL (%.*s)",
                                   STR_ARG(object_name(document)), STR_ARG(write->name));
    }
    if (!write_check_identity(request, document)) {
        return false;
    }
    if (str_equal(request->path.subresource, STR("status"))) {
        const struct json_value *body = write->body;
        write->body = document;
        bool made = write_make_status(request);
        write->body = body;
        return made;
    }
    write->object = document;
    return true;
}

// kubectl names the media types it could use instead from this sentence.
static bool check_type(struct request *request)
{
    enum patch_type type = patch_type(request->content_type);
    bool is_custom = kind_has(request->kind, KIND_CUSTOM);
    if (type != PATCH_NONE && !(type == PATCH_STRATEGIC && is_custom)) {
        return true;
    }
    return failure_set(&request->failure, &request->arena, 415, "UnsupportedMediaType",
                       "the body of the request was in an unknown format - accepted media types include: "
                       "application/json-patch+json, application/merge-patch+json%s",
                       is_custom ? "" : ", application/strategic-merge-patch+json");
}

void write_patch(struct request *request)
{
    struct arena *arena = &request->arena;
    struct error err = {0};
    struct json_value *patch;
    if (!write_prepare(request, request->path.name) || !check_type(request)) {
        request_fail(request);
        return;
    }
    if (json_parse(arena, buf_view(&request->body), &patch, &err) != ERR_OK) {
        (void)failure_bad_request(&request->failure, arena, "the patch is not valid JSON: %s", err.message);
        request_fail(request);
        return;
    }
    request->write.body = patch;
    request->write.has_precondition =
        !str_is_empty(json_get_str(json_get(patch, "metadata"), "resourceVersion"));
    request->write.make = make_patch;
    write_begin(request);
}
