// SPDX-License-Identifier: Apache-2.0
//
// The server over loopback TLS: rows of requests and what must come back.
#include "lab/apiserver/apiserver.h"

#include "base/memory.h"
#include "codec/json/json.h"
#include "net/http.h"
#include "test.h"

#define WAIT_TURNS 3000

struct fixture {
    struct loop *loop;
    struct apiserver *server;
    struct http_client *client;    // of the administrator
    struct http_client *anonymous; // without a certificate
    struct address address;
};

struct answer {
    int status;
    bool closed;
    struct buf body;
};

static void on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)exchange;
    (void)end;
    ((struct answer *)owner)->status = head->status;
}

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)exchange;
    (void)end;
    buf_append_str(&((struct answer *)owner)->body, bytes);
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    (void)err;
    ((struct answer *)owner)->closed = true;
}

static const struct http_events events = {.on_head = on_head, .on_data = on_data, .on_close = on_close};

static struct http_exchange *request_start(struct http_client *client, const char *method, const char *path, const char *type,
                                           const char *token, const char *body, struct answer *answer)
{
    char authorization[4096];
    char size[32];
    struct http_head head;
    http_head_init_request(&head, str_of(method), STR("https"), STR("localhost"), str_of(path));
    if (token != NULL) {
        (void)snprintf(authorization, sizeof(authorization), "Bearer %s", token);
        (void)http_head_add(&head, STR("authorization"), str_of(authorization));
    }
    if (body != NULL) {
        (void)snprintf(size, sizeof(size), "%zu", strlen(body));
        (void)http_head_add(&head, STR("content-type"), str_of(type == NULL ? "application/json" : type));
        (void)http_head_add(&head, STR("content-length"), str_of(size));
    } else if (type != NULL) {
        (void)http_head_add(&head, STR("accept"), str_of(type));
    }
    struct http_exchange *exchange = http_request(client, &head, body == NULL, &events, answer);
    if (body != NULL) {
        http_send_data(exchange, str_of(body), true);
    }
    return exchange;
}

static void request_wait(struct fixture *fixture, struct answer *answer)
{
    for (int turn = 0; turn < WAIT_TURNS && !answer->closed; turn++) {
        loop_turn(fixture->loop, 10);
    }
    assert_true(answer->closed);
}

static struct http_client *client_new(struct loop *loop, const struct address *address, const struct kube_config *config,
                                      bool has_certificate)
{
    struct error err = {0};
    struct tls_options tls = {
        .role = TLS_CLIENT,
        .roots_pem = config->ca_pem,
        .certificate_pem = has_certificate ? config->certificate_pem : STR_EMPTY,
        .key_pem = has_certificate ? config->key_pem : STR_EMPTY,
        .peer = TLS_PEER_REQUIRED,
        .verify_host = true,
    };
    struct tls_context *context = tls_context_new(&tls, &err);
    if (context == NULL) {
        fail_msg("%s", err.message);
    }
    struct http_client_options options = {.address = *address, .tls = context, .tls_server_name = STR("localhost")};
    struct http_client *client = http_client_new(loop, &options);
    tls_context_unref(context);
    return client;
}

static int setup(void **state)
{
    struct fixture *fixture = mem_new(struct fixture);
    struct error err = {0};
    int fd;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &fixture->address, &err), ERR_OK);
    assert_int_equal(address_listen(&fixture->address, &(struct listen_options){0}, &fd, &err), ERR_OK);
    assert_true(address_local(fd, &fixture->address));
    fixture->loop = loop_new();
    struct apiserver_options options = {.cluster_name = STR("cluster1"), .listen_fds = &fd, .listen_fd_count = 1};
    fixture->server = apiserver_new(fixture->loop, &options, &err);
    if (fixture->server == NULL) {
        fail_msg("%s", err.message);
    }
    struct arena arena = {0};
    struct kube_config config = apiserver_client_config(fixture->server, &arena, STR("https://localhost"));
    fixture->client = client_new(fixture->loop, &fixture->address, &config, true);
    fixture->anonymous = client_new(fixture->loop, &fixture->address, &config, false);
    arena_done(&arena);
    *state = fixture;
    return 0;
}

