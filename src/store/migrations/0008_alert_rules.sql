-- Which rule of the policy took an alert, and what it asked to be mirrored (JSON, include/tapbox/filter.h);
-- '' for what was not captured, and for alerts of before.
ALTER TABLE alerts ADD COLUMN rule TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN filter TEXT NOT NULL DEFAULT '';
