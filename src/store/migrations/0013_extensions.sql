-- Longer boxes that were asked for and have not come about: captures.extend_to_utc_ns is the latest of them.
CREATE TABLE extensions (
    id                INTEGER PRIMARY KEY,
    capture_id        TEXT NOT NULL REFERENCES captures (id),
    to_utc_ns         INTEGER NOT NULL,
    joined            INTEGER NOT NULL DEFAULT 0 -- by an alert: nobody waits for it, so nobody takes it back
) STRICT;
CREATE INDEX extensions_capture ON extensions (capture_id);
INSERT INTO extensions (capture_id, to_utc_ns, joined)
    SELECT id, extend_to_utc_ns, 1 FROM captures
    WHERE extend_to_utc_ns <> 0 AND state NOT IN ('sealed', 'refused', 'failed');