static void on_drained(void *owner)
{
    *(bool *)owner = true;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    bool drained = false;
    http_client_free(fixture->client);
    http_client_free(fixture->anonymous);
    apiserver_drain(fixture->server, 500, on_drained, &drained);
    for (int turn = 0; turn < WAIT_TURNS && !drained; turn++) {
        loop_turn(fixture->loop, 10);
    }
    assert_true(drained);
    apiserver_free(fixture->server);
    loop_turn(fixture->loop, 0);
    loop_free(fixture->loop);
    mem_free(fixture);
    return 0;
}

// --- rows ------------------------------------------------------------------------------------------

struct row {
    const char *method;
    const char *path;
    const char *type;
    const char *body;
    int want_status;
    const char *want; // in the answer; NULL: anything
};

#define MERGE "application/merge-patch+json"
#define STRATEGIC "application/strategic-merge-patch+json"
#define JSON_PATCH "application/json-patch+json"
#define TABLE "application/json;as=Table;v=v1;g=meta.k8s.io"
#define POD_SPEC "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}"

static void run_rows(struct fixture *fixture, struct http_client *client, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct answer answer = {0};
        char name[256];
        (void)snprintf(name, sizeof(name), "%zu %s %s", i, rows[i].method, rows[i].path);
        (void)request_start(client, rows[i].method, rows[i].path, rows[i].type, NULL, rows[i].body, &answer);
        request_wait(fixture, &answer);
        struct str body = buf_view(&answer.body);
        check_row(name, answer.status == rows[i].want_status, "got %d: %.*s", answer.status, STR_ARG(str_sub(body, 0, 2000)));
        check_row(name, rows[i].want == NULL || str_find(body, str_of(rows[i].want)) >= 0, "want %s in %.*s", rows[i].want,
                  STR_ARG(str_sub(body, 0, 4000)));
        buf_done(&answer.body);
    }
}

#define RUN(client, rows) run_rows(fixture, (client), (rows), array_count(rows))

