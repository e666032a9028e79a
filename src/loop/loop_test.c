// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/memory.h"
#include "base/random.h"
#include "loop/loop.h"
#include "loop/socket.h"

#define TURNS_MAX 2000 // of 10 ms at most: a test that waits longer has failed

// --- timers and tasks ------------------------------------------------------------------------------

struct recorder {
    struct loop *loop;
    struct loop_timer timers[3];
    struct loop_task tasks[3];
    struct buf trace;
};

static struct recorder *recorder; // of the running test

static void on_fire(struct loop_timer *timer)
{
    buf_printf(&recorder->trace, "%c@%llu ", (char)('a' + (timer - recorder->timers)),
               (unsigned long long)loop_now_ms(timer->loop));
    if (timer == &recorder->timers[0] && loop_now_ms(timer->loop) < 1020) {
        loop_timer_start(timer, 10);
    }
}

static void on_run(struct loop_task *task)
{
    buf_printf(&recorder->trace, "%c ", (char)('0' + (task - recorder->tasks)));
    if (task == &recorder->tasks[0]) {
        loop_task_schedule_close(recorder->loop, &recorder->tasks[2]);
        loop_task_schedule(recorder->loop, &recorder->tasks[1]);
    }
}

static void start_recorder(struct recorder *fresh)
{
    *fresh = (struct recorder){.loop = loop_new_fake(1000)};
    for (size_t i = 0; i < 3; i++) {
        loop_timer_init(&fresh->timers[i], fresh->loop, on_fire);
        loop_task_init(&fresh->tasks[i], on_run);
    }
    recorder = fresh;
}

static void stop_recorder(struct recorder *old)
{
    buf_done(&old->trace);
    loop_free(old->loop);
    recorder = NULL;
}

static void timers_fire_in_order(void **state)
{
    (void)state;
    struct recorder r;
    start_recorder(&r);
    loop_timer_start(&r.timers[0], 10);
    loop_timer_start(&r.timers[1], 15);
    loop_timer_start(&r.timers[2], 5);
    loop_timer_start(&r.timers[2], 30); // re-armed
    assert_true(loop_timer_is_running(&r.timers[2]));
    loop_advance(r.loop, 20);
    assert_str(buf_view(&r.trace), "a@1010 b@1015 a@1020 ");
    loop_timer_stop(&r.timers[2]);
    loop_timer_stop(&r.timers[2]);
    loop_advance(r.loop, 1000);
    assert_str(buf_view(&r.trace), "a@1010 b@1015 a@1020 ");
    assert_int_equal(loop_now_ms(r.loop), 2020);
    stop_recorder(&r);
}

// Many timers against the plain truth: each fires in its millisecond, in order, unless stopped.
struct alarm {
    struct loop_timer timer;
    uint64_t due_ms; // 0: must not fire
};

static uint64_t last_fired_ms;
static unsigned fired_count;

static void on_alarm(struct loop_timer *timer)
{
    struct alarm *alarm = container_of(timer, struct alarm, timer);
    uint64_t now = loop_now_ms(timer->loop);
    assert_int_equal(now, alarm->due_ms);
    assert_true(now >= last_fired_ms);
    assert_false(loop_timer_is_running(timer));
    last_fired_ms = now;
    alarm->due_ms = 0;
    fired_count++;
}

static void many_timers_fire_when_due(void **state)
{
    (void)state;
    enum { ALARMS = 2000, STEPS = 20000 };
    static struct alarm alarms[ALARMS];
    memset(alarms, 0, sizeof(alarms));
    struct random random;
    random_init(&random, 11);
    struct loop *loop = loop_new_fake((1u << 18) - 50); // digits of the wheel roll over soon
    last_fired_ms = fired_count = 0;
    unsigned want_count = 0;
    for (size_t i = 0; i < ALARMS; i++) {
        loop_timer_init(&alarms[i].timer, loop, on_alarm);
    }
    for (int step = 0; step < STEPS; step++) {
        struct alarm *alarm = &alarms[random_below(&random, ALARMS)];
        want_count -= alarm->due_ms > 0 ? 1 : 0;
        if (random_below(&random, 4) == 0) {
            loop_timer_stop(&alarm->timer);
            alarm->due_ms = 0;
        } else {
            uint64_t delay_ms = random_below(&random, UINT64_C(1) << random_below(&random, 24));
            loop_timer_start(&alarm->timer, delay_ms);
            alarm->due_ms = loop_now_ms(loop) + delay_ms;
            want_count++;
        }
        loop_advance(loop, random_below(&random, 40) == 0 ? random_below(&random, 5000) : random_below(&random, 3));
    }
    loop_advance(loop, 1u << 25);
    assert_int_equal(fired_count, want_count);
    for (size_t i = 0; i < ALARMS; i++) {
        assert_int_equal(alarms[i].due_ms, 0);
    }
    loop_timer_start(&alarms[0].timer, UINT64_MAX); // in effect never
    loop_advance(loop, UINT64_C(100) * 365 * 86400 * 1000);
    assert_true(loop_timer_is_running(&alarms[0].timer));
    loop_timer_stop(&alarms[0].timer);
    loop_free(loop);
}

