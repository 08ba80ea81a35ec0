-- How often a message was sent of which nobody can say whether it arrived: so many copies there may be.
-- depends: 0004.acknowledgements

ALTER TABLE sends ADD COLUMN doubts integer NOT NULL DEFAULT 0;
