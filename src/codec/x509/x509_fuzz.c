// SPDX-License-Identifier: Apache-2.0
//
// All readers of PEM and DER on the same bytes; what is readable is inspected and verified too.
#include <stddef.h>
#include <stdint.h>

#include "codec/x509/x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make((const char *)data, size);
    struct arena arena = {0};
    struct x509_request request;
    if (x509_request_parse(&arena, text, &request, NULL) == ERR_OK) {
        x509_request_done(&request);
    }
    x509_key_free(x509_key_parse(text, NULL));
    struct x509_bundle bundle;
    if (x509_bundle_parse(text, &bundle, NULL) == ERR_OK) {
        struct x509_facts facts;
        x509_certificate_facts(&arena, bundle.items[0], &facts);
        enum err ignored = x509_verify(bundle.items[0], &bundle, &bundle, 1800000000, NULL);
        (void)ignored;
        x509_bundle_done(&bundle);
    }
    x509_certificate_free(x509_certificate_parse_der(text, NULL));
    arena_done(&arena);
    return 0;
}
