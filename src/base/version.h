// SPDX-License-Identifier: Apache-2.0
//
// version: what `--version` prints; number and commit come from the build.
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

extern const char version_number[]; // "0.1.0"
extern const char version_commit[]; // abbreviated commit, "-dirty" behind it when changed; "unknown"

#endif
