// SPDX-License-Identifier: Apache-2.0
//
// config: mesh-wide settings (key `mesh` of ConfigMap istio), with Istio's defaults. Fields that are
// not in force yet are read over: the ConfigMap itself keeps them.
#ifndef MESH_CONFIG_H
#define MESH_CONFIG_H

#include "base/arena.h"
#include "base/error.h"
#include "codec/json/json.h"

struct mesh_config {
    struct str trust_domain;      // "cluster.local"
    struct str domain;            // suffix of service names, "cluster.local"
    struct str root_namespace;    // "istio-system"
    struct str access_log_file;   // empty: no access log
    struct str mesh_id;           // defaultConfig.meshId; may be empty
    struct str discovery_address; // defaultConfig.discoveryAddress
    uint32_t connect_timeout_s;
    bool auto_mtls;
    bool registry_only; // outboundTrafficPolicy.mode REGISTRY_ONLY
};

// json may be NULL: defaults. Strings are copied into the arena. domain is the --domain flag.
enum err mesh_config_from_json(struct arena *arena, const struct json_value *json, struct str domain,
                               struct mesh_config *ret_config, struct error *err) must_check;

#endif