static void test_objects(void **state)
{
    struct fixture *fixture = *state;
    static const struct row rows[] = {
        {"GET", "/api/v1/namespaces/default", NULL, NULL, 200, "\"phase\":\"Active\""},
        {"GET", "/api/v1/namespaces/none", NULL, NULL, 404, "namespaces \\\"none\\\" not found"},
        {"POST", "/api/v1/namespaces/none/configmaps", NULL, "{\"metadata\":{\"name\":\"a\"}}", 404, "namespaces \\\"none\\\" not found"},
        {"POST", "/api/v1/namespaces/default/configmaps", NULL, "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"v\"}}", 201, "\"uid\""},
        {"POST", "/api/v1/namespaces/default/configmaps", NULL, "{\"metadata\":{\"name\":\"a\"}}", 409, "AlreadyExists"},
        {"POST", "/api/v1/namespaces/default/configmaps", NULL, "{\"metadata\":{\"name\":\"A_b\"}}", 422, "metadata.name: Invalid value"},
        {"POST", "/api/v1/namespaces/default/configmaps", NULL, "{\"metadata\":{}}", 422, "name or generateName is required"},
        {"POST", "/api/v1/namespaces/default/configmaps", NULL, "{\"metadata\":{\"generateName\":\"g-\"}}", 201, "\"name\":\"g-"},
        {"POST", "/api/v1/namespaces/default/configmaps", NULL, "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"b\"}}", 400, "cannot be handled"},
        {"POST", "/api/v1/namespaces/default/configmaps", NULL, "{\"metadata\":{\"name\":\"b\",\"namespace\":\"x\"}}", 400, "does not match the namespace"},
        {"POST", "/api/v1/namespaces/default/configmaps", NULL, "[", 400, "not valid JSON"},
        {"POST", "/api/v1/namespaces/default/configmaps", "application/vnd.kubernetes.protobuf", "k8s", 400, "protobuf body is malformed"},
        {"POST", "/api/v1/namespaces/default/configmaps", "text/plain", "{}", 415, "UnsupportedMediaType"},
        {"POST", "/api/v1/namespaces/default/configmaps", "application/yaml", "metadata: {name: yaml}\ndata:\n  k: 'on'\n", 201, "\"data\":{\"k\":\"on\"}"},
        {"POST", "/api/v1/namespaces/default/configmaps", "application/yaml; charset=utf-8", "metadata: [", 400, "not valid YAML"},
        {"PUT", "/api/v1/namespaces/default/configmaps/yaml/status", "application/vnd.kubernetes.protobuf", "k8s", 404, NULL},
        {"POST", "/api/v1/namespaces/default/configmaps?dryRun=All", NULL, "{\"metadata\":{\"name\":\"dry\"}}", 201, NULL},
        {"GET", "/api/v1/namespaces/default/configmaps/dry", NULL, NULL, 404, NULL},
        {"PUT", "/api/v1/namespaces/default/configmaps/a", NULL, "{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"1\"}}", 409, "the object has been modified"},
        {"PUT", "/api/v1/namespaces/default/configmaps/a", NULL, "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"w\"}}", 200, "\"k\":\"w\""},
        {"PUT", "/api/v1/namespaces/default/configmaps/zz", NULL, "{\"metadata\":{\"name\":\"zz\"}}", 404, NULL},
        {"PATCH", "/api/v1/namespaces/default/configmaps/a", MERGE, "{\"data\":{\"k\":null,\"n\":\"1\"}}", 200, "\"data\":{\"n\":\"1\"}"},
        {"PATCH", "/api/v1/namespaces/default/configmaps/a", JSON_PATCH, "[{\"op\":\"test\",\"path\":\"/data/n\",\"value\":\"2\"}]", 422, NULL},
        {"PATCH", "/api/v1/namespaces/default/configmaps/a", STRATEGIC, "{\"metadata\":{\"labels\":{\"l\":\"1\"}}}", 200, "\"l\":\"1\""},
        {"PATCH", "/api/v1/namespaces/default/configmaps/a", "text/plain", "{}", 415, "accepted media types include: application/json-patch+json"},
        {"PATCH", "/api/v1/namespaces/default/configmaps/a", MERGE, "{\"metadata\":{\"name\":\"b\"}}", 400, "does not match the name on the URL"},
        {"GET", "/api/v1/namespaces/default/configmaps?labelSelector=l%3D1", NULL, NULL, 200, "\"name\":\"a\""},
        {"GET", "/api/v1/namespaces/default/configmaps?labelSelector=l%3D2", NULL, NULL, 200, "\"items\":[]"},
        {"GET", "/api/v1/configmaps?fieldSelector=metadata.name%3Da", NULL, NULL, 200, "\"name\":\"a\""},
        {"GET", "/api/v1/configmaps?fieldSelector=spec.x%3Da", NULL, NULL, 400, "field label not supported: spec.x"},
        {"GET", "/api/v1/configmaps?labelSelector=a%20in", NULL, NULL, 400, "unable to parse requirement"},
        {"GET", "/api/v1/configmaps?resourceVersion=99999999", NULL, NULL, 504, "ResourceVersionTooLarge"},
        {"GET", "/api/v1/namespaces/default/configmaps/a", TABLE, NULL, 200, "\"cells\":[\"a\",1,"},
        {"POST", "/api/v1/configmaps", NULL, "{}", 405, "MethodNotAllowed"},
        {"DELETE", "/api/v1/namespaces/default/configmaps/a", NULL, "{\"preconditions\":{\"uid\":\"x\"}}", 409, "UID in precondition"},
        {"DELETE", "/api/v1/namespaces/default/configmaps/a", NULL, "{\"propagationPolicy\":\"Background\"}", 200, "\"status\":\"Success\""},
        {"DELETE", "/api/v1/namespaces/default/configmaps/a", NULL, NULL, 404, NULL},
        {"DELETE", "/api/v1/namespaces/default/configmaps", NULL, NULL, 200, "\"name\":\"g-"},
        {"GET", "/api/v1/namespaces/default/configmaps", NULL, NULL, 200, "\"items\":[]"},
        {"DELETE", "/api/v1/namespaces/kube-system", NULL, NULL, 403, "may not be deleted"},
        {"GET", "/api/v1/nothing", NULL, NULL, 404, "404 page not found"},
    };
    RUN(fixture->client, rows);
}

