-- Segments that go to S3 in parts: the upload that was begun, and what S3 has acknowledged of it.
CREATE TABLE uploads (
    capture_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    upload_id         TEXT NOT NULL,
    part_bytes        INTEGER NOT NULL,           -- of each part but the last
    PRIMARY KEY (capture_id, name),
    FOREIGN KEY (capture_id, name) REFERENCES segments (capture_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE upload_parts (
    capture_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    number            INTEGER NOT NULL,           -- from 1
    bytes             INTEGER NOT NULL,
    sha256            BLOB NOT NULL CHECK (length(sha256) = 32),
    etag              TEXT NOT NULL,
    PRIMARY KEY (capture_id, name, number),
    FOREIGN KEY (capture_id, name) REFERENCES uploads (capture_id, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
