// SPDX-License-Identifier: Apache-2.0
//
// From a complete request to the step that answers it: who asks, what for, may they, in which form.
#include "lab/apiserver/request.h"
#include "lab/apiserver/subresource.h"

// --- form of the answer ----------------------------------------------------------------------------

static bool has_parameter(struct str media, const char *parameter)
{
    for (struct str rest = media; rest.data != NULL;) {
        if (str_equal_c(str_trim(str_split(&rest, ';')), parameter)) {
            return true;
        }
    }
    return false;
}

// The first media type of Accept that we speak. False: none.
static bool choose_form(struct str accept, enum response_form *ret_form)
{
    *ret_form = FORM_OBJECT;
    if (str_is_empty(str_trim(accept))) {
        return true;
    }
    for (struct str rest = accept; rest.data != NULL;) {
        struct str media = str_split(&rest, ',');
        struct str after = media;
        struct str type = str_trim(str_split(&after, ';'));
        if (!str_equal(type, STR("application/json")) && !str_equal(type, STR("*/*")) &&
            !str_equal(type, STR("application/*"))) {
            continue;
        }
        if (has_parameter(media, "as=Table")) {
            *ret_form = FORM_TABLE;
        } else if (has_parameter(media, "as=PartialObjectMetadata") ||
                   has_parameter(media, "as=PartialObjectMetadataList")) {
            *ret_form = FORM_METADATA;
        } else if (str_find(media, STR(";as=")) >= 0 || has_parameter(media, "stream=watch")) {
            continue;
        }
        return true;
    }
    return false;
}

// --- what is neither object nor discovery ------------------------------------------------------------

static void serve_version(struct request *request)
{
    static const char *const fields[][2] = {
        {"major", "1"},
        {"minor", "27"},
        {"gitVersion", "v1.27.3"},
        {"gitCommit", "25b4e43193bcda6c7328a6d147b1fb73a33f1598"},
        {"gitTreeState", "clean"},
        {"buildDate", "2023-06-14T22:02:13Z"},
        {"goVersion", "go1.20.5"},
        {"compiler", "gc"},
        {"platform", "linux/amd64"},
    };
    struct json_value *version = json_new_object(&request->arena);
    for (size_t i = 0; i < array_count(fields); i++) {
        json_set_cstr(&request->arena, version, fields[i][0], fields[i][1]);
    }
    request_respond_json(request, 200, version);
}

static void serve_health(struct request *request)
{
    struct str path = request->path.path;
    ptrdiff_t slash = str_find_char(str_from(path, 1), '/');
    struct str check = slash < 0 ? STR_EMPTY : str_from(path, (size_t)slash + 2);
    if (!str_is_empty(check) && !str_equal(check, STR("ping"))) {
        request_respond(request, 404, STR("text/plain; charset=utf-8"), STR("404 page not found\n"));
        return;
    }
    bool verbose = request_parameter(&request->path, "verbose").data != NULL;
    struct str name = str_from(path, 1);
    struct str text = verbose ? arena_format(&request->arena, "[+]ping ok\n%.*s check passed\n", STR_ARG(name))
                              : STR("ok");
    request_respond(request, 200, STR("text/plain; charset=utf-8"), text);
}

static void serve_not_found(struct request *request)
{
    request_respond(request, 404, STR("text/plain; charset=utf-8"), STR("404 page not found\n"));
}

static const struct {
    const char *prefix; // whole, or followed by a slash
    void (*serve)(struct request *request);
} plain_routes[] = {
    {"/version", serve_version}, {"/healthz", serve_health}, {"/livez", serve_health},
    {"/readyz", serve_health},   {"/api", discovery_serve},  {"/apis", discovery_serve},
    {"/openapi", openapi_serve},
};

static void route_plain(struct request *request)
{
    struct str path = request->path.path;
    for (size_t i = 0; i < array_count(plain_routes); i++) {
        struct str prefix = str_of(plain_routes[i].prefix);
        if (str_starts_with(path, prefix) && (path.size == prefix.size || path.data[prefix.size] == '/')) {
            plain_routes[i].serve(request);
            return;
        }
    }
    if (path.size == 1) {
        static const char *const paths[] = {"/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/readyz", "/version"};
        struct json_value *root = json_new_object(&request->arena);
        struct json_value *list = json_ensure_array(&request->arena, root, "paths");
        for (size_t i = 0; i < array_count(paths); i++) {
            json_push(&request->arena, list, json_new_cstr(&request->arena, paths[i]));
        }
        request_respond_json(request, 200, root);
        return;
    }
    serve_not_found(request);
}

