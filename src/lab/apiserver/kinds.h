// SPDX-License-Identifier: Apache-2.0
//
// kinds: which resources the server has. Built-in ones are rows of one table (kinds.c); custom ones come
// and go with their CustomResourceDefinitions. A kind is one version of one resource; the versions of a
// resource share a bucket of the store.
#ifndef LAB_APISERVER_KINDS_H
#define LAB_APISERVER_KINDS_H

#include "base/map.h"
#include "base/vec.h"
#include "codec/json/json.h"
#include "lab/store/store.h"

enum kind_trait {
    KIND_NAMESPACED = 1 << 0,
    KIND_STATUS = 1 << 1,     // has the status subresource
    KIND_SCALE = 1 << 2,      // has the scale subresource
    KIND_SPEC = 1 << 3,       // has a generation
    KIND_REVIEW = 1 << 4,     // answers POST only, stores nothing
    KIND_FREE_NAME = 1 << 5,  // the name is any path segment (RBAC)
    KIND_LABEL_NAME = 1 << 6, // the name is a DNS label
    KIND_CUSTOM = 1 << 7,     // of a CustomResourceDefinition
    KIND_WEBHOOK_EXEMPT = 1 << 8, // never sent to admission webhooks
};

// A subresource other than status and scale.
struct kind_subresource {
    const char *name;
    const char *group; // of its own kind
    const char *version;
    const char *kind;
    const char *verbs; // comma separated
};

struct kind_hooks;

struct kind {
    uint32_t references; // requests and watches hold one; loop's thread
    struct str group; // "": core
    struct str version;
    struct str plural;
    struct str singular;
    struct str kind;
    struct str list_kind;
    struct str api_version; // "apps/v1" or "v1"
    struct str short_names; // comma separated
    struct str categories;  // comma separated
    unsigned traits;        // enum kind_trait
    const struct kind_hooks *hooks;               // never NULL
    const struct kind_subresource *subresources;  // ends with a NULL name; may be NULL
    struct store_bucket *bucket;                  // NULL: stores nothing
    // Custom kinds:
    struct arena arena;              // of the views above
    struct str definition;           // name of the CustomResourceDefinition
    const struct json_value *crd_version; // versions[] entry, in the arena
    const struct json_value *crd_scale;   // its subresources.scale, or NULL
};

struct kind_set {
    struct store *store;
    VEC(struct kind *) items; // built-in ones first, in the table's order
    struct map by_path;       // "group/version/plural"
    uint64_t generation;      // grows with every change; for discovery caches
};

void kind_set_init(struct kind_set *set, struct store *store);
void kind_set_done(struct kind_set *set);

struct kind *kind_find(const struct kind_set *set, struct str group, struct str version, struct str plural);
// Any version of a resource, the preferred one first; NULL: none.
struct kind *kind_find_resource(const struct kind_set *set, struct str group, struct str plural);
struct kind *kind_find_by_kind(const struct kind_set *set, struct str api_version, struct str kind);

// Makes the served versions of a CustomResourceDefinition appear, replacing earlier ones of that name.
void kind_set_define(struct kind_set *set, const struct json_value *definition);
void kind_set_undefine(struct kind_set *set, struct str definition);

static inline bool kind_has(const struct kind *kind, enum kind_trait trait)
{
    return (kind->traits & (unsigned)trait) != 0;
}

static inline bool kind_is(const struct kind *kind, const char *group, const char *plural)
{
    return str_equal_c(kind->group, group) && str_equal_c(kind->plural, plural);
}

struct kind *kind_ref(struct kind *kind);
void kind_unref(struct kind *kind); // NULL is fine

// Key of an object in its bucket.
struct str kind_key(struct arena *arena, const struct kind *kind, struct str ns, struct str name);

#endif
