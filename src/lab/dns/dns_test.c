// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <ldns/ldns.h>

#include "base/memory.h"
#include "lab/dns/message.h"

static const char world[] =
    "{\"services\":["
    "{\"metadata\":{\"namespace\":\"sample\",\"name\":\"web\"},\"spec\":{\"clusterIP\":\"10.96.0.7\",\"ports\":[{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\"}]}},"
    "{\"metadata\":{\"namespace\":\"sample\",\"name\":\"db\"},\"spec\":{\"clusterIP\":\"None\",\"ports\":[{\"name\":\"pg\",\"port\":5432}]}},"
    "{\"metadata\":{\"namespace\":\"sample\",\"name\":\"out\"},\"spec\":{\"type\":\"ExternalName\",\"externalName\":\"example.com\"}}],"
    "\"slices\":[{\"metadata\":{\"namespace\":\"sample\",\"labels\":{\"kubernetes.io/service-name\":\"db\"}},\"ports\":[{\"name\":\"pg\",\"port\":5432,\"protocol\":\"TCP\"}],"
    "\"endpoints\":[{\"addresses\":[\"10.244.0.5\"],\"hostname\":\"db-0\"},{\"addresses\":[\"10.244.0.6\"]},"
    "{\"addresses\":[\"10.244.0.9\"],\"conditions\":{\"ready\":false}}]}]}";

static const struct json_value *find_service(void *owner, struct str ns, struct str name)
{
    const struct json_value *services = json_get(owner, "services");
    for (size_t i = 0; i < json_count(services); i++) {
        const struct json_value *metadata = json_get(json_at(services, i), "metadata");
        if (str_equal(json_get_str(metadata, "namespace"), ns) && str_equal(json_get_str(metadata, "name"), name)) {
            return json_at(services, i);
        }
    }
    return NULL;
}

static const struct json_value *each_service(void *owner, size_t *at)
{
    return json_at(json_get(owner, "services"), (*at)++);
}

static const struct json_value *each_slice(void *owner, size_t *at)
{
    return json_at(json_get(owner, "slices"), (*at)++);
}

static struct dns_source make_source(struct arena *arena)
{
    struct json_value *objects = NULL;
    assert_int_equal(json_parse(arena, str_of(world), &objects, NULL), ERR_OK);
    return (struct dns_source){.owner = objects, .find_service = find_service, .each_service = each_service, .each_slice = each_slice};
}

static void answers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned type;
        const char *want; // "type value[:port] …" or "NX" or ""
    } rows[] = {
        {"web.sample.svc.cluster.local", DNS_A, "1 10.96.0.7 "},
        {"WEB.Sample.svc.cluster.local", DNS_A, "1 10.96.0.7 "},
        {"web.sample.svc.cluster.local", DNS_AAAA, ""},
        {"gone.sample.svc.cluster.local", DNS_A, "NX"},
        {"web.other.svc.cluster.local", DNS_A, "NX"},
        {"db.sample.svc.cluster.local", DNS_A, "1 10.244.0.5 1 10.244.0.6 "},
        {"db-0.db.sample.svc.cluster.local", DNS_A, "1 10.244.0.5 "},
        {"10-244-0-6.db.sample.svc.cluster.local", DNS_A, "1 10.244.0.6 "},
        {"db-1.db.sample.svc.cluster.local", DNS_A, "NX"},
        {"x.web.sample.svc.cluster.local", DNS_A, "NX"},
        {"_http._tcp.web.sample.svc.cluster.local", DNS_SRV, "33 web.sample.svc.cluster.local:80 "},
        {"_pg._tcp.db.sample.svc.cluster.local", DNS_SRV,
         "33 db-0.db.sample.svc.cluster.local:5432 33 10-244-0-6.db.sample.svc.cluster.local:5432 "},
        {"_http._udp.web.sample.svc.cluster.local", DNS_SRV, "NX"},
        {"out.sample.svc.cluster.local", DNS_A, "5 example.com "},
        {"10-244-0-5.sample.pod.cluster.local", DNS_A, "1 10.244.0.5 "},
        {"10-244-0.sample.pod.cluster.local", DNS_A, "NX"},
        {"7.0.96.10.in-addr.arpa", DNS_PTR, "12 web.sample.svc.cluster.local "},
        {"5.0.244.10.in-addr.arpa", DNS_PTR, "12 db-0.db.sample.svc.cluster.local "},
        {"1.1.1.1.in-addr.arpa", DNS_PTR, "NX"},
        {"dns-version.cluster.local", DNS_TXT, "16 1.1.0 "},
        {"cluster.local", DNS_A, ""},
        {"sample.svc.cluster.local", DNS_A, ""},
        {"nowhere.svc.cluster.local", DNS_A, "NX"},
        {"example.com", DNS_A, "NX"},
        {"", DNS_A, "NX"},
    };
    struct arena arena = {0};
    struct dns_source source = make_source(&arena);
    for (size_t i = 0; i < array_count(rows); i++) {
        struct dns_answer answer = {0};
        struct buf got = {0};
        dns_lookup(&arena, &source, str_of(rows[i].name), rows[i].type, &answer);
        if (answer.code != DNS_OK) {
            buf_append_str(&got, STR("NX"));
        }
        for (size_t k = 0; k < answer.records.count; k++) {
            const struct dns_record *record = &answer.records.items[k];
            buf_printf(&got, "%d %.*s", record->type, STR_ARG(record->value));
            if (record->type == DNS_SRV) {
                buf_printf(&got, ":%u", record->port);
            }
            buf_append_char(&got, ' ');
        }
        check_row(rows[i].name, str_equal_c(buf_view(&got), rows[i].want), "got \"%.*s\"", STR_ARG(buf_view(&got)));
        buf_done(&got);
        vec_done(&answer.records);
    }
    arena_done(&arena);
}