// --- resources -------------------------------------------------------------------------------------

// The verb of a resource request; false: no such method.
static bool choose_verb(struct request *request)
{
    bool is_named = !str_is_empty(request->path.name);
    bool is_watch = request->path.watch_prefix || request_flag(&request->path, "watch");
    static const struct {
        const char *method;
        enum request_verb named;
        enum request_verb collection;
    } verbs[] = {
        {"GET", VERB_GET, VERB_LIST},       {"HEAD", VERB_GET, VERB_LIST},
        {"POST", VERB_CREATE, VERB_CREATE}, {"PUT", VERB_UPDATE, VERB_UPDATE},
        {"PATCH", VERB_PATCH, VERB_PATCH},  {"DELETE", VERB_DELETE, VERB_DELETECOLLECTION},
    };
    for (size_t i = 0; i < array_count(verbs); i++) {
        if (str_equal_c(request->method, verbs[i].method)) {
            request->verb = is_named ? verbs[i].named : verbs[i].collection;
            if (is_watch && verbs[i].named == VERB_GET && str_is_empty(request->path.subresource)) {
                request->verb = VERB_WATCH;
            }
            return true;
        }
    }
    return false;
}

// Namespaced kinds are written in a namespace, others never are in one.
static bool check_scope(struct request *request)
{
    const struct request_path *path = &request->path;
    bool is_namespaced = kind_has(request->kind, KIND_NAMESPACED);
    bool all_namespaces = request->verb == VERB_LIST || request->verb == VERB_WATCH;
    if (!is_namespaced && !str_is_empty(path->ns)) {
        return failure_set(&request->failure, &request->arena, 404, "NotFound",
                           "the server could not find the requested resource");
    }
    if (is_namespaced && str_is_empty(path->ns) && !all_namespaces) {
        return failure_method(&request->failure, &request->arena);
    }
    return true;
}

static void serve_verb(struct request *request)
{
    static void (*const steps[])(struct request *) = {
        [VERB_GET] = read_get,       [VERB_LIST] = read_list,       [VERB_WATCH] = watch_serve,
        [VERB_CREATE] = write_create, [VERB_UPDATE] = write_update, [VERB_PATCH] = write_patch,
        [VERB_DELETE] = write_delete, [VERB_DELETECOLLECTION] = write_delete_collection,
    };
    bool is_named = !str_is_empty(request->path.name);
    bool needs_name = request->verb == VERB_UPDATE || request->verb == VERB_PATCH;
    bool is_review = kind_has(request->kind, KIND_REVIEW);
    if ((needs_name && !is_named) || (request->verb == VERB_CREATE && is_named) ||
        (is_review && request->verb != VERB_CREATE)) {
        (void)failure_method(&request->failure, &request->arena);
        request_fail(request);
        return;
    }
    steps[request->verb](request);
}

static void route_resource(struct request *request)
{
    const struct request_path *path = &request->path;
    struct kind *kind = kind_find(&request->server->kinds, path->group, path->version, path->plural);
    if (kind == NULL) {
        serve_not_found(request);
        return;
    }
    request->kind = kind_ref(kind);
    if (!choose_form(request->accept, &request->form)) {
        (void)failure_set(&request->failure, &request->arena, 406, "NotAcceptable",
                          "only the following media types are accepted: application/json");
        request_fail(request);
        return;
    }
    if (!check_scope(request)) {
        request_fail(request);
    } else if (!str_is_empty(path->subresource)) {
        subresource_serve(request);
    } else {
        serve_verb(request);
    }
}

void request_run(struct request *request)
{
    struct arena *arena = &request->arena;
    if (request->is_body_too_large) {
        (void)failure_set(&request->failure, arena, 413, "RequestEntityTooLarge",
                          "Request entity too large: limit is %u", REQUEST_BODY_MAX);
    } else if (request->failure.code == 0 && !authenticate(request)) {
        // failure is set
    } else if (request->failure.code == 0 && request->path.is_resource && !choose_verb(request)) {
        (void)failure_method(&request->failure, arena);
    } else if (request->failure.code == 0) {
        (void)authorize(request);
    }
    if (request->failure.code != 0) {
        request_fail(request);
    } else if (request->path.is_resource) {
        route_resource(request);
    } else {
        route_plain(request);
    }
}
