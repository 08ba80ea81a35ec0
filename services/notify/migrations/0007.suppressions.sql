-- Addresses to which no mail is sent any more, and whose thread each mail's request is.
-- depends: 0006.accounts

CREATE TABLE suppressions (
    address text PRIMARY KEY,
    reason  text        NOT NULL,
    at      timestamptz NOT NULL
);
ALTER TABLE mail_threads ADD COLUMN address text;
