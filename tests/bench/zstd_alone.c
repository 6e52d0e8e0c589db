/*
 * zstd alone, in memory, as the yardstick of the pipeline: what `zstd -b1` measures, but in
 * CPU time, which does not count what else the machine does meanwhile.
 * usage: zstd_alone FILE [TIMES [LEVEL]]
 * Prints: seconds of CPU for the whole file (the best of TIMES), octets, compressed octets.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <zstd.h>

static double
cpu_s(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *
read_whole(const char *path, size_t *out_len)
{
    FILE *file = fopen(path, "rb");
    void *octets = NULL;
    long size;

    if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) > 0 &&
        fseek(file, 0, SEEK_SET) == 0 && (octets = malloc((size_t)size)) != NULL) {
        *out_len = fread(octets, 1, (size_t)size, file);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return octets;
}

int
main(int argc, char **argv)
{
    long times = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
    int level = argc > 3 ? atoi(argv[3]) : 1;
    size_t len = 0, packed = 0;
    void *in, *out;
    double best = 0;

    if (argc < 2) {
        fputs("usage: zstd_alone FILE [TIMES [LEVEL]]\n", stderr);
        return 2;
    }
    in = read_whole(argv[1], &len);
    out = malloc(ZSTD_compressBound(len));
    if (in == NULL || out == NULL) {
        perror(argv[1]);
        return 1;
    }
    for (long i = 0; i < times; i++) {
        double began = cpu_s();
        double took;

        packed = ZSTD_compress(out, ZSTD_compressBound(len), in, len, level);
        took = cpu_s() - began;
        if (ZSTD_isError(packed)) {
            fprintf(stderr, "%s: %s\n", argv[1], ZSTD_getErrorName(packed));
            return 1;
        }
        best = i == 0 || took < best ? took : best;
    }
    printf("%.4f %zu %zu\n", best, len, packed);
    free(in);
    free(out);
    return 0;
}
