// SPDX-License-Identifier: Apache-2.0
//
// The pod templates, as YAML. "${NAME}" inside a string is replaced by a value of the injection; an
// entry of `env` whose value becomes empty is left out.
#ifndef MESH_INJECT_TEMPLATES_H
#define MESH_INJECT_TEMPLATES_H

extern const char inject_template_sidecar[];
extern const char inject_template_gateway[];
extern const char inject_template_proxy[]; // what both share: env, probes, volumes

#endif
