// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <string.h>

#include "base/memory.h"
#include "lab/loadbalancer/arp.h"

// Who has 172.18.1.230? Tell 172.18.0.1 (02:00:00:00:00:aa).
static const uint8_t question[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0xaa, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
                                   2, 0, 0, 0, 0, 0xaa, 172, 18, 0, 1, 0, 0, 0, 0, 0, 0, 172, 18, 1, 230};
static const struct arp_hardware own = {{2, 0, 0, 0, 0, 1}};

static struct str view(const uint8_t *bytes, size_t size)
{
    return str_make((const char *)bytes, size);
}

static void a_request_is_answered(void **state)
{
    (void)state;
    static const uint8_t want[] = {2, 0, 0, 0, 0, 0xaa, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2,
                                   2, 0, 0, 0, 0, 1, 172, 18, 1, 230, 2, 0, 0, 0, 0, 0xaa, 172, 18, 0, 1};
    struct arp_request request;
    uint8_t frame[ARP_FRAME_SIZE];
    assert_true(arp_read_request(view(question, sizeof(question)), &request));
    assert_true(request.is_broadcast);
    assert_int_equal(request.target_address, 0xac1201e6);
    assert_int_equal(request.sender_address, 0xac120001);
    arp_write_reply(&request, &own, frame);
    assert_memory_equal(frame, want, sizeof(want));
}

static void other_frames_are_not(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t offset;
        uint8_t value;
        size_t size;
    } rows[] = {
        {"short", 0, 0xff, ARP_FRAME_SIZE - 1}, {"empty", 0, 0xff, 0},
        {"another protocol", 13, 0, 60},        {"not Ethernet", 15, 6, 60},
        {"not IPv4", 16, 0x86, 60},             {"hardware size", 18, 8, 60},
        {"address size", 19, 16, 60},           {"a reply", 21, 2, 60},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        uint8_t frame[60] = {0};
        struct arp_request request;
        memcpy(frame, question, sizeof(question));
        assert_true(arp_read_request(view(frame, sizeof(frame)), &request)); // padded to the minimum
        frame[rows[i].offset] = rows[i].value;
        check_row(rows[i].name, !arp_read_request(view(frame, rows[i].size), &request), "was read");
    }
}

static void announcements_go_to_everybody(void **state)
{
    (void)state;
    static const uint8_t want[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2,
                                   2, 0, 0, 0, 0, 1, 172, 18, 1, 230, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 172, 18, 1, 230};
    uint8_t frame[ARP_FRAME_SIZE];
    arp_write_gratuitous(ARP_REPLY, 0xac1201e6, &own, frame);
    assert_memory_equal(frame, want, sizeof(want));
    arp_write_gratuitous(ARP_REQUEST, 0xac1201e6, &own, frame);
    assert_int_equal(frame[21], ARP_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered),
        cmocka_unit_test(other_frames_are_not),
        cmocka_unit_test(announcements_go_to_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
