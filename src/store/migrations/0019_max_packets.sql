-- How many packets a capture may hold, 0: no bound; and that this ended it is a reason of its own.
ALTER TABLE captures ADD COLUMN max_packets INTEGER NOT NULL DEFAULT 0;
ALTER TABLE captures RENAME COLUMN stop_reason TO stop_reason_of_before;
ALTER TABLE captures ADD COLUMN stop_reason TEXT NOT NULL DEFAULT 'none' CHECK (stop_reason IN ('none', 'deadline',
    'operator', 'budget', 'packet_budget', 'source_gone', 'failure'));
UPDATE captures SET stop_reason = stop_reason_of_before;
ALTER TABLE captures DROP COLUMN stop_reason_of_before;
