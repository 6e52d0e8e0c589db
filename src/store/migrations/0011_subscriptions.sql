-- Subscriptions of SNS that it was promised to confirm: asked for until SNS says yes or no, or its token is over.
CREATE TABLE subscriptions (
    url               TEXT PRIMARY KEY,           -- SubscribeURL: holds the token
    topic             TEXT NOT NULL,
    since_utc_ns      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
