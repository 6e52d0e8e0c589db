/*
 * Runs files and folders of files through a fuzz target, for builds without libFuzzer: so a
 * corpus, crashes found earlier included, is a regression test in every mode.
 * usage: fuzz_NAME FILE|FOLDER...
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    INPUT_MAX_BYTES = 16 << 20 /* a seed is a few kilobytes; this catches a wrong argument */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 0, or 1 when the file could not be run. */
static int
run_file(const char *path, size_t *count)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    struct stat st;
    int status = 1;

    if (file == NULL || fstat(fileno(file), &st) != 0 || st.st_size > INPUT_MAX_BYTES) {
        goto out;
    }
    /* Of exactly its size, so that the address sanitizer sees a read behind the end. */
    data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
    if (data == NULL || fread(data, 1, (size_t)st.st_size, file) != (size_t)st.st_size) {
        goto out;
    }
    (void)LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
    (*count)++;
    status = 0;

out:
    if (status != 0) {
        fprintf(stderr, "%s: cannot be run: %s\n", path, strerror(errno));
    }
    free(data);
    if (file != NULL) {
        (void)fclose(file);
    }
    return status;
}

static int
run_folder(const char *path, size_t *count)
{
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, NULL, alphasort);
    int status = 0;

    if (n < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    for (int i = 0; i < n; i++) {
        char name[4096];

        if (entries[i]->d_name[0] != '.') {
            if (snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name) >=
                (int)sizeof(name)) {
                fprintf(stderr, "%s: a name that is too long\n", path);
                status = 1;
            } else {
                status |= run_file(name, count);
            }
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

int
main(int argc, char **argv)
{
    size_t count = 0;
    int status = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            status |= run_folder(argv[i], &count);
        } else {
            status |= run_file(argv[i], &count);
        }
    }
    printf("%zu inputs\n", count);
    if (count == 0) {
        fprintf(stderr, "nothing was run\n");
        return 1;
    }
    return status;
}
