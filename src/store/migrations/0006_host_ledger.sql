-- The host's counters when a capture was armed, with the recorder they are of, and, when it was
-- closed, what they had grown by since: JSON; '' where it is not known.
ALTER TABLE captures ADD COLUMN host_mark TEXT NOT NULL DEFAULT '';
ALTER TABLE captures ADD COLUMN host_ledger TEXT NOT NULL DEFAULT '';

-- S3 has the alerts of the capture up to this number.
ALTER TABLE captures ADD COLUMN alerts_uploaded INTEGER NOT NULL DEFAULT 0;