static ldns_pkt *ask(const struct dns_source *source, const char *name, ldns_rr_type type, bool is_udp, size_t *ret_size)
{
    ldns_pkt *query = NULL;
    ldns_pkt *answer = NULL;
    uint8_t *wire = NULL;
    size_t size = 0;
    struct buf out = {0};
    assert_int_equal(ldns_pkt_query_new_frm_str(&query, name, type, LDNS_RR_CLASS_IN, LDNS_RD), LDNS_STATUS_OK);
    ldns_pkt_set_id(query, 4711);
    assert_int_equal(ldns_pkt2wire(&wire, query, &size), LDNS_STATUS_OK);
    assert_true(dns_message_answer(source, str_make((const char *)wire, size), is_udp, &out));
    assert_int_equal(ldns_wire2pkt(&answer, (const uint8_t *)buf_view(&out).data, out.size), LDNS_STATUS_OK);
    assert_int_equal(ldns_pkt_id(answer), 4711);
    assert_true(ldns_pkt_qr(answer));
    *ret_size = out.size;
    LDNS_FREE(wire);
    ldns_pkt_free(query);
    buf_done(&out);
    return answer;
}

static void packets(void **state)
{
    (void)state;
    struct arena arena = {0};
    size_t size = 0;
    struct dns_source source = make_source(&arena);
    ldns_pkt *answer = ask(&source, "web.sample.svc.cluster.local.", LDNS_RR_TYPE_A, true, &size);
    assert_int_equal(ldns_pkt_get_rcode(answer), LDNS_RCODE_NOERROR);
    assert_int_equal(ldns_pkt_ancount(answer), 1);
    ldns_pkt_free(answer);
    answer = ask(&source, "web.sample.svc.cluster.local.", LDNS_RR_TYPE_AAAA, true, &size);
    assert_int_equal(ldns_pkt_get_rcode(answer), LDNS_RCODE_NOERROR);
    assert_int_equal(ldns_pkt_ancount(answer), 0);
    assert_int_equal(ldns_pkt_nscount(answer), 1);
    ldns_pkt_free(answer);
    answer = ask(&source, "example.com.", LDNS_RR_TYPE_A, true, &size);
    assert_int_equal(ldns_pkt_get_rcode(answer), LDNS_RCODE_NXDOMAIN);
    ldns_pkt_free(answer);
    arena_done(&arena);
}

static void large_answers_are_cut_over_udp(void **state)
{
    (void)state;
    struct arena arena = {0};
    size_t size = 0;
    struct dns_source source = make_source(&arena);
    struct json_value *objects = source.owner;
    struct json_value *endpoints = json_get(json_at(json_get(objects, "slices"), 0), "endpoints");
    for (int i = 0; i < 100; i++) {
        struct json_value *endpoint = json_new_object(&arena);
        json_push(&arena, json_ensure_array(&arena, endpoint, "addresses"), json_new_str(&arena, arena_format(&arena, "10.244.1.%d", i)));
        json_push(&arena, endpoints, endpoint);
    }
    ldns_pkt *answer = ask(&source, "db.sample.svc.cluster.local.", LDNS_RR_TYPE_A, true, &size);
    assert_true(ldns_pkt_tc(answer));
    assert_true(size <= DNS_UDP_SIZE);
    ldns_pkt_free(answer);
    answer = ask(&source, "db.sample.svc.cluster.local.", LDNS_RR_TYPE_A, false, &size);
    assert_false(ldns_pkt_tc(answer));
    assert_int_equal(ldns_pkt_ancount(answer), 102);
    ldns_pkt_free(answer);
    arena_done(&arena);
}

static void what_is_no_query_gets_no_answer(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct buf out = {0};
    struct dns_source source = make_source(&arena);
    assert_false(dns_message_answer(&source, STR(""), true, &out));
    assert_false(dns_message_answer(&source, STR("short"), true, &out));
    // An answer (QR set) must not be answered: two servers would talk for ever.
    assert_false(dns_message_answer(&source, STR("\x00\x01\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00"), true, &out));
    buf_done(&out);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(packets),
        cmocka_unit_test(large_answers_are_cut_over_udp),
        cmocka_unit_test(what_is_no_query_gets_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
