// SPDX-License-Identifier: Apache-2.0
//
// A remote secret's kubeconfig is bytes from outside: it names no file, and what is accepted has a server.
#include "kube/config.h"

#include <stdint.h>

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct kube_config config = {0};
    struct error err = {0};
    struct str text = str_make((const char *)data, size);
    if (kube_config_parse(&arena, text, STR_EMPTY, KUBE_CONFIG_REMOTE, &config, &err) == ERR_OK) {
        ASSERT(config.server.size > 0 && config.token_file.size == 0);
    } else {
        ASSERT(err.message[0] != '\0');
    }
    arena_done(&arena);
    return 0;
}
