// SPDX-License-Identifier: Apache-2.0
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/assert.h"

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void random_init(struct random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        random->state[i] = splitmix(&seed);
    }
}

void random_init_from_kernel(struct random *random)
{
    uint64_t seed;
    random_bytes(&seed, sizeof(seed));
    random_init(random, seed);
}

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t random_next(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    ASSERT(bound > 0);
    // Rejecting the short last interval keeps the result exactly uniform.
    uint64_t reject_below = (0 - bound) % bound;
    for (;;) {
        uint64_t value = random_next(random);
        if (value >= reject_below) {
            return value % bound;
        }
    }
}

void random_bytes(void *buffer, size_t size)
{
    char *at = buffer;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
}

uint64_t random_process_seed(void)
{
    static uint64_t seed;
    uint64_t value = __atomic_load_n(&seed, __ATOMIC_RELAXED);
    if (__builtin_expect(value != 0, 1)) {
        return value;
    }
    uint64_t fresh;
    random_bytes(&fresh, sizeof(fresh));
    fresh |= 1;
    uint64_t expected = 0;
    if (__atomic_compare_exchange_n(&seed, &expected, fresh, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        return fresh;
    }
    return expected;
}

void random_uuid(char out[static RANDOM_UUID_SIZE])
{
    unsigned char b[16];
    random_bytes(b, sizeof(b));
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    (void)snprintf(out, RANDOM_UUID_SIZE,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
}
