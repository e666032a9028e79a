// SPDX-License-Identifier: Apache-2.0
//
// Randomness. `struct random` is a small seedable generator (xoshiro256**) for balancing, jitter and
// tests: the same seed gives the same sequence. random_bytes() is the kernel's, for identifiers that
// must not be guessed (keys come from OpenSSL).
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state[4];
};

void random_init(struct random *random, uint64_t seed);
void random_init_from_kernel(struct random *random);
uint64_t random_next(struct random *random);
uint64_t random_below(struct random *random, uint64_t bound); // uniform in [0, bound); bound > 0

void random_bytes(void *buffer, size_t size);
uint64_t random_process_seed(void); // constant within a process

#define RANDOM_UUID_SIZE 37 // 36 characters and NUL
void random_uuid(char out[static RANDOM_UUID_SIZE]); // version 4, RFC 9562 section 5.4

#endif