// A timer that is stopped by another one of the same millisecond does not fire; one that re-arms
// itself with no delay does so in the next turn.
static struct loop_timer pair[2];
static unsigned pair_fired[2];

static void on_pair(struct loop_timer *timer)
{
    size_t which = (size_t)(timer - pair);
    pair_fired[which]++;
    loop_timer_stop(&pair[1 - which]);
    loop_timer_start(timer, 0);
}

static void timers_stop_and_restart_inside_callbacks(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    memset(pair_fired, 0, sizeof(pair_fired));
    loop_timer_init(&pair[0], loop, on_pair);
    loop_timer_init(&pair[1], loop, on_pair);
    loop_timer_start(&pair[0], 0);
    loop_timer_start(&pair[1], 0);
    for (unsigned turn = 1; turn < 4; turn++) {
        loop_turn(loop, 0);
        assert_int_equal(pair_fired[0], turn);
        assert_int_equal(pair_fired[1], 0);
    }
    loop_timer_stop(&pair[0]);
    struct loop_timer zeroed = {0};
    assert_false(loop_timer_is_running(&zeroed));
    loop_timer_stop(&zeroed);
    loop_free(loop);
}

static void tasks_run_before_the_close_point(void **state)
{
    (void)state;
    struct recorder r;
    start_recorder(&r);
    loop_task_schedule(r.loop, &r.tasks[0]);
    loop_task_schedule(r.loop, &r.tasks[0]);
    loop_turn(r.loop, -1); // does not wait: there is something to do
    assert_str(buf_view(&r.trace), "0 1 2 ");
    loop_task_schedule(r.loop, &r.tasks[1]);
    loop_task_cancel(&r.tasks[1]);
    loop_task_cancel(&r.tasks[1]);
    loop_turn(r.loop, 0);
    assert_str(buf_view(&r.trace), "0 1 2 ");
    stop_recorder(&r);
}

// --- messages --------------------------------------------------------------------------------------

#define SENDERS 4
#define MESSAGES 2000

struct sender {
    struct loop *loop;
    pthread_t thread;
    size_t *received;
    size_t next; // receiver's side
    bool in_order;
};

struct note {
    struct sender *sender;
    size_t number;
};

static void on_note(void *argument)
{
    struct note *note = argument;
    struct sender *sender = note->sender;
    sender->in_order = sender->in_order && note->number == sender->next;
    sender->next++;
    if (++*sender->received == (size_t)SENDERS * MESSAGES) {
        loop_stop(sender->loop);
    }
    mem_free(note);
}

static void *send_notes(void *argument)
{
    struct sender *sender = argument;
    for (size_t i = 0; i < MESSAGES; i++) {
        struct note *note = mem_new(struct note);
        *note = (struct note){sender, i};
        loop_post(sender->loop, on_note, note);
    }
    return NULL;
}

static void messages_from_threads(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    size_t received = 0;
    struct sender senders[SENDERS];
    for (size_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.loop = loop, .received = &received, .in_order = true};
    }
    for (size_t i = 0; i < SENDERS; i++) {
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_notes, &senders[i]), 0);
    }
    loop_run(loop);
    for (size_t i = 0; i < SENDERS; i++) {
        (void)pthread_join(senders[i].thread, NULL);
        assert_true(senders[i].in_order);
        assert_int_equal(senders[i].next, MESSAGES);
    }
    loop_free(loop);
}

// --- signals and children --------------------------------------------------------------------------

struct ending {
    struct loop *loop;
    pid_t pid;
    int status;
    int count;
    int signal_number;
};

static void on_exit_report(void *owner, pid_t pid, int status)
{
    struct ending *ending = owner;
    ending->pid = pid;
    ending->status = status;
    ending->count++;
}

static void on_signal(void *owner, int signal_number)
{
    struct ending *ending = owner;
    ending->signal_number = signal_number;
}

