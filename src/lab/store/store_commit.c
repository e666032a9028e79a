// SPDX-License-Identifier: Apache-2.0
//
// The committer: makes writes durable in SQLite on a thread of its own. All writes that wait when it
// comes round form one transaction (group commit), so one sync serves many writers.
//
//   loop thread:  add ──► queue ─┐                        ┌─► deliver ──► on_committed
//   committer:                   └─► BEGIN … COMMIT ──► done
//
// After a failed transaction the thread takes nothing more until the loop thread has been told: the
// writes in the queue were built on ones that failed, so that all of them fail together.
//
// File: table objects(bucket, key, revision, bytes) holds what is visible; table counters holds the last
// revision, because the newest write may be a deletion. application_id marks the file as ours.
#include <pthread.h>
#include <sqlite3.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "lab/store/store_internal.h"

#define STORE_APPLICATION_ID 0x49534d53 // "ISMS"
#define STORE_SCHEMA_VERSION 1

// Outlives the committer while a posted message is under way.
struct committer_link {
    pthread_mutex_t lock;
    uint32_t references; // under lock
    struct store_committer *committer; // NULL once freed; loop's thread only
};

struct store_committer {
    struct loop *loop;
    store_committed_fn *on_committed;
    void *owner;
    sqlite3 *database; // NULL: memory only
    sqlite3_stmt *put;
    sqlite3_stmt *erase;
    sqlite3_stmt *count;
    struct committer_link *link;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    // Under lock:
    struct list queue;
    struct list taken; // in the transaction under way
    struct list done;
    bool posted;   // a message to the loop is under way
    bool failed;   // failure is set and not yet reported
    bool stopping;
    struct error failure;
};

static void list_move_all(struct list *from, struct list *to)
{
    for (struct list *node; (node = list_first(from)) != NULL;) {
        list_remove(node);
        list_append(to, node);
    }
}

// --- SQLite ----------------------------------------------------------------------------------------

static enum err sqlite_failure(struct store_committer *committer, const char *what, struct error *err)
{
    int code = sqlite3_errcode(committer->database);
    const char *hint = code == SQLITE_FULL ? " (the disk is full: make room, then try again)" : "";
    return error_set(err, code == SQLITE_FULL ? ERR_LIMIT : ERR_IO, "store: %s: %s%s", what,
                     sqlite3_errmsg(committer->database), hint);
}

static enum err sqlite_run(struct store_committer *committer, const char *sql, struct error *err)
{
    if (sqlite3_exec(committer->database, sql, NULL, NULL, NULL) != SQLITE_OK) {
        return sqlite_failure(committer, sql, err);
    }
    return ERR_OK;
}

