-- Account and Region that an AWS object was asked for in, '111122223333/eu-central-1': elsewhere nobody knows of it.
-- '' : of before.
ALTER TABLE resources ADD COLUMN place TEXT NOT NULL DEFAULT '';
