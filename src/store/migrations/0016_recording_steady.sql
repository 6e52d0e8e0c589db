-- How long a capture has recorded is counted by the clock that nobody sets, from its beginning on.
ALTER TABLE captures ADD COLUMN recording_steady_ns INTEGER NOT NULL DEFAULT 0;
UPDATE captures SET recording_steady_ns = recording_utc_ns;
