// SPDX-License-Identifier: Apache-2.0
//
// images: image references and what runs for them. A lab has no registry: a table maps the images of the
// article and our own to programs of this machine.
#ifndef LAB_NODE_IMAGES_H
#define LAB_NODE_IMAGES_H

#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

#define IMAGE_PROGRAMS "/isthmesh/bin" // where a container sees our programs

struct image {
    const char *pattern;     // of the repository without registry docker.io and tag; a final * matches any rest
    const char *program;     // entry point; NULL: none
    const char *argument;    // the one default argument; NULL: none
    const char *environment; // one "NAME=VALUE"; NULL: none
    uint32_t uid;            // user when the pod says none
    uint32_t gid;
};

// NULL, ERR_NOT_FOUND and a sentence with the next step when there is no such image.
const struct image *image_find(struct str reference, struct error *err);

#endif