static void test_finalizers(void **state)
{
    struct fixture *fixture = *state;
    static const struct row rows[] = {
        {"POST", "/api/v1/namespaces/default/configmaps", NULL, "{\"metadata\":{\"name\":\"f\",\"finalizers\":[\"x/y\"]}}", 201, NULL},
        {"DELETE", "/api/v1/namespaces/default/configmaps/f", NULL, NULL, 200, "deletionTimestamp"},
        {"GET", "/api/v1/namespaces/default/configmaps/f", NULL, NULL, 200, "deletionTimestamp"},
        {"PATCH", "/api/v1/namespaces/default/configmaps/f", MERGE, "{\"metadata\":{\"finalizers\":[\"x/y\",\"n/e\"]}}", 422, "no new finalizers"},
        {"PATCH", "/api/v1/namespaces/default/configmaps/f", MERGE, "{\"metadata\":{\"finalizers\":null}}", 200, NULL},
        {"GET", "/api/v1/namespaces/default/configmaps/f", NULL, NULL, 404, NULL},
    };
    RUN(fixture->client, rows);
}

static void test_workloads_and_services(void **state)
{
    struct fixture *fixture = *state;
    static const struct row rows[] = {
        {"POST", "/apis/apps/v1/namespaces/default/deployments", NULL,
         "{\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"c\"}}," POD_SPEC "}}}",
         422, "`selector` does not match template `labels`"},
        {"POST", "/apis/apps/v1/namespaces/default/deployments", NULL,
         "{\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}}," POD_SPEC "}}}",
         201, "\"generation\":1"},
        {"PATCH", "/apis/apps/v1/namespaces/default/deployments/d", MERGE, "{\"metadata\":{\"labels\":{\"x\":\"y\"}},\"status\":{\"replicas\":9}}", 200, "\"generation\":1"},
        {"PATCH", "/apis/apps/v1/namespaces/default/deployments/d/scale", MERGE, "{\"spec\":{\"replicas\":3}}", 200, "\"kind\":\"Scale\""},
        {"GET", "/apis/apps/v1/namespaces/default/deployments/d", NULL, NULL, 200, "\"generation\":2"},
        {"PATCH", "/apis/apps/v1/namespaces/default/deployments/d/status", MERGE, "{\"spec\":{\"replicas\":7},\"status\":{\"replicas\":3}}", 200, "\"spec\":{\"selector\""},
        {"GET", "/apis/apps/v1/namespaces/default/deployments/d/scale", NULL, NULL, 200, "\"spec\":{\"replicas\":3},\"status\":{\"replicas\":3,\"selector\":\"a=b\"}"},
        {"PATCH", "/apis/apps/v1/namespaces/default/deployments/d", MERGE, "{\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"z\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"z\"}}}}}", 422, "field is immutable"},
        {"GET", "/api/v1/namespaces/default/services/kubernetes", NULL, NULL, 200, "\"clusterIP\":\"10.96.0.1\""},
        {"POST", "/api/v1/namespaces/default/services", NULL, "{\"metadata\":{\"name\":\"s\"},\"spec\":{\"clusterIP\":\"10.96.0.1\",\"ports\":[{\"port\":80}]}}", 422, "already allocated"},
        {"POST", "/api/v1/namespaces/default/services", NULL, "{\"metadata\":{\"name\":\"s\"},\"spec\":{\"clusterIP\":\"10.97.0.1\",\"ports\":[{\"port\":80}]}}", 422, "not in the valid range"},
        {"POST", "/api/v1/namespaces/default/services", NULL, "{\"metadata\":{\"name\":\"s\"},\"spec\":{\"clusterIP\":\"10.96.0.9\",\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":30080}]}}", 201, "\"targetPort\":80"},
        {"POST", "/api/v1/namespaces/default/services", NULL, "{\"metadata\":{\"name\":\"t\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":30080}]}}", 422, "provided port is already allocated"},
        {"PUT", "/api/v1/namespaces/default/services/s", NULL, "{\"metadata\":{\"name\":\"s\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80}]}}", 200, "\"nodePort\":30080"},
        {"DELETE", "/api/v1/namespaces/default/services/s", NULL, NULL, 200, NULL},
        {"POST", "/api/v1/namespaces/default/services", NULL, "{\"metadata\":{\"name\":\"t\"},\"spec\":{\"clusterIP\":\"10.96.0.9\",\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":30080}]}}", 201, NULL},
        {"POST", "/api/v1/namespaces/default/services", NULL, "{\"metadata\":{\"name\":\"h\"},\"spec\":{\"clusterIP\":\"None\"}}", 201, "\"clusterIPs\":[\"None\"]"},
    };
    RUN(fixture->client, rows);
}

