// SPDX-License-Identifier: Apache-2.0
//
// timer_wheel: the loop's timers by the millisecond they fall due. Starting and stopping are O(1) and
// touch the timer and one slot; each timer moves at most once per level on its way down.
#ifndef LOOP_TIMER_WHEEL_H
#define LOOP_TIMER_WHEEL_H

#include "base/list.h"
#include "loop/loop.h"

#define TIMER_WHEEL_LEVELS 7u // of 64 slots: 2^42 ms, 139 years; what is due later is due then
#define TIMER_WHEEL_SLOTS 64u

struct timer_wheel {
    uint64_t now;
    uint64_t occupied[TIMER_WHEEL_LEVELS]; // a bit per slot; it may outlive the slot's last timer
    struct list slots[TIMER_WHEEL_LEVELS][TIMER_WHEEL_SLOTS];
    struct list due; // have fallen due, earliest first
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now);
void timer_wheel_insert(struct timer_wheel *wheel, struct loop_timer *timer, uint64_t due);
// When to look again: a timer is due, or a slot of a higher level has to be spread. UINT64_MAX: never.
uint64_t timer_wheel_next(struct timer_wheel *wheel);
// Moves what is due by then to `due`.
void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now);

#endif