static void turn_until(struct loop *loop, const int *value, int want)
{
    for (int i = 0; i < TURNS_MAX && *value != want; i++) {
        loop_turn(loop, 10);
    }
    assert_int_equal(*value, want);
}

static pid_t start_child(int exit_code)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(exit_code);
    }
    assert_true(pid > 0);
    return pid;
}

static void children_are_reported(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct ending ending = {.loop = loop};
    for (int i = 0; i < 20; i++) {
        loop_child_watch(loop, start_child(3), on_exit_report, &ending);
    }
    turn_until(loop, &ending.count, 20);
    assert_true(WIFEXITED(ending.status));
    assert_int_equal(WEXITSTATUS(ending.status), 3);

    pid_t unwatched = start_child(0);
    loop_child_watch(loop, unwatched, on_exit_report, &ending);
    loop_child_unwatch(loop, unwatched);
    loop_child_unwatch(loop, unwatched);
    assert_int_equal(waitpid(unwatched, NULL, 0), unwatched);

    loop_child_watch(loop, unwatched, on_exit_report, &ending); // gone: reported, not hung
    turn_until(loop, &ending.count, 21);
    assert_int_equal(ending.status, -1);
    loop_free(loop);
}

static void all_children_are_reaped(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct ending ending = {.loop = loop};
    loop_child_reap_all(loop);
    pid_t orphan = start_child(0);
    loop_child_watch(loop, start_child(5), on_exit_report, &ending);
    turn_until(loop, &ending.count, 1);
    assert_int_equal(WEXITSTATUS(ending.status), 5);
    for (int i = 0; i < TURNS_MAX && kill(orphan, 0) == 0; i++) {
        loop_turn(loop, 10);
    }
    assert_int_equal(kill(orphan, 0), -1);
    loop_free(loop);
}

static void signals_arrive_on_the_loop(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct ending ending = {.loop = loop};
    loop_signal_watch(loop, SIGUSR1, on_signal, &ending);
    loop_signal_watch(loop, SIGUSR2, on_signal, &ending);
    assert_int_equal(kill(getpid(), SIGUSR2), 0);
    turn_until(loop, &ending.signal_number, SIGUSR2);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    turn_until(loop, &ending.signal_number, SIGUSR1);
    loop_free(loop);
}

// --- sockets ---------------------------------------------------------------------------------------

struct end {
    struct socket socket;
    struct buf received;
    size_t left; // bytes to write, of 'x'
    int connected;
    int eof;
    int errors;
    int closed;
    enum err code;
    bool close_in_read;
};

static char zeros[256 * 1024];

static void end_write(struct end *end)
{
    while (end->left > 0) {
        size_t size = end->left < sizeof(zeros) ? end->left : sizeof(zeros);
        struct iovec part = {zeros, size};
        ssize_t sent = socket_write(&end->socket, &part, 1);
        if (sent < 0) {
            return;
        }
        end->left -= (size_t)sent;
        if ((size_t)sent < size) {
            return;
        }
    }
    socket_shutdown_write(&end->socket);
}

static void end_on_connected(struct socket *socket)
{
    container_of(socket, struct end, socket)->connected++;
}

static void end_on_read(struct socket *socket, struct str bytes)
{
    struct end *end = container_of(socket, struct end, socket);
    buf_append_str(&end->received, bytes);
    if (end->close_in_read) {
        socket_close(socket);
    }
}

static void end_on_eof(struct socket *socket)
{
    container_of(socket, struct end, socket)->eof++;
}

static void end_on_writable(struct socket *socket)
{
    end_write(container_of(socket, struct end, socket));
}

static void end_on_error(struct socket *socket, const struct error *err)
{
    struct end *end = container_of(socket, struct end, socket);
    end->errors++;
    end->code = err->code;
    socket_close(socket);
}

static void end_on_closed(struct socket *socket)
{
    container_of(socket, struct end, socket)->closed++;
}

static const struct socket_events end_events = {
    end_on_connected, end_on_read, end_on_eof, end_on_writable, end_on_error, end_on_closed,
};

static void make_pair(struct loop *loop, struct end ends[2])
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++) {
        ends[i] = (struct end){0};
        socket_init(&ends[i].socket, loop, &end_events);
        socket_attach(&ends[i].socket, fds[i]);
        socket_read_start(&ends[i].socket);
    }
}

static void done_pair(struct loop *loop, struct end ends[2])
{
    for (int i = 0; i < 2; i++) {
        socket_close(&ends[i].socket);
        socket_close(&ends[i].socket);
        loop_turn(loop, 0);
        assert_int_equal(ends[i].closed, 1);
        buf_done(&ends[i].received);
    }
}

