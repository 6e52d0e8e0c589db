-- Enumerations are stored by name and times as *_utc_ns (nanoseconds since 1970), so that the
-- file can be read with sqlite3 alone.  datetime(requested_utc_ns/1000000000,'unixepoch')

CREATE TABLE captures (
    number            INTEGER PRIMARY KEY AUTOINCREMENT, -- order of arrival
    id                TEXT NOT NULL UNIQUE,
    state             TEXT NOT NULL CHECK (state IN ('requested', 'planned', 'arming', 'recording',
                          'draining', 'sealing', 'sealed', 'refused', 'failed')),
    stop_reason       TEXT NOT NULL DEFAULT 'none' CHECK (stop_reason IN ('none', 'deadline',
                          'operator', 'budget', 'source_gone', 'failure')),
    stop_asked        INTEGER NOT NULL DEFAULT 0,

    -- what was asked for
    instance          TEXT NOT NULL, -- '' when only interfaces were named
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    duration_ns       INTEGER NOT NULL,
    filter            TEXT NOT NULL CHECK (filter IN ('all')),
    snaplen           INTEGER NOT NULL,
    max_bytes         INTEGER NOT NULL,
    bpf               TEXT NOT NULL,
    reason            TEXT NOT NULL,
    case_id           TEXT NOT NULL,
    finding_id        TEXT NOT NULL,
    finding_type      TEXT NOT NULL,
    severity          REAL NOT NULL,
    requested_by      TEXT NOT NULL,

    -- how far it is
    requested_utc_ns  INTEGER NOT NULL,
    recording_utc_ns  INTEGER NOT NULL DEFAULT 0,
    stopped_utc_ns    INTEGER NOT NULL DEFAULT 0,
    ended_utc_ns      INTEGER NOT NULL DEFAULT 0,
    deadline_utc_ns   INTEGER NOT NULL DEFAULT 0,
    deadline_boot_ns  INTEGER NOT NULL DEFAULT 0, -- counts from the boot named beside it
    deadline_boot_id  TEXT NOT NULL DEFAULT '',
    extend_to_utc_ns  INTEGER NOT NULL DEFAULT 0, -- asked for, not yet confirmed by AWS
    due_utc_ns        INTEGER NOT NULL,
    attempt           INTEGER NOT NULL DEFAULT 0,
    ledger            TEXT NOT NULL DEFAULT '{}', -- JSON object, a counter by its name
    error_code        TEXT NOT NULL DEFAULT '',
    error_text        TEXT NOT NULL DEFAULT '',
    error_request_id  TEXT NOT NULL DEFAULT '',
    error_final       INTEGER NOT NULL DEFAULT 0  -- 0: of a retry, forgotten with the next step
) STRICT;
CREATE INDEX captures_unfinished ON captures (due_utc_ns)
    WHERE state NOT IN ('sealed', 'refused', 'failed');
CREATE INDEX captures_instance ON captures (instance);

CREATE INDEX captures_finding ON captures (finding_id) WHERE finding_id <> '';

-- interfaces that were asked for by name
CREATE TABLE capture_enis (
    capture_id        TEXT NOT NULL REFERENCES captures (id),
    position          INTEGER NOT NULL,
    eni               TEXT NOT NULL,
    PRIMARY KEY (capture_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX capture_enis_eni ON capture_enis (eni);

-- interfaces that the request came down to
CREATE TABLE capture_sources (
    capture_id        TEXT NOT NULL REFERENCES captures (id),
    position          INTEGER NOT NULL,
    eni               TEXT NOT NULL,
    instance          TEXT NOT NULL,
    mac               TEXT NOT NULL,
    ip                TEXT NOT NULL,
    subnet            TEXT NOT NULL,
    vpc               TEXT NOT NULL,
    account           TEXT NOT NULL,
    vni               INTEGER NOT NULL,
    session_number    INTEGER NOT NULL,
    armed             INTEGER NOT NULL,
    gap               TEXT NOT NULL, -- why it is not captured
    PRIMARY KEY (capture_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX capture_sources_eni ON capture_sources (eni);
CREATE INDEX capture_sources_instance ON capture_sources (instance);
CREATE INDEX capture_sources_vni ON capture_sources (vni) WHERE vni <> 0;

-- every alert and request that was acknowledged, also those that were ignored
CREATE TABLE alerts (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    adapter           TEXT NOT NULL,
    key               TEXT,          -- NULL: the sender gave none
    outcome           TEXT NOT NULL CHECK (outcome IN ('created', 'joined', 'ignored')),
    capture_id        TEXT REFERENCES captures (id),
    number            INTEGER,       -- within the capture, from 1
    reason            TEXT NOT NULL,
    content_type      TEXT NOT NULL,
    remote            TEXT NOT NULL,
    token_name        TEXT NOT NULL,
    received_utc_ns   INTEGER NOT NULL,
    body              BLOB NOT NULL, -- exactly as received
    UNIQUE (adapter, key),
    UNIQUE (capture_id, number)
) STRICT;

-- AWS objects: the intent is committed before the call
CREATE TABLE resources (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    kind              TEXT NOT NULL CHECK (kind IN ('target', 'filter', 'filter_rule', 'session')),
    state             TEXT NOT NULL CHECK (state IN ('intended', 'created', 'deleting', 'gone')),
    capture_id        TEXT REFERENCES captures (id), -- NULL: standing
    key               TEXT NOT NULL,
    aws_id            TEXT NOT NULL DEFAULT '',
    client_token      TEXT NOT NULL,
    params            TEXT NOT NULL, -- the exact body of the request
    expires_utc_s     INTEGER NOT NULL,
    create_request_id TEXT NOT NULL DEFAULT '',
    delete_request_id TEXT NOT NULL DEFAULT '',
    intended_utc_ns   INTEGER NOT NULL,
    created_utc_ns    INTEGER NOT NULL DEFAULT 0,
    gone_utc_ns       INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX resources_capture ON resources (capture_id);

CREATE TABLE segments (
    id                INTEGER PRIMARY KEY AUTOINCREMENT, -- order of sealing
    capture_id        TEXT NOT NULL REFERENCES captures (id),
    name              TEXT NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('spooled', 'uploaded')),
    bytes             INTEGER NOT NULL,
    packets           INTEGER NOT NULL,
    first_utc_ns      INTEGER NOT NULL,
    last_utc_ns       INTEGER NOT NULL,
    recovered         INTEGER NOT NULL,
    sha256            BLOB NOT NULL CHECK (length(sha256) = 32),
    s3_key            TEXT NOT NULL DEFAULT '',
    s3_version        TEXT NOT NULL DEFAULT '',
    s3_request_id     TEXT NOT NULL DEFAULT '',
    uploaded_utc_ns   INTEGER NOT NULL DEFAULT 0,
    local             INTEGER NOT NULL DEFAULT 1, -- the spooled file is still there
    UNIQUE (capture_id, name)
) STRICT;
CREATE INDEX segments_waiting ON segments (id) WHERE state = 'spooled';

-- counters that never go back
CREATE TABLE counters (
    name              TEXT PRIMARY KEY,
    value             INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
