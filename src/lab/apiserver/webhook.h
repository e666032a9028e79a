// SPDX-License-Identifier: Apache-2.0
//
// webhook: admission webhooks: which ones match a write (webhook_match.c), where they are
// (webhook_target.c), and the calls (webhook.c).
#ifndef LAB_APISERVER_WEBHOOK_H
#define LAB_APISERVER_WEBHOOK_H

#include "codec/json/json.h"
#include "net/address.h"

struct apiserver;
struct failure;
struct request;

#define WEBHOOKS_MAX 64u                        // that one write may pass through
#define WEBHOOK_ANSWER_MAX (8u * 1024 * 1024)   // bytes of an answer

enum webhook_phase { WEBHOOK_MUTATING, WEBHOOK_VALIDATING };
enum webhook_operation { WEBHOOK_CREATE, WEBHOOK_UPDATE, WEBHOOK_DELETE };

// Asks the webhooks of the phase, one after the other, about request->write.object; mutating ones may
// replace it. on_done comes exactly once, now when none matches; false: request->failure says why.
void webhooks_run(struct request *request, enum webhook_phase phase, enum webhook_operation operation,
                  void (*on_done)(struct request *request, bool allowed));

// Forgets what is under way for the request, without a word to it. For the end of the server.
void webhooks_abort(struct request *request);

// The matching entries of all configurations, in the order they are to be called.
size_t webhooks_match(struct request *request, enum webhook_phase phase, enum webhook_operation operation,
                      const struct json_value *object, const struct json_value *old,
                      const struct json_value *ret_webhooks[static WEBHOOKS_MAX]);
// The rules, pure.
bool webhook_rules_match(const struct json_value *webhook, const char *operation, struct str group,
                         struct str version, struct str resource, bool is_namespaced);
// {matchLabels, matchExpressions}; empty or absent matches everything.
bool webhook_selector_matches(const struct json_value *selector, const struct json_value *labels);

struct webhook_target {
    struct address address;
    struct str server_name; // for TLS
    struct str authority;
    struct str path;        // with query
    struct str url;         // for messages
};

// The address of clientConfig.url (an IP literal or localhost) or of a ready endpoint of
// clientConfig.service, else its ClusterIP. False: *ret_reason says why not.
bool webhook_find_target(struct apiserver *server, struct arena *arena, const struct json_value *webhook,
                         struct webhook_target *ret_target, struct str *ret_reason);

#endif