static void sockets_carry_more_than_fits(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct end ends[2];
    make_pair(loop, ends);
    ends[0].left = 5u * 1024 * 1024;
    end_write(&ends[0]);
    assert_true(ends[0].left > 0);
    turn_until(loop, &ends[1].eof, 1);
    assert_int_equal(ends[1].received.size, 5u * 1024 * 1024);
    done_pair(loop, ends);
    loop_free(loop);
}

static void stopped_sockets_read_nothing(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct end ends[2];
    make_pair(loop, ends);
    socket_read_stop(&ends[1].socket);
    ends[0].left = 10;
    end_write(&ends[0]);
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    assert_int_equal(ends[1].received.size, 0);
    socket_read_start(&ends[1].socket);
    turn_until(loop, &ends[1].eof, 1);
    assert_int_equal(ends[1].received.size, 10);
    done_pair(loop, ends);
    loop_free(loop);
}

static void closing_inside_a_callback(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct end ends[2];
    make_pair(loop, ends);
    ends[1].close_in_read = true;
    ends[0].left = 3u * 1024 * 1024;
    end_write(&ends[0]);
    turn_until(loop, &ends[1].closed, 1);
    turn_until(loop, &ends[0].closed, 1); // its write fails
    assert_int_equal(ends[0].errors, 1);
    assert_int_equal(ends[0].code, ERR_CLOSED);
    assert_int_equal(ends[1].errors, 0);
    done_pair(loop, ends);
    loop_free(loop);
}

static int listen_on_loopback(struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *ret_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(*ret_address);
    assert_int_equal(bind(fd, (struct sockaddr *)ret_address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static void refused_connections_are_errors(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct sockaddr_in address;
    (void)close(listen_on_loopback(&address));
    struct end end = {0};
    socket_init(&end.socket, loop, &end_events);
    struct error err = {0};
    assert_int_equal(socket_connect(&end.socket, (struct sockaddr *)&address, sizeof(address), NULL, 0, &err),
                     ERR_OK);
    turn_until(loop, &end.closed, 1);
    assert_int_equal(end.errors, 1);
    assert_int_equal(end.code, ERR_UNREACHABLE);
    assert_int_equal(end.connected, 0);
    loop_free(loop);
}

struct door {
    struct acceptor acceptor;
    int accepted;
};

static void on_accept(struct acceptor *acceptor, int fd, const struct sockaddr *peer, socklen_t peer_size)
{
    assert_int_equal(peer->sa_family, AF_INET);
    assert_true(peer_size >= sizeof(struct sockaddr_in));
    container_of(acceptor, struct door, acceptor)->accepted++;
    (void)close(fd);
}

static void acceptors_survive_running_out_of_descriptors(void **state)
{
    (void)state;
    struct loop *loop = loop_new_fake(0);
    struct sockaddr_in address;
    struct door door = {0};
    acceptor_init(&door.acceptor, loop, on_accept);
    acceptor_start(&door.acceptor, listen_on_loopback(&address));
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);

    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct rlimit none = {.rlim_cur = (rlim_t)client + 1, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (int i = 0; i < 5; i++) {
        loop_turn(loop, 0); // pauses instead of spinning
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    loop_turn(loop, 0);
    assert_int_equal(door.accepted, 0);
    loop_advance(loop, ACCEPTOR_PAUSE_MS);
    turn_until(loop, &door.accepted, 1);
    (void)close(client);
    acceptor_stop(&door.acceptor);
    acceptor_stop(&door.acceptor);
    loop_free(loop);
}

int main(void)
{
    memset(zeros, 'x', sizeof(zeros));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order),
        cmocka_unit_test(many_timers_fire_when_due),
        cmocka_unit_test(timers_stop_and_restart_inside_callbacks),
        cmocka_unit_test(tasks_run_before_the_close_point),
        cmocka_unit_test(messages_from_threads),
        cmocka_unit_test(children_are_reported),
        cmocka_unit_test(signals_arrive_on_the_loop),
        cmocka_unit_test(sockets_carry_more_than_fits),
        cmocka_unit_test(stopped_sockets_read_nothing),
        cmocka_unit_test(closing_inside_a_callback),
        cmocka_unit_test(refused_connections_are_errors),
        cmocka_unit_test(acceptors_survive_running_out_of_descriptors),
        cmocka_unit_test(all_children_are_reaped), // last: SIGCHLD stays blocked
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
