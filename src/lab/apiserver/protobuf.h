// SPDX-License-Identifier: Apache-2.0
//
// protobuf: objects that clients send as application/vnd.kubernetes.protobuf, read into the JSON tree that
// the same object has in JSON. The messages are rows of one table (protobuf_messages.c); answers are always
// JSON, which every client takes.
//
// What Go writes because it must (empty strings and zeros of fields that are no pointers) is left out as it
// is in JSON; what a pointer points to stays, zero or not.
#ifndef LAB_APISERVER_PROTOBUF_H
#define LAB_APISERVER_PROTOBUF_H

#include "codec/json/json.h"

#define PROTOBUF_DEPTH_MAX 32u
#define PROTOBUF_UNKNOWN_MAX 8u

// Fields that no row has; they are left out.
struct protobuf_unknown {
    const char *message;
    uint32_t field;
};

struct protobuf_result {
    struct json_value *object; // with apiVersion and kind
    struct protobuf_unknown unknown[PROTOBUF_UNKNOWN_MAX];
    size_t unknown_count;
};

// bytes with the "k8s\0" in front. ERR_INVALID: malformed; ERR_LIMIT: too deep; ERR_UNSUPPORTED: a kind without
// a row.
enum err protobuf_parse(struct arena *arena, struct str bytes, struct protobuf_result *ret_result, struct error *err) must_check;

// --- the table -------------------------------------------------------------------------------------

// fields: words "NAME=NUMBER:TYPE" separated by blanks. TYPE, "string" when left out:
//   string bytes int bool        left out when empty, zero or false
//   int? bool?                   kept whatever they are (pointers in Go)
//   time microtime               Time messages as RFC 3339
//   quantity intorstring         one value in JSON
//   map map-bytes map-quantity   string to string, to bytes, to quantity
//   skip                         known, not kept
//   NAME                         the message of that name
// "NUMBER*" is repeated. NAME "-": the message's fields stand among the outer one's.
struct protobuf_message {
    const char *name;
    const char *fields;
};

extern const struct protobuf_message protobuf_messages[];
extern const size_t protobuf_message_count;
const struct protobuf_message *protobuf_message_find(struct str name); // NULL: none

struct protobuf_field {
    struct str name;
    uint32_t number;
    bool is_repeated;
    struct str type;
};

// The next word of *rest; false at the end. A malformed word has the number 0 (a test looks).
bool protobuf_field_next(struct str *rest, struct protobuf_field *ret_field);

#endif
