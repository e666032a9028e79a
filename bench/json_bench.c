// SPDX-License-Identifier: Apache-2.0
//
// json_bench: our reader beside json-c on the list an informer starts with: 2,000 pods, some 9 MB. Rounds
// alternate; medians of the time to parse and, apart, to free. Why codec/json is our own reader.
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/memory.h"
#include "codec/json/json.h"
#include "json_bench_peer.h"

#define PODS 2000u
#define ROUNDS 21u

static double now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

// A pod with a sidecar, as a real server answers it: managed fields are the larger half.
static void write_pod(struct buf *out, unsigned i)
{
    buf_printf(out,
               "{\"metadata\":{\"name\":\"helloworld-v1-7cccfc756c-%05u\",\"generateName\":\"helloworld-v1-7cccfc756c-\","
               "\"namespace\":\"sample\",\"uid\":\"6f3c1f0e-51a1-4b0b-9b5e-%012u\",\"resourceVersion\":\"%u\","
               "\"creationTimestamp\":\"2026-01-02T03:04:05Z\",\"labels\":{\"app\":\"helloworld\",\"version\":\"v1\","
               "\"security.istio.io/tlsMode\":\"istio\",\"service.istio.io/canonical-name\":\"helloworld\"},"
               "\"annotations\":{\"sidecar.istio.io/status\":\"{\\\"initContainers\\\":[\\\"istio-init\\\"],"
               "\\\"containers\\\":[\\\"istio-proxy\\\"]}\"},\"managedFields\":[",
               i, i, 100000 + i);
    for (unsigned k = 0; k < 24; k++) {
        buf_printf(out, "%s{\"manager\":\"kubelet\",\"operation\":\"Update\",\"fieldsV1\":{\"f:status\":{\"f:conditions\":{"
                        "\"k:{\\\"type\\\":\\\"Ready\\\"}\":{\".\":{},\"f:lastTransitionTime\":{}}}}}}",
                   k == 0 ? "" : ",");
    }
    buf_printf(out, "]},\"spec\":{\"containers\":[");
    for (unsigned k = 0; k < 2; k++) {
        buf_printf(out, "%s{\"name\":\"c%u\",\"image\":\"docker.io/istio/proxyv2:1.20.1\",\"ports\":[{\"containerPort\":%u,"
                        "\"protocol\":\"TCP\"}],\"env\":[{\"name\":\"POD_NAME\",\"valueFrom\":{\"fieldRef\":{\"apiVersion\":"
                        "\"v1\",\"fieldPath\":\"metadata.name\"}}},{\"name\":\"ISTIO_META_CLUSTER_ID\",\"value\":\"cluster1\"}]}",
                   k == 0 ? "" : ",", k, 15000 + k);
    }
    buf_printf(out, "],\"nodeName\":\"cluster1-control-plane\"},\"status\":{\"phase\":\"Running\",\"podIP\":\"10.244.%u.%u\","
                    "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"lastProbeTime\":null}]}}",
               i / 256, i % 256);
}

static void write_list(struct buf *out)
{
    buf_append_str(out, STR("{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":["));
    for (unsigned i = 0; i < PODS; i++) {
        if (i > 0) {
            buf_append_char(out, ',');
        }
        write_pod(out, i);
    }
    buf_append_str(out, STR("]}"));
}

struct sample {
    double parse_ms[ROUNDS];
    double free_ms[ROUNDS];
    size_t bytes;
};

static void round_ours(struct str text, struct sample *sample, unsigned round)
{
    struct arena arena = {0};
    struct json_value *value = NULL;
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    double start = now_ms();
    ASSERT(json_parse(&arena, text, &value, NULL) == ERR_OK);
    double parsed = now_ms();
    sample->bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before;
    double freeing = now_ms();
    arena_done(&arena);
    sample->free_ms[round] = now_ms() - freeing;
    sample->parse_ms[round] = parsed - start;
}

static void round_json_c(struct str text, struct sample *sample, unsigned round)
{
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    double start = now_ms();
    void *object = peer_parse(text.data, text.size, (int)JSON_DEPTH_MAX);
    ASSERT(object != NULL);
    double parsed = now_ms();
    sample->bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before;
    double freeing = now_ms();
    peer_free(object);
    sample->free_ms[round] = now_ms() - freeing;
    sample->parse_ms[round] = parsed - start;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return a < b ? -1 : a > b ? 1 : 0;
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof(*values), compare);
    return values[ROUNDS / 2];
}

static void report(const char *name, struct sample *sample, size_t size)
{
    double parse = median(sample->parse_ms);
    (void)printf("%-8s parse %7.2f ms  %6.0f MB/s   free %6.2f ms   memory %5.1f MB\n", name, parse,
                 (double)size / 1e3 / parse, median(sample->free_ms), (double)sample->bytes / 1e6);
}

int main(void)
{
    struct buf text = {0};
    struct sample ours = {0};
    struct sample theirs = {0};
    write_list(&text);
    for (unsigned i = 0; i < ROUNDS; i++) {
        round_ours(buf_view(&text), &ours, i);
        round_json_c(buf_view(&text), &theirs, i);
    }
    (void)printf("%zu bytes, %u pods, medians of %u rounds\n", text.size, PODS, ROUNDS);
    report("codec", &ours, text.size);
    report("json-c", &theirs, text.size);
    buf_done(&text);
    return 0;
}