static void test_pods(void **state)
{
    struct fixture *fixture = *state;
    static const struct row rows[] = {
        {"POST", "/api/v1/namespaces/default/pods", NULL, "{\"metadata\":{\"name\":\"p\"}," POD_SPEC "}", 403, "serviceaccount \\\"default\\\" not found"},
        {"POST", "/api/v1/namespaces/default/serviceaccounts", NULL, "{\"metadata\":{\"name\":\"default\"}}", 201, NULL},
        {"POST", "/api/v1/namespaces/default/pods", NULL, "{\"metadata\":{\"name\":\"p\"},\"spec\":{}}", 422, "spec.containers: Required value"},
        {"POST", "/api/v1/namespaces/default/pods", NULL, "{\"metadata\":{\"name\":\"p\"}," POD_SPEC ",\"status\":{\"phase\":\"Running\"}}", 201, "\"phase\":\"Pending\""},
        {"GET", "/api/v1/namespaces/default/pods/p", NULL, NULL, 200, "kube-api-access-"},
        {"PATCH", "/api/v1/namespaces/default/pods/p", MERGE, "{\"spec\":{\"nodeName\":\"n\"}}", 422, "pod updates may not change fields"},
        {"POST", "/api/v1/namespaces/default/pods/p/binding", NULL, "{\"target\":{\"kind\":\"Node\",\"name\":\"n1\"}}", 201, "Success"},
        {"POST", "/api/v1/namespaces/default/pods/p/binding", NULL, "{\"target\":{\"kind\":\"Node\",\"name\":\"n2\"}}", 409, "already assigned to node"},
        {"GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", NULL, NULL, 200, "\"name\":\"p\""},
        {"DELETE", "/api/v1/namespaces/default/pods/p", NULL, NULL, 200, "\"deletionGracePeriodSeconds\":30"},
        {"DELETE", "/api/v1/namespaces/default/pods/p", NULL, "{\"gracePeriodSeconds\":0}", 200, "Success"},
        {"GET", "/api/v1/namespaces/default/pods/p", NULL, NULL, 404, NULL},
    };
    RUN(fixture->client, rows);
}

static void test_custom_kinds(void **state)
{
    struct fixture *fixture = *state;
    static const struct row rows[] = {
        {"GET", "/apis/example.com/v1/things", NULL, NULL, 404, NULL},
        {"POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", NULL,
         "{\"metadata\":{\"name\":\"things.example.com\"},\"spec\":{\"group\":\"example.com\",\"scope\":\"Namespaced\",\"names\":{\"plural\":\"things\",\"kind\":\"Thing\"},"
         "\"versions\":[{\"name\":\"v1beta1\",\"served\":true,\"storage\":false},{\"name\":\"v1\",\"served\":true,\"storage\":true,\"subresources\":{\"status\":{}},"
         "\"additionalPrinterColumns\":[{\"name\":\"Size\",\"type\":\"string\",\"jsonPath\":\".spec.size\"}]}]}}", 201, "\"type\":\"Established\""},
        {"GET", "/apis/example.com", NULL, NULL, 200, "\"preferredVersion\":{\"groupVersion\":\"example.com/v1\""},
        {"POST", "/apis/example.com/v1/namespaces/default/things", NULL, "{\"metadata\":{\"name\":\"t\"},\"spec\":{\"size\":\"big\"}}", 201, "\"apiVersion\":\"example.com/v1\""},
        {"GET", "/apis/example.com/v1beta1/namespaces/default/things/t", NULL, NULL, 200, "\"apiVersion\":\"example.com/v1beta1\""},
        {"GET", "/apis/example.com/v1beta1/things", NULL, NULL, 200, "\"kind\":\"Thing\",\"apiVersion\":\"example.com/v1beta1\""},
        {"GET", "/apis/example.com/v1/things", TABLE, NULL, 200, "\"cells\":[\"t\",\"big\"]"},
        {"PATCH", "/apis/example.com/v1/namespaces/default/things/t", STRATEGIC, "{}", 415, NULL},
        {"PUT", "/apis/example.com/v1/namespaces/default/things/t", "application/vnd.kubernetes.protobuf", "k8s", 415, "custom resources have no protobuf"},
        {"PATCH", "/apis/example.com/v1/namespaces/default/things/t", MERGE, "{\"spec\":{\"size\":\"small\"},\"status\":{\"x\":1}}", 200, "\"generation\":2"},
        {"PATCH", "/apis/example.com/v1/namespaces/default/things/t/status", MERGE, "{\"status\":{\"x\":1}}", 200, "\"status\":{\"x\":1}"},
        {"DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.example.com", NULL, NULL, 200, NULL},
        {"GET", "/apis/example.com/v1/things", NULL, NULL, 404, NULL},
    };
    RUN(fixture->client, rows);
}

