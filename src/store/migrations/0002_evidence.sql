-- The chunks' Merkle root of a segment; NULL when an earlier tapbox entered it.
ALTER TABLE segments ADD COLUMN merkle_root BLOB CHECK (merkle_root IS NULL OR length(merkle_root) = 32);

-- keys that manifests were or are signed with: the public halves only
CREATE TABLE keys (
    fingerprint       TEXT PRIMARY KEY,           -- SHA-256 of the public key, hex
    public_pem        TEXT NOT NULL,
    first_used_utc_ns INTEGER NOT NULL,
    current           INTEGER NOT NULL,           -- the one that signs now
    in_bucket         INTEGER NOT NULL DEFAULT 0  -- S3 has it as keys/<fingerprint>.pem
) STRICT, WITHOUT ROWID;

-- The chain of each key.  The row is committed before anything is signed or uploaded.
CREATE TABLE manifests (
    capture_id        TEXT PRIMARY KEY REFERENCES captures (id),
    key               TEXT NOT NULL REFERENCES keys (fingerprint),
    sequence          INTEGER NOT NULL,
    custody_number    INTEGER NOT NULL,           -- last entry of the log that the manifest names
    body              BLOB NOT NULL,              -- manifest.json, the very octets
    sha256            BLOB NOT NULL CHECK (length(sha256) = 32),
    signature         BLOB CHECK (signature IS NULL OR length(signature) = 64),
    UNIQUE (key, sequence)
) STRICT, WITHOUT ROWID;

-- Who did what, a chain of its own for each capture.
CREATE TABLE custody (
    capture_id        TEXT NOT NULL REFERENCES captures (id),
    number            INTEGER NOT NULL,           -- from 1
    line              TEXT NOT NULL,              -- JSON, without the newline
    sha256            BLOB NOT NULL CHECK (length(sha256) = 32), -- of the line
    PRIMARY KEY (capture_id, number)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER custody_is_not_changed BEFORE UPDATE ON custody
    BEGIN SELECT raise(ABORT, 'the custody log is append-only'); END;
CREATE TRIGGER custody_is_not_shortened BEFORE DELETE ON custody
    BEGIN SELECT raise(ABORT, 'the custody log is append-only'); END;

-- custody/NNNN.jsonl: which entries each holds, fixed before it is uploaded
CREATE TABLE custody_objects (
    capture_id        TEXT NOT NULL REFERENCES captures (id),
    number            INTEGER NOT NULL,           -- from 1, which is the one that the manifest names
    first             INTEGER NOT NULL,
    last              INTEGER NOT NULL,
    uploaded          INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (capture_id, number)
) STRICT, WITHOUT ROWID;
