-- How a capture's objects are kept, as its profile wants it; '' : as configured.
ALTER TABLE captures ADD COLUMN sse TEXT NOT NULL DEFAULT '';
ALTER TABLE captures ADD COLUMN kms_key TEXT NOT NULL DEFAULT '';
ALTER TABLE captures ADD COLUMN storage_class TEXT NOT NULL DEFAULT '';
ALTER TABLE captures ADD COLUMN tags TEXT NOT NULL DEFAULT '';
-- What S3 said it encrypted a segment with; '' : it said nothing.
ALTER TABLE segments ADD COLUMN s3_sse TEXT NOT NULL DEFAULT '';
ALTER TABLE segments ADD COLUMN s3_kms_key TEXT NOT NULL DEFAULT '';
