/* The schema's steps, embedded from migrations/NNNN_name.sql by the Makefile. */
#ifndef TAPBOX_STORE_MIGRATIONS_INT_H
#define TAPBOX_STORE_MIGRATIONS_INT_H

#include <stddef.h>

struct store_migration {
    const char *name; /* "0001_start" */
    const char *sql;
};

/* In order; the i-th brings the schema to version i + 1. */
extern const struct store_migration store_migrations[];
extern const size_t store_migration_count;

#endif
