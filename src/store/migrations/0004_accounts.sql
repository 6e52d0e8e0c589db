-- The account that an AWS object is in; '' is the one that tapbox runs in.
ALTER TABLE resources ADD COLUMN account TEXT NOT NULL DEFAULT '';
