// SPDX-License-Identifier: Apache-2.0
//
// authorize: role-based access control over the stored roles and bindings. The group system:masters may
// do everything.
#ifndef LAB_APISERVER_AUTHORIZE_H
#define LAB_APISERVER_AUTHORIZE_H

#include "codec/json/json.h"

struct apiserver;
struct user;

struct attributes {
    struct str verb;
    bool is_resource;
    struct str group;
    struct str resource; // "pods" or "pods/log"
    struct str ns;       // empty: cluster scope or all namespaces
    struct str name;
    struct str path;     // of non-resource requests
};

// *ret_reason (may be NULL): which binding allowed it, in the arena.
bool authorize_allows(struct apiserver *server, struct arena *arena, const struct user *user,
                      const struct attributes *attributes, struct str *ret_reason);
// Every rule that holds for the user in a namespace, as resourceRules and nonResourceRules of status.
void authorize_list_rules(struct apiserver *server, struct arena *arena, const struct user *user, struct str ns,
                          struct json_value *status);

#endif
