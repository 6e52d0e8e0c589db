-- What the policy gives to a capture, besides what every request has.
ALTER TABLE captures DROP COLUMN filter;
ALTER TABLE captures ADD COLUMN filter TEXT NOT NULL DEFAULT -- JSON, include/tapbox/filter.h
    '{"amazon_dns":true,"kind":"all","note":null,"rules":[]}';
ALTER TABLE captures ADD COLUMN packet_length INTEGER NOT NULL DEFAULT 0;
ALTER TABLE captures ADD COLUMN rule TEXT NOT NULL DEFAULT '';
ALTER TABLE captures ADD COLUMN undecided INTEGER NOT NULL DEFAULT 0; -- until EC2 has told of the source
ALTER TABLE captures ADD COLUMN primary_only INTEGER NOT NULL DEFAULT 0;
ALTER TABLE captures ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE captures ADD COLUMN lock_mode TEXT NOT NULL DEFAULT '';
ALTER TABLE captures ADD COLUMN retention_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE captures ADD COLUMN legal_hold INTEGER NOT NULL DEFAULT 0;
-- As it was when AWS last had all of it; another one than `filter` has to be brought about.
ALTER TABLE captures ADD COLUMN filter_made TEXT NOT NULL DEFAULT
    '{"amazon_dns":true,"kind":"all","note":null,"rules":[]}';
