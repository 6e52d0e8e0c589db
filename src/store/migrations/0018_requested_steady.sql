-- How long a time box may become counts from the request, and a token of SNS lives, by the clock that nobody sets.
ALTER TABLE captures ADD COLUMN requested_steady_ns INTEGER NOT NULL DEFAULT 0;
UPDATE captures SET requested_steady_ns = requested_utc_ns;
ALTER TABLE subscriptions RENAME COLUMN since_utc_ns TO since_steady_ns;