static enum err sqlite_check_owner(struct store_committer *committer, struct error *err)
{
    sqlite3_stmt *statement = NULL;
    int64_t application = -1;
    int64_t tables = -1;
    if (sqlite3_prepare_v2(committer->database,
                           "SELECT (SELECT application_id FROM pragma_application_id), "
                           "(SELECT count(*) FROM sqlite_schema)",
                           -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        application = sqlite3_column_int64(statement, 0);
        tables = sqlite3_column_int64(statement, 1);
    }
    sqlite3_finalize(statement);
    if (tables < 0) {
        return sqlite_failure(committer, "reading the file", err);
    }
    if (tables > 0 && application != STORE_APPLICATION_ID) {
        return error_set(err, ERR_INVALID, "store: the file is some other program's SQLite database");
    }
    return ERR_OK;
}

static enum err sqlite_open(struct store_committer *committer, struct str path, struct error *err)
{
    struct arena arena = {0};
    int code = sqlite3_open_v2(arena_strdup(&arena, path), &committer->database,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, NULL);
    arena_done(&arena);
    if (code != SQLITE_OK) {
        return committer->database == NULL ? error_set(err, ERR_IO, "store: out of memory")
                                           : sqlite_failure(committer, "opening the file", err);
    }
    (void)sqlite3_busy_timeout(committer->database, 2000);
    if (sqlite_check_owner(committer, err) != ERR_OK ||
        sqlite_run(committer, "PRAGMA journal_mode=WAL", err) != ERR_OK ||
        sqlite_run(committer, "PRAGMA synchronous=FULL", err) != ERR_OK ||
        sqlite_run(committer, "PRAGMA application_id=0x49534d53", err) != ERR_OK ||
        sqlite_run(committer, "PRAGMA user_version=1", err) != ERR_OK ||
        sqlite_run(committer,
                   "CREATE TABLE IF NOT EXISTS objects(bucket TEXT NOT NULL, key TEXT NOT NULL, "
                   "revision INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY(bucket, key)) WITHOUT ROWID",
                   err) != ERR_OK ||
        sqlite_run(committer,
                   "CREATE TABLE IF NOT EXISTS counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
                   err) != ERR_OK) {
        return ERR_IO;
    }
    static const char put[] = "INSERT INTO objects(bucket, key, revision, bytes) VALUES(?1, ?2, ?3, ?4) "
                              "ON CONFLICT(bucket, key) DO UPDATE SET revision=?3, bytes=?4";
    static const char erase[] = "DELETE FROM objects WHERE bucket=?1 AND key=?2";
    static const char count[] = "INSERT INTO counters(name, value) VALUES('revision', ?1) "
                                "ON CONFLICT(name) DO UPDATE SET value=?1";
    if (sqlite3_prepare_v2(committer->database, put, -1, &committer->put, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(committer->database, erase, -1, &committer->erase, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(committer->database, count, -1, &committer->count, NULL) != SQLITE_OK) {
        return sqlite_failure(committer, "preparing statements", err);
    }
    return ERR_OK;
}

static void bind_str(sqlite3_stmt *statement, int index, struct str text)
{
    // Views live until the statement has run: SQLite need not copy them.
    (void)sqlite3_bind_text(statement, index, text.data, (int)text.size, SQLITE_STATIC);
}

static enum err commit_one(struct store_committer *committer, const struct store_write *write,
                           struct error *err)
{
    bool is_delete = write->change == STORE_DELETE;
    sqlite3_stmt *statement = is_delete ? committer->erase : committer->put;
    (void)sqlite3_reset(statement);
    bind_str(statement, 1, write->bucket_name);
    bind_str(statement, 2, write->value->key);
    if (!is_delete) {
        (void)sqlite3_bind_int64(statement, 3, (sqlite3_int64)write->revision);
        (void)sqlite3_bind_blob(statement, 4, write->value->bytes.data, (int)write->value->bytes.size,
                                SQLITE_STATIC);
    }
    int code = sqlite3_step(statement);
    (void)sqlite3_clear_bindings(statement);
    return code == SQLITE_DONE ? ERR_OK : sqlite_failure(committer, "writing", err);
}

static enum err commit_all(struct store_committer *committer, const struct list *writes,
                           struct error *err)
{
    if (sqlite_run(committer, "BEGIN IMMEDIATE", err) != ERR_OK) {
        return ERR_IO;
    }
    enum err code = ERR_OK;
    uint64_t revision = 0;
    list_each(writes, node)
    {
        const struct store_write *write = container_of(node, struct store_write, node);
        revision = write->revision;
        code = commit_one(committer, write, err);
        if (code != ERR_OK) {
            break;
        }
    }
    if (code == ERR_OK) {
        (void)sqlite3_reset(committer->count);
        (void)sqlite3_bind_int64(committer->count, 1, (sqlite3_int64)revision);
        code = sqlite3_step(committer->count) == SQLITE_DONE ? ERR_OK
                                                             : sqlite_failure(committer, "counting", err);
        (void)sqlite3_reset(committer->count);
    }
    if (code == ERR_OK) {
        code = sqlite_run(committer, "COMMIT", err);
    }
    (void)sqlite3_reset(committer->put);
    (void)sqlite3_reset(committer->erase);
    if (code != ERR_OK && !sqlite3_get_autocommit(committer->database)) {
        (void)sqlite3_exec(committer->database, "ROLLBACK", NULL, NULL, NULL);
    }
    return code;
}

// --- the two threads -------------------------------------------------------------------------------

static void link_unref(struct committer_link *link)
{
    (void)pthread_mutex_lock(&link->lock);
    bool last = --link->references == 0;
    (void)pthread_mutex_unlock(&link->lock);
    if (last) {
        (void)pthread_mutex_destroy(&link->lock);
        mem_free(link);
    }
}

// On the loop's thread.
static void committer_deliver(void *argument)
{
    struct committer_link *link = argument;
    struct store_committer *committer = link->committer;
    if (committer != NULL) {
        struct list done;
        struct list failed;
        list_init(&done);
        list_init(&failed);
        struct error failure = {0};
        (void)pthread_mutex_lock(&committer->lock);
        committer->posted = false;
        list_move_all(&committer->done, &done);
        if (committer->failed) {
            failure = committer->failure;
            list_move_all(&committer->taken, &failed);
            list_move_all(&committer->queue, &failed);
            committer->failed = false;
            (void)pthread_cond_signal(&committer->wake);
        }
        (void)pthread_mutex_unlock(&committer->lock);
        if (!list_is_empty(&done)) {
            committer->on_committed(committer->owner, &done, NULL);
        }
        if (!list_is_empty(&failed)) {
            committer->on_committed(committer->owner, &failed, &failure);
        }
    }
    link_unref(link);
}

// Must hold committer->lock.
static void committer_post(struct store_committer *committer)
{
    if (committer->posted) {
        return;
    }
    committer->posted = true;
    (void)pthread_mutex_lock(&committer->link->lock);
    committer->link->references++;
    (void)pthread_mutex_unlock(&committer->link->lock);
    loop_post(committer->loop, committer_deliver, committer->link);
}

static void *committer_main(void *argument)
{
    struct store_committer *committer = argument;
    (void)pthread_mutex_lock(&committer->lock);
    for (;;) {
        while (committer->failed || list_is_empty(&committer->queue)) {
            if (committer->stopping) {
                (void)pthread_mutex_unlock(&committer->lock);
                return NULL;
            }
            (void)pthread_cond_wait(&committer->wake, &committer->lock);
        }
        list_move_all(&committer->queue, &committer->taken);
        (void)pthread_mutex_unlock(&committer->lock);
        struct error failure = {0};
        enum err code = commit_all(committer, &committer->taken, &failure);
        (void)pthread_mutex_lock(&committer->lock);
        if (code == ERR_OK) {
            list_move_all(&committer->taken, &committer->done);
        } else {
            committer->failed = true;
            committer->failure = failure;
        }
        committer_post(committer);
    }
}

void store_committer_add(struct store_committer *committer, struct store_write *write)
{
    (void)pthread_mutex_lock(&committer->lock);
    if (committer->has_thread) {
        list_append(&committer->queue, &write->node);
        (void)pthread_cond_signal(&committer->wake);
    } else {
        list_append(&committer->done, &write->node);
        committer_post(committer);
    }
    (void)pthread_mutex_unlock(&committer->lock);
}

// --- life ------------------------------------------------------------------------------------------

struct store_committer *store_committer_new(struct loop *loop, struct str path,
                                            store_committed_fn *on_committed, void *owner,
                                            struct error *err)
{
    struct store_committer *committer = mem_new(struct store_committer);
    committer->loop = loop;
    committer->on_committed = on_committed;
    committer->owner = owner;
    committer->link = mem_new(struct committer_link);
    committer->link->references = 1;
    committer->link->committer = committer;
    (void)pthread_mutex_init(&committer->link->lock, NULL);
    (void)pthread_mutex_init(&committer->lock, NULL);
    (void)pthread_cond_init(&committer->wake, NULL);
    list_init(&committer->queue);
    list_init(&committer->taken);
    list_init(&committer->done);
    if (!str_is_empty(path) && sqlite_open(committer, path, err) != ERR_OK) {
        struct list none;
        list_init(&none);
        store_committer_free(committer, &none);
        return NULL;
    }
    return committer;
}

enum err store_committer_load(struct store_committer *committer, uint64_t *ret_revision,
                              void (*on_row)(void *owner, struct str bucket, struct str key,
                                             uint64_t revision, struct str bytes),
                              void *owner, struct error *err)
{
    if (committer->database == NULL) {
        return ERR_OK;
    }
    sqlite3_stmt *rows = NULL;
    if (sqlite3_prepare_v2(committer->database, "SELECT bucket, key, revision, bytes FROM objects", -1,
                           &rows, NULL) != SQLITE_OK) {
        return sqlite_failure(committer, "reading objects", err);
    }
    int code;
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *bucket = (const char *)sqlite3_column_text(rows, 0);
        const char *key = (const char *)sqlite3_column_text(rows, 1);
        const char *bytes = sqlite3_column_blob(rows, 3);
        on_row(owner, str_make(bucket, (size_t)sqlite3_column_bytes(rows, 0)),
               str_make(key, (size_t)sqlite3_column_bytes(rows, 1)),
               (uint64_t)sqlite3_column_int64(rows, 2),
               str_make(bytes, (size_t)sqlite3_column_bytes(rows, 3)));
    }
    sqlite3_finalize(rows);
    if (code != SQLITE_DONE) {
        return sqlite_failure(committer, "reading objects", err);
    }
    sqlite3_stmt *counter = NULL;
    if (sqlite3_prepare_v2(committer->database, "SELECT value FROM counters WHERE name='revision'", -1,
                           &counter, NULL) != SQLITE_OK) {
        return sqlite_failure(committer, "reading the revision", err);
    }
    if (sqlite3_step(counter) == SQLITE_ROW) {
        *ret_revision = (uint64_t)sqlite3_column_int64(counter, 0);
    }
    sqlite3_finalize(counter);
    return ERR_OK;
}

enum err store_committer_start(struct store_committer *committer, struct error *err)
{
    if (committer->database == NULL) {
        return ERR_OK;
    }
    int code = pthread_create(&committer->thread, NULL, committer_main, committer);
    if (code != 0) {
        return error_set_errno(err, code, "store: starting the committer");
    }
    committer->has_thread = true;
    return ERR_OK;
}

void store_committer_free(struct store_committer *committer, struct list *ret_left)
{
    if (committer->has_thread) {
        (void)pthread_mutex_lock(&committer->lock);
        committer->stopping = true;
        (void)pthread_cond_signal(&committer->wake);
        (void)pthread_mutex_unlock(&committer->lock);
        (void)pthread_join(committer->thread, NULL);
    }
    list_move_all(&committer->done, ret_left);
    list_move_all(&committer->taken, ret_left);
    list_move_all(&committer->queue, ret_left);
    committer->link->committer = NULL;
    link_unref(committer->link);
    (void)sqlite3_finalize(committer->put);
    (void)sqlite3_finalize(committer->erase);
    (void)sqlite3_finalize(committer->count);
    (void)sqlite3_close(committer->database);
    (void)pthread_mutex_destroy(&committer->lock);
    (void)pthread_cond_destroy(&committer->wake);
    mem_free(committer);
}
