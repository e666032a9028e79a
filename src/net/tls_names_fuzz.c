// SPDX-License-Identifier: Apache-2.0
//
// A peer's certificate in DER, as it looks to the code that reads names from it.
#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "net/tls_names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const unsigned char *at = data;
    X509 *certificate = d2i_X509(NULL, &at, (long)size);
    if (certificate == NULL) {
        return 0;
    }
    static const struct tls_san_matcher matcher = {TLS_SAN_PREFIX, {.data = "spiffe://", .size = 9}};
    struct buf out = {0};
    tls_names_first_uri(certificate, &out);
    for (size_t i = 0; i < out.size; i++) {
        ASSERT((unsigned char)out.data[out.start + i] >= 0x20); // a name never breaks a log line
    }
    tls_names_subject(certificate, &out);
    for (int i = 0; i < 4; i++) {
        (void)tls_names_attribute(certificate, NID_organizationName, i, &out);
    }
    (void)tls_names_match(certificate, &matcher, 1, &out);
    buf_done(&out);
    X509_free(certificate);
    return 0;
}
