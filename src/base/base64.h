// SPDX-License-Identifier: Apache-2.0
//
// Base64, RFC 4648 section 4 (padded), as Kubernetes secrets, kubeconfigs and JSON bytes use it.
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/str.h"

struct str base64_encode(struct arena *arena, struct str bytes);

// Accepts the URL alphabet and missing padding as well; line breaks and blanks are skipped. False (ret
// untouched) on any other byte. The result is NUL-terminated behind its size.
bool base64_decode(struct arena *arena, struct str text, struct str *ret_bytes);

#endif
