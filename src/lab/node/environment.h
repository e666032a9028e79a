// SPDX-License-Identifier: Apache-2.0
//
// environment: the variables of a container: image, then services, then envFrom, then env; later ones win,
// and $(NAME) in env values and in arguments names what came before. Pure.
#ifndef LAB_NODE_ENVIRONMENT_H
#define LAB_NODE_ENVIRONMENT_H

#include "base/map.h"
#include "lab/node/context.h"

#define ENVIRONMENT_VALUE_MAX (1024u * 1024) // of one expanded text

// Fills values (name → struct str * in the arena); the caller does map_done(). ERR_NOT_FOUND names the
// missing object or key (CreateContainerConfigError).
enum err environment_build(struct arena *arena, const struct pod_context *context, const struct json_value *container,
                           const char *image_variable, struct map *values, struct error *err) must_check;

// $(NAME) by its value, $$ by $; unknown names stay as they are.
struct str environment_expand(struct arena *arena, const struct map *values, struct str text);

#endif
