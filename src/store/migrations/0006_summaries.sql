-- The summary of a capture that has ended (src/summary/FORMAT.md).
CREATE TABLE summaries (
    capture_id        TEXT PRIMARY KEY REFERENCES captures (id),
    body              BLOB NOT NULL               -- JSON, the very octets
) STRICT, WITHOUT ROWID;
