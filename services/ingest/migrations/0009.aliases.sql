-- Who comes under another name than the one they are known by: the keys are those of contacts.
-- depends: 0008.mail_reader

CREATE TABLE alias (
    key      uuid PRIMARY KEY,
    home     text NOT NULL,
    home_key uuid NOT NULL
);
CREATE INDEX alias_home ON alias (home_key, key);