static void test_anonymous(void **state)
{
    struct fixture *fixture = *state;
    static const struct row rows[] = {
        {"GET", "/version", NULL, NULL, 200, "v1.27.3"},
        {"GET", "/readyz", NULL, NULL, 200, "ok"},
        {"GET", "/apis", NULL, NULL, 403, "User \\\"system:anonymous\\\" cannot get path \\\"/apis\\\""},
        {"GET", "/api/v1/namespaces/default/pods", NULL, NULL, 403, "cannot list resource \\\"pods\\\" in API group \\\"\\\" in the namespace \\\"default\\\""},
        {"GET", "/api/v1/nodes", NULL, NULL, 403, "at the cluster scope"},
    };
    RUN(fixture->anonymous, rows);
}

// A token works from its first use to the end of its account, and only for what a role allows.
static void test_tokens(void **state)
{
    struct fixture *fixture = *state;
    static const struct row before[] = {
        {"POST", "/api/v1/namespaces/default/serviceaccounts", NULL, "{\"metadata\":{\"name\":\"reader\"}}", 201, NULL},
        {"POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", NULL, "{\"metadata\":{\"name\":\"read:pods\"},\"rules\":[{\"verbs\":[\"list\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]}", 201, NULL},
        {"POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", NULL,
         "{\"metadata\":{\"name\":\"b\"},\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":\"read:pods\"},\"subjects\":[{\"kind\":\"ServiceAccount\",\"name\":\"reader\",\"namespace\":\"default\"}]}", 201, NULL},
    };
    RUN(fixture->client, before);
    struct answer answer = {0};
    (void)request_start(fixture->client, "POST", "/api/v1/namespaces/default/serviceaccounts/reader/token", NULL, NULL, "{\"spec\":{}}", &answer);
    request_wait(fixture, &answer);
    assert_int_equal(answer.status, 201);
    struct arena arena = {0};
    struct error err = {0};
    struct json_value *value;
    assert_int_equal(json_parse(&arena, buf_view(&answer.body), &value, &err), ERR_OK);
    const char *token = arena_strdup(&arena, json_get_str(json_get(value, "status"), "token"));
    buf_done(&answer.body);
    static const struct {
        const char *path;
        const char *suffix; // spoils the token
        bool account_gone;
        int want;
    } rows[] = {
        {"/api/v1/namespaces/default/pods", "", false, 200},
        {"/api/v1/namespaces/kube-system/pods", "", false, 403},
        {"/api/v1/namespaces/default/secrets", "", false, 403},
        {"/apis", "", false, 200},
        {"/api/v1/namespaces/default/pods", "x", false, 401},
        {"/version", "x", false, 401},
        {"/api/v1/namespaces/default/pods", "", true, 401},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        if (rows[i].account_gone) {
            static const struct row removal[] = {{"DELETE", "/api/v1/namespaces/default/serviceaccounts/reader", NULL, NULL, 200, NULL}};
            RUN(fixture->client, removal);
        }
        char text[4096];
        (void)snprintf(text, sizeof(text), "%s%s", token, rows[i].suffix);
        answer = (struct answer){0};
        (void)request_start(fixture->anonymous, "GET", rows[i].path, NULL, text, NULL, &answer);
        request_wait(fixture, &answer);
        check_row(rows[i].path, answer.status == rows[i].want, "got %d, want %d", answer.status, rows[i].want);
        buf_done(&answer.body);
    }
    arena_done(&arena);
}

