// SPDX-License-Identifier: Apache-2.0
#include "proxy/route/fault.h"

#include "codec/pb/pb.h"

typedef Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault fault_message;

static enum err compile_delay(const fault_message *config, struct fault *fault, struct error *err)
{
    if (config->delay == NULL) {
        return ERR_OK;
    }
    if (config->delay->fault_delay_secifier_case != ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_DELAY__FAULT_DELAY_SECIFIER_FIXED_DELAY) {
        return error_set(err, ERR_UNSUPPORTED, "delays set by a request's header are not supported");
    }
    fault->delay_ms = pb_duration_to_ms(config->delay->fixed_delay, 0);
    if (fault->delay_ms == 0 || fault->delay_ms > FAULT_DELAY_MAX_MS) {
        return error_set(err, ERR_INVALID, "fixed_delay is not between 1 ms and one day");
    }
    fault->delay_chance = chance_from(config->delay->percentage, CHANCE_NEVER);
    return ERR_OK;
}

static enum err compile_abort(const fault_message *config, struct fault *fault, struct error *err)
{
    if (config->abort == NULL) {
        return ERR_OK;
    }
    switch (config->abort->error_type_case) {
    case ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_HTTP_STATUS:
        fault->http_status = (int)config->abort->http_status;
        break;
    case ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_GRPC_STATUS:
        fault->http_status = 200;
        fault->grpc_status = (int)config->abort->grpc_status;
        break;
    default:
        return error_set(err, ERR_UNSUPPORTED, "aborts set by a request's header are not supported");
    }
    if (fault->http_status < 200 || fault->http_status > 599) {
        return error_set(err, ERR_INVALID, "abort status %d is not between 200 and 599", fault->http_status);
    }
    fault->abort_chance = chance_from(config->abort->percentage, CHANCE_NEVER);
    return ERR_OK;
}

enum err fault_compile(struct rule_memory *memory, const fault_message *config, const struct fault **ret_fault, struct error *err)
{
    struct fault *fault = arena_new(&memory->arena, struct fault);
    fault->grpc_status = -1;
    fault->delay_chance = CHANCE_NEVER;
    fault->abort_chance = CHANCE_NEVER;
    fault->upstream_cluster = arena_str(&memory->arena, str_of(config->upstream_cluster));
    if (config->max_active_faults != NULL || config->n_downstream_nodes > 0) {
        return error_set(err, ERR_UNSUPPORTED, "fault with max_active_faults or downstream_nodes is not supported");
    }
    struct header_match *headers = arena_array(&memory->arena, struct header_match, config->n_headers);
    enum err result = ERR_OK;
    for (size_t i = 0; i < config->n_headers && result == ERR_OK; i++) {
        result = header_match_compile(memory, config->headers[i], &headers[i], err);
    }
    fault->headers = headers;
    fault->header_count = config->n_headers;
    if (result == ERR_OK) {
        result = compile_delay(config, fault, err);
    }
    if (result == ERR_OK) {
        result = compile_abort(config, fault, err);
    }
    *ret_fault = fault;
    return result;
}

struct fault_verdict fault_decide(const struct fault *fault, const struct http_head *head, struct str cluster,
                                  uint64_t delay_dice, uint64_t abort_dice)
{
    struct fault_verdict verdict = {.http_status = fault->http_status, .grpc_status = fault->grpc_status};
    if (fault->upstream_cluster.size > 0 && !str_equal(fault->upstream_cluster, cluster)) {
        return verdict;
    }
    for (size_t i = 0; i < fault->header_count; i++) {
        if (!header_match_test(&fault->headers[i], head)) {
            return verdict;
        }
    }
    verdict.delay_ms = chance_holds(fault->delay_chance, delay_dice) ? fault->delay_ms : 0;
    verdict.aborts = chance_holds(fault->abort_chance, abort_dice);
    return verdict;
}
