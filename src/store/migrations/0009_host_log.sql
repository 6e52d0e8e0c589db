-- Custody logs are of captures, and one of the host: alerts that end in no capture, standing objects, keys,
-- which manifests were signed.  So the tables are not bound to captures any more, and an object keeps its signature,
-- whatever key signs later.
CREATE TABLE host_log (
    id                TEXT PRIMARY KEY            -- log-20260102T030405Z-1a2b3c4d
) STRICT, WITHOUT ROWID;

CREATE TABLE custody_of_logs (
    log_id            TEXT NOT NULL,              -- of a capture, or of host_log
    number            INTEGER NOT NULL,           -- from 1
    line              TEXT NOT NULL,              -- JSON, without the newline
    sha256            BLOB NOT NULL CHECK (length(sha256) = 32), -- of the line
    PRIMARY KEY (log_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO custody_of_logs SELECT capture_id, number, line, sha256 FROM custody;
DROP TABLE custody;
ALTER TABLE custody_of_logs RENAME TO custody;
CREATE TRIGGER custody_is_not_changed BEFORE UPDATE ON custody
    BEGIN SELECT raise(ABORT, 'the custody log is append-only'); END;
CREATE TRIGGER custody_is_not_shortened BEFORE DELETE ON custody
    BEGIN SELECT raise(ABORT, 'the custody log is append-only'); END;

CREATE TABLE objects_of_logs (
    log_id            TEXT NOT NULL,
    number            INTEGER NOT NULL,           -- from 1: of a capture's log the one that the manifest names
    first             INTEGER NOT NULL,
    last              INTEGER NOT NULL,
    uploaded          INTEGER NOT NULL DEFAULT 0,
    signature         BLOB CHECK (signature IS NULL OR length(signature) = 64), -- committed before it is uploaded
    PRIMARY KEY (log_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO objects_of_logs (log_id, number, first, last, uploaded)
    SELECT capture_id, number, first, last, uploaded FROM custody_objects;
DROP TABLE custody_objects;
ALTER TABLE objects_of_logs RENAME TO custody_objects;
