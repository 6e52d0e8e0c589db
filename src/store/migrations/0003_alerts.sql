-- Each alert as its adapter read it (include/tapbox/alert.h), for whoever looks for its indicators
-- later; '' for requests and for alerts of before.
ALTER TABLE alerts ADD COLUMN parsed TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN sender_id TEXT NOT NULL DEFAULT ''; -- the sender's id of the issue
CREATE INDEX alerts_sender ON alerts (sender_id) WHERE sender_id <> '';

-- two more outcomes: nothing there to mirror, and news of an instance
ALTER TABLE alerts RENAME COLUMN outcome TO former_outcome;
ALTER TABLE alerts ADD COLUMN outcome TEXT NOT NULL DEFAULT 'ignored'
    CHECK (outcome IN ('created', 'joined', 'ignored', 'refused', 'noted'));
UPDATE alerts SET outcome = former_outcome;
ALTER TABLE alerts DROP COLUMN former_outcome;

-- EC2 has told of a change of an instance that it taps: a worker looks at its sources
ALTER TABLE captures ADD COLUMN source_news INTEGER NOT NULL DEFAULT 0;
