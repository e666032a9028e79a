// SPDX-License-Identifier: Apache-2.0
#include "lab/dns/message.h"

#include <ldns/ldns.h>
#include <stdio.h>

#include "base/arena.h"

#define HEADER_SIZE 12u

// ldns keeps what it is given, so names and values are copied through their text form.
static ldns_rr *make_record(struct arena *arena, const struct dns_record *record)
{
    struct str text = STR_EMPTY;
    ldns_rr *rr = NULL;
    switch (record->type) {
    case DNS_A:
        text = arena_format(arena, "%.*s. %u IN A %.*s", STR_ARG(record->name), DNS_TTL, STR_ARG(record->value));
        break;
    case DNS_CNAME:
        text = arena_format(arena, "%.*s. %u IN CNAME %.*s.", STR_ARG(record->name), DNS_TTL, STR_ARG(record->value));
        break;
    case DNS_PTR:
        text = arena_format(arena, "%.*s. %u IN PTR %.*s.", STR_ARG(record->name), DNS_TTL, STR_ARG(record->value));
        break;
    case DNS_TXT:
        text = arena_format(arena, "%.*s. %u IN TXT \"%.*s\"", STR_ARG(record->name), DNS_TTL, STR_ARG(record->value));
        break;
    case DNS_SRV:
        text = arena_format(arena, "%.*s. %u IN SRV 0 %u %u %.*s.", STR_ARG(record->name), DNS_TTL, record->weight, record->port,
                            STR_ARG(record->value));
        break;
    case DNS_SOA:
    case DNS_AAAA:
    case DNS_ANY:
        return NULL;
    }
    return ldns_rr_new_frm_str(&rr, text.data, 0, NULL, NULL) == LDNS_STATUS_OK ? rr : NULL;
}

static ldns_rr *make_authority(void)
{
    ldns_rr *rr = NULL;
    static const char text[] = DNS_ZONE ". 5 IN SOA ns.dns." DNS_ZONE ". hostmaster." DNS_ZONE ". 1 7200 1800 86400 5";
    return ldns_rr_new_frm_str(&rr, text, 0, NULL, NULL) == LDNS_STATUS_OK ? rr : NULL;
}

static void push(ldns_pkt *packet, ldns_pkt_section section, ldns_rr *rr)
{
    if (rr != NULL && !ldns_pkt_push_rr(packet, section, rr)) {
        ldns_rr_free(rr);
    }
}

// The question's name as text without escapes; false for names that no Kubernetes object can have.
static bool question_name(const ldns_rr *question, char out[static DNS_NAME_MAX + 1])
{
    char *text = ldns_rdf2str(ldns_rr_owner(question));
    bool is_plain = text != NULL && strlen(text) <= DNS_NAME_MAX && strchr(text, '\\') == NULL;
    if (is_plain) {
        size_t size = strlen(text);
        memcpy(out, text, size + 1);
        if (size > 0 && out[size - 1] == '.') {
            out[size - 1] = '\0';
        }
    }
    LDNS_FREE(text);
    return is_plain;
}

static void answer_question(const struct dns_source *source, const ldns_rr *question, ldns_pkt *answer)
{
    char name[DNS_NAME_MAX + 1];
    struct arena arena = {0};
    struct dns_answer found = {0};
    if (!question_name(question, name)) {
        ldns_pkt_set_rcode(answer, LDNS_RCODE_NXDOMAIN);
        return;
    }
    dns_lookup(&arena, source, str_of(name), (unsigned)ldns_rr_get_type(question), &found);
    ldns_pkt_set_rcode(answer, found.code == DNS_OK ? LDNS_RCODE_NOERROR : LDNS_RCODE_NXDOMAIN);
    for (size_t i = 0; i < found.records.count; i++) {
        push(answer, LDNS_SECTION_ANSWER, make_record(&arena, &found.records.items[i]));
    }
    if (found.records.count == 0) {
        push(answer, LDNS_SECTION_AUTHORITY, make_authority());
    }
    vec_done(&found.records);
    arena_done(&arena);
}

static bool write_packet(const ldns_pkt *packet, struct buf *out, size_t size_max)
{
    uint8_t *wire = NULL;
    size_t size = 0;
    bool fits = ldns_pkt2wire(&wire, packet, &size) == LDNS_STATUS_OK && size <= size_max;
    if (fits) {
        buf_append(out, wire, size);
    }
    LDNS_FREE(wire);
    return fits;
}

// Header and question only, marked as cut.
static void write_cut(const ldns_pkt *query, ldns_pkt *answer, struct buf *out)
{
    ldns_pkt *cut = ldns_pkt_new();
    ldns_pkt_set_id(cut, ldns_pkt_id(answer));
    ldns_pkt_set_qr(cut, true);
    ldns_pkt_set_aa(cut, true);
    ldns_pkt_set_tc(cut, true);
    ldns_pkt_set_rd(cut, ldns_pkt_rd(query));
    push(cut, LDNS_SECTION_QUESTION, ldns_rr_clone(ldns_rr_list_rr(ldns_pkt_question(query), 0)));
    (void)write_packet(cut, out, DNS_UDP_SIZE);
    ldns_pkt_free(cut);
}

static size_t size_limit(const ldns_pkt *query, bool is_udp)
{
    size_t said = ldns_pkt_edns_udp_size(query);
    if (!is_udp) {
        return DNS_MESSAGE_MAX;
    }
    return said < DNS_UDP_SIZE ? DNS_UDP_SIZE : said > DNS_UDP_SIZE_MAX ? DNS_UDP_SIZE_MAX : said;
}

bool dns_message_answer(const struct dns_source *source, struct str query, bool is_udp, struct buf *out)
{
    ldns_pkt *packet = NULL;
    if (query.size < HEADER_SIZE || query.size > DNS_MESSAGE_MAX ||
        ldns_wire2pkt(&packet, (const uint8_t *)query.data, query.size) != LDNS_STATUS_OK) {
        return false;
    }
    if (ldns_pkt_qr(packet)) {
        ldns_pkt_free(packet);
        return false; // an answer: answering it would make a loop
    }
    ldns_pkt *answer = ldns_pkt_new();
    ldns_pkt_set_id(answer, ldns_pkt_id(packet));
    ldns_pkt_set_qr(answer, true);
    ldns_pkt_set_aa(answer, true);
    ldns_pkt_set_ra(answer, true);
    ldns_pkt_set_rd(answer, ldns_pkt_rd(packet));
    if (ldns_pkt_get_opcode(packet) != LDNS_PACKET_QUERY) {
        ldns_pkt_set_opcode(answer, ldns_pkt_get_opcode(packet));
        ldns_pkt_set_rcode(answer, LDNS_RCODE_NOTIMPL);
    } else if (ldns_pkt_qdcount(packet) != 1) {
        ldns_pkt_set_rcode(answer, LDNS_RCODE_FORMERR);
    } else {
        const ldns_rr *question = ldns_rr_list_rr(ldns_pkt_question(packet), 0);
        push(answer, LDNS_SECTION_QUESTION, ldns_rr_clone(question));
        answer_question(source, question, answer);
    }
    if (!write_packet(answer, out, size_limit(packet, is_udp)) && ldns_pkt_qdcount(packet) == 1) {
        write_cut(packet, answer, out);
    }
    ldns_pkt_free(answer);
    ldns_pkt_free(packet);
    return out->size > 0;
}
