-- What e-mail needs: every message id seen, and deliveries of several messages of INBOUND.
-- depends: 0001.ingest

-- `key` is derived from the mailbox and the message id. One that was only mentioned gives way to the message
-- itself, whoever wrote it.
CREATE TABLE named (
    key          uuid PRIMARY KEY,
    conversation uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('issued', 'received', 'mentioned')),
    contact_id   uuid
);

-- How many messages the delivery came in; `sequence` is that of the last.
ALTER TABLE item ADD COLUMN chunks smallint NOT NULL DEFAULT 1;