static size_t count_of(struct str text, const char *needle)
{
    size_t count = 0;
    for (ptrdiff_t at; (at = str_find(text, str_of(needle))) >= 0; count++) {
        text = str_from(text, (size_t)at + strlen(needle));
    }
    return count;
}

static void test_watch(void **state)
{
    struct fixture *fixture = *state;
    struct answer all = {0};
    struct answer selected = {0};
    struct answer old = {0};
    struct answer listing = {0};
    (void)request_start(fixture->client, "GET", "/api/v1/namespaces/default/secrets?watch=1&timeoutSeconds=1&allowWatchBookmarks=true", NULL, NULL, NULL, &all);
    (void)request_start(fixture->client, "GET", "/api/v1/secrets?watch=true&timeoutSeconds=1&labelSelector=l%3D1", NULL, NULL, NULL, &selected);
    (void)request_start(fixture->client, "GET",
                        "/api/v1/secrets?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
                        NULL, NULL, NULL, &listing);
    for (int turn = 0; turn < WAIT_TURNS && (all.status == 0 || selected.status == 0 || listing.status == 0); turn++) {
        loop_turn(fixture->loop, 10);
    }
    static const struct row rows[] = {
        {"POST", "/api/v1/namespaces/default/secrets", NULL, "{\"metadata\":{\"name\":\"a\"},\"stringData\":{\"k\":\"v\"}}", 201, "\"k\":\"dg==\""},
        {"PATCH", "/api/v1/namespaces/default/secrets/a", MERGE, "{\"metadata\":{\"labels\":{\"l\":\"1\"}}}", 200, NULL},
        {"PATCH", "/api/v1/namespaces/default/secrets/a", MERGE, "{\"metadata\":{\"labels\":{\"l\":\"1\"}}}", 200, NULL},
        {"PATCH", "/api/v1/namespaces/default/secrets/a", MERGE, "{\"metadata\":{\"labels\":{\"l\":\"2\"}}}", 200, NULL},
        {"DELETE", "/api/v1/namespaces/default/secrets/a", NULL, NULL, 200, NULL},
    };
    RUN(fixture->client, rows);
    request_wait(fixture, &all);
    request_wait(fixture, &selected);
    request_wait(fixture, &listing);
    assert_int_equal(count_of(buf_view(&all.body), "\"type\":\"ADDED\""), 1);
    assert_int_equal(count_of(buf_view(&all.body), "\"type\":\"MODIFIED\""), 2);
    assert_int_equal(count_of(buf_view(&all.body), "\"type\":\"DELETED\""), 1);
    assert_int_equal(count_of(buf_view(&all.body), "\"type\":\"BOOKMARK\""), 1);
    assert_int_equal(count_of(buf_view(&selected.body), "\"type\":\"ADDED\""), 1);
    assert_int_equal(count_of(buf_view(&selected.body), "\"type\":\"MODIFIED\""), 0);
    assert_int_equal(count_of(buf_view(&selected.body), "\"type\":\"DELETED\""), 1);
    assert_int_equal(count_of(buf_view(&listing.body), "k8s.io/initial-events-end"), 1);
    for (int i = 0; i < 2100; i += 100) {
        struct answer answers[100] = {0};
        for (size_t k = 0; k < array_count(answers); k++) {
            (void)request_start(fixture->client, "POST", "/api/v1/namespaces/default/secrets", NULL, NULL, "{\"metadata\":{\"generateName\":\"x-\"}}", &answers[k]);
        }
        for (size_t k = 0; k < array_count(answers); k++) {
            request_wait(fixture, &answers[k]);
            assert_int_equal(answers[k].status, 201);
            buf_done(&answers[k].body);
        }
    }
    (void)request_start(fixture->client, "GET", "/api/v1/secrets?watch=1&resourceVersion=2", NULL, NULL, NULL, &old);
    request_wait(fixture, &old);
    assert_int_equal(old.status, 200);
    assert_int_equal(count_of(buf_view(&old.body), "\"code\":410"), 1);
    buf_done(&all.body);
    buf_done(&selected.body);
    buf_done(&listing.body);
    buf_done(&old.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_objects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_finalizers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_workloads_and_services, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pods, setup, teardown),
        cmocka_unit_test_setup_teardown(test_custom_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_anonymous, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
