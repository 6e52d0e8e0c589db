-- Why the last try to mirror an interface that is to be mirrored failed; '' : none did.
ALTER TABLE capture_sources ADD COLUMN trouble TEXT NOT NULL DEFAULT '';
