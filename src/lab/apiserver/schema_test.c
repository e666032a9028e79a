// SPDX-License-Identifier: Apache-2.0
#include "lab/apiserver/schema.h"

#include "base/memory.h"
#include "test.h"

#define SPEC(schema) "{'type':'object','properties':{'spec':" schema "}}"

struct row {
    const char *name;
    const char *schema;
    const char *object;
    const char *want;   // after completion
    const char *errors; // "field: message; …"
};

static const struct row rows[] = {
    {"unknown fields go", SPEC("{'type':'object','properties':{'a':{'type':'string'}}}"),
     "{'apiVersion':'v','kind':'K','metadata':{'x':1},'spec':{'a':'1','b':2},'status':{}}",
     "{'apiVersion':'v','kind':'K','metadata':{'x':1},'spec':{'a':'1'}}", ""},
    {"preserved ones stay, known ones inside are pruned",
     SPEC("{'type':'object','x-kubernetes-preserve-unknown-fields':true,'properties':{'a':{'type':'object'}}}"),
     "{'spec':{'a':{'x':1},'b':{'y':2}}}", "{'spec':{'a':{},'b':{'y':2}}}", ""},
    {"additional properties", SPEC("{'type':'object','additionalProperties':{'type':'object','properties':{'a':{}}}}"),
     "{'spec':{'k':{'a':1,'b':2}}}", "{'spec':{'k':{'a':1}}}", ""},
    {"any additional properties", SPEC("{'type':'object','additionalProperties':true}"), "{'spec':{'k':1}}", "{'spec':{'k':1}}", ""},
    {"lists", SPEC("{'type':'array','items':{'type':'object','properties':{'a':{'type':'integer','default':7}}}}"),
     "{'spec':[{'b':1},{'a':2}]}", "{'spec':[{'a':7},{'a':2}]}", ""},
    {"an embedded object keeps its metadata", SPEC("{'type':'object','x-kubernetes-embedded-resource':true}"),
     "{'spec':{'kind':'K','metadata':{'name':'n'},'x':1}}", "{'spec':{'kind':'K','metadata':{'name':'n'}}}", ""},
    {"defaults", SPEC("{'type':'object','default':{},'properties':{'a':{'type':'boolean','default':true},"
                      "'b':{'type':'string','nullable':true,'default':'x'}}}"),
     "{'spec':{'a':null,'b':null}}", "{'spec':{'a':true,'b':null}}", ""},
    {"defaults in a default", SPEC("{'type':'object','default':{},'properties':{'a':{'type':'boolean','default':true}}}"), "{}",
     "{'spec':{'a':true}}", ""},
    {"types", SPEC("{'type':'object','properties':{'a':{'type':'integer'},'b':{'type':'string'},'c':{'type':'number'},"
                   "'d':{'x-kubernetes-int-or-string':true},'e':{'type':'array'}}}"),
     "{'spec':{'a':1.5,'b':1,'c':2,'d':'50%','e':{}}}", "{'spec':{'a':1.5,'b':1,'c':2,'d':'50%','e':{}}}",
     "spec.a: Invalid value: \"number\": spec.a in body must be of type integer: \"number\"; "
     "spec.b: Invalid value: \"integer\": spec.b in body must be of type string: \"integer\"; "
     "spec.e: Invalid value: \"object\": spec.e in body must be of type array: \"object\"; "},
    {"required", SPEC("{'type':'object','required':['addresses'],'properties':{'addresses':{'type':'array'}}}"), "{'spec':{}}",
     "{'spec':{}}", "spec.addresses: Required value; "},
    {"enum", SPEC("{'type':'array','items':{'enum':['B','C']}}"), "{'spec':['B','A']}", "{'spec':['B','A']}",
     "spec[1]: Unsupported value: \"A\": supported values: \"B\", \"C\"; "},
    {"bounds", SPEC("{'type':'object','properties':{'n':{'minimum':1},'m':{'maximum':2,'exclusiveMaximum':true},"
                    "'s':{'minLength':2},'t':{'maxLength':1},'l':{'items':{},'maxItems':1}}}"),
     "{'spec':{'n':0,'m':2,'s':'a','t':'ab','l':[1,2]}}", "{'spec':{'n':0,'m':2,'s':'a','t':'ab','l':[1,2]}}",
     "spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1; "
     "spec.m: Invalid value: 2: spec.m in body should be less than 2; "
     "spec.s: Invalid value: \"a\": spec.s in body should be at least 2 chars long; "
     "spec.t: Too long: may not be more than 1 bytes; spec.l: Too many: 2: must have at most 1 items; "},
    {"null where it may not be", SPEC("{'type':'string'}"), "{'spec':null}", "{'spec':null}",
     "spec: Invalid value: \"null\": spec in body must be of type string: \"null\"; "},
};

// Rows are written with single quotes.
static struct json_value *parse(struct arena *arena, const char *text)
{
    char *copy = arena_strdup(arena, str_of(text));
    struct json_value *value = NULL;
    struct error err = {0};
    for (char *c = copy; *c != '\0'; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    if (json_parse(arena, str_of(copy), &value, &err) != ERR_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return value;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        struct arena arena = {0};
        struct json_value *schema = parse(&arena, rows[i].schema);
        struct json_value *object = parse(&arena, rows[i].object);
        struct field_errors errors = {.arena = &arena};
        struct buf text = {0};
        schema_complete(&arena, object, schema);
        schema_validate(object, schema, &errors);
        for (size_t k = 0; k < errors.count && k < FAILURE_CAUSES_MAX; k++) {
            buf_printf(&text, "%.*s: %.*s; ", STR_ARG(errors.causes[k].field), STR_ARG(errors.causes[k].message));
        }
        if (!json_equal(object, parse(&arena, rows[i].want))) {
            fail_msg("%s: got %.*s", rows[i].name, STR_ARG(json_to_str(&arena, object)));
        }
        if (!str_equal_c(buf_view(&text), rows[i].errors)) {
            fail_msg("%s: got errors \"%.*s\"", rows[i].name, STR_ARG(buf_view(&text)));
        }
        buf_done(&text);
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
