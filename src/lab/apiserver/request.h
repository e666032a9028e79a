// SPDX-License-Identifier: Apache-2.0
//
// request: one HTTP request from its head to its answer. Only this folder includes it.
//
// A request lives while its exchange is open or work for it is under way (request_hold); all its memory
// is one arena. When the client goes away early, exchange becomes NULL and answers are dropped, but a
// write that was begun is finished.
#ifndef LAB_APISERVER_REQUEST_H
#define LAB_APISERVER_REQUEST_H

#include "base/list.h"
#include "lab/apiserver/apiserver_internal.h"
#include "lab/apiserver/failure.h"
#include "lab/apiserver/hooks.h"
#include "lab/apiserver/kinds.h"
#include "lab/apiserver/request_path.h"
#include "lab/apiserver/selector.h"
#include "net/http.h"

#define REQUEST_BODY_MAX (3u * 1024 * 1024) // above: 413
#define REQUEST_WARNINGS_MAX 16u
#define REQUEST_PATCH_ATTEMPTS_MAX 5u

enum request_verb {
    VERB_GET, VERB_LIST, VERB_WATCH, VERB_CREATE, VERB_UPDATE, VERB_PATCH, VERB_DELETE, VERB_DELETECOLLECTION,
};
const char *request_verb_name(enum request_verb verb);

// What the client wants to read, from Accept.
enum response_form { FORM_OBJECT, FORM_TABLE, FORM_METADATA };

// A write on its way (write.c): its new and old state, and what step comes next.
struct write {
    bool is_create;
    bool dry_run;
    unsigned attempts;
    int status;                    // of the answer when it succeeds
    struct str name;               // may be generated
    struct json_value *object;     // new state, in the request's arena
    const struct json_value *old;  // of base
    struct store_value *base;      // what it was made from; a reference; NULL on create
    const struct json_value *body; // as the client sent it
    bool has_precondition;         // the client named a resourceVersion
    bool is_system;                // binding, finalize: no built-in admission, no immutable fields
    bool (*make)(struct request *request); // makes object from body and old
    void (*respond)(struct request *request); // NULL: the object
};

struct request {
    struct list node; // of server->requests
    struct apiserver *server;
    struct http_exchange *exchange; // NULL: closed
    struct arena arena;
    unsigned holds;
    bool is_answered;
    bool is_body_too_large;
    struct str method;
    struct str content_type;
    struct str accept;
    struct str authorization;
    struct str impersonate_user; // data NULL: the client asks as itself
    struct str impersonate_groups[USER_GROUPS_MAX];
    size_t impersonate_group_count;
    struct buf body;
    struct request_path path;
    struct user user;
    enum request_verb verb;
    enum response_form form;
    struct kind *kind; // a reference; NULL: not a resource
    struct failure failure;
    struct str warnings[REQUEST_WARNINGS_MAX];
    size_t warning_count;
    struct write write;
    struct webhook_run *webhook_run; // while webhooks are asked
    struct watch_stream *watch;      // once it streams
    const struct http_head *upgrade; // the whole head when another protocol is asked for; else NULL
    const struct http_events *taken; // who has taken the exchange over; NULL: nobody
    void *taken_owner;
};

void request_hold(struct request *request);
void request_release(struct request *request); // may free it
// Data, drained and close of the exchange are the owner's from now on. on_close comes once, before the
// request is released.
void request_take_over(struct request *request, const struct http_events *events, void *owner);

// --- answers: exactly one per request, dropped when the client has gone --------------------------------

void request_respond(struct request *request, int status, struct str content_type, struct str body);
void request_respond_json(struct request *request, int status, const struct json_value *value);
void request_fail(struct request *request); // with request->failure
// One object in the form asked for (object, table, metadata).
void request_respond_object(struct request *request, int status, const struct json_value *object);
void request_warn(struct request *request, const char *format, ...) printf_like(2, 3);

// --- steps, one file each ------------------------------------------------------------------------------

void request_run(struct request *request); // route.c: the body is complete

bool authenticate(struct request *request); // authenticate.c; false: failure set
bool authorize(struct request *request);    // authorize.c; false: failure set

void discovery_serve(struct request *request); // discovery.c: /api, /apis and below
void openapi_serve(struct request *request);   // openapi.c
void read_get(struct request *request);        // read.c
void read_list(struct request *request);
void watch_serve(struct request *request);     // watch.c
void watch_stream_free(struct watch_stream *stream);
void watch_stream_end(struct watch_stream *stream); // the client sees a clean end
void watch_stream_drained(struct watch_stream *stream);
void write_create(struct request *request);    // write.c
void write_update(struct request *request);
void write_patch(struct request *request);     // write_patch.c
void write_delete(struct request *request);    // write_delete.c
void write_delete_collection(struct request *request);

// --- shared by the steps -------------------------------------------------------------------------------

// The object a stored value encodes; decoded once, borrowed while the value lives, never changed.
const struct json_value *value_object(struct store_value *value);
// As value_object, with apiVersion of the kind that was asked for.
const struct json_value *value_object_for(struct arena *arena, const struct kind *kind, struct store_value *value);
// Body as a JSON object of the request's kind (or the named kind of a subresource).
bool request_parse_body(struct request *request, struct json_value **ret_object);
const struct json_value *object_metadata(const struct json_value *object);
struct str object_name(const struct json_value *object);

// Selectors of the query, and whether an object is selected.
struct request_selectors {
    struct selector *labels;
    struct selector *fields;
    bool is_empty;
};
bool request_selectors(struct request *request, struct request_selectors *ret_selectors);
// False when the kind has no such field to select by; the error says which.
bool selector_fields_known(const struct kind *kind, const struct selector *selector, struct error *err);
bool request_selects(const struct request_selectors *selectors, const struct json_value *object);

// --- write steps used across files (write.c) -----------------------------------------------------------

// Runs the pipeline for write->object made by write->make from the latest stored state.
void write_begin(struct request *request);
void write_after_mutation(struct request *request);   // webhooks have changed the object
void write_after_validation(struct request *request); // webhooks have agreed
void write_failed(struct request *request);           // with request->failure
bool write_check_dry_run(struct request *request);
// Common beginnings of the write verbs: reads the query; name is the object's.
bool write_prepare(struct request *request, struct str name);
// Makers: write->object from write->body over write->old.
bool write_make_update(struct request *request);
bool write_make_status(struct request *request);
// Makes the object of a write that replaces the stored one: checks names, uid and version.
bool write_check_identity(struct request *request, const struct json_value *object);
// Encodes object with the next revision and writes it; no admission. For the server itself and deletions.
enum err write_store(struct apiserver *server, const struct kind *kind, struct arena *arena,
                     enum store_change change, struct json_value *object, store_done_fn *on_done, void *owner,
                     struct error *err) must_check;

#endif
