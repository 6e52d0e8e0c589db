-- The type of a source's instance when it was planned: one that was changed since may not be mirrored.
ALTER TABLE capture_sources ADD COLUMN instance_type TEXT NOT NULL DEFAULT '';
