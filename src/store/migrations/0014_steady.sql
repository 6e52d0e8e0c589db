-- Spans are measured, and work is due, by a clock that nobody sets: UTC as it was when the store was first opened in
-- this boot, going on with CLOCK_BOOTTIME.  What evidence tells stays UTC.
CREATE TABLE steady (
    one               INTEGER PRIMARY KEY CHECK (one = 1),
    boot_id           TEXT NOT NULL,
    less_boot_ns      INTEGER NOT NULL -- this clock less CLOCK_BOOTTIME
) STRICT;
ALTER TABLE captures RENAME COLUMN due_utc_ns TO due_steady_ns;
ALTER TABLE captures ADD COLUMN stopped_steady_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE captures ADD COLUMN ended_steady_ns INTEGER NOT NULL DEFAULT 0;
UPDATE captures SET stopped_steady_ns = stopped_utc_ns, ended_steady_ns = ended_utc_ns;
ALTER TABLE resources ADD COLUMN created_steady_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE resources ADD COLUMN gone_steady_ns INTEGER NOT NULL DEFAULT 0;
UPDATE resources SET created_steady_ns = created_utc_ns, gone_steady_ns = gone_utc_ns;
