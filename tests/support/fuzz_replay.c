// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz target over the files of a corpus directory, so that every input that once mattered is an
// ordinary test under any compiler and sanitizer. Fails when the directory is missing or empty.
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    size_t capacity = 1u << 20;
    uint8_t *bytes = malloc(capacity);
    size_t size = bytes == NULL ? 0 : fread(bytes, 1, capacity, file);
    (void)fclose(file);
    // An exact-size copy lets AddressSanitizer see a read one byte behind the end.
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    if (bytes == NULL || exact == NULL) {
        return -1;
    }
    memcpy(exact, bytes, size);
    free(bytes);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
        return 2;
    }
    DIR *directory = opendir(argv[1]);
    if (directory == NULL) {
        perror(argv[1]);
        return 1;
    }
    int replayed = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char path[4096];
        (void)snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        if (replay_file(path) != 0) {
            return 1;
        }
        replayed++;
    }
    (void)closedir(directory);
    if (replayed == 0) {
        (void)fprintf(stderr, "%s: no corpus files\n", argv[1]);
        return 1;
    }
    return 0;
}
