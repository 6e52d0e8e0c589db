-- What the disk did to a segment before S3 had it, in words, and how many packets that is known to have cost; '' : nothing.
ALTER TABLE segments ADD COLUMN damage TEXT NOT NULL DEFAULT '';
ALTER TABLE segments ADD COLUMN missing_packets INTEGER NOT NULL DEFAULT 0;
