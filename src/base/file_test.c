// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

struct place {
    struct arena arena;
    char directory[64];
};

static const char *in(struct place *place, const char *name)
{
    return arena_format(&place->arena, "%s/%s", place->directory, name).data;
}

static int make_place(void **state)
{
    struct place *place = mem_new(struct place);
    (void)snprintf(place->directory, sizeof(place->directory), "/tmp/isthmesh-file-test-XXXXXX");
    *state = place;
    return mkdtemp(place->directory) == NULL ? -1 : 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    int status = rmdir(place->directory);
    arena_done(&place->arena);
    mem_free(place);
    return status;
}

static unsigned count_files(const char *path)
{
    unsigned count = 0;
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    (void)closedir(directory);
    return count;
}

static void written_files_read_back(void **state)
{
    struct place *place = *state;
    const char *path = in(place, "f");
    static char large[300000];
    memset(large, 'x', sizeof(large));
    const struct str texts[] = {STR("one"), STR_EMPTY, {"a\0b", 3}, str_make(large, sizeof(large))};
    for (size_t i = 0; i < array_count(texts); i++) {
        struct str got = STR_EMPTY;
        struct error err = {0};
        assert_int_equal(file_write_atomic(path, texts[i], 0640, &err), ERR_OK);
        assert_int_equal(file_read(&place->arena, path, FILE_READ_MAX, &got, &err), ERR_OK);
        assert_true(str_equal(got, texts[i]));
        assert_int_equal(got.data[got.size], '\0');
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0640);
        assert_int_equal(count_files(place->directory), 1); // no temporary one is left
    }
    struct str got = STR("untouched");
    struct error err = {0};
    assert_int_equal(file_read(&place->arena, path, sizeof(large) - 1, &got, &err), ERR_LIMIT);
    assert_str(got, "untouched");
    assert_int_equal(unlink(path), 0);
}

// A file that cannot be written leaves the old one, and says which.
static void failures_name_the_path(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    struct str got = STR_EMPTY;
    assert_int_equal(file_read(&place->arena, in(place, "none"), 10, &got, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, in(place, "none")));
    assert_int_not_equal(file_read(&place->arena, place->directory, 10, &got, &err), ERR_OK);
    assert_int_equal(file_write_atomic(in(place, "no/such/f"), STR("x"), 0600, &err), ERR_NOT_FOUND);
    assert_int_equal(mkdir(in(place, "d"), 0700), 0);
    assert_int_not_equal(file_write_atomic(in(place, "d"), STR("x"), 0600, &err), ERR_OK);
    assert_int_equal(count_files(place->directory), 1);
    assert_int_equal(rmdir(in(place, "d")), 0);
}

static void directories_are_made(void **state)
{
    struct place *place = *state;
    struct error err = {0};
    const char *path = in(place, "a/b//c/");
    assert_int_equal(file_make_directories(path, 0700, &err), ERR_OK);
    assert_int_equal(file_make_directories(path, 0700, &err), ERR_OK);
    assert_int_equal(file_write_atomic(in(place, "a/f"), STR("x"), 0600, &err), ERR_OK);
    assert_int_not_equal(file_make_directories(in(place, "a/f"), 0700, &err), ERR_OK);
    assert_int_not_equal(file_make_directories(in(place, "a/f/g"), 0700, &err), ERR_OK);
    assert_int_equal(file_make_directories("", 0700, &err), ERR_INVALID);
    static char long_path[8192];
    memset(long_path, 'x', sizeof(long_path) - 1);
    assert_int_equal(file_make_directories(long_path, 0700, &err), ERR_INVALID);
    assert_int_equal(file_write_atomic(long_path, STR("x"), 0700, &err), ERR_INVALID);
    assert_int_equal(unlink(in(place, "a/f")), 0);
    assert_int_equal(rmdir(in(place, "a/b/c")), 0);
    assert_int_equal(rmdir(in(place, "a/b")), 0);
    assert_int_equal(rmdir(in(place, "a")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(written_files_read_back, make_place, remove_place),
        cmocka_unit_test_setup_teardown(failures_name_the_path, make_place, remove_place),
        cmocka_unit_test_setup_teardown(directories_are_made, make_place, remove_place),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
